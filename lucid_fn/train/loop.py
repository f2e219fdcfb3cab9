"""The loop over epochs and batches."""

import collections
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lucid_fn import optim, tree
from lucid_fn.train import checkpoint as checkpoints, progress
from lucid_fn.train.history import History, environment, parse_history
from lucid_fn.train.interruption import deferred
from lucid_fn.train.state import EvalFn, Metrics, StepFn, TrainState
from lucid_fn.types import Array

# Values are read when the step after the next is on its way, so that reading them
# waits for nothing.
_READ_BEHIND = 2


class _Means:
    """Means of metrics, weighted by batch size, read behind the steps."""

    def __init__(self) -> None:
        self.pending: collections.deque[tuple[int, Metrics]] = collections.deque()
        self.sums: dict[str, float] = collections.defaultdict(float)
        self.latest: dict[str, float] = {}
        self.losses: list[float] = []
        self.size = 0

    def add(self, size: int, metrics: Metrics, *, behind: int = _READ_BEHIND) -> None:
        self.pending.append((size, metrics))
        self.read(behind)

    def read(self, behind: int = 0) -> None:
        """Reads all values but those of the last `behind` steps."""
        while len(self.pending) > behind:
            size, metrics = self.pending.popleft()
            self.latest = {name: _number(value) for name, value in metrics.items()}
            for name, value in self.latest.items():
                self.sums[name] += size * value
            self.losses.append(self.latest["loss"])
            self.size += size

    def means(self) -> dict[str, float]:
        return {name: total / self.size for name, total in self.sums.items()}

    def record(self, phase: str, start: float) -> dict[str, float]:
        """The means, and the seconds since `start`, by the name of the phase."""
        record = {f"{phase}_{name}": value for name, value in self.means().items()}
        record[f"{phase}_seconds"] = time.perf_counter() - start
        return record


def fit(
    ts: TrainState,
    step: StepFn,
    batches: Callable[[int], Iterable[tuple[Any, Any]]],
    *,
    epochs: int,
    evaluate: EvalFn | None = None,
    test_batches: Iterable[tuple[Any, Any]] | None = None,
    max_steps: int | None = None,
    checkpoint: str | Path | None = None,
    history_path: str | Path | None = None,
    config: dict[str, Any] | None = None,
    show: bool = True,
) -> tuple[TrainState, History]:
    """Trains for some epochs, and records what happened.

    Metrics of an epoch are means weighted by batch size. Ctrl-C ends the run after
    the current step and returns what is done so far, `interrupted` set in the record;
    a second one does so at once.

    Args:
        ts: the state to start from, as `train.init` returns it.
        step: as `make_step` returns it.
        batches: from the epoch, counted from 0, to its batches `(x, targets)`; so
            each epoch has its own order: `lambda epoch: data.batches((x, y), 64,
            seed=(0, epoch))`.
        epochs: epochs in all, those of a resumed run included.
        evaluate: as `make_eval_step` returns it; called on `test_batches` after each
            epoch.
        test_batches: can be iterated over again, such as `data.batches((x, y), 512)`.
        max_steps: ends the run after so many steps in all, even within an epoch, which
            then counts as one.
        checkpoint: a `.safetensors` file, written after each epoch. If it exists, the
            run goes on from there; `ts` gives the structure it must have. Whatever
            ended the run, the result is that of one that went straight through.
        history_path: a `.json` file, written after each epoch and at the end.
        config: settings to keep in the record.
        show: whether to print a line an epoch, and a progress bar on a terminal if
            `tqdm` is installed.

    Returns:
        The last state and the record.

    Raises:
        TypeError: if `batches` is not a function, `test_batches` can be iterated over
            only once, or JSON has no form for `config`.
        ValueError: if `epochs` or `max_steps` is below 1, one of `evaluate` and
            `test_batches` is missing, an epoch has no batches, or the checkpoint does
            not fit, or ends within an epoch and the run is to go on from it.
        OSError: if the folder of `checkpoint` or `history_path` does not exist.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, losses, nn, optim, random, train
        >>> model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
        >>> x, labels = mx.ones((8, 3)), mx.array([0, 1] * 4)
        >>> ts, history = train.fit(
        ...     train.init(model, optimizer, random.key(0)),
        ...     train.make_step(model, optimizer, losses.softmax_cross_entropy),
        ...     lambda epoch: data.batches((x, labels), 4, seed=(0, epoch)),
        ...     epochs=3,
        ...     show=False,
        ... )
        >>> len(history.batch_losses), len(history.epochs)
        (6, 3)
    """
    _check(batches, epochs, evaluate, test_batches, max_steps)
    _check_kept(checkpoint, history_path, config)
    ts, history = _resume(ts, checkpoint, max_steps, show)
    history = history._replace(config=config or history.config, interrupted=False)
    run = _Run(ts, history, step, max_steps, show)

    def keep() -> None:
        if history_path is not None:
            run.history.to_json(history_path)

    try:
        with deferred() as stop_here:
            for epoch in range(len(history.epochs), epochs):
                if run.out_of_steps():
                    break
                record: dict[str, float] = {"epoch": epoch + 1}
                record |= run.train(batches, epoch, epochs, stop_here)
                if evaluate is not None and test_batches is not None:
                    record |= run.test(evaluate, test_batches, stop_here)
                record |= _learning_rate_of(run.ts)
                run.history.epochs.append(record)
                if checkpoint is not None:
                    cut = run.out_of_steps() and next(run.rest, None) is not None
                    metadata = {"history": run.history.dumps(), "cut": str(cut)}
                    checkpoints.save(checkpoint, run.ts, metadata=metadata)
                keep()
                if show:  # at last: what is printed to may be closed
                    print(progress.epoch_line(record, epochs), flush=True)
                stop_here()
    except KeyboardInterrupt:
        run.history = run.history._replace(interrupted=True)
        if show:
            print("interrupted: what is done so far is kept", flush=True)
    keep()
    return run.ts, run.history


