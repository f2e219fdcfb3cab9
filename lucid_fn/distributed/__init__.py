"""Several processes that train together: collectives over trees, and their launcher."""

from lucid_fn.distributed.collectives import (
    all_gather,
    all_mean,
    all_sum,
    barrier,
    broadcast,
)
from lucid_fn.distributed.group import Group, init
from lucid_fn.elsewhere import guide

__all__ = [
    "Group",
    "all_gather",
    "all_mean",
    "all_sum",
    "barrier",
    "broadcast",
    "init",
]

guide(globals(), "distributed")
