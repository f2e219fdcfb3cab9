"""How `fit` keeps the processes of a group alike: what they compare and wait for."""

import zlib
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import safetensors, tree
from lucid_fn.distributed import Group, broadcast
from lucid_fn.distributed.agreement import agree, exchange, several
from lucid_fn.optim.zero_redundancy import absent_paths
from lucid_fn.train.resuming import Beginning, length
from lucid_fn.train.state import TrainState


def begin_alike(
    start: Beginning, group: Group | None, divided_among: Group | None
) -> Beginning:
    """The beginning of the run, with the state of rank 0 on every rank of `group`.

    Ranks that have slices of one model, `divided_among`, keep their own states.

    Raises:
        ValueError: if the ranks are in different places of the run, as where not all of
            them see the checkpoint, or if their states have different structures; if
            they divide the optimizer's state and do not begin with the same params.
    """
    place = {
        "the step": start.step,
        "the epoch": start.progress.epoch,
        "batches to skip": start.progress.batches,
        "the last epoch": start.end,
        "whether the run is resumed": start.resumed,
    }
    lines = [f"{name} {value}" for name, value in place.items()]
    agree(divided_among, "fit (the checkpoints of the ranks)", lines)
    if not several(group):
        return start
    agree(group, "fit (the checkpoint must be seen by all ranks)", lines)
    common = _common(start.ts, group)
    if len(common) < len(tree.leaves(start.ts)):  # parts cannot come from rank 0
        params = {path: x for path, x in common.items() if path.startswith("params.")}
        what = "fit (the params; give train.init the same key on all ranks)"
        agree(group, what, _checksums(params))
    sent = broadcast(common, group)
    ts = tree.map_with_path(lambda path, x: sent.get(path, x), start.ts)
    return start._replace(ts=ts)


def compare(ts: TrainState, batches: Any, group: Group | None) -> None:
    """Raises `ValueError` unless all ranks have equal states and as many batches."""
    if not several(group):
        return
    agree(group, "fit (the length of batches)", [str(length(batches))])
    agree(group, "fit (the states of the ranks)", _checksums(_common(ts, group)))


def finish(ts: TrainState, group: Group | None) -> None:
    """Waits until every rank has computed its state.

    The last step of `zero_redundancy` sends its updates after the loss is known. A rank
    that ended before would leave the others without them.
    """
    if several(group):
        mx.eval(tree.leaves(ts))
        exchange(group, "fit (the end of the epoch)", None)


def _common(ts: TrainState, group: Group) -> dict[str, mx.array]:
    """The arrays that every rank has, by path: all that `zero_redundancy` leaves."""
    divided = set().union(*exchange(group, "fit (divided states)", absent_paths(ts)))
    leaves = tree.named_leaves(ts)
    return {path: x for path, x in leaves.items() if path not in divided}


def _checksums(leaves: dict[str, mx.array]) -> list[str]:
    return [f"{path} with checksum {_checksum(x)}" for path, x in leaves.items()]


def _checksum(x: mx.array) -> str:
    stored = safetensors.stored({"x": x}, caller="fit")["x"][1]
    return f"{zlib.crc32(np.ascontiguousarray(stored).data):08x}"
