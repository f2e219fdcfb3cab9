"""Negative log-likelihoods of categorical, normal and Poisson distributions."""

import math
from typing import cast

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_bool,
    check_count,
    check_float,
    check_number,
    check_rows,
    is_number,
)
from lucid_fn.losses.base import (
    Reduction,
    as_pair,
    at_label,
    check_weight,
    counted,
    reduce,
    weigh,
)
from lucid_fn.numerics import widen
from lucid_fn.types import Array


def nll(
    log_probs: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "none",
) -> Array:
    """Negative log-likelihood of the label, `-weight[y] * log_probs[y]`, in nats.

    Args:
        log_probs: log-probabilities, float, shape `(..., num_classes)`: the classes are
            last. PyTorch has them at axis 1.
        labels: class indices `y`, integer, shape `(...)`, in `[0, num_classes)` or
            equal to `ignore_index`; any other gives NaN.
        weight: a factor for each class, float, shape `(num_classes,)`.
        ignore_index: the label that costs 0 and does not count in the mean.
        reduction: `"none"`, `"sum"`, or `"mean"`, which divides by the sum of
            `weight[y]` over the labels that count; NaN, with a gradient of 0, if none
            does.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `log_probs` or `weight` is not of a float dtype, or `labels` not
            of an integer one.
        ValueError: if a shape does not fit or `reduction` is none of the three.

    Source: `torch.nn.functional.nll_loss`, whose default is `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.nll(mx.log(mx.array([[0.25, 0.75]])), mx.array([0]))
        array([1.38629], dtype=float32)
    """
    ignore_index = check_count("nll", "ignore_index", ignore_index, at_least=-(2**31))
    check_float("nll", log_probs=log_probs)
    check_rows("nll", "log_probs", log_probs, labels)
    check_weight("nll", weight, log_probs.shape[-1])
    wide = widen(log_probs)
    counts, labels, weights = counted(labels, ignore_index, weight, wide.dtype)
    losses = weigh(weights, mx.where(counts, -at_label(wide, labels), 0.0))
    return reduce("nll", losses, reduction, log_probs.dtype, count=ops.sum(weights))


def gaussian_nll(
    predictions: Array,
    targets: Array,
    variance: Array | float,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Reduction = "none",
) -> Array:
    """Negative log-density of a target under a normal distribution, in nats.

    `(log(v) + (prediction - target)^2 / v) / 2` with `v = max(variance, eps)`, where
    the derivative of `v` is 1 below the bound too; `+ log(2 pi) / 2` if `full`.

    Args:
        predictions: means, float, any shape.
        targets: of the same shape.
        variance: at least 0; a number, or a float array of the same shape, whose axes
            may have length 1, or of that shape without the last axis: one for each row.
            A negative variance gives NaN.
        full: whether to add the constant.
        eps: lower bound of the variance, positive.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; may be negative.

    Raises:
        TypeError: if `predictions` or `variance` is not of a float dtype.
        ValueError: if the shapes do not fit, `eps` is not positive, or `reduction` is
            none of the three.

    Source: Nix & Weigend, 1994, "Estimating the mean and variance of the target
    probability distribution"; `torch.nn.functional.gaussian_nll_loss`, whose default is
    `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.gaussian_nll(mx.array([1.0]), mx.array([3.0]), mx.array([4.0]))
        array([1.19315], dtype=float32)
    """
    check_bool("gaussian_nll", full=full)
    eps = check_number("gaussian_nll", "eps", eps, above=0)
    x, z, dtype = as_pair("gaussian_nll", "predictions", predictions, targets)
    wide = widen(_to_variance(variance, x))
    if isinstance(variance, mx.array):
        dtype = mx.result_type(dtype, variance)
    bounded = wide - mx.stop_gradient(wide) + eps
    v = mx.where(wide < eps, bounded, wide)
    losses = 0.5 * (mx.log(v) + mx.square(x - z) / v)
    losses = mx.where(wide < 0, mx.nan, losses)
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduce("gaussian_nll", losses, reduction, dtype)


def _to_variance(variance: Array | float, x: Array) -> Array:
    """The variance as an array that broadcasts to the shape of `x`."""
    if is_number(variance):
        number = check_number("gaussian_nll", "variance", variance, at_least=0)
        return mx.array(number, x.dtype)
    check_float("gaussian_nll", variance=variance)
    variance, shape = cast(Array, variance), x.shape
    if variance.shape == shape[:-1] and shape:
        return variance[..., None]
    fits = len(variance.shape) == len(shape) and all(
        n in (1, length) for n, length in zip(variance.shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"gaussian_nll: variance must have shape {shape}, the same with axes of "
            f"length 1, or {shape[:-1]}, got {variance.shape}"
        )
    return variance


def poisson_nll(
    log_rates: Array,
    targets: Array,
    *,
    full: bool = False,
    reduction: Reduction = "none",
) -> Array:
    """Negative log-likelihood of a count under a Poisson distribution, in nats.

    `exp(log_rate) - target * log_rate`; `full` adds Stirling's approximation of the
    constant `log(target!)`, `z * log(z) - z + log(2 pi z) / 2`, for targets above 1.

    Args:
        log_rates: logarithms of the expected counts, float, any shape.
        targets: counts, of the same shape.
        full: whether to add the constant.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; may be negative.

    Raises:
        TypeError: if `log_rates` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.poisson_nll_loss` with `log_input=True`, whose default
    is `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.poisson_nll(mx.array([0.0, 1.0]), mx.array([2, 1]))
        array([1, 1.71828], dtype=float32)
    """
    check_bool("poisson_nll", full=full)
    x, z, dtype = as_pair("poisson_nll", "log_rates", log_rates, targets)
    losses = mx.exp(x) - weigh(z, x)
    if full:
        many = mx.where(z > 1, z, 1.0)
        stirling = many * mx.log(many) - many + 0.5 * mx.log(2 * math.pi * many)
        losses = losses + mx.where(z > 1, stirling, 0.0)
    return reduce("poisson_nll", losses, reduction, dtype)
