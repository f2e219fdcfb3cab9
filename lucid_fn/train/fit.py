"""`fit`: the loop over epochs and batches."""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lucid_fn import optim
from lucid_fn.checks import check_bool, check_count
from lucid_fn.distributed.agreement import resume, waiting
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.train import checkpoint as checkpoints, checks, distributed, progress
from lucid_fn.train.callbacks import Callback, Record, call_all
from lucid_fn.train.evaluation import READ_BEHIND, Means, number, pairs
from lucid_fn.train.history import History
from lucid_fn.train.interruption import deferred_signals
from lucid_fn.train.nonfinite import check_step
from lucid_fn.train.resuming import EpochProgress, Start, find_start, length
from lucid_fn.train.state import TrainState, step_of
from lucid_fn.train.step import EvalFn, StepFn, rows
from lucid_fn.types import Array


def fit(
    ts: TrainState,
    step: StepFn,
    batches: Callable[[int], Iterable[tuple[Any, ...]]],
    *,
    epochs: int,
    evaluate: EvalFn | None = None,
    test_batches: Iterable[tuple[Any, ...]] | None = None,
    on_step: Callback | Sequence[Callback] | None = None,
    on_epoch: Callback | Sequence[Callback] | None = None,
    start_epoch: int | None = None,
    max_steps: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    history_path: str | Path | None = None,
    config: dict[str, Any] | None = None,
    show: bool = True,
    debug: bool = False,
    group: Group | None = None,
) -> tuple[TrainState, History]:
    """Train for a number of epochs, with evaluation, a record and checkpoints.

    The metrics of an epoch are means weighted by batch size.

    Ctrl-C ends the run after the current step: `fit` saves the state to `checkpoint`
    and returns the state and the record so far, with `history.interrupted` set. With a
    `checkpoint`, SIGTERM, which schedulers send before they kill a process, does the
    same. A second signal ends `fit` at once, without saving. Handlers are installed in
    the main thread only, where the program has none of its own, and while `fit` runs.

    The run continues from `ts`. When `fit` is called in a loop, `for _ in range(10):
    ts, history = train.fit(ts, step, batches, epochs=1)`, each call trains for the next
    epoch, and a state from the middle of an epoch trains on the rest of its batches.
    The epoch is computed from `ts.step` and `len(batches(0))`.

    Args:
        ts: the state to start from, as returned by `train.init` or an earlier `fit`.
        step: as returned by `make_step`.
        batches: a function from the epoch, counted from 0, to its batches `(x,
            targets)`, so that each epoch has its own order: `lambda epoch:
            data.batches((x, y), 64, seed=(0, epoch))`.
        epochs: the number of epochs to train for, counted from `ts`, including those
            that a checkpoint has completed.
        evaluate: as returned by `make_eval_step`; called on `test_batches` after each
            epoch.
        test_batches: batches that can be iterated over repeatedly, such as
            `data.batches((x, y), 512)`.
        on_step: a function of `(ts, record)`, or a list of them, called after each
            step. The record holds `epoch` and `step`, both counted from 1, the
            metrics of the batch and the `learning_rate`. If one of them returns `True`,
            the run ends there, as with `max_steps`, also when it resumes from its
            checkpoint; without `on_step` it goes on. `fit` waits for each step, so
            small steps become slower.
        on_epoch: a function of `(ts, record)`, or a list of them, called after each
            epoch with its entry in `history.epochs`. The run ends if one of them
            returns `True`. See `early_stopping`, `keep_best`, `to_jsonl` and
            `to_tensorboard`. A run that resumes after an epoch calls them for that
            epoch once more, since it may have been killed before it could.
        start_epoch: the epoch, counted from 0, that starts at `ts`, if it cannot or
            should not be computed as above.
        max_steps: end the run after this many steps, counted from `ts`, even within an
            epoch, which is then evaluated and recorded as it is.
        checkpoint: a `.safetensors` file, written after each epoch and where the run
            ends. If it exists and is ahead of `ts`, the run resumes from it, with the
            same result as a run that was never interrupted; `ts` then only gives the
            structure. Numbers in the
            optimizer's state, such as a learning rate that is not a schedule, keep
            their values from the checkpoint; if the code has changed one, a warning
            says so. All other settings, such as a schedule, `b1` or a weight decay, are
            those of the code; if they are in `config`, `fit` prints what has changed.
        checkpoint_every: also write the checkpoint whenever `ts.step` is a multiple of
            this number of steps, after `on_step`. A run that resumes within an epoch
            skips the batches that were trained on, through `batches(epoch).skip(n)`
            where there is such a method.
        history_path: a `.json` file for the record, written after each epoch and where
            the run ends.
        config: settings to keep in the record.
        show: whether to print a line per epoch, and to show a progress bar in a
            terminal or a notebook if `tqdm` is installed.
        debug: whether to check after each step that the loss, the params and the state
            are finite, and otherwise raise a `NonFiniteError`, which names the layer
            and holds all that is needed to run the step again. `fit` then waits for
            each step.
        group: processes that train together, as returned by `distributed.init`; the
            steps must be made with the same group, and the batches with a `shard`. All
            ranks start from the state of rank 0, or from the checkpoint, which all must
            see. Only rank 0 calls callbacks, writes files and prints; if a callback
            ends the run, it ends on all ranks. With `optim.zero_redundancy`,
            checkpoints and `on_epoch` get the whole state, and `on_step` that of rank
            0. Metrics are means over the examples of all ranks. A signal on any rank
            ends the run on all ranks, after the same step, a few steps later. Before
            each epoch, the ranks compare their states and numbers of batches.

    Returns:
        The final state and the record. If the run was resumed, the record includes that
        of the checkpoint.

    Raises:
        TypeError: if an argument is of the wrong type, such as `batches` that are not a
            function, if the batches are not pairs, or if JSON cannot hold `config`.
        ValueError: if `epochs` or `max_steps` is below 1, one of `evaluate` and
            `test_batches` is missing, an epoch has no batches, or a metric is not a
            scalar; if the epoch of `ts` is not known; if the checkpoint is damaged,
            does not fit, is behind `ts`, or was written within an epoch of another
            number of batches; if there is `checkpoint_every` but no `checkpoint`; if
            the ranks of `group` differ, or the model is divided among processes and
            there is a `group`, or one `checkpoint` for two ranks.
        NonFiniteError: with `debug=True`, at the first step that is not finite.
        OSError: if `checkpoint` or `history_path` cannot be written; this is checked
            before the first step.

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
        ...     on_epoch=train.early_stopping("train_loss", patience=2),
        ...     show=False,
        ... )
        >>> len(history.batch_losses), len(history.epochs)
        (6, 3)
    """
    checks.check_run(ts, step, batches)
    check_bool("fit", show=show, debug=debug)
    epochs = check_count("fit", "epochs", epochs)
    if max_steps is not None:
        max_steps = check_count("fit", "max_steps", max_steps)
    if start_epoch is not None:
        start_epoch = check_count("fit", "start_epoch", start_epoch, at_least=0)
    checks.check_evaluation(evaluate, test_batches)
    if checkpoint_every is not None:
        checkpoint_every = check_count("fit", "checkpoint_every", checkpoint_every)
        if checkpoint is None:
            raise ValueError(
                "fit: checkpoint_every needs a file to write, got no checkpoint; give "
                "checkpoint='run.safetensors' too"
            )
    after_step = checks.to_callbacks("on_step", on_step)
    after_epoch = checks.to_callbacks("on_epoch", on_epoch)
    checks.check_config(config)
    check_group("fit", group)
    root = group is None or group.rank == 0
    show = show and root
    checkpoint = checks.to_checkpoint(checkpoint)
    history_path = checks.to_history_path(history_path)
    divided_among = checks.check_divided(step, group, checkpoint)
    together = divided_among if group is None else group

    start = find_start(
        ts,
        batches,
        epochs=epochs,
        start_epoch=start_epoch,
        max_steps=max_steps,
        checkpoint=checkpoint,
    )
    has_checkpoint = checkpoint is not None
    start = distributed.broadcast_start(
        start, group, divided_among, has_checkpoint=has_checkpoint
    )
    if checkpoint is not None and start.resumed and show:
        print(progress.resumed(checkpoint, start, config), flush=True)
    run = _Run(
        start, step, after_step, checkpoint, checkpoint_every, show, debug, group
    )
    run.history = run.history._replace(
        config=config or run.history.config, interrupted=False
    )

    def write_history() -> None:
        if history_path is not None and root:
            run.history.to_json(history_path)

    def stop_here() -> None:
        """End the run between two steps if a signal has come."""
        if asked():
            run.save_here()
            raise KeyboardInterrupt

    try:
        with (
            deferred_signals(together, sigterm=has_checkpoint) as asked,
            waiting(together, "fit"),
        ):
            ended = False
            if start.resumed:
                ended = _resume_callbacks(start, after_step, after_epoch, group)
                stop_here()
            for epoch in range(start.progress.epoch, start.end):
                begun = run.begin_epoch(epoch)
                if ended or (run.out_of_steps() and not begun):
                    break
                record: Record = {"epoch": epoch + 1}
                record |= run.train(batches, stop_here)
                if evaluate is not None and test_batches is not None:
                    record |= run.test(evaluate, test_batches, stop_here)
                record |= _learning_rate_of(run.ts)
                whole = run.ts
                if checkpoint is not None or after_epoch:
                    whole = optim.unshard_state(run.ts, group)
                distributed.wait_for_all(whole, group)
                run.save_epoch(whole, record)
                run.history.epochs.append(record)
                write_history()
                if show:  # last, since printing may fail
                    print(progress.epoch_line(record, start.end), flush=True)
                ended = call_all(after_epoch, whole, record, group)
                stop_here()
    except KeyboardInterrupt:
        resume(together)
        run.history = run.history._replace(interrupted=True)
        if show:
            print(progress.interrupted(checkpoint, run.saved_at), flush=True)
    write_history()
    return run.ts, run.history


