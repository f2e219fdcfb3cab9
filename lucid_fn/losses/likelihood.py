"""Losses that compare distributions, or a value with a distribution."""

import math

import mlx.core as mx

from lucid_fn.checks import check_float, check_same_shape
from lucid_fn.losses.pairs import check_pair
from lucid_fn.types import Array


def kl_divergence(log_predictions: Array, targets: Array) -> Array:
    """The divergence of the predicted distribution from the target's, in nats.

    `sum_c z_c * (log(z_c) - log_p_c)` over the last axis, with `0 * log(0) = 0`. Its
    mean is PyTorch's `kl_div` with `reduction="batchmean"`.

    Args:
        log_predictions: log-probabilities `log_p`, float, shape `(..., num_classes)`.
        targets: probabilities `z` that sum to 1 over the last axis, of the same shape.

    Returns:
        Float array of shape `(...)`, at least 0 but for rounding.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ or have no axis.

    Source: Kullback & Leibler, 1951, "On information and sufficiency".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> log_predictions = mx.log(mx.array([[0.5, 0.5]]))
        >>> losses.kl_divergence(log_predictions, mx.array([[1.0, 0.0]]))
        array([0.693147], dtype=float32)
    """
    check_float("kl_divergence", log_predictions=log_predictions, targets=targets)
    check_same_shape("kl_divergence", log_predictions=log_predictions, targets=targets)
    if targets.ndim == 0:
        raise ValueError(
            "kl_divergence: targets must have shape (..., classes), got ()"
        )
    entropy = targets * mx.log(mx.where(targets > 0, targets, 1.0))
    return mx.sum(entropy - targets * log_predictions, axis=-1)


def gaussian_nll(
    predictions: Array,
    targets: Array,
    variance: Array,
    *,
    full: bool = False,
    eps: float = 1e-6,
) -> Array:
    """Minus the log-density of each target under a normal distribution, in nats.

    `(log(v) + (prediction - target)^2 / v) / 2` with `v = max(variance, eps)`, through
    which the derivative passes as if there were no bound; `+ log(2 pi) / 2` if `full`.

    Args:
        predictions: means, float, any shape.
        targets: of the same shape.
        variance: positive, float, of the same shape, or with a last axis of 1 or
            without the last axis: one for each row.
        full: whether to add the constant.
        eps: least variance, positive.

    Returns:
        Float array of the shape of `targets`; may be negative.

    Raises:
        TypeError: if `predictions` or `variance` is not of a float dtype.
        ValueError: if the shapes do not fit or `eps` is not positive.

    Source: Nix & Weigend, 1994, "Estimating the mean and variance of the target
    probability distribution"; `torch.nn.functional.gaussian_nll_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.gaussian_nll(mx.array([1.0]), mx.array([3.0]), mx.array([4.0]))
        array([1.19315], dtype=float32)
    """
    if not eps > 0:
        raise ValueError(f"gaussian_nll: eps must be positive, got {eps}")
    targets = check_pair("gaussian_nll", "predictions", predictions, targets)
    check_float("gaussian_nll", variance=variance)
    shape = predictions.shape
    if variance.shape == shape[:-1] and shape:
        variance = variance[..., None]
    if variance.shape not in (shape, (*shape[:-1], 1)):
        raise ValueError(
            f"gaussian_nll: variance must have shape {shape}, {(*shape[:-1], 1)} or "
            f"{shape[:-1]}, got {variance.shape}"
        )
    v = variance + mx.stop_gradient(mx.maximum(variance, eps) - variance)
    losses = 0.5 * (mx.log(v) + mx.square(predictions - targets) / v)
    return losses + 0.5 * math.log(2 * math.pi) if full else losses


def poisson_nll(log_rates: Array, targets: Array, *, full: bool = False) -> Array:
    """Minus the log-probability of each count under a Poisson distribution, in nats.

    `exp(log_rate) - target * log_rate`; `full` adds Stirling's approximation of the
    constant `log(target!)`, `z * log(z) - z + log(2 pi z) / 2`, for targets above 1.

    Args:
        log_rates: logarithms of the expected counts, float, any shape.
        targets: counts, of the same shape.
        full: whether to add the constant.

    Returns:
        Float array of the shape of `targets`; may be negative.

    Raises:
        TypeError: if `log_rates` is not of a float dtype.
        ValueError: if the shapes differ.

    Source: `torch.nn.functional.poisson_nll_loss` with `log_input=True`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.poisson_nll(mx.array([0.0, 1.0]), mx.array([2, 1]))
        array([1, 1.71828], dtype=float32)
    """
    targets = check_pair("poisson_nll", "log_rates", log_rates, targets)
    losses = mx.exp(log_rates) - targets * log_rates
    if not full:
        return losses
    many = mx.where(targets > 1, targets, 1.0)
    stirling = many * mx.log(many) - many + 0.5 * mx.log(2 * math.pi * many)
    return losses + mx.where(targets > 1, stirling, 0.0)
