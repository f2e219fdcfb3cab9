"""Checks of arguments that several packages share: types, dtypes, shapes and ranges.

Values of arrays are never checked: they are lazy, and a check would compute them.
"""

from lucid_fn.checks.arrays import (
    batch_hint,
    check_array,
    check_classes,
    check_float,
    check_integer,
    check_narrow_float,
    check_rows,
    check_same_shape,
)
from lucid_fn.checks.functions import (
    check_function,
    check_parameters,
    signature_of,
)
from lucid_fn.checks.keys import check_key
from lucid_fn.checks.scalars import (
    NUMBER_OR_ARRAY,
    Sizes,
    check_axis,
    check_bool,
    check_count,
    check_number,
    check_scalar,
    is_integer,
    is_number,
    listed,
    to_number,
    to_sizes,
)
from lucid_fn.checks.sizes import check_size, shapes_only

__all__ = [
    "NUMBER_OR_ARRAY",
    "Sizes",
    "batch_hint",
    "check_array",
    "check_axis",
    "check_bool",
    "check_classes",
    "check_count",
    "check_float",
    "check_function",
    "check_integer",
    "check_key",
    "check_narrow_float",
    "check_number",
    "check_parameters",
    "check_rows",
    "check_same_shape",
    "check_scalar",
    "check_size",
    "is_integer",
    "is_number",
    "listed",
    "shapes_only",
    "signature_of",
    "to_number",
    "to_sizes",
]
