"""Functions in files of ONNX, which many other programs run."""

from lucid_fn.interop.onnx.export import export

__all__ = ["export"]


def __dir__() -> list[str]:
    return __all__
