"""Functional deep learning for MLX: pure functions over parameter trees."""

__version__ = "0.1.0"
