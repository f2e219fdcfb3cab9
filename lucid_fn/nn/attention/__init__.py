"""Attention, positions, and transformers."""
