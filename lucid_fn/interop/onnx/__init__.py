"""Functions in files of ONNX, which other programs run."""

from lucid_fn.call_errors import guide
from lucid_fn.interop.onnx.export import export

__all__ = ["export"]

guide(globals(), "interop.onnx")
