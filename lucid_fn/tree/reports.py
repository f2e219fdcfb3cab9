"""`summary` and `diff`: the contents of a tree, and differences of two, as text."""

from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.tree.dotted_paths import named_leaves
from lucid_fn.tree.mapping import describe, difference
from lucid_fn.tree.structure import join
from lucid_fn.types import Array, Tree


class TreeSummaryRow(NamedTuple):
    """A row of `TreeSummary`: one leaf."""

    path: str
    shape: str
    dtype: str  # of an array; else the type
    size: int
    nbytes: int


class TreeSummary(NamedTuple):
    """The leaves of a tree; as text, a table."""

    rows: tuple[TreeSummaryRow, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(row.nbytes for row in self.rows)

    def __str__(self) -> str:
        size = sum(row.size for row in self.rows)
        rows = [*self.rows, TreeSummaryRow("total", "", "", size, self.nbytes)]
        cells = [("path", "shape", "dtype", "numbers", "bytes")]
        cells += [(*row[:3], f"{row.size:,}", f"{row.nbytes:,}") for row in rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        )


def summary(tree: Tree, /) -> TreeSummary:
    """The paths, shapes, dtypes and bytes of the leaves of a tree.

    Args:
        tree: any tree.

    Returns:
        A `TreeSummary`; `print` shows it as a table.

    Example:
        >>> from lucid_fn import nn, random, tree
        >>> params, _ = nn.serial(fc=nn.linear(3, 2)).init(random.key(0))
        >>> print(tree.summary(params))
        path       shape   dtype    numbers  bytes
        fc.bias    (2,)    float32        2      8
        fc.weight  (2, 3)  float32        6     24
        total                             8     32
    """
    return TreeSummary(
        tuple(_row(path, leaf) for path, leaf in named_leaves(tree).items())
    )


def _row(path: str, leaf: Any) -> TreeSummaryRow:
    if isinstance(leaf, mx.array):
        dtype = _name(leaf.dtype)
        return TreeSummaryRow(path, str(leaf.shape), dtype, leaf.size, leaf.nbytes)
    return TreeSummaryRow(path, "", type(leaf).__name__, 0, 0)


def _name(dtype: mx.Dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


def diff(
    a: Tree, b: Tree, /, *, rtol: float = 0.0, atol: float = 0.0
) -> dict[str, str]:
    """The differences of two trees, by path: an empty dict if they are equal.

    Args:
        a: any tree.
        b: any tree.
        rtol: relative tolerance, as in `numpy.isclose`.
        atol: absolute tolerance.

    Returns:
        A sentence for each path that is in only one tree, or where shapes, dtypes or
        values differ; NaN equals NaN. If all leaves are equal but a node has another
        type, one for the node, whose path is empty if it is the root.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.diff({"w": mx.array([1.0, 2.0]), "b": 1}, {"w": mx.array([1.0, 2.5])})
        {'b': 'only in the first', 'w': '1 of 2 numbers differ, by up to 0.5'}
    """
    ours, theirs = named_leaves(a), named_leaves(b)
    found = {}
    for path in sorted({*ours, *theirs}):
        if path not in theirs:
            found[path] = "only in the first"
        elif path not in ours:
            found[path] = "only in the second"
        elif message := _leaf_difference(ours[path], theirs[path], rtol, atol):
            found[path] = message
    if not found and (first := difference(a, b, None)):
        node, x, y = first
        found[join(node)] = f"{describe(x)} is {describe(y)} in the second"
    return found


def _leaf_difference(x: Any, y: Any, rtol: float, atol: float) -> str | None:
    if not (isinstance(x, mx.array) and isinstance(y, mx.array)):
        same = type(x) is type(y) and np.all(x == y)
        return None if same else f"{x!r} is {y!r} in the second"
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return f"{_kind(x)} is {_kind(y)} in the second"
    ours, theirs = _numpy(x), _numpy(y)
    close = ours == theirs
    if not mx.issubdtype(x.dtype, mx.integer) or rtol or atol:
        close |= np.isclose(ours, theirs, rtol=rtol, atol=atol, equal_nan=True)
    if close.all():
        return None
    with np.errstate(invalid="ignore"):
        wide = np.complex128 if np.iscomplexobj(ours) else np.float64
        gap = np.abs(np.subtract(ours, theirs, dtype=wide))[~close].max()
    return f"{(~close).sum()} of {x.size} numbers differ, by up to {gap:.3g}"


def _kind(x: Array) -> str:
    return f"{_name(x.dtype)} {x.shape}"


def _numpy(x: Array) -> Any:
    """A NumPy array, which has no bfloat16."""
    return np.array(x.astype(mx.float32) if x.dtype == mx.bfloat16 else x)
