"""`evaluate`, and means of metrics over batches."""

import collections
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_bool, check_function, check_parameters, check_type
from lucid_fn.distributed import Group
from lucid_fn.distributed.agreement import exchange, is_distributed
from lucid_fn.train.state import TrainState
from lucid_fn.train.step import EvalFn, rows
from lucid_fn.types import Array

# Values are read two steps late: by then they have been computed, so that reading them
# does not stall the steps in flight.
READ_BEHIND = 2


def evaluate(
    ts: TrainState,
    step: EvalFn,
    batches: Iterable[tuple[Any, ...]],
    *,
    outputs: bool = False,
) -> Any:
    """Evaluate a model on all batches: means of its metrics, weighted by batch size.

    Args:
        ts: the state whose params are evaluated.
        step: as returned by `make_eval_step`.
        batches: pairs `(x, targets)`, such as `data.batches((x, labels), 512)`.
        outputs: whether to return the model's outputs for every example as well.

    Returns:
        The means by name, as Python floats. With `outputs=True`, the pair of the means
        and the outputs of all batches, concatenated along the first axis: `(N, ...)`.

    Raises:
        TypeError: if the batches are not pairs, or a metric is not a number.
        ValueError: if there is no batch, if a metric is not a scalar, or if an output
            is a scalar.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, losses, metrics, nn, optim, random, train
        >>> model = nn.linear(3, 2)
        >>> ts = train.init(model, optim.sgd(0.1), random.key(0))
        >>> step = train.make_eval_step(
        ...     model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}
        ... )
        >>> batches = data.batches((mx.ones((5, 3)), mx.zeros((5,), mx.int32)), 2)
        >>> list(train.evaluate(ts, step, batches))
        ['loss', 'accuracy']
        >>> values, logits = train.evaluate(ts, step, batches, outputs=True)
        >>> logits.shape
        (5, 2)
    """
    caller = "train.evaluate"
    check_bool(caller, outputs=outputs)
    kinds = "a function (ts, x, targets) -> metrics, as train.make_eval_step returns it"
    check_function(caller, "step", step, kinds=kinds)
    given = ("outputs",) if outputs else ()
    check_parameters(caller, "step", step, ("ts", "x", "targets"), given)
    means, parts = Means(caller), []
    for x, targets in pairs(caller, "batches", batches):
        if outputs:
            metrics, part = step(ts, x, targets, outputs=True)
            parts.append(part)
        else:
            metrics = step(ts, x, targets)
        means.add(rows(x, targets), metrics)
    means.read()
    if not means.size:
        raise ValueError(f"{caller}: batches must yield at least one batch, got none")
    return (means.means(), _concatenate(caller, parts)) if outputs else means.means()


def _concatenate(caller: str, outputs: list[Any]) -> Any:
    """The outputs of all batches, concatenated along the first axis."""

    def concatenate(*leaves: Array) -> Array:
        if not all(leaf.ndim for leaf in leaves):
            raise ValueError(
                f"{caller}: with outputs=True the model's outputs must have the "
                "examples along the first axis, got an array of shape ()"
            )
        return mx.concatenate(list(leaves))

    return tree.map(concatenate, *outputs, caller=f"{caller} (outputs of the batches)")


