"""`NonFiniteError`, which `fit(debug=True)` raises."""

from typing import Any

import mlx.core as mx

from lucid_fn import debug, tree
from lucid_fn.train.state import TrainState, step_of
from lucid_fn.train.step import StepFn
from lucid_fn.types import Tree


class NonFiniteError(FloatingPointError):
    """The loss, params or state after a step are not finite.

    To run the step again, call `step(error.ts, error.x, error.targets)`.

    Attributes:
        ts: the state before the step, which is finite.
        x: the inputs of the batch.
        targets: the targets of the batch.
        found: a `debug.NonFinite` that says where the first such value appeared, or
            `None` if that could not be found.
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
    """Raise a `NonFiniteError` if the results of `step` are not all finite."""
    leaves = tree.leaves((metrics, after.params, after.state))
    if tree.all_finite([x for x in leaves if isinstance(x, mx.array)]).item():
        return
    found = debug.nonfinite(step, before, *batch)
    where_found = f"; {found}" if found else ""
    raise NonFiniteError(
        f"fit: step {step_of(before) + 1} ({where}) is the first with a loss, params "
        f"or a state that are not finite{where_found}\nto run it again: "
        "except train.NonFiniteError as error: "
        "step(error.ts, error.x, error.targets)",
        before,
        *batch,
        found,
    )
