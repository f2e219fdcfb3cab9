"""Weights of other libraries, comparisons with their training, and files of ONNX."""

from lucid_fn.interop import compare, huggingface, onnx, torch

__all__ = ["compare", "huggingface", "onnx", "torch"]


def __dir__() -> list[str]:
    return __all__
