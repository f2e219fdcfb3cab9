"""Losses of yes or no, element by element."""

import math
from typing import cast

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float
from lucid_fn.losses.pairs import check_pair
from lucid_fn.ops.channel_sum import place_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array


def sigmoid_binary_cross_entropy(
    logits: Array, targets: Array, *, pos_weight: Array | None = None
) -> Array:
    """Cross-entropy of each element between its target and `sigmoid(logit)`, in nats.

    `(1 - z) * x + (1 + (w - 1) * z) * log(1 + exp(-x))` with logit `x`, target `z` and
    `w = pos_weight`: PyTorch's `binary_cross_entropy_with_logits`.

    Args:
        logits: unnormalized log-odds, float, any shape.
        targets: probabilities in [0, 1], or 0 and 1 of any dtype, of the same shape.
        pos_weight: weight of the positives, float, of a shape that broadcasts to
            that of `logits`, such as `(num_classes,)`; above 1 it favours recall.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `logits` or `pos_weight` is not of a float dtype.
        ValueError: if the shapes do not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits, targets = mx.array([0.0, 100.0]), mx.array([1, 0])
        >>> losses.sigmoid_binary_cross_entropy(logits, targets)
        array([0.693147, 100], dtype=float32)
    """
    caller = "sigmoid_binary_cross_entropy"
    targets = check_pair(caller, "logits", logits, targets)
    positives = targets
    if pos_weight is not None:
        check_float(caller, pos_weight=pos_weight)
        if not _broadcasts(pos_weight.shape, logits.shape):
            raise ValueError(
                f"{caller}: pos_weight must broadcast to the shape of logits, "
                f"{logits.shape}, got {pos_weight.shape}"
            )
        positives = pos_weight * targets
    # Both logarithms: one, of -|x|, would have the wrong derivative at 0.
    return (1 - targets) * ops.softplus(logits) + positives * ops.softplus(-logits)


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    ends = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(a in (1, b) for a, b in ends)


def binary_cross_entropy(predictions: Array, targets: Array) -> Array:
    """Cross-entropy of each element between its target and a probability, in nats.

    `-(z * log(p) + (1 - z) * log(1 - p))`, the logarithms no less than -100. From
    logits use `sigmoid_binary_cross_entropy`, which keeps its digits near 0 and 1.

    Args:
        predictions: probabilities `p` in [0, 1], float, any shape.
        targets: probabilities `z` in [0, 1], or 0 and 1 of any dtype; of the same
            shape.

    Returns:
        Float array of the shape of `targets`, in [0, 100]. The derivative is PyTorch's,
        finite everywhere: `(p - z) / max(p * (1 - p), 1e-12)`.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ.

    Source: `torch.nn.functional.binary_cross_entropy`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.binary_cross_entropy(mx.array([0.5, 0.0]), mx.array([1, 1]))
        array([0.693147, 100], dtype=float32)
    """
    targets = check_pair("binary_cross_entropy", "predictions", predictions, targets)
    return cast(Array, _entropy(predictions, targets))


def _clamped_entropy(p: Array, z: Array) -> Array:
    log_p, log_1mp = _clamped_logs(p)
    return -(z * log_p + (1 - z) * log_1mp)


_entropy = custom_function(_clamped_entropy)


@_entropy.vjp
def _entropy_vjp(
    primals: tuple[Array, Array], cotangent: Array, output: Array
) -> tuple[Array, Array]:
    by_p, by_z = _slopes(*primals)
    return cotangent * by_p, cotangent * by_z


@_entropy.jvp
def _entropy_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | None, Array | None]
) -> Array:
    """The tangent of a constant is `None`."""
    moves = zip(_slopes(*primals), tangents, strict=True)
    parts = [slope * tangent for slope, tangent in moves if tangent is not None]
    return parts[0] + parts[1] if len(parts) == 2 else parts[0]


def _slopes(p: Array, z: Array) -> tuple[Array, Array]:
    """The derivatives by the prediction and by the target."""
    log_p, log_1mp = _clamped_logs(p)
    return (p - z) / mx.maximum(p * (1 - p), 1e-12), log_1mp - log_p


