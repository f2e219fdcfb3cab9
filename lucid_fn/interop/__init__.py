"""Weights of other libraries, and comparisons with their training."""

from lucid_fn.interop import compare, torch

__all__ = ["compare", "torch"]


def __dir__() -> list[str]:
    return __all__