class Means:
    """Means of metrics, weighted by batch size; values are read a few steps late."""

    def __init__(
        self,
        caller: str,
        size: int = 0,
        sums: dict[str, float] | None = None,
        losses: list[float] | None = None,
    ) -> None:
        self.caller = caller
        self.pending: collections.deque[tuple[int, Any]] = collections.deque()
        self.size = size  # examples, and the sums of metrics over them
        self.sums: dict[str, float] = dict(sums or {})
        self.latest: dict[str, float] = {}
        self.losses: list[float] = [] if losses is None else losses

    def add(self, size: int, metrics: Any, *, behind: int = READ_BEHIND) -> None:
        self._check(metrics)
        self.pending.append((size, metrics))
        self.read(behind)

    def read(self, behind: int = 0) -> None:
        """Read all values but those of the last `behind` steps."""
        while len(self.pending) > behind:
            size, metrics = self.pending.popleft()
            self.latest = {name: number(value) for name, value in metrics.items()}
            for name, value in self.latest.items():
                self.sums[name] += size * value
            if "loss" in self.latest:
                self.losses.append(self.latest["loss"])
            self.size += size

    def totals(self, group: Group | None) -> tuple[int, dict[str, float]]:
        """The size and the sums of all ranks, added in the order of the ranks."""
        if not is_distributed(group):
            return self.size, self.sums
        given = exchange(group, "fit", [self.size, self.sums])
        sums = {name: sum(sums[name] for _, sums in given) for name in self.sums}
        return sum(size for size, _ in given), sums

    def means(self) -> dict[str, float]:
        if not self.size:  # nothing has been read so far
            return {}
        return {name: total / self.size for name, total in self.sums.items()}

    def record(self, phase: str, start: float, group: Group | None) -> dict[str, float]:
        """The means of all ranks and the seconds since `start`, named by the phase."""
        size, sums = self.totals(group)
        record = {f"{phase}_{name}": total / size for name, total in sums.items()}
        record[f"{phase}_seconds"] = time.perf_counter() - start
        return record

    def _check(self, metrics: Any) -> None:
        """Raise for metrics that cannot be averaged."""
        if not isinstance(metrics, Mapping):
            raise TypeError(
                f"{self.caller}: a step must return its metrics as a dict of scalars "
                f"by name, got {type(metrics).__name__}"
            )
        if not self.sums:
            self.sums = dict.fromkeys(metrics, 0.0)
        if metrics.keys() != self.sums.keys():
            raise ValueError(
                f"{self.caller}: a step must return the same metrics for each batch, "
                f"got {', '.join(metrics)} after {', '.join(self.sums)}"
            )
        for name, value in metrics.items():
            _check_scalar(self.caller, name, value)


def _check_scalar(caller: str, name: str, value: Any) -> None:
    if isinstance(value, int | float):
        return
    check_type(caller, f"metric {name!r}", value, mx.array, "a scalar array")
    if value.size != 1:
        raise ValueError(
            f"{caller}: metric {name!r} must be a scalar, since metrics are averaged "
            f"over batches, got shape {value.shape}; return its mean, or one metric "
            "per entry; what train.make_epoch_step returns is called by itself, as in "
            "ts, metrics = epoch(ts, x, targets)"
        )
    if value.dtype == mx.complex64:
        raise TypeError(f"{caller}: metric {name!r} must be real, got {value.dtype}")


def number(value: Any) -> float:
    """A scalar as a Python float; waits for its computation."""
    item: Any = value.item() if isinstance(value, mx.array) else value
    return float(item)


def pairs(
    caller: str, name: str, batches: Any, *, skip: int = 0
) -> Iterator[tuple[Any, Any]]:
    """The batches after the first `skip`; each must be a pair `(x, targets)`."""
    try:
        # The loaders of `data` can skip batches without making them.
        has_skip = skip and hasattr(batches, "skip")
        iterator = batches.skip(skip) if has_skip else iter(batches)
    except TypeError as error:
        raise TypeError(
            f"{caller}: {name} must be batches to iterate over, got "
            f"{type(batches).__name__}; give data.batches(...) or a list"
        ) from error
    for batch in itertools.islice(iterator, 0 if has_skip else skip, None):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            got = type(batch).__name__
            if isinstance(batch, tuple | list):
                got = f"a {got} of {len(batch)}"
            raise TypeError(
                f"{caller}: {name} must yield pairs (x, targets), got {got}; put "
                "several inputs into a tuple or a dict: ((x, mask), targets)"
            )
        yield batch[0], batch[1]
