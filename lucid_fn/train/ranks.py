"""What the ranks of a group agree on while `fit` runs."""

import zlib
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import safetensors, tree
from lucid_fn.distributed import Group, broadcast
from lucid_fn.distributed.agreement import agree, exchange, several
from lucid_fn.train.resuming import Beginning, length
from lucid_fn.train.state import TrainState


def begin_alike(start: Beginning, group: Group | None) -> Beginning:
    """The beginning of the run, with the state of rank 0 on every rank.

    Raises:
        ValueError: if the ranks are in different places of the run, as where not all of
            them see the checkpoint, or if their states have different structures.
    """
    if not several(group):
        return start
    place = {
        "the step": start.step,
        "the epoch": start.epoch,
        "batches to skip": start.skip,
        "the last epoch": start.end,
        "whether the run is resumed": start.resumed,
    }
    agree(
        group,
        "fit (the checkpoint must be seen by all ranks)",
        [f"{name} {value}" for name, value in place.items()],
    )
    return start._replace(ts=broadcast(start.ts, group))


def compare(ts: TrainState, batches: Any, group: Group | None) -> None:
    """Raises `ValueError` unless all ranks have equal states and as many batches."""
    if not several(group):
        return
    agree(group, "fit (the length of batches)", [str(length(batches))])
    leaves = tree.named_leaves(ts)
    sums = [f"{path} with checksum {_checksum(x)}" for path, x in leaves.items()]
    agree(group, "fit (the states of the ranks)", sums)


def _checksum(x: mx.array) -> str:
    stored = safetensors.stored({"x": x}, caller="fit")["x"][1]
    return f"{zlib.crc32(np.ascontiguousarray(stored).data):08x}"


def from_root(what: str, value: Any, group: Group | None) -> Any:
    """The JSON value of rank 0."""
    return exchange(group, what, value)[0]
