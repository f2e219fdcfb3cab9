"""Transformations of pure functions over trees: compile, differentiate, vectorise."""

from lucid_fn.call_errors import guide
from lucid_fn.transforms.checkpointing import checkpoint
from lucid_fn.transforms.cond import cond
from lucid_fn.transforms.custom_rules import custom_jvp, custom_vjp
from lucid_fn.transforms.debugging import (
    ShapeDtype,
    check_pure,
    disable_jit,
    eval_shape,
)
from lucid_fn.transforms.export import export, load_exported
from lucid_fn.transforms.gradients import grad, stop_gradient, value_and_grad
from lucid_fn.transforms.jacobian_products import hvp, jvp, vjp
from lucid_fn.transforms.jacobians import hessian, jacfwd, jacrev
from lucid_fn.transforms.jit import jit
from lucid_fn.transforms.map import map
from lucid_fn.transforms.scan import scan
from lucid_fn.transforms.vmap import vmap
from lucid_fn.transforms.while_loop import fori_loop, while_loop

__all__ = [
    "ShapeDtype",
    "check_pure",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "disable_jit",
    "eval_shape",
    "export",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "load_exported",
    "map",
    "scan",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]

guide(globals(), "lf")
