"""Weights of other libraries, comparison with their training, and ONNX export."""

from lucid_fn.interop import compare, huggingface, onnx, torch

__all__ = ["compare", "huggingface", "onnx", "torch"]


def __dir__() -> list[str]:
    return __all__
