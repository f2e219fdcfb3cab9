"""Layers that change the shape: padding, reshaping, shuffling, upsampling."""
