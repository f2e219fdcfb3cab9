"""Array functions with their own derivatives, fast on every device."""

from lucid_fn.ops.conv import conv2d
from lucid_fn.ops.formulation import plain

__all__ = ["conv2d", "plain"]
