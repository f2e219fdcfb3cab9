"""Losses of the difference between a prediction and a target, element by element."""

import math

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.losses.pairs import check_pair
from lucid_fn.types import Array


def mse(predictions: Array, targets: Array) -> Array:
    """The squared error of each element: `(prediction - target)^2`.

    Its mean is the mean squared error, PyTorch's `mse_loss`.

    Args:
        predictions: float, any shape.
        targets: of the same shape: `(N,)` against `(N, 1)` is an error, not `(N, N)`.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.mse(mx.array([1.0, 5.0]), mx.array([3.0, 5.0]))
        array([4, 0], dtype=float32)
    """
    targets = check_pair("mse", "predictions", predictions, targets)
    return mx.square(predictions - targets)


def l1(predictions: Array, targets: Array) -> Array:
    """The absolute error of each element: `|prediction - target|`.

    Its mean is PyTorch's `l1_loss`. The derivative at 0 is 0.

    Args:
        predictions: float, any shape.
        targets: of the same shape.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.l1(mx.array([1.0, 5.0]), mx.array([3.0, 5.0]))
        array([2, 0], dtype=float32)
    """
    targets = check_pair("l1", "predictions", predictions, targets)
    return mx.abs(predictions - targets)


def smooth_l1(predictions: Array, targets: Array, *, beta: float = 1.0) -> Array:
    """A parabola within `beta` of the target, a line of slope 1 outside.

    With `d = prediction - target`: `d^2 / (2 beta)` where `|d| < beta`, else
    `|d| - beta / 2`. It is `huber` divided by its `delta`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        beta: where the line begins, at least 0; with 0 it is `l1`.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `beta` is negative.

    Source: Girshick, 2015, https://arxiv.org/abs/1504.08083, eq. 3;
    `torch.nn.functional.smooth_l1_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.smooth_l1(mx.array([1.0, 5.0]), mx.array([3.0, 4.5]))
        array([1.5, 0.125], dtype=float32)
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"smooth_l1: beta must be at least 0 and finite, got {beta}")
    targets = check_pair("smooth_l1", "predictions", predictions, targets)
    d = predictions - targets
    if beta == 0:
        return mx.abs(d)
    return mx.where(mx.abs(d) < beta, 0.5 / beta * d * d, mx.abs(d) - 0.5 * beta)


def huber(predictions: Array, targets: Array, *, delta: float = 1.0) -> Array:
    """A parabola within `delta` of the target, a line of slope `delta` outside.

    With `d = prediction - target`: `d^2 / 2` where `|d| <= delta`, else
    `delta * (|d| - delta / 2)`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.
        delta: where the line begins, positive.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `delta` is not positive.

    Source: Huber, 1964, "Robust estimation of a location parameter";
    `torch.nn.functional.huber_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.huber(mx.array([1.0, 5.0]), mx.array([4.0, 4.5]), delta=2.0)
        array([4, 0.125], dtype=float32)
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"huber: delta must be positive and finite, got {delta}")
    targets = check_pair("huber", "predictions", predictions, targets)
    d = predictions - targets
    return mx.where(mx.abs(d) <= delta, 0.5 * d * d, delta * (mx.abs(d) - 0.5 * delta))


def log_cosh(predictions: Array, targets: Array) -> Array:
    """The logarithm of the hyperbolic cosine of the error.

    `log(cosh(prediction - target))`: about `d^2 / 2` near 0 and `|d| - log(2)` far off,
    smooth in between. Its derivative is `tanh(d)`.

    Args:
        predictions: float, any shape.
        targets: of the same shape.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ.

    Source: Chen et al., 2019, https://openreview.net/forum?id=rkglvsC9Ym.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.log_cosh(mx.array([1.0, 5.0]), mx.array([1.0, 4.0]))
        array([0, 0.433781], dtype=float32)
    """
    targets = check_pair("log_cosh", "predictions", predictions, targets)
    d = predictions - targets
    size = mx.abs(d)
    near = size < 1  # where the sum below would lose all digits of d^2 / 2
    sinh = mx.sinh(mx.where(near, d, 0.0))
    far = ops.softplus(-2 * size) + size - math.log(2)
    return mx.where(near, 0.5 * mx.log1p(mx.square(sinh)), far)
