"""Running averages of gradients, and the scalars that go with them."""

import math

import mlx.core as mx

from lucid_fn.evaluation import started
from lucid_fn.optim import leaves
from lucid_fn.optim.checks import Scalar
from lucid_fn.types import Array, Params, Tree


def zeros(params: Params) -> Tree:
    """Accumulators of the shapes of the params, in float32 at least.

    In 16 bits an average of decay 0.999 would not move: the thousandth part that is
    new at each step is less than the rounding.
    """
    return started(
        leaves.map(lambda p: mx.zeros(p.shape, accumulator_dtype(p)), params)
    )


def copies(params: Params) -> Tree:
    """The params in float32 at least, each leaf an array of its own.

    A state is captured by some compiled functions that are given the params, and an
    array may not be both.
    """
    return started(
        leaves.map(lambda p: mx.contiguous(p.astype(accumulator_dtype(p))), params)
    )


def accumulator_dtype(x: Array) -> mx.Dtype:
    return mx.float32 if x.dtype in (mx.float16, mx.bfloat16) else x.dtype


def average(decay: Scalar, old: Array, new: Array) -> Array:
    """`decay * old + (1 - decay) * new`, in the dtype of `old`."""
    return decay * old + (1 - decay) * new.astype(old.dtype)


def average_square(decay: Scalar, old: Array, new: Array) -> Array:
    """`decay * old + (1 - decay) * new**2`, in the dtype of `old`."""
    new = new.astype(old.dtype)
    return decay * old + (1 - decay) * new * new


def update_moments(
    caller: str, b1: Scalar, b2: Scalar, mu: Tree, nu: Tree, grads: Tree
) -> tuple[Tree, Tree]:
    """The averages `mu` of the gradients and `nu` of their squares, one step on."""
    caller = f"{caller} (state and grads)"
    mu = leaves.map(lambda m, g: average(b1, m, g), mu, grads, caller=caller)
    nu = leaves.map(lambda v, g: average_square(b2, v, g), nu, grads, caller=caller)
    return mu, nu


def unbiased_ratio(
    b1: Scalar, b2: Scalar, eps: Scalar, step: Array, mu: Tree, nu: Tree, grads: Tree
) -> Tree:
    """`m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`, in the dtypes of `grads`.

    Both sides of the fraction are multiplied by `sqrt(1 - b2**t)`: a division less, and
    an operation less from the param to its gradient (see `materialized`).
    """
    root = mx.sqrt(bias_correction(b2, step))
    scale, least = once(root / bias_correction(b1, step)), once(eps * root)

    def ratio(m: Array, v: Array, g: Array) -> Array:
        return (scale * m / (mx.sqrt(v) + least)).astype(g.dtype)

    return leaves.map(ratio, mu, nu, grads)


def log_decay(decay: Scalar) -> Array:
    """The logarithm of a decay, in the digits that Python has of it."""
    if isinstance(decay, mx.array):
        return mx.log(decay)
    return mx.array(math.log(decay) if decay > 0 else -math.inf)


def bias_correction(decay: Scalar, step: Array) -> Array:
    """`1 - decay**step`, the weight of all gradients in an average begun at 0.

    By `expm1`, since the difference of two numbers near 1 keeps few digits: float32
    would be wrong by 2e-5 for the first steps of decay 0.999.
    """
    return -mx.expm1(step * log_decay(decay))


def once(scalar: Array) -> Array:
    """The scalar, computed once and not for each element of what it multiplies.

    `mx.compile` fuses elementwise operations, those on scalars too, into the kernel
    that uses them; this one it does not fuse. Adam on one array of 4 M elements takes
    11 ms with it and 71 ms without.
    """
    return mx.contiguous(scalar)


def materialized(x: Array) -> Array:
    """`x`, of a kernel of its own.

    `mx.compile` fuses a chain of eleven operations at most. Where the one left out is
    the spreading of a scalar, the kernel reads all of its arrays by strides: Adam with
    weight decay takes a tenth longer.
    """
    return mx.contiguous(x)
