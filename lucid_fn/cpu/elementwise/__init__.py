"""Elementwise functions, written so that the compiler vectorizes them."""
