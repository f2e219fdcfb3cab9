"""Export of functions to ONNX files."""

from lucid_fn.call_errors import guide
from lucid_fn.interop.onnx.export import export

__all__ = ["export"]

guide(globals(), "interop.onnx")
