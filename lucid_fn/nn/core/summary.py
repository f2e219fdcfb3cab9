"""`summary`: a table of the layers, params and FLOPs of a model."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import random, tree
from lucid_fn.checks import shapes_only
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.recording import Record, recording
from lucid_fn.tracing import lazily


class SummaryRow(NamedTuple):
    """A row of `Summary`: one innermost layer."""

    path: str
    output: str  # shape of the output, or shapes of several
    num_params: int
    flops: int  # of matrix products and convolutions
    nbytes: int  # of params and state
    output_nbytes: int


class Summary(NamedTuple):
    """The innermost layers in the order of their first call, and the totals.

    The totals include what belongs to no row, and count shared params once.
    """

    rows: tuple[SummaryRow, ...]
    num_params: int
    flops: int
    nbytes: int

    def __str__(self) -> str:
        """The table."""
        total = SummaryRow("total", "", self.num_params, self.flops, self.nbytes, 0)
        lines = [_HEAD, *map(_cells, self.rows), _cells(total)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


_HEAD = ("layer", "output", "params", "FLOPs", "bytes")


def _cells(row: SummaryRow) -> tuple[str, ...]:
    return (
        row.path,
        row.output,
        f"{row.num_params:,}",
        f"{row.flops:,}",
        f"{row.nbytes:,}",
    )


def summary(
    layer: Layer, input_shape: tuple[int, ...] | Any, *, dtype: mx.Dtype = mx.float32
) -> Summary:
    """The paths, output shapes, parameters and FLOPs of the layers inside of a layer.

    FLOPs are twice the multiply-adds of matrix products and convolutions in one forward
    pass, whatever formulation runs; other operations do not count. Nothing is computed,
    so a model of any size takes no memory.

    Args:
        layer: any layer; the children of combinators have rows of their own.
        input_shape: shape of the input with its batch axis, or the input itself, if it
            is not a single array.
        dtype: dtype of the input: `mx.int32` for tokens.

    Returns:
        A `Summary`; `print` shows it as a table.

    Raises:
        ValueError: if the layer raises one for an input of that shape.

    Example:
        >>> from lucid_fn import nn
        >>> model = nn.serial(
        ...     conv=nn.conv2d(1, 6, 5), act=nn.tanh, pool=nn.max_pool2d(2)
        ... )
        >>> print(nn.summary(model, (1, 28, 28, 1)))
        layer  output          params    FLOPs  bytes
        conv   (1, 24, 24, 6)     156  172,800    624
        act    (1, 24, 24, 6)       0        0      0
        pool   (1, 12, 12, 6)       0        0      0
        total                     156  172,800    624
    """
    is_shape = isinstance(input_shape, tuple | list) and all(
        isinstance(size, int) for size in input_shape
    )
    x = mx.zeros(input_shape, dtype) if is_shape else input_shape
    with lazily(), shapes_only(), recording() as recorder:
        params, state = layer.init(random.key(0))
        y, _ = layer.apply(params, state, x, train=False)
    multiply_adds = sum(recorder.multiply_adds)
    records = recorder.records or [Record("(layer)", params, state, y, multiply_adds)]
    return Summary(
        rows=_rows(records),
        num_params=tree.size(params),
        flops=2 * multiply_adds,
        nbytes=tree.nbytes(params) + tree.nbytes(state),
    )


def _rows(records: list[Record]) -> tuple[SummaryRow, ...]:
    """One row for each innermost layer; the FLOPs of several calls are added up."""
    paths = {record.path for record in records}
    containers = {
        path.rsplit(".", depth)[0]
        for path in paths
        for depth in range(1, path.count(".") + 1)
    }
    rows: dict[str, SummaryRow] = {}
    for path, params, state, y, multiply_adds in records:
        if path in containers:
            continue
        before = rows[path].flops if path in rows else 0
        rows[path] = SummaryRow(
            path=path,
            output=" ".join(str(leaf.shape) for leaf in tree.leaves(y)),
            num_params=tree.size(params),
            flops=before + 2 * multiply_adds,
            nbytes=tree.nbytes(params) + tree.nbytes(state),
            output_nbytes=tree.nbytes(y),
        )
    return tuple(rows.values())
