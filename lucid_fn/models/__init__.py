"""Models, one file each."""

from lucid_fn.models.lenet import lenet5

__all__ = ["lenet5"]
