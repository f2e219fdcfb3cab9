"""Training in several processes: groups, collectives over trees, and a launcher."""

from lucid_fn.call_errors import guide
from lucid_fn.distributed.collectives import (
    all_gather,
    all_mean,
    all_sum,
    barrier,
    broadcast,
    sum_gradients,
    sum_parts,
)
from lucid_fn.distributed.group import Group, init

__all__ = [
    "Group",
    "all_gather",
    "all_mean",
    "all_sum",
    "barrier",
    "broadcast",
    "init",
    "sum_gradients",
    "sum_parts",
]

guide(globals(), "distributed")
