"""What tests assert of trees of arrays."""

from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree


def assert_close(
    ours: Any,
    theirs: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    of_largest: float = 0.0,
) -> None:
    """Two trees with the same names, whose numbers differ by rounding.

    Args:
        ours: a tree of arrays.
        theirs: the tree that it should be.
        rtol: allowed difference, relative to each number.
        atol: allowed difference besides.
        of_largest: allowed difference besides, relative to the largest number of the
            array, or to 1 if that is more: for sums in another order.
    """
    ours, theirs = tree.named_leaves({"": ours}), tree.named_leaves({"": theirs})
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        a, b = _numpy(leaf), _numpy(theirs[path])
        bound = atol + of_largest * max(1.0, np.abs(b).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=bound, err_msg=path)


def _numpy(leaf: Any) -> np.ndarray:
    """NumPy has no bfloat16."""
    if isinstance(leaf, mx.array) and leaf.dtype == mx.bfloat16:
        leaf = leaf.astype(mx.float32)
    return np.array(leaf)
