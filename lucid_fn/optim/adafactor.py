"""Adafactor: row- and column-factored second moments."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_scalar
from lucid_fn.numerics import reduced
from lucid_fn.optim import leaves
from lucid_fn.optim.base import (
    GradientTransformation,
    chain,
    stateful,
    stateless_with_tree_map,
)
from lucid_fn.optim.errors import errors_named_after
from lucid_fn.optim.learning_rate import (
    ScalarOrSchedule,
    as_schedule,
    scale_by_learning_rate,
)
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import (
    accumulator_dtype,
    average,
    increment,
    precision,
    zero_count,
)
from lucid_fn.optim.norms import root_mean_square
from lucid_fn.schedules.base import as_float
from lucid_fn.types import Array, Params, Scalar, Tree


class ScaleByFactoredRmsState(NamedTuple):
    """Running mean squares by path: factored for matrices, else of each element."""

    step: Array  # int32, shape (): updates made so far
    rows: dict[str, Array]  # (..., rows, 1), float32 at least
    columns: dict[str, Array]  # (..., 1, columns), float32 at least
    full: dict[str, Array]  # of arrays with fewer than two axes, float32 at least


def scale_by_factored_rms(
    decay_power: Scalar = 0.8, *, eps: Scalar = 2**-23
) -> GradientTransformation:
    """Divides gradients by a running root mean square, factored over rows and columns.

    Over the last two axes the mean square is approximated by `r * c / mean(r)`, with
    the running means `r` of the rows and `c` of the columns; their decay at step `t`,
    counted from 1, is `1 - t**-decay_power`. Arrays with fewer than two axes are not
    factored.

    Args:
        decay_power: at least 0.
        eps: lower bound of the root mean square, positive.

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
    decay_power = check_scalar(caller, "decay_power", decay_power, at_least=0)
    eps = check_scalar(caller, "eps", eps, above=0)

    def init(params: Params, /) -> ScaleByFactoredRmsState:
        flat = tree.named_leaves(params)
        matrices = {path: p for path, p in flat.items() if p.ndim > 1}
        return ScaleByFactoredRmsState(
            zero_count(),
            {path: _zero_mean(p, -1) for path, p in matrices.items()},
            {path: _zero_mean(p, -2) for path, p in matrices.items()},
            {
                path: mx.zeros(p.shape, accumulator_dtype(p))
                for path, p in flat.items()
                if path not in matrices
            },
        )

    def update(
        grads: Tree, opt_state: ScaleByFactoredRmsState, params: Params, /
    ) -> tuple[Tree, ScaleByFactoredRmsState]:
        step = increment(opt_state.step)
        new = end_kernel(mx.power(step.astype(precision(grads)), -decay_power))
        decay = end_kernel(1 - new)
        rows, columns, full = {}, {}, {}

        def scale(path: str, g: Array, _: Array) -> Array:
            squares = mx.square(g.astype(accumulator_dtype(g)))
            if g.ndim > 1:
                row = _mean(squares, axis=-1)  # (..., rows, 1)
                column = _mean(squares, axis=-2)  # (..., 1, columns)
                row = rows[path] = average(decay, opt_state.rows[path], row, new)
                column = average(decay, opt_state.columns[path], column, new)
                columns[path] = column
                mean = mx.maximum(_mean(row, axis=-2), eps)
                v = row * column / mean  # (..., rows, columns)
            else:
                v = full[path] = average(decay, opt_state.full[path], squares, new)
            return (mx.rsqrt(mx.maximum(v, eps * eps)) * g).astype(g.dtype)

        updates = leaves.map_with_path(
            scale, grads, params, caller=f"{caller} (grads and params)"
        )
        return updates, ScaleByFactoredRmsState(step, rows, columns, full)

    return stateful(caller, ScaleByFactoredRmsState, init, update)


def _mean(x: Array, axis: int) -> Array:
    return reduced(mx.mean, x, axis=axis, keepdims=True, empty=0)


def _zero_mean(p: Array, axis: int) -> Array:
    shape = list(p.shape)
    shape[axis] = 1
    return mx.zeros(shape, accumulator_dtype(p))


def clip_by_block_rms(max_rms: Scalar = 1.0) -> GradientTransformation:
    """Scales each update down to a root mean square of at most `max_rms`.

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
    max_rms = check_scalar("clip_by_block_rms", "max_rms", max_rms, above=0)

    def clip(u: Array, _: Array) -> Array:
        excess = end_kernel(mx.maximum(1.0, root_mean_square(u) / max_rms))
        return (u / excess).astype(u.dtype)

    return stateless_with_tree_map(clip, caller="clip_by_block_rms")


def scale_by_param_rms(eps: Scalar = 1e-3) -> GradientTransformation:
    """Multiplies each update by the root mean square of its param, at least `eps`.

    Args:
        eps: lower bound, positive, so that params of 0 can change.

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
    eps = check_scalar("scale_by_param_rms", "eps", eps, above=0)

    def scale(u: Array, p: Array) -> Array:
        return (u * end_kernel(mx.maximum(root_mean_square(p), eps))).astype(u.dtype)

    return stateless_with_tree_map(scale, caller="scale_by_param_rms")


@errors_named_after
def adafactor(
    learning_rate: ScalarOrSchedule = 1e-2,
    *,
    decay_power: Scalar = 0.8,
    eps: Scalar = 2**-23,
    min_param_rms: Scalar = 1e-3,
    clipping: Scalar = 1.0,
    weight_decay: Scalar = 0.0,
) -> GradientTransformation:
    """Adafactor: Adam-like relative steps with factored second moments.

    `p -= rate * max(rms(p), min_param_rms) * u`, where `u` is the gradient divided by
    its factored root mean square, clipped to the root mean square `clipping`, and
    `rate = min(learning_rate, 1 / sqrt(t))`.

    Args:
        learning_rate: maximum relative step, at least 0, or a schedule of the step. It
            cannot be set later, because `rate` is always a schedule.
        decay_power: the moments' decay at step `t` is `1 - t**-decay_power`; at
            least 0.
        eps: lower bound of the root mean square of a gradient, positive.
        min_param_rms: lower bound of the root mean square of a param, positive.
        clipping: maximum root mean square of an update, positive.
        weight_decay: decoupled weight decay, multiplied by `rate`; at least 0.

    Raises:
        ValueError: if a number is out of its range.

    Source: Shazeer & Stern, 2018, https://arxiv.org/abs/1804.04235, algorithm 6.
    `torch.optim.Adafactor` multiplies the weight decay by `learning_rate` even where
    `rate` is smaller, and takes `eps` from the dtype of the params.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import optim
        >>> optimizer = optim.adafactor()
        >>> opt_state = optimizer.init({"w": mx.zeros((3, 4))})
    """
    # Checked here, because the parts have other names for these two.
    clipping = check_scalar("adafactor", "clipping", clipping, above=0)
    min_rms = check_scalar("adafactor", "min_param_rms", min_param_rms, above=0)
    rate = as_schedule("adafactor", learning_rate)

    def relative_step(step: Array) -> Array:
        return mx.minimum(rate(step), mx.rsqrt(as_float(step) + 1))

    return chain(
        scale_by_factored_rms(decay_power, eps=eps),
        clip_by_block_rms(clipping),
        scale_by_param_rms(min_rms),
        scale_by_learning_rate(relative_step, weight_decay=weight_decay),
    )
