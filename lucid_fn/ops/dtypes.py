"""The dtypes of results, and those that are computed in."""

from functools import reduce
from typing import Any

import mlx.core as mx


def promoted(*arrays: Any) -> mx.Dtype:
    """What the dtypes of the arrays promote to, as in `x + weight + bias`."""
    dtype: mx.Dtype = reduce(mx.result_type, (array.dtype for array in arrays))
    return dtype


def widened(x: Any) -> Any:
    """`x` in float32 if it is of half precision, else as it is."""
    return x.astype(mx.result_type(x.dtype, mx.float32))
