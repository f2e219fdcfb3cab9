"""Functional deep learning for MLX: pure functions over parameter trees."""

from lucid_fn import (
    data,
    interop,
    losses,
    metrics,
    models,
    nn,
    ops,
    optim,
    plot,
    random,
    runtime,
    schedules,
    train,
    tree,
)
from lucid_fn.transforms import (
    checkpoint,
    grad,
    hvp,
    jit,
    jvp,
    value_and_grad,
    vjp,
    vmap,
)

__version__ = "0.1.0"

__all__ = [
    "checkpoint",
    "data",
    "grad",
    "hvp",
    "interop",
    "jit",
    "jvp",
    "losses",
    "metrics",
    "models",
    "nn",
    "ops",
    "optim",
    "plot",
    "random",
    "runtime",
    "schedules",
    "train",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
]

runtime.start()
