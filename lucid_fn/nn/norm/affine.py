"""The weight and the bias of norms, which may have neither or the weight alone."""

import mlx.core as mx

from lucid_fn.nn.core.checks import check_params
from lucid_fn.types import Array, Params


def init_affine(shape: tuple[int, ...], has_weight: bool, has_bias: bool) -> Params:
    """The initial params: a `weight` of ones and a `bias` of zeros."""
    weight = {"weight": mx.ones(shape)} if has_weight else {}
    return weight | ({"bias": mx.zeros(shape)} if has_bias else {})


def weight_and_bias(
    caller: str,
    params: Params,
    shape: tuple[int, ...],
    has_weight: bool,
    has_bias: bool,
    dtype: mx.Dtype,
) -> tuple[Array, Array]:
    """The checked params; ones and zeros of `dtype` in place of absent ones."""
    check_params(
        caller,
        params,
        weight=shape if has_weight else None,
        bias=shape if has_bias else None,
    )
    weight = params["weight"] if has_weight else mx.ones(shape, dtype)
    return weight, params["bias"] if has_bias else mx.zeros(shape, dtype)
