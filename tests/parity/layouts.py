"""Between PyTorch's arrays, channels second, and ours, channels last."""

import functools

import mlx.core as mx
import numpy as np
import torch

from tests import assertions

TOLERANCE = 1e-5  # of the largest number: float32 sums in another order

assert_close = functools.partial(assertions.assert_close, of_largest=TOLERANCE)
"""The same tree, to the rounding of sums."""


def channels_last(x):
    """`(N, C, ...)` to `(N, ..., C)`; also weights `(out, in, ...)`."""
    return np.moveaxis(np.asarray(x), 1, -1)


def channels_second(x):
    return np.moveaxis(np.asarray(x), -1, 1)


def to_torch(x, *, moved=True):
    x = np.array(x)
    x = channels_second(x) if moved and x.ndim > 2 else x
    return torch.tensor(np.ascontiguousarray(x))


def to_mlx(x, *, moved=True):
    x = x.detach().numpy()
    return mx.array(channels_last(x) if moved and x.ndim > 2 else x)


def nested(flat):
    """The tree of dotted names."""
    tree = {}
    for name, leaf in flat.items():
        *parents, last = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def params_of(module, *, moved=True):
    """The parameters of a PyTorch module as a tree of ours."""
    return nested({n: to_mlx(p, moved=moved) for n, p in module.named_parameters()})


def grads_of(module, *, moved=True):
    """The gradients of a PyTorch module as a tree of ours."""
    return nested(
        {n: to_mlx(p.grad, moved=moved) for n, p in module.named_parameters()}
    )


def state_of(module):
    return nested({n: to_mlx(b, moved=False) for n, b in module.named_buffers()})