@dataclass
class _Run:
    """A run under way: `ts` and `history` are what is done, whenever it is ended."""

    ts: TrainState
    history: History
    step: StepFn
    max_steps: int | None
    show: bool
    rest: Iterator[Any] = field(default_factory=lambda: iter(()))  # of the epoch

    def out_of_steps(self) -> bool:
        return self._left() == 0

    def _left(self) -> int | None:
        if self.max_steps is None:
            return None
        return max(self.max_steps - len(self.history.batch_losses), 0)

    def train(
        self,
        batches: Callable[[int], Iterable[tuple[Any, Any]]],
        epoch: int,
        epochs: int,
        stop_here: Callable[[], None],
    ) -> dict[str, float]:
        """One epoch, or what is left of the steps; its part of the record."""
        start, means = time.perf_counter(), _Means()
        given = batches(epoch)
        self.rest = iter(given)
        total = len(given) if isinstance(given, Sized) else None
        label = f"epoch {epoch + 1}/{epochs}" if self.show else None
        try:
            # One state at a time, so that Ctrl-C leaves the latest.
            for latest in _steps(
                self.ts, self.step, self.rest, total, self._left(), means, label
            ):
                self.ts = latest
                stop_here()
        finally:
            means.read()
            self.history.batch_losses.extend(means.losses)
        return means.record("train", start)

    def test(
        self,
        evaluate: EvalFn,
        batches: Iterable[tuple[Any, Any]],
        stop_here: Callable[[], None],
    ) -> dict[str, float]:
        """All test batches; their part of the record."""
        start, means = time.perf_counter(), _Means()
        for x, targets in batches:
            means.add(_rows(x, targets), evaluate(self.ts, x, targets))
            stop_here()
        means.read()
        if not means.size:
            raise ValueError(
                "fit: test_batches must yield at least one batch, got none"
            )
        return means.record("test", start)


def _steps(
    ts: TrainState,
    step: StepFn,
    batches: Iterator[tuple[Any, Any]],
    total: int | None,
    left: int | None,
    means: _Means,
    label: str | None,
) -> Iterator[TrainState]:
    """The states after each batch, or after each of the first `left`."""
    if total is not None and left is not None:
        total = min(total, left)
    shown = progress.silent() if label is None else progress.bar(total, label)
    rate: Array | None = None  # of an earlier step: to read it waits for nothing

    def values() -> dict[str, float]:
        nonlocal rate
        lr = {} if rate is None else {"lr": _number(rate)}
        rate = _learning_rate(ts)
        return means.means() | lr

    count = 0
    try:
        for x, targets in itertools.islice(batches, left):
            ts, metrics = step(ts, x, targets)
            count += 1
            means.add(_rows(x, targets), metrics)
            shown.advance(values)
            yield ts
    finally:
        shown.close()
    if count == 0:
        raise ValueError(
            "fit: batches must yield at least one batch an epoch, got none"
        )


