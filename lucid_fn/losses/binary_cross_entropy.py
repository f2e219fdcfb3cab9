"""Binary cross-entropy, from logits and from probabilities."""

from typing import cast

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float
from lucid_fn.losses.base import Reduction, as_pair, reduce, weigh
from lucid_fn.numerics import widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array


def sigmoid_binary_cross_entropy(
    logits: Array,
    targets: Array,
    *,
    pos_weight: Array | None = None,
    reduction: Reduction = "none",
) -> Array:
    """Binary cross-entropy between a target and `sigmoid(logit)`, in nats.

    `(1 - z) * x + (1 + (w - 1) * z) * log(1 + exp(-x))` with logit `x`, target `z` and
    `w = pos_weight`. An infinite logit of the right sign costs 0.

    Args:
        logits: unnormalized log-odds, float, any shape.
        targets: probabilities in [0, 1], or 0 and 1 of any dtype, of the same shape.
        pos_weight: weight of the positives, float, of a shape that broadcasts to
            that of `logits`, such as `(num_classes,)`; above 1 it favours recall.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `logits` or `pos_weight` is not of a float dtype.
        ValueError: if the shapes do not fit or `reduction` is none of the three.

    Source: `torch.nn.functional.binary_cross_entropy_with_logits`, whose default is
    `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits, targets = mx.array([0.0, 100.0]), mx.array([1, 0])
        >>> losses.sigmoid_binary_cross_entropy(logits, targets)
        array([0.693147, 100], dtype=float32)
    """
    caller = "sigmoid_binary_cross_entropy"
    x, z, dtype = as_pair(caller, "logits", logits, targets)
    positives = z
    if pos_weight is not None:
        check_float(caller, pos_weight=pos_weight)
        if not _broadcasts(pos_weight.shape, logits.shape):
            raise ValueError(
                f"{caller}: pos_weight must broadcast to the shape of logits, "
                f"{logits.shape}, got {pos_weight.shape}"
            )
        positives = pos_weight * z
    return reduce(caller, logistic_loss(x, 1 - z, positives), reduction, dtype)


def logistic_loss(x: Array, negatives: Array, positives: Array) -> Array:
    """`negatives * -log(1 - sigmoid(x)) + positives * -log(sigmoid(x))`."""
    # Two softplus: the form with one, of -|x|, has the wrong derivative at 0.
    return weigh(negatives, ops.softplus(x)) + weigh(positives, ops.softplus(-x))


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    ends = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(a in (1, b) for a, b in ends)


def binary_cross_entropy(
    predictions: Array, targets: Array, *, reduction: Reduction = "none"
) -> Array:
    """Binary cross-entropy between a target and a predicted probability, in nats.

    `-(z * log(p) + (1 - z) * log(1 - p))`, with logarithms clamped to at least -100.
    For logits use `sigmoid_binary_cross_entropy`, which is accurate near 0 and 1 too.

    Args:
        predictions: probabilities `p` in [0, 1], float, any shape; one outside gives
            NaN.
        targets: probabilities `z` in [0, 1], or 0 and 1 of any dtype; of the same
            shape.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; in [0, 100] before
        the reduction. The derivative is PyTorch's, `(p - z) / max(p * (1 - p), 1e-12)`;
        in float16 it stays within [-65504, 65504], so that it is finite everywhere.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.binary_cross_entropy`, whose default is `"mean"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.binary_cross_entropy(mx.array([0.5, 0.0]), mx.array([1, 1]))
        array([0.693147, 100], dtype=float32)
    """
    caller = "binary_cross_entropy"
    _, z, dtype = as_pair(caller, "predictions", predictions, targets)
    return reduce(caller, cast(Array, _entropy(predictions, z)), reduction, dtype)


def _clamped_entropy(p: Array, z: Array) -> Array:
    log_p, log_1mp = _clamped_logs(widen(p))
    return -(z * log_p + (1 - z) * log_1mp)


_entropy = custom_function(_clamped_entropy)


@_entropy.vjp
def _entropy_vjp(
    primals: tuple[Array, Array], cotangent: Array, output: Array
) -> tuple[Array, Array]:
    p, _ = primals
    by_p, by_z = _partials(*primals)
    return (cotangent * by_p).astype(p.dtype), cotangent * by_z


@_entropy.jvp
def _entropy_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array | None, Array | None]
) -> Array:
    """The tangent; that of a constant is given as `None`."""
    pairs = zip(_partials(*primals), tangents, strict=True)
    terms = [partial * tangent for partial, tangent in pairs if tangent is not None]
    return terms[0] + terms[1] if len(terms) == 2 else terms[0]


def _partials(p: Array, z: Array) -> tuple[Array, Array]:
    """The derivatives with respect to the prediction and the target."""
    least = 1 / 65504 if p.dtype == mx.float16 else 1e-12
    p = widen(p)
    log_p, log_1mp = _clamped_logs(p)
    return (p - z) / mx.maximum(p * (1 - p), least), log_1mp - log_p


def _clamped_logs(p: Array) -> tuple[Array, Array]:
    return mx.maximum(mx.log(p), -100.0), mx.maximum(mx.log1p(-p), -100.0)
