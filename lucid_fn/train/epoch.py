"""Whole epochs in one call, over data that is in memory."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn import nn, optim, random, transforms, tree
from lucid_fn.call_errors import explains_calls
from lucid_fn.checks import check_bool, check_count, check_parameters
from lucid_fn.tracing import as_outside_loops
from lucid_fn.train.state import TrainState, check_state
from lucid_fn.train.step import LossFn, Metrics, StepFn, update
from lucid_fn.transforms.arguments import as_array
from lucid_fn.types import Array, Key

Augment: TypeAlias = Callable[[Key, Any], Any]
"""`augment(key, x)`: the batch that a step sees."""


def make_epoch_step(
    model: nn.Layer,
    optimizer: optim.GradientTransformation,
    loss_fn: LossFn,
    *,
    batch_size: int,
    shuffle: bool = True,
    augment: Augment | None = None,
    drop_last: bool = False,
    metrics: Mapping[str, Callable[[Any, Any], Array]] | None = None,
) -> StepFn:
    """An epoch of training steps `(ts, x, targets) -> (ts, metrics)`, in one call.

    The steps are a `lucid_fn.scan`: compiled once, and bit for bit those that
    `make_step` makes of the same batches. Batches are gathered in the compiled step,
    from the order `random.permutation(key, n)`, where `key` is `ts.key` folded with
    `"shuffle"` and the number of the epoch, `ts.step` by the steps of an epoch. So a
    run that goes on after any epoch is that which was never interrupted.

    Args:
        model: a layer.
        optimizer: a transformation, such as `optim.sgd(0.1)`.
        loss_fn: `loss_fn(predictions, targets)`, one value per example or their mean.
        batch_size: examples of a step.
        shuffle: whether each epoch has an order of its own; else it is that of `x`.
        augment: `augment(key, x)` changes the batch that a step gathered, with `ts.key`
            folded with `"augment"` and the step. Conversions of uint8 images go here.
        drop_last: whether the examples that fill no batch are left out of an epoch.
        metrics: as in `make_step`.

    Returns:
        The epoch. `x` and `targets` are trees of arrays, of MLX or NumPy, that have the
        examples as axis 0. Its metrics are those of `make_step`, each of shape
        `(steps,)`. It is called by itself, not by `fit`: a run is a Python loop over
        epochs, which keeps the means of the metrics and saves `ts` where it likes.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `batch_size` is not positive, or a metric is called `"loss"`;
            when called, if the numbers of examples differ, or fill no batch.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses, nn, optim, random, train
        >>> model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
        >>> ts = train.init(model, optimizer, random.key(0))
        >>> epoch = train.make_epoch_step(
        ...     model, optimizer, losses.softmax_cross_entropy, batch_size=4
        ... )
        >>> ts, metrics = epoch(ts, mx.ones((10, 3)), mx.zeros(10, mx.int32))
        >>> ts.step.item(), metrics["loss"].shape
        (3, (3,))
    """
    caller = "train.make_epoch_step"
    step = update(caller, model, optimizer, loss_fn, metrics)
    batch_size = check_count(caller, "batch_size", batch_size)
    check_bool(caller, shuffle=shuffle, drop_last=drop_last)
    if augment is not None:
        check_parameters(caller, "augment", augment, ("key", "x"))

    @explains_calls
    def epoch(ts: TrainState, x: Any, targets: Any) -> tuple[TrainState, Metrics]:
        check_state("epoch", ts)
        x, targets = tree.map(_from_numpy, (x, targets))
        n = _examples(x, targets)
        full, rest = divmod(n, batch_size)
        rest = 0 if drop_last else rest
        if full + (rest > 0) == 0:
            raise ValueError(
                f"epoch: x must have at least one batch of {batch_size} examples where "
                f"the last one is dropped, got {n}"
            )
        order = mx.arange(n)
        if shuffle:
            number = ts.step // (full + (rest > 0))
            key = random.fold_in(random.fold_in(ts.key, "shuffle"), number)
            order = random.permutation(key, n)

        def turn(ts: TrainState, places: Array) -> tuple[TrainState, Metrics]:
            batch, labels = tree.map(lambda array: array[places], (x, targets))
            with as_outside_loops():
                if augment is not None:
                    key = random.fold_in(random.fold_in(ts.key, "augment"), ts.step)
                    batch = augment(key, batch)
                return step(ts, batch, labels)

        found: list[Metrics] = []
        for places in _batches(order, batch_size, full, rest):
            ts, values = transforms.scan(turn, ts, places)
            found.append(values)
        joined: Metrics = tree.map(lambda *parts: mx.concatenate(list(parts)), *found)
        return ts, joined

    return epoch


def _from_numpy(leaf: Any) -> Any:
    return as_array(leaf) if isinstance(leaf, np.ndarray) else leaf


def _batches(order: Array, size: int, full: int, rest: int) -> list[Array]:
    """The examples of full batches, `(full, size)`, and of the last, `(1, rest)`."""
    found = [order[: full * size].reshape(full, size)] if full else []
    return found + ([order[None, full * size :]] if rest else [])


def _examples(x: Any, targets: Any) -> int:
    """The number of examples, which all arrays have."""
    sizes: dict[str, int] = {}
    for path, leaf in tree.named_leaves({"x": x, "targets": targets}).items():
        if not isinstance(leaf, mx.array) or leaf.ndim == 0:
            raise TypeError(
                f"epoch: {path} must be an array with the examples as axis 0, got "
                f"{type(leaf).__name__}"
            )
        sizes[path] = len(leaf)
    if len(set(sizes.values())) != 1:
        listed = ", ".join(f"{size} in {path}" for path, size in sizes.items())
        raise ValueError(
            f"epoch: x and targets must have as many examples, got {listed or 'none'}"
        )
    return next(iter(sizes.values()))