def _number(value: Array) -> float:
    number: Any = value.item()  # a float here, any number in MLX's stubs
    return float(number)


def _rows(x: Any, targets: Any) -> int:
    """The batch size: the length of the first array, of the targets if they have one.

    An input may hold arrays that all examples share, such as a mask.
    """
    leaves = [*tree.leaves(targets), *tree.leaves(x)]
    return next((len(leaf) for leaf in leaves if leaf.ndim), 1)


def _learning_rate(ts: TrainState) -> Array | None:
    """The learning rate, if the optimizer has a single one."""
    try:
        return optim.learning_rate(ts.opt_state)
    except ValueError:
        return None


def _learning_rate_of(ts: TrainState) -> dict[str, float]:
    """The learning rate's part of the record."""
    rate = _learning_rate(ts)
    # As few digits as a float32 has: 0.01, not 0.009999999776.
    return (
        {} if rate is None else {"learning_rate": float(str(np.float32(_number(rate))))}
    )


def _resume(
    ts: TrainState, checkpoint: str | Path | None, max_steps: int | None, show: bool
) -> tuple[TrainState, History]:
    if checkpoint is None or not Path(checkpoint).exists():
        return ts, History([], [], {}, environment(), False)
    metadata = checkpoints.load_metadata(checkpoint)
    if "history" not in metadata:
        raise ValueError(
            f"fit: checkpoint {checkpoint} must be one that fit wrote, got one without "
            "a record; load it with train.load and give its state as ts"
        )
    ts = checkpoints.load(checkpoint, like=ts)
    history = parse_history(metadata["history"], source=str(checkpoint))
    steps = len(history.batch_losses)
    if metadata.get("cut") == "True" and (max_steps is None or steps < max_steps):
        raise ValueError(
            f"fit: checkpoint {checkpoint} must end with an epoch to go on from, got "
            f"one that max_steps ended at step {steps}, within epoch "
            f"{len(history.epochs)}, whose other batches would be left out; delete it, "
            "or give another path"
        )
    if show:
        print(f"resumed from {checkpoint} after epoch {len(history.epochs)}")
    return ts, history._replace(environment=environment())


def _check(
    batches: Any, epochs: int, evaluate: Any, test_batches: Any, max_steps: int | None
) -> None:
    if not callable(batches):
        raise TypeError(
            "fit: batches must be a function of the epoch, so that each has its own "
            f"order, got {type(batches).__name__}; write lambda epoch: "
            "data.batches((x, y), 64, seed=(0, epoch))"
        )
    for name, value in (("epochs", epochs), ("max_steps", max_steps)):
        if value is not None and value < 1:
            raise ValueError(f"fit: {name} must be at least 1, got {value}")
    if (evaluate is None) != (test_batches is None):
        missing = "evaluate" if evaluate is None else "test_batches"
        raise ValueError(
            f"fit: evaluate and test_batches go together, got no {missing}"
        )
    if isinstance(test_batches, Iterator):
        raise TypeError(
            "fit: test_batches must allow another pass after each epoch, got "
            f"{type(test_batches).__name__}; give data.batches(...) or a list"
        )
    if test_batches is not None and not isinstance(test_batches, Iterable):
        raise TypeError(
            "fit: test_batches must be batches, the same after each epoch, got "
            f"{type(test_batches).__name__}; give data.batches(...) or a list"
        )


def _check_kept(
    checkpoint: str | Path | None,
    history_path: str | Path | None,
    config: dict[str, Any] | None,
) -> None:
    """Raises for what could not be written, before there is anything to lose."""
    if checkpoint is not None and Path(checkpoint).suffix != ".safetensors":
        raise ValueError(f"fit: checkpoint must end in .safetensors, got {checkpoint}")
    for name, path in (("checkpoint", checkpoint), ("history_path", history_path)):
        if path is not None and not Path(path).parent.is_dir():
            raise FileNotFoundError(
                f"fit: {name} must be in a folder that is there, got {path}"
            )
        if path is not None and Path(path).is_dir():
            raise IsADirectoryError(
                f"fit: {name} must be a file, got the folder {path}"
            )
    try:
        json.dumps(config)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "fit: config must hold what JSON does, strings, numbers, lists and dicts: "
            f"{error}"
        ) from error
