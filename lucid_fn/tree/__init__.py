"""Trees: arrays in nested dicts, lists, tuples and named tuples.

Everything else is a leaf, but `None`, which is a tree without leaves. Leaves are
visited in the order of the sorted keys, so two dicts that differ in the order of
insertion only are the same tree. A leaf's path is its keys, indices and field names
joined by dots: `"layer1.0.conv1.weight"`.
"""

from lucid_fn.tree.arrays import (
    all_finite as all_finite,
    cast as cast,
    global_norm as global_norm,
    nbytes as nbytes,
    ones_like as ones_like,
    size as size,
    zeros_like as zeros_like,
)
from lucid_fn.tree.naming import (
    at as at,
    merge as merge,
    named_leaves as named_leaves,
    partition as partition,
    replace_at as replace_at,
    restore as restore,
)
from lucid_fn.tree.structure import (
    Structure as Structure,
    flatten as flatten,
    leaves as leaves,
    map as map,
    map_with_path as map_with_path,
    paths as paths,
    unflatten as unflatten,
)
