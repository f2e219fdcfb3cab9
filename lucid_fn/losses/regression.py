"""Regression losses of the difference between a prediction and a target."""

import math

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_number
from lucid_fn.losses.base import Reduction, as_pair, reduce
from lucid_fn.types import Array


def mse(predictions: Array, targets: Array, *, reduction: Reduction = "none") -> Array:
    """Squared error, `(prediction - target)^2`; with `"mean"` the mean squared error.

    Args:
        predictions: float, any shape.
        targets: of the same shape: `(N,)` against `(N, 1)` is an error, not `(N, N)`.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.mse_loss`, whose default is `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> predictions, targets = mx.array([1.0, 5.0]), mx.array([3.0, 5.0])
        >>> losses.mse(predictions, targets)
        array([4, 0], dtype=float32)
        >>> losses.mse(predictions, targets, reduction="mean")
        array(2, dtype=float32)
    """
    x, z, dtype = as_pair("mse", "predictions", predictions, targets)
    return reduce("mse", mx.square(x - z), reduction, dtype)


def l1(predictions: Array, targets: Array, *, reduction: Reduction = "none") -> Array:
    """Absolute error, `|prediction - target|`; with `"mean"` the mean absolute error.

    The derivative at 0 is 0.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.l1_loss`, whose default is `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.l1(mx.array([1.0, 5.0]), mx.array([3.0, 5.0]))
        array([2, 0], dtype=float32)
    """
    x, z, dtype = as_pair("l1", "predictions", predictions, targets)
    return reduce("l1", mx.abs(x - z), reduction, dtype)


def smooth_l1(
    predictions: Array,
    targets: Array,
    *,
    beta: float = 1.0,
    reduction: Reduction = "none",
) -> Array:
    """Smooth L1 loss: quadratic within `beta` of the target, of slope 1 outside.

    With `d = prediction - target`: `d^2 / (2 beta)` where `|d| < beta`, else
    `|d| - beta / 2`. It is `huber` divided by its `delta`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        beta: distance at which the line begins, at least 0; with 0 it is `l1`.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ, `beta` is negative, or `reduction` is none of
            the three.

    Source: Girshick, 2015, https://arxiv.org/abs/1504.08083, eq. 3;
    `torch.nn.functional.smooth_l1_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.smooth_l1(mx.array([1.0, 5.0]), mx.array([3.0, 4.5]))
        array([1.5, 0.125], dtype=float32)
    """
    beta = check_number("smooth_l1", "beta", beta, at_least=0)
    x, z, dtype = as_pair("smooth_l1", "predictions", predictions, targets)
    losses = mx.abs(x - z)
    if beta > 0:
        losses = _parabola_and_line(losses, ~(losses >= beta), beta) / beta
    return reduce("smooth_l1", losses, reduction, dtype)


def huber(
    predictions: Array,
    targets: Array,
    *,
    delta: float = 1.0,
    reduction: Reduction = "none",
) -> Array:
    """Huber loss: quadratic within `delta` of the target, of slope `delta` outside.

    With `d = prediction - target`: `d^2 / 2` where `|d| <= delta`, else
    `delta * (|d| - delta / 2)`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        delta: distance at which the line begins, positive.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ, `delta` is not positive, or `reduction` is
            none of the three.

    Source: Huber, 1964, "Robust estimation of a location parameter";
    `torch.nn.functional.huber_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.huber(mx.array([1.0, 5.0]), mx.array([4.0, 4.5]), delta=2.0)
        array([4, 0.125], dtype=float32)
    """
    delta = check_number("huber", "delta", delta, above=0)
    x, z, dtype = as_pair("huber", "predictions", predictions, targets)
    size = mx.abs(x - z)
    losses = _parabola_and_line(size, ~(size > delta), delta)
    return reduce("huber", losses, reduction, dtype)


def _parabola_and_line(size: Array, near: Array, width: float) -> Array:
    """`size^2 / 2` where `near` is true, else the tangent of slope `width`.

    NaN must be near, so that its gradient is NaN and not that of the line.
    """
    inner = mx.where(near, size, 0.0)  # the derivative of inf * inf would be NaN
    return mx.where(near, 0.5 * mx.square(inner), width * (size - 0.5 * width))


def log_cosh(
    predictions: Array, targets: Array, *, reduction: Reduction = "none"
) -> Array:
    """Log-cosh loss, `log(cosh(prediction - target))`, a smooth absolute error.

    With `d = prediction - target` it is about `d^2 / 2` near 0 and `|d| - log(2)` far
    from it. The derivative is `tanh(d)`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: Chen et al., 2019, https://openreview.net/forum?id=rkglvsC9Ym.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.log_cosh(mx.array([1.0, 5.0]), mx.array([1.0, 4.0]))
        array([0, 0.433781], dtype=float32)
    """
    x, z, dtype = as_pair("log_cosh", "predictions", predictions, targets)
    d = x - z
    size = mx.abs(d)
    near = size < 1  # there `far` would lose the digits of d^2 / 2
    sinh = mx.sinh(mx.where(near, d, 0.0))
    far = ops.softplus(-2 * size) + size - math.log(2)
    losses = mx.where(near, 0.5 * mx.log1p(mx.square(sinh)), far)
    return reduce("log_cosh", losses, reduction, dtype)
