"""Functional deep learning for MLX: pure functions over parameter trees."""

from lucid_fn import runtime

__version__ = "0.1.0"

runtime.start()
