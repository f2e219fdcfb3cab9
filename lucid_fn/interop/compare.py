"""Compare two runs of the same training and find where they diverge."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn import nn, optim, random, transforms, tree
from lucid_fn.call_errors import guide
from lucid_fn.checks import is_number
from lucid_fn.interop.arrays import to_storable
from lucid_fn.train.state import TrainState
from lucid_fn.train.step import LossFn, mean_loss
from lucid_fn.types import Params

StepRecord: TypeAlias = Mapping[str, Any]
"""The results of one step: trees of arrays by quantity, in order of computation."""

BOUNDS: Mapping[str, float] = {
    "output": 1e-4,
    "loss": 1e-5,
    "gradient": 5e-2,
    "statistic": 3e-5,
    "update": 1e-3,
}
"""Largest relative differences that float32 rounding explains.

They are several times the differences measured between this library and PyTorch in the
first steps of LeNet-5 and ResNet-18 from the same weights: 7e-6, 4e-7, 1e-2, 8e-6 and
1e-4. Gradients differ that much in ResNet-18 only, where rounding switches a few of a
million ReLUs: PyTorch's own float32 gradients differ from its float64 ones by 1.4e-2.
"""


class Difference(NamedTuple):
    """The difference of two arrays of the same quantity and name."""

    step: int  # from 0
    quantity: str
    name: str  # the path in the quantity's tree; empty if that is one array
    relative: float  # root mean square of the difference, over that of the array
    largest: float  # largest absolute difference
    bound: float  # largest `relative` that rounding explains

    def __str__(self) -> str:
        what = f"{self.quantity} {self.name}".strip()
        return (
            f"step {self.step}, {what}: relative difference {self.relative:.1e} "
            f"(bound {self.bound:.0e}), largest {self.largest:.1e}"
        )


def record_step(
    model: nn.Layer,
    optimizer: optim.GradientTransformation,
    loss_fn: LossFn,
    ts: TrainState,
    x: Any,
    targets: Any,
    *,
    grads: Params | None = None,
) -> tuple[TrainState, StepRecord]:
    """Run one training step and record everything that `differences` compares.

    Args:
        model: a layer.
        optimizer: a transformation, such as `optim.adam(1e-3)`.
        loss_fn: `loss_fn(predictions, targets)`, one value per example or their mean.
        ts: the state before the step.
        x: a batch.
        targets: its targets.
        grads: gradients for the update instead of its own, which are recorded in any
            case. With those of the other run, a difference of the updates is due to the
            optimizer alone.

    Returns:
        The state after the step, and the record.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses, nn, optim, random, train
        >>> from lucid_fn.interop import compare
        >>> model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
        >>> ts, record = compare.record_step(
        ...     model,
        ...     optimizer,
        ...     losses.softmax_cross_entropy,
        ...     train.init(model, optimizer, random.key(0)),
        ...     mx.ones((4, 3)),
        ...     mx.array([0, 1, 1, 0]),
        ... )
        >>> list(record)
        ['output', 'loss', 'gradient', 'statistic', 'update']
    """
    key = random.fold_in(ts.key, ts.step)

    def objective(params: Params) -> tuple[Any, Any]:
        output, moved = model.apply(params, ts.state, x, train=True, key=key)
        return mean_loss(loss_fn(output, targets)), (output, moved)

    value_and_grad = transforms.value_and_grad(objective, has_aux=True)
    (loss, (output, moved)), own = value_and_grad(ts.params)
    used = own if grads is None else grads
    updates, opt_state = optimizer.update(used, ts.opt_state, ts.params)
    record = {
        "output": output,
        "loss": loss,
        "gradient": own,
        "statistic": moved,
        "update": updates,
    }
    params = optim.apply_updates(ts.params, updates)
    return TrainState(params, moved, opt_state, ts.key, ts.step + 1), record


def differences(
    ours: Iterable[StepRecord],
    theirs: Iterable[StepRecord],
    *,
    bounds: Mapping[str, float] = BOUNDS,
) -> Iterator[Difference]:
    """Yield the differences of all arrays of two runs, in the order of computation.

    Differences are relative to the root mean square of the array, but at least to a
    thousandth of the largest one of its quantity: smaller arrays may be all rounding,
    such as the gradient of a bias before a batch norm.

    Args:
        ours: a record for each step, such as `record_step` returns.
        theirs: the records of the other run, with the same names and layout; arrays
            may be PyTorch tensors.
        bounds: the largest relative difference that rounding explains, by quantity.

    Raises:
        TypeError: if a run is not a series of records, or a leaf is not an array.
        ValueError: if the records differ in number, quantities, names or shapes, or a
            quantity has no bound.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn.interop import compare
        >>> ours, theirs = [{"loss": mx.array(1.0)}], [{"loss": mx.array(0.5)}]
        >>> [found.relative for found in compare.differences(ours, theirs)]
        [1.0]
    """
    for name, run in (("ours", ours), ("theirs", theirs)):
        if isinstance(run, Mapping):
            raise TypeError(
                f"differences: {name} must be a record for each step, got one record; "
                "put it into a list"
            )
    for step, (a, b) in enumerate(zip_longest(ours, theirs)):
        if a is None or b is None:
            shorter = "ours" if a is None else "theirs"
            raise ValueError(
                "differences: the runs must have as many records, got only "
                f"{step} of {shorter}"
            )
        if list(a) != list(b) or not set(a) <= set(bounds):
            raise ValueError(
                "differences: records must have the same quantities, each with a "
                f"bound, got {', '.join(a)} and {', '.join(b)}, and bounds for "
                f"{', '.join(bounds)}"
            )
        for quantity in a:
            yield from _compare(step, quantity, a[quantity], b[quantity], bounds)


def first_gap(
    ours: Iterable[StepRecord],
    theirs: Iterable[StepRecord],
    *,
    bounds: Mapping[str, float] = BOUNDS,
) -> Difference | None:
    """Find the first difference of two runs that exceeds rounding, or `None`.

    It is where to look: everything after it may differ because of it. Start each step
    of one run from the params and the state of the other, so that rounding does not
    accumulate from step to step.

    Args:
        ours: as in `differences`.
        theirs: as in `differences`.
        bounds: as in `differences`.

    Raises:
        TypeError: as `differences`.
        ValueError: as `differences`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn.interop import compare
        >>> ours = [{"loss": mx.array(1.0)}, {"loss": mx.array(0.75)}]
        >>> theirs = [{"loss": mx.array(1.0)}, {"loss": mx.array(0.5)}]
        >>> print(compare.first_gap(ours, theirs))
        step 1, loss: relative difference 5.0e-01 (bound 1e-05), largest 2.5e-01
    """
    found = differences(ours, theirs, bounds=bounds)
    return next((d for d in found if not d.relative <= d.bound), None)


def report(found: Iterable[Difference]) -> str:
    """Format the largest difference of each quantity, and the first gap.

    Args:
        found: the differences that `differences` yields.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn.interop import compare
        >>> ours, theirs = [{"loss": mx.array(1.0)}], [{"loss": mx.array(1.5)}]
        >>> print(compare.report(compare.differences(ours, theirs)))
        loss       3.3e-01  (bound 1e-05, step 0)
        first gap: step 0, loss: relative difference 3.3e-01 (bound 1e-05), largest ...
    """
    found = list(found)
    lines = []
    for quantity in dict.fromkeys(d.quantity for d in found):
        of_it = (d for d in found if d.quantity == quantity)
        worst = max(of_it, key=lambda d: (math.isnan(d.relative), d.relative))
        where = f"step {worst.step} {worst.name}".strip()
        lines.append(
            f"{quantity:10} {worst.relative:.1e}  (bound {worst.bound:.0e}, {where})"
        )
    gap = next((d for d in found if not d.relative <= d.bound), None)
    return "\n".join([*lines, f"first gap: {gap or 'none, all of it is rounding'}"])


def _compare(
    step: int, quantity: str, a: Any, b: Any, bounds: Mapping[str, float]
) -> Iterator[Difference]:
    ours, theirs = _named_arrays(a), _named_arrays(b)
    shapes = [{n: x.shape for n, x in flat.items()} for flat in (ours, theirs)]
    if shapes[0] != shapes[1]:
        odd = sorted(
            name
            for name in shapes[0].keys() | shapes[1].keys()
            if shapes[0].get(name) != shapes[1].get(name)
        )
        raise ValueError(
            f"differences: {quantity} must have the same names and shapes in both "
            f"runs, got {odd[0] or 'one'} as {shapes[0].get(odd[0])} and "
            f"{shapes[1].get(odd[0])}"
        )
    sizes = {name: _root_mean_square(x) for name, x in theirs.items()}
    smallest = 1e-3 * max(sizes.values(), default=0.0)
    for name, x in ours.items():
        with np.errstate(invalid="ignore"):  # infinities give a gap of NaN
            gap = x - theirs[name]
        size = max(sizes[name], smallest)
        distance = _root_mean_square(gap)
        relative = distance / size if size else (math.inf if distance else 0.0)
        largest = float(np.abs(gap).max(initial=0.0))
        yield Difference(step, quantity, name, relative, largest, bounds[quantity])


def _named_arrays(values: Any) -> dict[str, NDArray[np.float64]]:
    leaves = sorted(tree.named_leaves(values).items())
    return {name: _float64(name, leaf) for name, leaf in leaves}


def _float64(name: str, leaf: Any) -> NDArray[np.float64]:
    leaf = np.float64(leaf) if is_number(leaf) else leaf
    array = to_storable("differences", name or "a quantity", leaf)
    array = array.astype(mx.float32) if isinstance(array, mx.array) else array
    return np.array(array, np.float64)


def _root_mean_square(x: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(x)))) if x.size else 0.0


__all__ = [
    "BOUNDS",
    "Difference",
    "StepRecord",
    "differences",
    "first_gap",
    "record_step",
    "report",
]


guide(globals(), "interop.compare")
