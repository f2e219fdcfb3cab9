"""Elementwise functions, written so that g++ vectorizes them."""
