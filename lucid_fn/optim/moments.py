"""Running averages of gradients, and the scalars that go with them.

Scalars near 1, such as decays, are never subtracted from 1 in float32, where the
difference of 1 and 0.999999 has two digits: Python's numbers are, or `expm1` is used.
"""

import math

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim import leaves
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.tracing import started
from lucid_fn.types import Array, Params, Scalar, Tree

_LAST_STEP = 2**31 - 1


def zeros(params: Params, initial: Scalar = 0.0) -> Tree:
    """Accumulators of the shapes of the params, in float32 at least.

    In 16 bits an average of decay 0.999 would not move: the thousandth part that is
    new at each step is less than the rounding.
    """
    zero = leaves.map(lambda p: mx.zeros(p.shape, accumulator_dtype(p)), params)
    if is_zero(initial):
        return started(zero)
    return started(leaves.map(lambda z: (z + initial).astype(z.dtype), zero))


def copies(params: Params) -> Tree:
    """The params in float32 at least, each leaf an array of its own.

    A state is captured by some compiled functions that are given the params, and an
    array may not be both.
    """
    return started(
        leaves.map(lambda p: mx.contiguous(p.astype(accumulator_dtype(p))), params)
    )


def accumulator_dtype(x: Array) -> mx.Dtype:
    """The dtype of averages of `x`: float32 for 16 bits, else its own."""
    return mx.float32 if x.dtype in (mx.float16, mx.bfloat16) else x.dtype


def precision(values: Tree) -> mx.Dtype:
    """The dtype of the scalars of an update: float64 where a leaf is, else float32."""
    dtypes = {x.dtype for x in tree.leaves(values) if isinstance(x, mx.array)}
    return mx.float64 if mx.float64 in dtypes else mx.float32


def first_step() -> Array:
    """The counter of a new state: 0, int32, shape `()`."""
    return mx.array(0, mx.int32)


def increment(step: Array) -> Array:
    """`step + 1`, which stays at the largest number of int32 when it gets there."""
    return mx.minimum(step, _LAST_STEP - 1) + 1


def is_zero(value: Scalar) -> bool:
    """Whether a number is 0 for certain; that of an array is known at run time only."""
    return not isinstance(value, mx.array) and value == 0


def average(
    decay: Scalar, old: Array, new: Array, weight: Scalar | None = None
) -> Array:
    """`decay * old + (1 - decay) * new`, in the dtype of `old`.

    Args:
        decay: weight of `old`.
        old: the average so far.
        new: what enters it.
        weight: `1 - decay`, if it is known with more digits than the difference.
    """
    weight = 1 - decay if weight is None else weight
    return (decay * old + weight * new.astype(old.dtype)).astype(old.dtype)


def average_square(
    decay: Scalar, old: Array, new: Array, weight: Scalar | None = None
) -> Array:
    """`decay * old + (1 - decay) * new**2`, in the dtype of `old`; as `average`."""
    weight = 1 - decay if weight is None else weight
    new = new.astype(old.dtype)
    return (decay * old + weight * new * new).astype(old.dtype)


def decay_from_second(
    step: Array, decay: Scalar, dtype: mx.Dtype
) -> tuple[Array, Array]:
    """The weights of the past and of what is new: at step 0 all weight is on the new.

    Args:
        step: updates made so far.
        decay: weight of the past at later steps.
        dtype: of both weights.
    """
    first = step == 0
    kept = mx.where(first, 0.0, mx.array(decay, dtype))
    weight = mx.where(first, 1.0, mx.array(1 - decay, dtype))
    return end_kernel(kept), end_kernel(weight)


def first_moment(caller: str, decay: Scalar, mu: Tree, grads: Tree) -> Tree:
    """The averages `mu` of the gradients, one step on."""

    def follow(m: Array, g: Array) -> Array:
        return average(decay, m, g)

    return leaves.map(follow, mu, grads, caller=f"{caller} (state and grads)")


def second_moment(caller: str, decay: Scalar, nu: Tree, grads: Tree) -> Tree:
    """The averages `nu` of the gradients' squares, one step on."""

    def follow(v: Array, g: Array) -> Array:
        return average_square(decay, v, g)

    return leaves.map(follow, nu, grads, caller=f"{caller} (state and grads)")


def update_moments(
    caller: str, b1: Scalar, b2: Scalar, mu: Tree, nu: Tree, grads: Tree
) -> tuple[Tree, Tree]:
    """The averages of the gradients and of their squares, one step on."""
    return first_moment(caller, b1, mu, grads), second_moment(caller, b2, nu, grads)


def unbiased_ratio(
    b1: Scalar, b2: Scalar, eps: Scalar, step: Array, mu: Tree, nu: Tree, grads: Tree
) -> Tree:
    """`m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`, in the dtypes of `grads`.

    Both sides of the fraction are multiplied by `sqrt(1 - b2**t)`: a division less, and
    an operation less from the param to its gradient (see `leaves.end_kernel`).
    """
    dtype = precision(mu)
    root = mx.sqrt(bias_correction(b2, step, dtype))
    scale = end_kernel(root / bias_correction(b1, step, dtype))
    least = end_kernel(eps * root)

    def ratio(m: Array, v: Array, g: Array) -> Array:
        return (scale * m / (mx.sqrt(v) + least)).astype(g.dtype)

    return leaves.map(ratio, mu, nu, grads)


def log_decay(decay: Scalar, dtype: mx.Dtype = mx.float32) -> Array:
    """The logarithm of a decay, in all the digits that are known of it."""
    if isinstance(decay, mx.array):
        return mx.log(decay.astype(dtype))
    return mx.array(math.log(decay) if decay > 0 else -math.inf, dtype)


def bias_correction(decay: Scalar, step: Array, dtype: mx.Dtype = mx.float32) -> Array:
    """`1 - decay**step`, the weight of all gradients in an average begun at 0.

    By `expm1`, since the difference of two numbers near 1 keeps few digits: float32
    would be wrong by 2e-5 for the first steps of decay 0.999.
    """
    return -mx.expm1(step.astype(dtype) * log_decay(decay, dtype))


def exp(x: Array) -> Array:
    """`mx.exp`, in all digits: MLX computes that of float64 in float32 on a CPU."""
    return mx.expm1(x) + 1 if x.dtype == mx.float64 else mx.exp(x)
