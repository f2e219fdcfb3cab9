"""How `fit` keeps the processes of a group in step."""

import zlib
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import safetensors, tree
from lucid_fn.distributed import Group, broadcast
from lucid_fn.distributed.agreement import agree, exchange, is_distributed
from lucid_fn.optim.zero_redundancy import absent_paths
from lucid_fn.train.resuming import Start, length
from lucid_fn.train.state import TrainState


def broadcast_start(
    start: Start,
    group: Group | None,
    divided_among: Group | None,
    *,
    has_checkpoint: bool,
) -> Start:
    """Replace the state of every rank in `group` by that of rank 0.

    Ranks that hold slices of one model, `divided_among`, keep their own states.

    Raises:
        ValueError: if the ranks start at different steps, for example because not all
            of them are given or see the checkpoint, or if their states have different
            structures; if the optimizer's state is divided and the ranks start with
            different params.
    """
    position = {
        "the step": start.step,
        "the epoch": start.progress.epoch,
        "batches to skip": start.progress.batches,
        "the last epoch": start.end,
        "whether the run is resumed": start.resumed,
        "whether there is a checkpoint": has_checkpoint,
    }
    lines = [f"{name} {value}" for name, value in position.items()]
    agree(divided_among, "fit (the checkpoints of the ranks)", lines)
    if not is_distributed(group):
        return start
    agree(group, "fit (the checkpoint must be seen by all ranks)", lines)
    common = _replicated(start.ts, group)
    if len(common) < len(tree.leaves(start.ts)):  # rank 0 lacks the parts of others
        params = {path: x for path, x in common.items() if path.startswith("params.")}
        what = "fit (the params; give train.init the same key on all ranks)"
        agree(group, what, _checksums(params))
    sent = broadcast(common, group)
    ts = tree.map_with_path(lambda path, x: sent.get(path, x), start.ts)
    return start._replace(ts=ts)


def check_in_sync(ts: TrainState, batches: Any, group: Group | None) -> None:
    """Raise `ValueError` unless all ranks have equal states and numbers of batches."""
    if not is_distributed(group):
        return
    agree(group, "fit (the length of batches)", [str(length(batches))])
    agree(group, "fit (the states of the ranks)", _checksums(_replicated(ts, group)))


def wait_for_all(ts: TrainState, group: Group | None) -> None:
    """Wait until every rank has computed its state.

    The last step of `zero_redundancy` sends its updates after the loss is known. If a
    rank exited before that, the others would not receive them.
    """
    if is_distributed(group):
        mx.eval(tree.leaves(ts))
        exchange(group, "fit (the end of the epoch)", None)


def _replicated(ts: TrainState, group: Group) -> dict[str, mx.array]:
    """The arrays that `zero_redundancy` does not divide among the ranks, by path."""
    divided = set().union(*exchange(group, "fit (divided states)", absent_paths(ts)))
    leaves = tree.named_leaves(ts)
    return {path: x for path, x in leaves.items() if path not in divided}


def _checksums(leaves: dict[str, mx.array]) -> list[str]:
    return [f"{path} with checksum {_checksum(x)}" for path, x in leaves.items()]


def _checksum(x: mx.array) -> str:
    stored = safetensors.stored({"x": x}, caller="fit")["x"][1]
    return f"{zlib.crc32(np.ascontiguousarray(stored).data):08x}"
