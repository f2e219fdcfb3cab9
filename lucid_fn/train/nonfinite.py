"""What `fit(debug=True)` raises at the first step that is not finite."""

from typing import Any

import mlx.core as mx

from lucid_fn import debug, tree
from lucid_fn.train.state import TrainState, step_of
from lucid_fn.train.step import StepFn
from lucid_fn.types import Tree


class NonFiniteError(FloatingPointError):
    """The loss, or the params, of a step are not finite.

    The error holds what runs the step again: `step(error.ts, error.x, error.targets)`.

    Attributes:
        ts: the state before the step, which is finite.
        x: the inputs of the batch.
        targets: its targets.
        found: where numbers were first not finite, a `debug.NonFinite`, or `None` if
            that cannot be seen from outside of the step.
    """

    def __init__(
        self,
        message: str,
        ts: TrainState,
        x: Any,
        targets: Any,
        found: debug.NonFinite | None,
    ) -> None:
        super().__init__(message)
        self.ts, self.x, self.targets, self.found = ts, x, targets, found


def check_step(
    step: StepFn,
    before: TrainState,
    after: TrainState,
    metrics: Tree,
    batch: tuple[Any, Any],
    where: str,
) -> None:
    """Raises a `NonFiniteError` if `step` made a loss or params that are not finite."""
    leaves = tree.leaves((metrics, after.params, after.state))
    if tree.all_finite([x for x in leaves if isinstance(x, mx.array)]).item():
        return
    found = debug.nonfinite(step, before, *batch)
    place = f"; {found}" if found else ""
    raise NonFiniteError(
        f"fit: step {step_of(before) + 1} ({where}) is the first with a loss, params "
        f"or a state that are not finite{place}\nexcept train.NonFiniteError as error: "
        "step(error.ts, error.x, error.targets) runs it again",
        before,
        *batch,
        found,
    )
