"""Checks of the arguments of `fit`, before the first step."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_fn import io
from lucid_fn.checks import check_function, signature_of
from lucid_fn.distributed.agreement import exchange, is_distributed
from lucid_fn.distributed.group import Group
from lucid_fn.train import checkpoint as checkpoints
from lucid_fn.train.callbacks import Callback


def check_run(ts: Any, step: Any, batches: Any) -> None:
    fields = ("params", "opt_state", "step")
    if not all(hasattr(ts, name) for name in fields):
        raise TypeError(
            "fit: ts must be a TrainState, as train.init returns it, got "
            f"{type(ts).__name__}; call fit(ts, step, batches, epochs=...)"
        )
    is_array = isinstance(ts.step, mx.array)
    if not ((is_array and ts.step.ndim == 0) or isinstance(ts.step, int)):
        got = f"shape {ts.step.shape}" if is_array else type(ts.step).__name__
        raise TypeError(
            "fit: ts.step must be an integer array of shape (), the number of steps "
            f"so far, got {got}"
        )
    kinds = (
        "a function (ts, x, targets) -> (ts, metrics), as train.make_step returns it"
    )
    check_function("fit", "step", step, kinds=kinds)
    if not callable(batches):
        fix = (  # a `Loader` has a method for this
            "give its method, as in fit(ts, step, loader.epoch, epochs=...)"
            if hasattr(batches, "epoch")
            else "write lambda epoch: data.batches((x, y), 64, seed=(0, epoch))"
        )
        raise TypeError(
            "fit: batches must be a function of the epoch, so that each has its own "
            f"order, got {type(batches).__name__}; {fix}"
        )
    if not _takes(batches, 1):
        raise TypeError(
            "fit: batches must take one argument, the epoch, so that each has its own "
            "order; write lambda epoch: data.batches((x, y), 64, seed=(0, epoch))"
        )


def _takes(fn: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with `count` arguments."""
    signature = signature_of(fn)
    if signature is None:
        return True
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def check_divided(
    step: Any, group: Group | None, checkpoint: Path | None
) -> Group | None:
    """The processes among which the step's model is divided, or `None`.

    Raises:
        ValueError: if the ranks would share a state or a checkpoint, though each has
            its own slices.
    """
    among: Group | None = getattr(step, "divided_among", None)
    if among is None:
        return None
    if is_distributed(group):
        raise ValueError(
            "fit: group must be None for a model that is divided among processes, "
            "since all ranks would continue with the slices of rank 0, got a group of "
            f"{among.size}; leave it out, and call fit on every rank"
        )
    path = None if checkpoint is None else str(checkpoint.absolute())
    paths = exchange(among, "fit (checkpoint)", path)
    if any(paths) and len(set(paths) - {None}) < len(paths):
        raise ValueError(
            "fit: checkpoint must be a different path on each rank for a model that is "
            f"divided among processes, got {paths}; put the rank in its name, or leave "
            "it out and save what nn.unshard_params returns"
        )
    return among


def check_evaluation(evaluate: Any, test_batches: Any) -> None:
    if (evaluate is None) != (test_batches is None):
        missing = "evaluate" if evaluate is None else "test_batches"
        raise ValueError(
            f"fit: evaluate and test_batches go together, got no {missing}"
        )
    if evaluate is not None and not callable(evaluate):
        raise TypeError(
            "fit: evaluate must be a function (ts, x, targets) -> metrics, as "
            f"train.make_eval_step returns it, got {type(evaluate).__name__}"
        )
    if isinstance(test_batches, Iterator):
        raise TypeError(
            "fit: test_batches must allow another pass after each epoch, got "
            f"{type(test_batches).__name__}; give data.batches(...) or a list"
        )
    if test_batches is not None and not isinstance(test_batches, Iterable):
        raise TypeError(
            "fit: test_batches must be an iterable of batches, not a function, got "
            f"{type(test_batches).__name__}; give data.batches(...) or a list"
        )


def to_callbacks(name: str, given: Any) -> tuple[Callback, ...]:
    """Convert `None`, a function or a list of functions to a tuple."""
    callbacks = given if isinstance(given, list | tuple) else (given,)
    callbacks = () if given is None else tuple(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(
                f"fit: {name} must be a function of (ts, record), or a list of such, "
                f"got {type(callback).__name__}"
            )
        if not _takes(callback, 2):
            called = getattr(callback, "__name__", type(callback).__name__)
            raise TypeError(
                f"fit: {name} must be a function of (ts, record), or a list of such, "
                f"got {called}{signature_of(callback)}"
            )
    return callbacks


def to_checkpoint(path: Any) -> Path | None:
    """The path of the checkpoint; raise if it could not be written."""
    if path is None:
        return None
    return _writable("checkpoint", checkpoints.check_path("fit", "checkpoint", path))


def to_history_path(path: Any) -> Path | None:
    """The path of the record; raise if it could not be written."""
    if path is None:
        return None
    return _writable("history_path", io.check_path("fit", "history_path", path))


def _writable(name: str, path: Path) -> Path:
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"fit: {name} must be in a folder that exists, got {path}"
        )
    if path.is_dir():
        raise IsADirectoryError(f"fit: {name} must be a file, got the folder {path}")
    io.check_writable(path, caller="fit")
    return path


def check_config(config: Any) -> None:
    try:
        json.dumps(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            "fit: config must hold strings, numbers, lists and dicts, as JSON does: "
            f"{error}"
        ) from error
    if config is not None and not isinstance(config, dict):
        raise TypeError(f"fit: config must be a dict, got {type(config).__name__}")
