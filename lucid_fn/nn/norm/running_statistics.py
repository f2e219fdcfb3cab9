"""Running statistics of batches: the state of norms.

Every norm with running statistics starts, checks and updates them here. So
`update_batch_norm` knows which leaves of a state are running statistics: not by their
names, which any layer may use, but because `update` returned them.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, Literal

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_number
from lucid_fn.context import holding
from lucid_fn.nn.core.checks import check_state
from lucid_fn.types import Array, State

_Mode = Literal["momentum", "averaging", "marking"]
_mode: ContextVar[_Mode] = ContextVar("mode", default="momentum")


def check_momentum(caller: str, momentum: float | None) -> float | None:
    """The weight of the new value, which must be in [0, 1] or `None`."""
    if momentum is None:
        return None
    return check_number(caller, "momentum", momentum, at_least=0, at_most=1)


def values_per_channel(caller: str, x: Array) -> int:
    """The number of values per channel of a batch; raise if it is 1."""
    count = x.size // x.shape[-1]
    if count == 1:
        raise ValueError(
            f"{caller}: training needs at least 2 values per channel, got 1, x of "
            f"shape {x.shape}; use a larger batch, drop_last=True for the last one, or "
            "nn.frozen"
        )
    return count


def start(num_features: int) -> State:
    """The initial statistics: mean 0 and variance 1, after no batches."""
    return {
        "running_mean": mx.zeros((num_features,)),
        "running_var": mx.ones((num_features,)),
        "num_batches_tracked": mx.array(0, mx.int32),
    }


def check(caller: str, state: State, num_features: int) -> None:
    """Raise unless the state is one that `start` made for as many features."""
    shapes = {name: x.shape for name, x in start(num_features).items()}
    check_state(caller, state, **shapes)


def update(
    state: State,
    mean: Array,
    var: Array,
    momentum: float | None,
    *,
    empty: bool = False,
) -> State:
    """The statistics after one more batch; no gradient flows into them.

    Args:
        state: the statistics before; it keeps its dtypes.
        mean: of the batch, `(num_features,)`.
        var: of the batch, unbiased, `(num_features,)`.
        momentum: weight of the batch, or `None` for the mean of all batches.
        empty: whether the batch has no values; then it is only counted.
    """
    if _mode.get() == "marking":
        return {name: mx.zeros(x.shape, mx.bool_) for name, x in state.items()}
    batches = state["num_batches_tracked"] + 1
    rate: float | Array = 1 / batches.astype(mx.float32)
    if momentum is not None and not estimating():
        rate = momentum

    def averaged(old: Array, new: Array) -> Array:
        if empty:
            return old
        new = mx.stop_gradient(new)
        mixed = (1 - rate) * old + rate * new
        if isinstance(rate, mx.array):  # 0 * old is not 0 if old is not finite
            mixed = mx.where(batches == 1, new, mixed)
        return mixed.astype(old.dtype)

    return {
        "running_mean": averaged(state["running_mean"], mean),
        "running_var": averaged(state["running_var"], var),
        "num_batches_tracked": batches,
    }


def estimating() -> bool:
    """Whether statistics are being re-estimated, so those in the state are void."""
    return _mode.get() != "momentum"


def averaging() -> AbstractContextManager[Any]:
    """Inside the block statistics are averaged, as with `momentum=None`."""
    return holding(_mode, "averaging")


def marking() -> AbstractContextManager[Any]:
    """Inside the block `update` marks what it returns, for `marked`, without values."""
    return holding(_mode, "marking")


def marked(state: State, new_state: State) -> set[str]:
    """The paths of running statistics in a state that was updated while `marking`."""
    before, after = tree.named_leaves(state), tree.named_leaves(new_state)
    return {
        path
        for path, leaf in after.items()
        if leaf.dtype == mx.bool_ and before[path].dtype != mx.bool_
    }
