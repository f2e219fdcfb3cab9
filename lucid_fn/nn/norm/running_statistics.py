"""Running statistics of batches: the state of a norm, and who else may move it.

Every norm with running statistics starts, checks and moves them here. That is how
`update_batch_norm` knows which leaves of a state are such statistics: not by their
names, which any layer may use, but because `move` returned them.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.context import holding
from lucid_fn.nn.core.checks import check_state
from lucid_fn.types import Array, State

_Mode = Literal["moving", "averaging", "marking"]
_mode: ContextVar[_Mode] = ContextVar("mode", default="moving")


def start(num_features: int) -> State:
    """The initial statistics: mean 0 and variance 1, after no batches."""
    return {
        "running_mean": mx.zeros((num_features,)),
        "running_var": mx.ones((num_features,)),
        "num_batches_tracked": mx.array(0, mx.int32),
    }


def check(caller: str, state: State, num_features: int) -> None:
    """Raises unless the state is one that `start` made for as many features."""
    shape = (num_features,)
    check_state(
        caller,
        state,
        running_mean=shape,
        running_var=shape,
        num_batches_tracked=(),
    )


def move(
    state: State,
    mean: Array,
    var: Array,
    momentum: float | None,
    *,
    empty: bool = False,
) -> State:
    """The statistics, moved to those of a batch; no gradient flows into them.

    Args:
        state: as `start` made it; it keeps its dtypes.
        mean: of the batch, `(num_features,)`.
        var: of the batch, unbiased, `(num_features,)`.
        momentum: weight of the batch, or `None` for the mean of all batches.
        empty: whether the batch has no values, and is counted only.
    """
    if _mode.get() == "marking":
        return {name: mx.zeros(x.shape, mx.bool_) for name, x in state.items()}
    batches = state["num_batches_tracked"] + 1
    rate: float | Array = 1 / batches.astype(mx.float32)
    if momentum is not None and not estimating():
        rate = momentum

    def toward(old: Array, new: Array) -> Array:
        if empty:  # nothing to move to
            return old
        new = mx.stop_gradient(new)
        moved = (1 - rate) * old + rate * new
        if isinstance(rate, mx.array):  # the first batch's mean has no past
            moved = mx.where(batches == 1, new, moved)
        return moved.astype(old.dtype)

    return {
        "running_mean": toward(state["running_mean"], mean),
        "running_var": toward(state["running_var"], var),
        "num_batches_tracked": batches,
    }


def estimating() -> bool:
    """Whether statistics are estimated anew, so that those in the state say nothing."""
    return _mode.get() != "moving"


@contextmanager
def averaging() -> Iterator[None]:
    """Lets statistics be averaged inside the block, as with `momentum=None`."""
    with _in_mode("averaging"):
        yield


@contextmanager
def marking() -> Iterator[None]:
    """Lets `move` mark what it returns, for `marked`; the numbers are lost."""
    with _in_mode("marking"):
        yield


def _in_mode(mode: _Mode) -> AbstractContextManager[Any]:
    return holding(_mode, mode)


def marked(state: State, new_state: State) -> set[str]:
    """The paths of running statistics in a state that was moved while `marking`."""
    before, after = tree.named_leaves(state), tree.named_leaves(new_state)
    return {
        path
        for path, leaf in after.items()
        if leaf.dtype == mx.bool_ and before[path].dtype != mx.bool_
    }