def _clamped_logs(p: Array) -> tuple[Array, Array]:
    return mx.maximum(mx.log(p), -100.0), mx.maximum(mx.log1p(-p), -100.0)


def focal(
    logits: Array, targets: Array, *, alpha: float | None = 0.25, gamma: float = 2.0
) -> Array:
    """Binary cross-entropy of each element, less for what is predicted well already.

    `-a_t * (1 - p_t)^gamma * log(p_t)`, where `p = sigmoid(logit)`, `p_t` is `p` for a
    target of 1 and `1 - p` for 0, and `a_t` likewise `alpha` and `1 - alpha`.

    Args:
        logits: unnormalized log-odds, float, any shape.
        targets: 0 and 1 of any dtype, of the same shape.
        alpha: weight of the positives, in [0, 1]; `None` for no weights.
        gamma: how fast the easy ones fade, at least 0; with 0 and no `alpha` it is
            `sigmoid_binary_cross_entropy`.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `logits` is not of a float dtype.
        ValueError: if the shapes differ, or `alpha` or `gamma` is out of range.

    Source: Lin et al., 2017, https://arxiv.org/abs/1708.02002, eq. 5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.focal(mx.array([0.0, 0.0]), mx.array([1, 0]), gamma=1.0)
        array([0.0866434, 0.25993], dtype=float32)
    """
    if alpha is not None and not 0 <= alpha <= 1:
        raise ValueError(f"focal: alpha must be in [0, 1] or None, got {alpha}")
    if not gamma >= 0:
        raise ValueError(f"focal: gamma must be at least 0, got {gamma}")
    targets = check_pair("focal", "logits", logits, targets)
    losses = sigmoid_binary_cross_entropy(logits, targets)
    if gamma > 0:
        # 1 - p_t without a difference; 0 has no derivative of its power below 1.
        miss = targets * ops.sigmoid(-logits) + (1 - targets) * ops.sigmoid(logits)
        losses = mx.maximum(miss, 1e-12) ** gamma * losses
    if alpha is not None:
        losses = (alpha * targets + (1 - alpha) * (1 - targets)) * losses
    return losses


def dice(predictions: Array, targets: Array, *, smooth: float = 1.0) -> Array:
    """One minus the overlap of a predicted and a true region, for each class.

    `1 - (2 * sum(p * z) + s) / (sum(p) + sum(z) + s)`, the sums over all positions.

    Args:
        predictions: probabilities `p` in [0, 1], float, shape `(N, ..., num_classes)`;
            one class for a single mask.
        targets: 0 and 1 of any dtype, or probabilities `z`, of the same shape.
        smooth: `s`, positive: two empty regions overlap wholly.

    Returns:
        Float array of shape `(N, num_classes)`, in [0, 1].

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or have fewer than 2 axes, or if `smooth` is
            not positive.

    Source: Milletari et al., 2016, https://arxiv.org/abs/1606.04797, section 3, with
    the plain denominator of Sorensen and Dice instead of squares.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> mask = mx.array([[1.0, 1.0, 0.0, 0.0]])[..., None]  # (1, 4, 1)
        >>> losses.dice(mask, mask[:, ::-1], smooth=1e-3)
        array([[0.99975]], dtype=float32)
    """
    if not smooth > 0:
        raise ValueError(f"dice: smooth must be positive, got {smooth}")
    targets = check_pair("dice", "predictions", predictions, targets)
    if predictions.ndim < 2:
        raise ValueError(
            "dice: predictions must have shape (N, ..., num_classes), got "
            f"{predictions.shape}"
        )
    n, *positions, num_classes = predictions.shape

    def area(x: Array) -> Array:  # float32: 256 x 256 ones are too many for float16
        places = x.astype(mx.float32).reshape(n, math.prod(positions), num_classes)
        return place_sum(places)

    overlap = 2 * area(predictions * targets)
    whole = area(predictions) + area(targets)
    return (1 - (overlap + smooth) / (whole + smooth)).astype(predictions.dtype)
