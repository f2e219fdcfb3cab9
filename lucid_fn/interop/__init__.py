"""Weights of other libraries."""

from lucid_fn.interop import torch

__all__ = ["torch"]
