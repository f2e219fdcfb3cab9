"""`make_epoch_step`: a whole epoch in one call, over data in memory."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn import nn, optim, random, transforms, tree
from lucid_fn.call_errors import explains_calls
from lucid_fn.checks import check_bool, check_count, check_parameters
from lucid_fn.tracing import as_outside_loops
from lucid_fn.train.state import TrainState, check_state
from lucid_fn.train.step import LossFn, Metrics, StepFn, uncompiled_step
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
    """A function `(ts, x, targets) -> (ts, metrics)` that trains for a whole epoch.

    The steps run in a `lucid_fn.scan`, compiled once, and give the same bits as the
    steps of `make_step` on the same batches. The compiled step gathers its batch in the
    order `random.permutation(key, n)`, where `key` is `ts.key` folded with `"shuffle"`
    and the epoch, `ts.step // steps_per_epoch`. So a run that is continued after any
    epoch equals one that was never interrupted.

    Args:
        model: a layer.
        optimizer: a transformation, such as `optim.sgd(0.1)`.
        loss_fn: `loss_fn(predictions, targets)`, one value per example or their mean.
        batch_size: the number of examples in a step.
        shuffle: whether to shuffle the examples anew in each epoch; otherwise they are
            taken in the order of `x`.
        augment: `augment(key, x)` is applied to each batch, with the key `ts.key`
            folded with `"augment"` and the step. Convert uint8 images here.
        drop_last: whether to leave out a last, smaller batch.
        metrics: as in `make_step`.

    Returns:
        The function. `x` and `targets` are trees of MLX or NumPy arrays with the
        examples along axis 0. Its metrics are those of `make_step`, each of shape
        `(steps,)`. Call it in a Python loop over epochs rather than through `fit`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `batch_size` is not positive, or a metric is called `"loss"`;
            when called, if the numbers of examples differ, or are too few for a batch.

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
    step = uncompiled_step(caller, model, optimizer, loss_fn, metrics)
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

        def body(ts: TrainState, indices: Array) -> tuple[TrainState, Metrics]:
            batch, labels = tree.map(lambda array: array[indices], (x, targets))
            with as_outside_loops():
                if augment is not None:
                    key = random.fold_in(random.fold_in(ts.key, "augment"), ts.step)
                    batch = augment(key, batch)
                return step(ts, batch, labels)

        parts: list[Metrics] = []
        for indices in _batch_indices(order, batch_size, full, rest):
            ts, values = transforms.scan(body, ts, indices)
            parts.append(values)
        joined: Metrics = tree.map(lambda *leaves: mx.concatenate(list(leaves)), *parts)
        return ts, joined

    return epoch


def _from_numpy(leaf: Any) -> Any:
    return as_array(leaf) if isinstance(leaf, np.ndarray) else leaf


def _batch_indices(order: Array, size: int, full: int, rest: int) -> list[Array]:
    """Indices of the full batches, `(full, size)`, and of the last one, `(1, rest)`."""
    indices = [order[: full * size].reshape(full, size)] if full else []
    return indices + ([order[None, full * size :]] if rest else [])


def _examples(x: Any, targets: Any) -> int:
    """The number of examples, which must be the same in all arrays."""
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
            "epoch: x and targets must have the same number of examples, got "
            f"{listed or 'none'}"
        )
    return next(iter(sizes.values()))
