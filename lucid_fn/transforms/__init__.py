"""Transformations of pure functions over trees: compile, differentiate, vectorise."""

from lucid_fn.transforms.autodiff import (
    checkpoint,
    grad,
    hvp,
    jvp,
    value_and_grad,
    vjp,
)
from lucid_fn.transforms.jit import jit
from lucid_fn.transforms.vmap import vmap

__all__ = ["checkpoint", "grad", "hvp", "jit", "jvp", "value_and_grad", "vjp", "vmap"]
