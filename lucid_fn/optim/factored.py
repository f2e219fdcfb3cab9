"""Adafactor: second moments of matrices in the memory of their borders."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim import leaves
from lucid_fn.optim.base import GradientTransformation, chain, stateless
from lucid_fn.optim.checks import (
    Scalar,
    check_at_least_0,
    check_positive,
    reports_as_itself,
)
from lucid_fn.optim.descent import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.moments import accumulator_dtype, average, once
from lucid_fn.optim.norms import root_mean_square
from lucid_fn.types import Array, Params, Tree


class ScaleByFactoredRmsState(NamedTuple):
    """Mean squares by the path of the param: of rows and columns, or of all numbers."""

    step: Array  # int32, shape (): updates made so far
    rows: dict[str, Array]  # (..., rows, 1), float32 at least
    columns: dict[str, Array]  # (..., 1, columns), float32 at least
    full: dict[str, Array]  # of arrays with fewer than two axes


def scale_by_factored_rms(
    decay_power: Scalar = 0.8, *, eps: Scalar = 2**-23
) -> GradientTransformation:
    """Divides by the root mean square, known by its rows and columns only.

    Over the last two axes the mean square is taken to be `r * c / mean(r)`, with the
    running means `r` of the rows and `c` of the columns; their decay at step `t`,
    counted from 1, is `1 - t**-decay_power`. Arrays of one axis or none keep all of it.

    Args:
        decay_power: at least 0.
        eps: least root mean square, positive.

    Raises:
        ValueError: if a number is out of its range.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235, algorithm 4; the
    order of operations is that of `torch.optim.Adafactor`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_factored_rms()
        >>> opt_state = opt.init({"w": mx.zeros((3, 4))})
        >>> opt_state.rows["w"].shape, opt_state.columns["w"].shape
        ((3, 1), (1, 4))
    """
    caller = "scale_by_factored_rms"
    decay_power = check_at_least_0(caller, "decay_power", decay_power)
    eps = check_positive(caller, "eps", eps)

    def init(params: Params, /) -> ScaleByFactoredRmsState:
        flat = tree.named_leaves(params)
        matrices = {path: p for path, p in flat.items() if p.ndim > 1}
        return ScaleByFactoredRmsState(
            mx.array(0, mx.int32),
            {path: _zeros_mean(p, -1) for path, p in matrices.items()},
            {path: _zeros_mean(p, -2) for path, p in matrices.items()},
            {
                path: mx.zeros(p.shape, accumulator_dtype(p))
                for path, p in flat.items()
                if path not in matrices
            },
        )

    def update(
        grads: Tree, opt_state: ScaleByFactoredRmsState, params: Params, /
    ) -> tuple[Tree, ScaleByFactoredRmsState]:
        leaves.check_shapes(grads, params, caller="scale_by_factored_rms")
        step = opt_state.step + 1
        new = mx.power(step.astype(mx.float32), -decay_power)
        decay = once(1 - new)
        rows, columns, full = {}, {}, {}

        def scale(path: str, g: Array, _: Array) -> Array:
            squares = mx.square(g.astype(accumulator_dtype(g)))
            if g.ndim > 1:
                row = mx.mean(squares, axis=-1, keepdims=True)  # (..., rows, 1)
                column = mx.mean(squares, axis=-2, keepdims=True)  # (..., 1, columns)
                row = rows[path] = average(decay, opt_state.rows[path], row)
                column = columns[path] = average(decay, opt_state.columns[path], column)
                mean = mx.maximum(mx.mean(row, axis=-2, keepdims=True), eps)
                v = row * column / mean  # (..., rows, columns)
            else:
                v = full[path] = average(decay, opt_state.full[path], squares)
            return (mx.rsqrt(mx.maximum(v, eps * eps)) * g).astype(g.dtype)

        updates = tree.map_with_path(
            scale, grads, params, caller=f"{caller} (grads and params)"
        )
        return updates, ScaleByFactoredRmsState(step, rows, columns, full)

    return GradientTransformation(init, update)


def _zeros_mean(p: Array, axis: int) -> Array:
    shape = list(p.shape)
    shape[axis] = 1
    return mx.zeros(shape, accumulator_dtype(p))


def clip_by_block_rms(max_rms: Scalar = 1.0) -> GradientTransformation:
    """Scales each array down to the root mean square `max_rms` if its own is larger.

    Args:
        max_rms: positive.

    Raises:
        ValueError: if `max_rms` is not positive and finite.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235, section 6.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.clip_by_block_rms(1.0)
        >>> opt.update({"w": mx.array([3.0, 3.0])}, (), {"w": mx.zeros(2)})[0]
        {'w': array([1, 1], dtype=float32)}
    """
    max_rms = check_positive("clip_by_block_rms", "max_rms", max_rms)

    def clip(u: Array, _: Array) -> Array:
        return (u / once(mx.maximum(1.0, root_mean_square(u) / max_rms))).astype(
            u.dtype
        )

    return stateless(clip, caller="clip_by_block_rms")


def scale_by_param_rms(eps: Scalar = 1e-3) -> GradientTransformation:
    """Multiplies each update by the root mean square of its array, at least `eps`.

    Args:
        eps: positive, so that zeros can move.

    Raises:
        ValueError: if `eps` is not positive and finite.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235, section 8.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> opt = optim.scale_by_param_rms()
        >>> opt.update({"w": mx.array([1.0, 2.0])}, (), {"w": mx.array([3.0, 3.0])})[0]
        {'w': array([3, 6], dtype=float32)}
    """
    eps = check_positive("scale_by_param_rms", "eps", eps)

    def scale(u: Array, p: Array) -> Array:
        return (u * once(mx.maximum(root_mean_square(p), eps))).astype(u.dtype)

    return stateless(scale, caller="scale_by_param_rms")


@reports_as_itself
def adafactor(
    learning_rate: ScalarOrSchedule = 1e-2,
    *,
    decay_power: Scalar = 0.8,
    eps: Scalar = 2**-23,
    min_param_rms: Scalar = 1e-3,
    clipping: Scalar = 1.0,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Steps relative to the size of the params, with little memory for moments.

    `p -= rate * max(rms(p), min_param_rms) * u`, where `u` is the gradient divided by
    its factored root mean square, clipped to the root mean square `clipping`, and
    `rate = min(learning_rate, 1 / sqrt(t))`.

    Args:
        learning_rate: largest relative step, at least 0, or a schedule of the step. It
            cannot be set later, since `rate` is a schedule in any case.
        decay_power: the moments' decay at step `t` is `1 - t**-decay_power`; at
            least 0.
        eps: least root mean square of a gradient, positive.
        min_param_rms: least size that an array counts as, positive.
        clipping: largest root mean square of an update, positive.
        weight_decay: part of the parameter taken off in a step, in units of `rate`;
            at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235, algorithm 6.
    `torch.optim.Adafactor` decays by the learning rate where that is above
    `1 / sqrt(t)`, and takes `eps` from the dtype of the params.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adafactor()
        >>> opt_state = optimizer.init({"w": mx.zeros((3, 4))})
    """
    # Checked here, since the parts know these two by other names.
    clipping = check_positive("adafactor", "clipping", clipping)
    least = check_positive("adafactor", "min_param_rms", min_param_rms)
    rate = as_schedule("adafactor", learning_rate)

    def relative_step(step: Array) -> Array:
        return mx.minimum(rate(step), mx.rsqrt(step + 1.0))

    return chain(
        scale_by_factored_rms(decay_power, eps=eps),
        clip_by_block_rms(clipping),
        scale_by_param_rms(least),
        scale_by_learning_rate(relative_step, weight_decay=weight_decay),
    )
