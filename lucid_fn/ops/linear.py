"""The product with a matrix of weights."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_fn.checks import check_float
from lucid_fn.cpu.parallel.gradient_order import comes_first
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.numerics import sum_of_products
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.custom_derivative import Bilinear, bilinear
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array

# Of a product that is divided among the cores by itself.
_LEAST = 1 << 26  # multiplications
_FEWEST_ROWS = _FEWEST_SUMMED = 128


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`.

    Args:
        x: float, shape `(..., I)`.
        weight: float, shape `(O, I)`.
        bias: float, shape `(O,)`; none by default.

    Returns:
        Float array of shape `(..., O)`, of the dtype that the arguments promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if a shape does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linear(mx.array([[1.0, 2.0]]), mx.array([[3.0, 4.0], [5.0, 6.0]]))
        array([[11, 17]], dtype=float32)
    """
    check_float("linear", x=x, weight=weight, **{} if bias is None else {"bias": bias})
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            "linear: x must have shape (..., I) and weight (O, I), got "
            f"{x.shape} and {weight.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias must have shape {weight.shape[:1]}, got {bias.shape}"
        )
    y = _product(x, weight)
    return y if bias is None else add_bias(y, bias)


def _product(x: Array, weight: Array) -> Array:
    """By rows, so that the gradient of the weight is one product, laid out like it.

    MLX's own is that of the transposed weight: every kernel of the optimizer would then
    walk through memory in strides.
    """
    dtype = mx.result_type(x, weight)
    run = _ordered if tuned() and comes_first(weight, x) else _forward
    # All sizes in numbers: MLX drops a reshape to the same shape, but not one with -1.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(dtype)
    return run(rows, weight.astype(dtype)).reshape(*x.shape[:-1], weight.shape[0])


def _plain(x: Array, weight: Array) -> Array:
    return x @ weight.T


def _plain_input_grad(g: Array, weight: Array) -> Array:
    return g @ weight


def _plain_weight_grad(x: Array, g: Array) -> Array:
    return sum_of_products(g, x)


def _run(x: Array, weight: Array) -> Array:
    return _by_rows(lambda x: _plain(x, weight), x, weight)


def _run_input_grad(g: Array, weight: Array) -> Array:
    return _by_rows(lambda g: _plain_input_grad(g, weight), g, weight)


def _run_weight_grad(x: Array, g: Array) -> Array:
    if not _is_large(len(x), x.size * g.shape[1]):
        return _plain_weight_grad(x, g)
    return sum_split(_plain_weight_grad, x, g)


def _by_rows(fn: Callable[[Array], Array], rows: Array, weight: Array) -> Array:
    n, summed = rows.shape
    # Sums of few numbers take as long to join as to compute.
    if summed < _FEWEST_SUMMED or not _is_large(n, n * weight.size):
        return fn(rows)
    return concat_split(fn, rows)


def _is_large(rows: int, multiplications: int) -> bool:
    """Whether a product that is in no shard is divided itself.

    The BLAS has one thread a product once streams keep the cores busy. One of 1024 x
    256 and 256 x 1024 takes 2.4 ms like that, 1.5 ms on the streams of two cores, and
    1.2 ms with two threads in a process that has nothing in shards.
    """
    return tuned() and rows >= _FEWEST_ROWS and multiplications >= _LEAST


_input_grad: Bilinear = bilinear(
    _run_input_grad,
    left_grad=lambda dx, weight: _forward(dx, weight),
    right_grad=lambda g, dx: _weight_grad(dx, g),
    mappable=_plain_input_grad,
    folds=True,
)
_weight_grad: Bilinear = bilinear(
    _run_weight_grad,
    left_grad=lambda dweight, g: _input_grad(g, dweight),
    right_grad=lambda x, dweight: _forward(x, dweight),
    mappable=_plain_weight_grad,
    folds=False,
)
_forward: Bilinear = bilinear(
    _run, left_grad=_input_grad, right_grad=_weight_grad, mappable=_plain, folds=True
)
_ordered = bilinear(
    _run,
    left_grad=_input_grad,
    right_grad=_weight_grad,
    mappable=_plain,
    folds=True,
    right_first=True,
)
