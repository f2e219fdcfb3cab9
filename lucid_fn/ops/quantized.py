"""Products with quantized weights."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.embedding import take_rows_or_nan
from lucid_fn.types import Array


class QuantizedWeight(NamedTuple):
    """A weight `(O, I)` in a few bits, in the place of an array among the params.

    A group of neighbours in a row has a scale and a bias:
    `weight = scale * integer + bias`. How many bits an integer has, and a group
    members, follows from `I`, which the layer knows.
    """

    packed: Array  # the integers, (O, I * bits / 32), uint32
    scales: Array  # (O, I / group_size)
    biases: Array  # (O, I / group_size)


def bits_and_group_size(weight: QuantizedWeight, in_features: int) -> dict[str, Any]:
    """The options of MLX's functions of quantized weights."""
    return {
        "bits": 32 * weight.packed.shape[-1] // in_features,
        "group_size": in_features // weight.scales.shape[-1],
    }


def is_quantized(weight: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether this is a quantized weight of this shape."""
    if not isinstance(weight, QuantizedWeight) or shape is None or len(shape) != 2:
        return False
    rows = [getattr(part, "shape", ())[:-1] for part in weight]
    in_features, groups = shape[1], weight.scales.shape[-1]
    return rows == [shape[:1]] * 3 and in_features % max(groups, 1) == 0


def quantized_product(x: Array, weight: QuantizedWeight) -> Array:
    """`x @ weight.T`: `(..., I)` and `(O, I)` to `(..., O)`, in the promoted dtype."""
    options = bits_and_group_size(weight, x.shape[-1])
    dtype = mx.result_type(x, weight.scales)
    packed, *others = weight
    x, scales, biases = (part.astype(dtype) for part in (x, *others))

    def product(x: Array, packed: Array, scales: Array, biases: Array) -> Array:
        return mx.quantized_matmul(x, packed, scales, biases, transpose=True, **options)

    run = custom_function(product)

    @run.vmap
    def _(arrays: Any, axes: Any) -> tuple[Array, int]:
        """MLX has no rule; the examples of `x` are rows of one product."""
        if any(axis is not None for axis in axes[1:]):
            raise ValueError(
                "linear: vmap must not map over quantized weights; give the params "
                "in_axes=None"
            )
        return product(mx.moveaxis(arrays[0], axes[0], 0), *arrays[1:]), 0

    y: Array = run(x, packed, scales, biases)
    return y


def dequantized_rows(weight: QuantizedWeight, x: Array, size: int) -> Array:
    """The rows of length `size` at the integers `x`, NaN where there is none."""
    packed, *others = weight
    index = mx.clip(x, 0, len(packed) - 1)
    scales, biases = (take_rows_or_nan(part, x) for part in others)
    rows = mx.take(packed, index, axis=0)
    return mx.dequantize(rows, scales, biases, **bits_and_group_size(weight, size))


def quantize(weight: Array, bits: int, group_size: int) -> QuantizedWeight:
    """A weight `(O, I)`, `I` a multiple of `group_size`, in integers of `bits` bits."""
    return QuantizedWeight(*mx.quantize(weight, bits=bits, group_size=group_size))
