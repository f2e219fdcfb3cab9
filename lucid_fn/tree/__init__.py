"""Trees: arrays in nested dicts, lists, tuples and named tuples.

Dataclasses of `chex` and those marked by `register_node` are nodes as well. Everything
else is a leaf, except `None`, which is a tree without leaves. Leaves are visited in the
order of the sorted keys, so two dicts that differ only in the order of insertion are
the same tree; an `OrderedDict` keeps its own order. Other subclasses of dict are
refused, since their class would be lost. A leaf's path is its keys, indices and field
names joined by dots: `"layer1.0.conv1.weight"`.
"""

from lucid_fn.call_errors import guide
from lucid_fn.tree.arrays import (
    all_finite,
    cast,
    global_norm,
    nbytes,
    ones_like,
    size,
    zeros_like,
)
from lucid_fn.tree.dotted_paths import (
    Place,
    at,
    merge,
    named_leaves,
    partition,
    restore,
)
from lucid_fn.tree.mapping import map, map_with_path
from lucid_fn.tree.nodes import register_node
from lucid_fn.tree.reports import TreeSummary, TreeSummaryRow, diff, summary
from lucid_fn.tree.structure import Structure, flatten, leaves, paths, unflatten
from lucid_fn.tree.vectors import equal, ravel

__all__ = [
    "Place",
    "Structure",
    "TreeSummary",
    "TreeSummaryRow",
    "all_finite",
    "at",
    "cast",
    "diff",
    "equal",
    "flatten",
    "global_norm",
    "leaves",
    "map",
    "map_with_path",
    "merge",
    "named_leaves",
    "nbytes",
    "ones_like",
    "partition",
    "paths",
    "ravel",
    "register_node",
    "restore",
    "size",
    "summary",
    "unflatten",
    "zeros_like",
]

guide(globals(), "tree")
