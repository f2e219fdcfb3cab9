"""Functional deep learning for MLX: pure functions over parameter trees."""

import importlib
from typing import TYPE_CHECKING, Any

from lucid_fn import random, tree
from lucid_fn.foreign_names import raise_unknown
from lucid_fn.ops import seam
from lucid_fn.transforms import (
    ShapeDtype,
    check_pure,
    checkpoint,
    cond,
    custom_jvp,
    custom_vjp,
    disable_jit,
    eval_shape,
    export,
    fori_loop,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jit,
    jvp,
    load_exported,
    map,
    scan,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
    while_loop,
)

if TYPE_CHECKING:
    from lucid_fn import (
        data,
        debug,
        distributed,
        doctor,
        interop,
        losses,
        metrics,
        models,
        nn,
        ops,
        optim,
        plot,
        schedules,
        train,
        types,
    )

__version__ = "0.2.0"

__all__ = [
    "ShapeDtype",
    "check_pure",
    "checkpoint",
    "cond",
    "custom_jvp",
    "custom_vjp",
    "data",
    "debug",
    "disable_jit",
    "distributed",
    "doctor",
    "eval_shape",
    "export",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "interop",
    "jacfwd",
    "jacrev",
    "jit",
    "jvp",
    "load_exported",
    "losses",
    "map",
    "metrics",
    "models",
    "nn",
    "ops",
    "optim",
    "plot",
    "profile",
    "random",
    "scan",
    "schedules",
    "stop_gradient",
    "train",
    "tree",
    "types",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


# `testing` imports chex, and with it jax, which takes a second; `cpu` is internal.
_UNLISTED = ("cpu", "testing")


def __getattr__(name: str) -> Any:
    """Import a subpackage at its first use; all together take 0.09 s or more."""
    if name == "profile":
        return importlib.import_module("lucid_fn.profiling").profile
    if name in __all__ or name in _UNLISTED:
        return importlib.import_module(f"lucid_fn.{name}")
    raise_unknown("lf", name, __all__)


def __dir__() -> list[str]:
    return __all__


seam.start()
