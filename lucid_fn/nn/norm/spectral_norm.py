"""Spectral normalization: a weight whose largest singular value is 1."""

from typing import Any

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count
from lucid_fn.nn.core.checks import check_eps, check_state
from lucid_fn.nn.core.layer import Layer, check_layer, require_names, wrap
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State

_INITIAL_ITERATIONS = 15  # as in PyTorch


def spectral_norm(
    layer: Layer,
    *,
    name: str = "weight",
    axis: int = 0,
    iterations: int = 1,
    eps: float = 1e-12,
) -> Layer:
    """Spectral normalization: `layer` with `weight / sigma`, where `sigma` is the
    largest singular value of the weight.

    The weight is taken as a matrix with one row per output. In train mode, power
    iterations keep its singular vectors `u` and `v` up to date, and
    `sigma = u @ weight @ v`; no gradient flows into `u` and `v`.

    Params: those of `layer`. State: that of `layer`, and `weight_u` `(out,)` and
    `weight_v` `(in * ...,)`. The elements of `weight_v` are in the order of the weight
    here, channels last; `interop.torch` converts PyTorch's.

    Args:
        layer: a layer with a parameter `name`, such as `nn.conv2d`.
        name: the parameter to normalize.
        axis: axis of the outputs: 0, but -1 for transposed convolutions.
        iterations: power iterations in each step of training.
        eps: lower bound of the lengths that vectors are divided by; positive.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: if an argument is out of range; on init, if there is no such
            parameter, or it has one axis only, or no such axis; on apply, if params or
            state are those of another layer.

    Source: Miyato et al., 2018, https://arxiv.org/abs/1802.05957, algorithm 1; as
    `torch.nn.utils.parametrizations.spectral_norm`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.spectral_norm(nn.linear(4, 2))
        >>> params, state = layer.init(random.key(0))
        >>> {name: leaf.shape for name, leaf in state.items()}
        {'weight_u': (2,), 'weight_v': (4,)}
    """
    check_layer("spectral_norm", layer)
    axis = check_count("spectral_norm", "axis", axis, at_least=None)
    iterations = check_count("spectral_norm", "iterations", iterations)
    eps = check_eps("spectral_norm", eps)
    names = f"{name}_u", f"{name}_v"

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = layer.init(key)
        weight = params.get(name)
        if not isinstance(weight, mx.array) or weight.ndim < 2:
            raise ValueError(
                f"spectral_norm: layer must have a parameter {name!r} of at least two "
                f"axes, got {', '.join(params) or 'none'}"
            )
        if not -weight.ndim <= axis < weight.ndim:
            raise ValueError(
                f"spectral_norm: axis must be one of the {weight.ndim} of {name!r}, "
                f"got {axis}"
            )
        matrix = _matrix(weight, axis)
        v = random.normal(random.fold_in(key, names[1]), matrix.shape[1:])
        u, v = _power_iterations(matrix, _unit(v, eps), _INITIAL_ITERATIONS, eps)
        return params, started({**state, names[0]: u, names[1]: v})

    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        weight = require_names(params, "params")[name]
        matrix = _matrix(weight, axis)
        rows, columns = matrix.shape
        check_state("spectral_norm", state, **{names[0]: (rows,), names[1]: (columns,)})
        u, v = (state[vector] for vector in names)
        if train:
            u, v = _power_iterations(mx.stop_gradient(matrix), v, iterations, eps)
        sigma = mx.sum(u * (matrix @ v))
        normed = (weight.astype(mx.float32) / sigma).astype(weight.dtype)
        others = {other: leaf for other, leaf in state.items() if other not in names}
        y, others = layer.apply(
            {**params, name: normed}, others, x, train=train, key=key
        )
        return y, {**others, names[0]: u, names[1]: v}

    return wrap(layer, run, init=init)


def _matrix(weight: Array, axis: int) -> Array:
    rows = mx.moveaxis(weight, axis, 0)
    return rows.reshape(len(rows), -1).astype(mx.float32)


def _unit(vector: Array, eps: float) -> Array:
    return vector / mx.maximum(mx.sqrt(mx.sum(vector * vector)), eps)


def _power_iterations(
    matrix: Array, v: Array, iterations: int, eps: float
) -> tuple[Array, Array]:
    """Estimates `u` and `v` of the first singular vectors, improved from `v`."""
    for _ in range(iterations):
        u = _unit(matrix @ v, eps)
        v = _unit(matrix.T @ u, eps)
    return u, v
