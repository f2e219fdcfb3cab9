"""Transformations of pure functions over trees: compile, differentiate, vectorise."""

from lucid_fn.transforms.checkpointing import checkpoint
from lucid_fn.transforms.custom_rules import custom_jvp, custom_vjp
from lucid_fn.transforms.directional import hvp, jvp, vjp
from lucid_fn.transforms.gradients import grad, stop_gradient, value_and_grad
from lucid_fn.transforms.jacobians import hessian, jacfwd, jacrev
from lucid_fn.transforms.jit import jit
from lucid_fn.transforms.vmap import vmap

__all__ = [
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]
