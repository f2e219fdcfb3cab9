"""Muon: momentum orthogonalized by Newton-Schulz iterations."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import (
    check_array,
    check_bool,
    check_choice,
    check_count,
    check_scalar,
    shape_error,
)
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateful
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import ScalarOrSchedule, scale_by_learning_rate
from lucid_fn.optim.moments import average, first_moment, zeros
from lucid_fn.optim.norms import norm
from lucid_fn.types import Array, Params, Scalar, Tree

Coefficients: TypeAlias = tuple[Scalar, Scalar, Scalar]
"""The coefficients a, b and c of a Newton-Schulz iteration."""

# The quintic with the steepest slope at 0 that keeps singular values in [0.7, 1.2].
_QUINTIC = (3.4445, -4.7750, 2.0315)

AdjustLr: TypeAlias = Literal["original", "match_rms_adamw"]
"""How the size of a step depends on the shape of a matrix."""

_STEP_SCALES: dict[str, Callable[[int, int], float]] = {
    "original": lambda rows, columns: math.sqrt(max(1.0, rows / columns)),
    "match_rms_adamw": lambda rows, columns: 0.2 * math.sqrt(max(rows, columns)),
}


class ScaleByMuonState(NamedTuple):
    """The running mean of the gradients, in the structure of the params."""

    mu: Tree  # float32 at least


def orthogonalize(
    matrix: Array,
    *,
    steps: int = 5,
    coefficients: Coefficients = _QUINTIC,
    eps: Scalar = 1e-7,
) -> Array:
    """Approximately orthogonalizes a matrix: singular values become 0.7 to 1.2.

    `X = X / norm(X)`, then `steps` Newton-Schulz iterations
    `X = a * X + (b * A + c * A @ A) @ X` with `A = X @ X.T`: an approximation of
    `U @ V.T`, where `U @ S @ V.T = X`.

    Args:
        matrix: float, shape `(M, N)`.
        steps: number of iterations, at least 1.
        coefficients: `(a, b, c)` of an iteration; with `(15 / 8, -5 / 4, 3 / 8)` the
            singular values converge to 1, in more steps.
        eps: lower bound of the norm to divide by, positive.

    Returns:
        An array of the shape and dtype of `matrix`.

    Raises:
        ValueError: if `matrix` does not have two axes, or a number is out of its range.
        TypeError: if an argument is of the wrong type.

    Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; in
    float32 at least, where PyTorch uses bfloat16.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> y = optim.orthogonalize(mx.array([[3.0, 0.0], [0.0, 0.5]]))
        >>> [0.6 < abs(x) < 1.3 for x in mx.diag(y).tolist()]
        [True, True]
    """
    check_array("orthogonalize", matrix=matrix)
    steps = check_count("orthogonalize", "steps", steps)
    eps = check_scalar("orthogonalize", "eps", eps, above=0)
    if matrix.ndim != 2:
        raise shape_error("orthogonalize", "matrix", matrix, "(M, N)")
    a, b, c = _check_coefficients("orthogonalize", coefficients)
    rows, columns = matrix.shape
    x = matrix.T if rows > columns else matrix  # for the smaller square
    x = x / mx.maximum(norm(x), eps)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if rows > columns else x).astype(matrix.dtype)


def _check_coefficients(caller: str, coefficients: Coefficients) -> Coefficients:
    if not isinstance(coefficients, tuple | list) or len(coefficients) != 3:
        raise ValueError(
            f"{caller}: coefficients must be three numbers, (a, b, c), got "
            f"{coefficients!r}"
        )
    a, b, c = (check_scalar(caller, "coefficients", x) for x in coefficients)
    return a, b, c


def scale_by_muon(
    momentum: Scalar = 0.95,
    *,
    nesterov: bool = True,
    steps: int = 5,
    coefficients: Coefficients = _QUINTIC,
    eps: Scalar = 1e-7,
    adjust_lr: AdjustLr = "original",
) -> GradientTransformation:
    """Muon's direction: the running mean of the gradients, orthogonalized.

    `m = momentum * m + (1 - momentum) * g`; with `nesterov` the direction is
    `momentum * m + (1 - momentum) * g`, else `m`. It is reshaped to a matrix with one
    row per output unit, orthogonalized, and multiplied by
    `sqrt(max(1, rows / columns))`, or by `0.2 * sqrt(max(rows, columns))` with
    `adjust_lr="match_rms_adamw"`.

    Args:
        momentum: decay of the mean, in [0, 1).
        nesterov: whether to use Nesterov momentum.
        steps: iterations of `orthogonalize`, at least 1.
        coefficients: of an iteration; see `orthogonalize`.
        eps: lower bound of the norm to divide by, positive.
        adjust_lr: how a step scales with the shape of a matrix: `"original"`, or
            `"match_rms_adamw"`, which suits the learning rates of AdamW.

    Raises:
        ValueError: if an argument is out of its range; on init, if a param has fewer
            than two axes.
        TypeError: if `steps` is not an integer.

    Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; Liu et al.,
    2025, https://arxiv.org/abs/2502.16982, section 2.2, for `"match_rms_adamw"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_muon()
        >>> opt_state = opt.init({"w": mx.zeros((3, 4))})
    """
    caller = "scale_by_muon"
    check_bool(caller, nesterov=nesterov)
    momentum = check_scalar(caller, "momentum", momentum, at_least=0, below=1)
    steps = check_count(caller, "steps", steps)
    coefficients = _check_coefficients(caller, coefficients)
    eps = check_scalar(caller, "eps", eps, above=0)
    check_choice(caller, "adjust_lr", adjust_lr, _STEP_SCALES)

    def init(params: Params, /) -> ScaleByMuonState:
        for path, p in tree.named_leaves(params).items():
            if p.ndim < 2:
                raise ValueError(
                    f"{caller}: {path} must have two axes or more, got shape "
                    f"{p.shape}; give it to another optimizer with partition"
                )
        return ScaleByMuonState(zeros(params))

    def update(
        grads: Tree, opt_state: ScaleByMuonState, params: Params, /
    ) -> tuple[Tree, ScaleByMuonState]:
        leaves.check_shapes(grads, params, caller=f"{caller} (grads and params)")
        mu = first_moment(caller, momentum, opt_state.mu, grads)

        def direction(m: Array, g: Array) -> Array:
            if g.size == 0:
                return g
            m = average(momentum, m, g) if nesterov else m
            matrix = m.reshape(m.shape[0], -1)  # (output units, the rest)
            scale = _STEP_SCALES[adjust_lr](*matrix.shape)
            orthogonal = orthogonalize(
                matrix, steps=steps, coefficients=coefficients, eps=eps
            )
            return (scale * orthogonal).reshape(g.shape).astype(g.dtype)

        # `tree.map`, not `leaves.map`: matrix products already use all cores.
        return tree.map(direction, mu, grads), ScaleByMuonState(mu)

    return stateful(caller, ScaleByMuonState, init, update)


@errors_named_after
def muon(
    learning_rate: ScalarOrSchedule,
    *,
    momentum: Scalar = 0.95,
    nesterov: bool = True,
    weight_decay: Scalar = 0.1,
    steps: int = 5,
    coefficients: Coefficients = _QUINTIC,
    eps: Scalar = 1e-7,
    adjust_lr: AdjustLr = "original",
) -> GradientTransformation:
    """Muon: orthogonalized momentum for the weight matrices of hidden layers.

    `p *= 1 - learning_rate * weight_decay`, then `p -= learning_rate * u` with the
    update `u` of `scale_by_muon`. Give biases, norms, embeddings and the last layer to
    another optimizer: see `partition`.

    Args:
        learning_rate: at least 0, or a schedule of the step.
        momentum: decay of the mean, in [0, 1).
        nesterov: whether to use Nesterov momentum.
        weight_decay: decoupled weight decay, multiplied by the learning rate; at
            least 0.
        steps: iterations of `orthogonalize`, at least 1.
        coefficients: of an iteration; see `orthogonalize`.
        eps: lower bound of the norm to divide by, positive.
        adjust_lr: how a step scales with the shape of a matrix: `"original"`, or
            `"match_rms_adamw"`, which suits the learning rates of AdamW.

    Raises:
        ValueError: if an argument is out of its range; on init, if a param has fewer
            than two axes.
        TypeError: if `steps` is not an integer.

    Source: Jordan et al., 2024, https://kellerjordan.github.io/posts/muon; the
    defaults are those of `torch.optim.Muon`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.partition(
        ...     {"matrices": optim.muon(0.02), "rest": optim.adamw(1e-3)},
        ...     lambda path: "matrices" if path.endswith("weight") else "rest",
        ... )
        >>> params = {"fc": {"weight": mx.zeros((3, 4)), "bias": mx.zeros(3)}}
        >>> opt_state = optimizer.init(params)
    """
    return chain(
        scale_by_muon(
            momentum,
            nesterov=nesterov,
            steps=steps,
            coefficients=coefficients,
            eps=eps,
            adjust_lr=adjust_lr,
        ),
        scale_by_learning_rate(learning_rate, weight_decay=weight_decay),
    )
