"""Running averages of gradients, bias corrections and step counters.

`1 - decay` is computed from Python numbers or with `expm1`, never in float32, where the
difference of 1 and 0.999999 has only two correct digits.
"""

import math

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_scalar
from lucid_fn.optim import leaves
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.schedules.base import LAST_STEP
from lucid_fn.tracing import started
from lucid_fn.types import Array, Params, Scalar, Tree


def check_moments(
    caller: str, b1: Scalar, b2: Scalar, eps: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Checks the hyperparameters of Adam and its relatives, and returns them."""
    return (
        check_scalar(caller, "b1", b1, at_least=0, below=1),
        check_scalar(caller, "b2", b2, at_least=0, below=1),
        check_scalar(caller, "eps", eps, above=0),
    )


def zeros(params: Params, initial: Scalar = 0.0) -> Tree:
    """Accumulators in the shapes of the params, filled with `initial`.

    Their dtype is at least float32. In 16 bits an average with decay 0.999 would not
    move: the thousandth that is added at each step is lost to rounding.
    """
    zero = leaves.map(lambda p: mx.zeros(p.shape, accumulator_dtype(p)), params)
    if is_zero(initial):
        return started(zero)
    return started(leaves.map(lambda z: (z + initial).astype(z.dtype), zero))


def copies(params: Params) -> Tree:
    """Copies of the params, in float32 at least.

    Even float32 params are copied: a compiled function may capture the state and take
    the params as an argument, and no array may be both.
    """
    return started(
        leaves.map(lambda p: mx.contiguous(p.astype(accumulator_dtype(p))), params)
    )


def accumulator_dtype(x: Array) -> mx.Dtype:
    """The dtype of averages of `x`: float32 for 16-bit arrays, else that of `x`."""
    return mx.float32 if x.dtype in (mx.float16, mx.bfloat16) else x.dtype


def precision(values: Tree) -> mx.Dtype:
    """The dtype of an update's scalars: float64 if any leaf is, else float32."""
    dtypes = {x.dtype for x in tree.leaves(values) if isinstance(x, mx.array)}
    return mx.float64 if mx.float64 in dtypes else mx.float32


def zero_count() -> Array:
    """A counter of steps at 0: int32, shape `()`."""
    return mx.array(0, mx.int32)


def increment(step: Array) -> Array:
    """`step + 1`, which saturates at the largest int32."""
    return mx.minimum(step, LAST_STEP - 1) + 1


def is_zero(value: Scalar) -> bool:
    """Whether a value is known to be 0: `False` for arrays, which are not read."""
    return not isinstance(value, mx.array) and value == 0


def average(
    decay: Scalar, old: Array, new: Array, weight: Scalar | None = None
) -> Array:
    """`decay * old + (1 - decay) * new`, in the dtype of `old`.

    Args:
        decay: weight of `old`.
        old: the average so far.
        new: the value to add.
        weight: weight of `new`; by default `1 - decay`.
    """
    weight = 1 - decay if weight is None else weight
    return (decay * old + weight * new.astype(old.dtype)).astype(old.dtype)


def average_square(
    decay: Scalar, old: Array, new: Array, weight: Scalar | None = None
) -> Array:
    """`decay * old + (1 - decay) * new**2`; see `average`."""
    weight = 1 - decay if weight is None else weight
    new = new.astype(old.dtype)
    return (decay * old + weight * new * new).astype(old.dtype)


def decay_from_second(
    step: Array, decay: Scalar, dtype: mx.Dtype
) -> tuple[Array, Array]:
    """The weights `(decay, 1 - decay)` of an average that starts at its first value.

    Args:
        step: updates made so far; at step 0 the weights are `(0, 1)`.
        decay: weight of the old average at later steps.
        dtype: of both weights.
    """
    first = step == 0
    decay_t = mx.where(first, 0.0, mx.array(decay, dtype))
    weight = mx.where(first, 1.0, mx.array(1 - decay, dtype))
    return end_kernel(decay_t), end_kernel(weight)


def first_moment(caller: str, decay: Scalar, mu: Tree, grads: Tree) -> Tree:
    """The running means `mu`, updated with the gradients."""
    names = f"{caller} (state and grads)"
    return leaves.map(lambda m, g: average(decay, m, g), mu, grads, caller=names)


def second_moment(caller: str, decay: Scalar, nu: Tree, grads: Tree) -> Tree:
    """The running mean squares `nu`, updated with the gradients."""
    names = f"{caller} (state and grads)"
    return leaves.map(lambda v, g: average_square(decay, v, g), nu, grads, caller=names)


def update_moments(
    caller: str, b1: Scalar, b2: Scalar, mu: Tree, nu: Tree, grads: Tree
) -> tuple[Tree, Tree]:
    """The running means and mean squares, updated with the gradients."""
    return first_moment(caller, b1, mu, grads), second_moment(caller, b2, nu, grads)


def unbiased_ratio(
    b1: Scalar, b2: Scalar, eps: Scalar, step: Array, mu: Tree, nu: Tree, grads: Tree
) -> Tree:
    """`m / (1 - b1**t) / (sqrt(v) / sqrt(1 - b2**t) + eps)`, in the dtypes of `grads`.

    Adam's direction. Numerator and denominator are both multiplied by
    `sqrt(1 - b2**t)`, which saves a division per element and shortens the chain of
    operations that is fused (see `leaves.end_kernel`).
    """
    dtype = precision(mu)
    root = mx.sqrt(bias_correction(b2, step, dtype))
    scale = end_kernel(root / bias_correction(b1, step, dtype))
    scaled_eps = end_kernel(eps * root)

    def ratio(m: Array, v: Array, g: Array) -> Array:
        return (scale * m / (mx.sqrt(v) + scaled_eps)).astype(g.dtype)

    return leaves.map(ratio, mu, nu, grads)


def log_decay(decay: Scalar, dtype: mx.Dtype = mx.float32) -> Array:
    """The logarithm of a decay, computed in float64 if the decay is a number."""
    if isinstance(decay, mx.array):
        return mx.log(decay.astype(dtype))
    return mx.array(math.log(decay) if decay > 0 else -math.inf, dtype)


def bias_correction(decay: Scalar, step: Array, dtype: mx.Dtype = mx.float32) -> Array:
    """`1 - decay**step`, the weight of all gradients in an average that starts at 0.

    Computed with `expm1`: in float32 the difference would have a relative error of 2e-5
    at the first steps of decay 0.999.
    """
    return -mx.expm1(step.astype(dtype) * log_decay(decay, dtype))


def exp(x: Array) -> Array:
    """`mx.exp` at full precision: MLX computes it in float32 for float64 on a CPU."""
    return mx.expm1(x) + 1 if x.dtype == mx.float64 else mx.exp(x)