def _resume_callbacks(
    start: Start,
    after_step: tuple[Callback, ...],
    after_epoch: tuple[Callback, ...],
    group: Group | None,
) -> bool:
    """Restore the callbacks' memories, and call `after_epoch` again after an epoch.

    Returns:
        Whether a callback ends the run.
    """
    epochs = start.history.epochs
    # A checkpoint within an epoch was written after the calls for the previous one.
    repeated = 0 if start.progress.batches else 1
    for callbacks, again in ((after_step, 0), (after_epoch, repeated)):
        for callback in callbacks:
            if hasattr(callback, "resume"):
                past = epochs[: len(epochs) - again]
                callback.resume(past, start.progress.epoch + 1 - again)
    if not repeated:
        return False
    whole = optim.unshard_state(start.ts, group) if after_epoch else start.ts
    return call_all(after_epoch, whole, epochs[-1], group)


@dataclass
class _Run:
    """A run in progress; `ts` and `history` are consistent between two steps."""

    start: Start
    step: StepFn
    on_step: tuple[Callback, ...]
    checkpoint: Path | None
    checkpoint_every: int | None
    show: bool
    debug: bool
    group: Group | None
    remaining: Iterator[Any] = field(default_factory=lambda: iter(()))  # of the epoch
    steps_made: int = 0  # since the start
    ended: bool = False  # by a callback after a step, maybe before a resume

    def __post_init__(self) -> None:
        self.ts, self.history = self.start.ts, self.start.history
        resumed = self.start.resumed
        self.saved_step = self.start.step if resumed else None
        self.saved_at = self.start.progress if resumed else None
        self.ended = self.start.progress.ended and bool(self.on_step)

    def out_of_steps(self) -> bool:
        return self._steps_left() == 0

    def _steps_left(self) -> int | None:
        if self.ended:
            return 0
        if self.start.last_step is None:
            return None
        return max(self.start.last_step - self.step_count(), 0)

    def step_count(self) -> int:
        return self.start.step + self.steps_made

    def begin_epoch(self, epoch: int) -> bool:
        """Reset the sums of metrics; return whether the epoch was partly trained."""
        first = self.start.progress
        at = first if epoch == first.epoch else EpochProgress(epoch)
        size, sums = at.size, at.sums
        if self.group is not None and self.group.rank > 0:  # rank 0 has all sums
            size, sums = 0, dict.fromkeys(sums or (), 0.0)
        self.progress = at
        self.means = Means("fit", size, sums, self.history.batch_losses)
        return at.size > 0

    def save_here(self) -> None:
        """Write the checkpoint within an epoch, unless this state is saved already."""
        if self.checkpoint is None or self.saved_step == self.step_count():
            return
        self.means.read()
        size, sums = self.means.totals(self.group)
        at = self.progress._replace(size=size, sums=sums, ended=self.ended)
        whole = optim.unshard_state(self.ts, self.group)
        distributed.wait_for_all(whole, self.group)
        self._save(whole, self.history, at)

    def save_epoch(self, whole: TrainState, record: Record) -> None:
        """Write the checkpoint after an epoch, with its record."""
        if self.checkpoint is None:
            return
        if self.out_of_steps() and next(self.remaining, None) is not None:
            self.save_here()  # without the record, since the epoch may be continued
        else:
            history = self.history._replace(epochs=[*self.history.epochs, record])
            at = EpochProgress(self.progress.epoch + 1, ended=self.ended)
            self._save(whole, history, at)

    def _save(self, whole: TrainState, history: History, at: EpochProgress) -> None:
        metadata = {
            **self.start.metadata,
            "history": history.dumps(indent=None),  # in C, which is much faster
            "progress": json.dumps(at._asdict()),
        }
        if self.checkpoint is not None and (self.group is None or self.group.rank == 0):
            checkpoints.save(self.checkpoint, whole, metadata=metadata)
        self.saved_step, self.saved_at = self.step_count(), at

    def train(
        self,
        batches: Callable[[int], Iterable[tuple[Any, ...]]],
        stop_here: Callable[[], None],
    ) -> Record:
        """Train for the rest of the epoch, or of the steps; return the metrics."""
        at, means = self.progress, self.means
        started = time.perf_counter() - at.seconds
        given = batches(at.epoch)
        distributed.check_in_sync(self.ts, given, self.group)
        total = length(given)
        if at.length and total is not None and total != at.length:
            raise ValueError(
                f"fit: batches must be as many in epoch {at.epoch + 1} as when the "
                f"checkpoint {self.checkpoint} was written within it, {at.length}, got "
                f"{total}; give the same data and batch size, or another path"
            )
        self.progress = at._replace(length=total)
        self.remaining = pairs("fit", "batches", given, skip=at.batches)
        left = self._steps_left()
        if total is not None:
            total -= at.batches
            total = total if left is None else min(total, left)
        label = f"epoch {at.epoch + 1}/{self.start.end}"
        bar = progress.bar(total, label) if self.show else progress.silent()
        values = _shown_values(self, means)
        behind = 0 if self.on_step else READ_BEHIND
        every = self.checkpoint_every
        try:
            for x, targets in itertools.islice(self.remaining, left):
                ts, metrics = _unpack(self.step(self.ts, x, targets))
                if self.debug:
                    where = f"epoch {at.epoch + 1}"
                    check_step(self.step, self.ts, ts, metrics, (x, targets), where)
                means.add(rows(x, targets), metrics, behind=behind)
                self.ts = ts
                self.steps_made += 1
                self.progress = self.progress._replace(
                    batches=self.progress.batches + 1,
                    seconds=time.perf_counter() - started,
                )
                if self.checkpoint is not None and self.steps_made == 1:
                    _check_counted(ts, self.start.step)
                if self.on_step:
                    self.ended = self._call_on_step(means.latest)
                if every is not None and self.step_count() % every == 0:
                    self.save_here()
                bar.advance(values)
                stop_here()
                if self.ended:
                    break
        finally:
            bar.close()
            means.read()
        if not (means.size or at.size):
            raise ValueError(
                "fit: batches must yield at least one batch per epoch, got none in "
                f"epoch {at.epoch + 1}; return new batches in each call, since a "
                "generator can be used only once"
            )
        return means.record("train", started, self.group)

    def _call_on_step(self, metrics: Record) -> bool:
        """Call the callbacks after a step; return whether one of them ends the run."""
        epoch = self.progress.epoch + 1
        record = {"epoch": epoch, "step": self.step_count(), **metrics}
        record |= _learning_rate_of(self.ts)
        return call_all(self.on_step, self.ts, record, self.group)

    def test(
        self,
        evaluate: EvalFn,
        batches: Iterable[tuple[Any, ...]],
        stop_here: Callable[[], None],
    ) -> Record:
        """Evaluate on all test batches; return the metrics."""
        start, means = time.perf_counter(), Means("fit")
        for x, targets in pairs("fit", "test_batches", batches):
            means.add(rows(x, targets), evaluate(self.ts, x, targets))
            stop_here()
        means.read()
        if not means.size:
            raise ValueError(
                "fit: test_batches must yield at least one batch, got none"
            )
        return means.record("test", start, self.group)


