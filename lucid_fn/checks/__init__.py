"""Checks of arguments that all packages share: types, dtypes, shapes and ranges.

The values of arrays are never checked: arrays are lazy, and a check would compute them.
"""

from lucid_fn.checks.arrays import (
    AXES,
    check_array,
    check_axes,
    check_classes,
    check_float,
    check_integer,
    check_key,
    check_narrow_float,
    check_rows,
    check_same_shape,
    check_size,
    shape_error,
    shapes_only,
)
from lucid_fn.checks.functions import (
    check_function,
    check_parameters,
    check_type,
    signature_of,
)
from lucid_fn.checks.scalars import (
    NUMBER_OR_ARRAY,
    Sizes,
    check_axis,
    check_bool,
    check_choice,
    check_count,
    check_number,
    check_scalar,
    is_integer,
    is_number,
    listed,
    to_number,
    to_sizes,
)

__all__ = [
    "AXES",
    "NUMBER_OR_ARRAY",
    "Sizes",
    "check_array",
    "check_axes",
    "check_axis",
    "check_bool",
    "check_choice",
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
    "check_type",
    "is_integer",
    "is_number",
    "listed",
    "shape_error",
    "shapes_only",
    "signature_of",
    "to_number",
    "to_sizes",
]