def _shown_values(run: _Run, means: Means) -> Callable[[], dict[str, float]]:
    """The values in the progress bar: the means and the learning rate.

    The learning rate is that at the previous call, because reading that of the latest
    step would wait for it.
    """
    rate: Array | None = None

    def values() -> dict[str, float]:
        nonlocal rate
        shown = means.means() | ({} if rate is None else {"lr": number(rate)})
        rate = _learning_rate(run.ts)
        return shown

    return values


def _unpack(returned: Any) -> tuple[TrainState, Any]:
    """Check that a step returned a state and metrics with the loss."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            "fit: step must return the pair (ts, metrics), got "
            f"{type(returned).__name__}"
        )
    ts, metrics = returned
    if isinstance(metrics, dict) and "loss" not in metrics:
        raise ValueError(
            f"fit: step must return metrics with 'loss', got {', '.join(metrics)}"
        )
    return ts, metrics


def _check_counted(ts: TrainState, before: int) -> None:
    if step_of(ts) != before + 1:
        raise ValueError(
            "fit: step must return ts.step + 1, by which a checkpoint knows its place, "
            f"got {step_of(ts)} after step {before}; write "
            "ts._replace(..., step=ts.step + 1)"
        )


def _learning_rate(ts: TrainState) -> Array | None:
    """The learning rate, if the optimizer has a single one."""
    try:
        return optim.learning_rate(ts.opt_state)
    except ValueError:
        return None


def _learning_rate_of(ts: TrainState) -> Record:
    """The learning rate as an entry of the record, if there is a single one."""
    rate = _learning_rate(ts)
    if rate is None:
        return {}
    # The shortest digits of a float32: 0.01, not 0.009999999776.
    return {"learning_rate": float(str(np.float32(number(rate))))}
