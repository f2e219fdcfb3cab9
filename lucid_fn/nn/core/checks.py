"""Checks that several layers share."""

from typing import Any, TypeAlias

from lucid_fn import checks
from lucid_fn.checks import (
    AXES,
    check_count,
    check_narrow_float,
    check_number,
    shape_error,
)
from lucid_fn.nn.core.layer import Layer, check_dict, missing_name
from lucid_fn.ops.linear import is_quantized
from lucid_fn.ops.seam import join
from lucid_fn.types import Array, Key, Params, State


def check_positive(caller: str, **sizes: int) -> tuple[int, ...]:
    """The sizes, each of which must be an integer of at least 1."""
    return tuple(check_count(caller, name, size) for name, size in sizes.items())


def check_float(caller: str, **arrays: Any) -> None:
    """`lucid_fn.checks.check_float`, which accepts divided batches as well."""
    checks.check_float(caller, **{name: join(x) for name, x in arrays.items()})


def check_rate(caller: str, rate: float) -> float:
    """The rate of dropout, which must be in [0, 1)."""
    kinds = "a number in [0, 1)"
    return check_number(caller, "rate", rate, at_least=0, below=1, kinds=kinds)


def check_eps(caller: str, eps: float) -> float:
    """The `eps` of a norm, which must be positive."""
    return check_number(caller, "eps", eps, above=0)


def check_activation(caller: str, activation: Any) -> None:
    """Raises unless `activation` is a function on arrays."""
    if not callable(activation) or isinstance(activation, Layer):
        named = f"; write nn.{activation}" if isinstance(activation, str) else ""
        raise TypeError(
            f"{caller}: activation must be a function on arrays, such as nn.relu, got "
            f"{activation!r}{named}"
        )


def check_key(caller: str, key: Key | None) -> Key:
    """The key of a random layer, which needs one while training."""
    if key is None:
        raise ValueError(
            f"{caller}: train=True needs a key, got None; call "
            "apply(params, state, x, train=True, key=key)"
        )
    return checks.check_key(caller, key)


ParamShape: TypeAlias = tuple[int, ...] | None
"""The shape of a param, or `None` if a layer does not have it."""


class QuantizableShape(tuple[int, ...]):
    """The shape of a weight that may be a `QuantizedWeight` instead of an array."""


def check_params(caller: str, params: Params, **shapes: ParamShape) -> None:
    """Raises unless the params have these names, and arrays of these shapes.

    The params of another layer could otherwise give a wrong result without an error.
    """
    _check_shapes(caller, "params", params, shapes)


def check_state(caller: str, state: State, **shapes: ParamShape) -> None:
    """`check_params` for the state."""
    _check_shapes(caller, "state", state, shapes)


def _check_shapes(
    caller: str, kind: str, values: dict[str, Any], shapes: dict[str, ParamShape]
) -> None:
    check_dict(values, kind)
    for name, shape in shapes.items():
        found = values.get(name)
        if found is None and shape is not None:
            raise missing_name(values, name, kind, caller)
        if isinstance(shape, QuantizableShape) and is_quantized(found, shape):
            continue
        if found is not None and getattr(found, "shape", None) != shape:
            want = "be absent" if shape is None else f"have shape {shape}"
            got = getattr(found, "shape", type(found).__name__)
            raise ValueError(
                f"{caller}: {kind}[{name!r}] must {want}, got {got}; were they made by "
                "this layer's init?"
            )


def check_last_axis(caller: str, x: Array, size: int, *, least_ndim: int = 1) -> None:
    """Raises unless `x` is a float array whose last axis has this size."""
    check_float(caller, x=x)
    if x.ndim < least_ndim or x.shape[-1] != size:
        leading = "N, ..." if least_ndim > 1 else "..."
        raise shape_error(caller, "x", x, f"({leading}, {size})")


def check_images(caller: str, x: Array, channels: int, *, dims: int) -> None:
    """Raises unless `x` is a batch of images with `dims` spatial axes, channels last.

    Images are sequences for `dims=1`, and volumes for `dims=3`.
    """
    check_narrow_float(caller, x=x)
    if x.ndim == dims + 2 and x.shape[-1] == channels:
        return
    raise ValueError(
        f"{caller}: x must have shape (N, {AXES[dims]}, {channels}), got {x.shape}"
        + _hint(x.shape, channels, dims)
    )


def _hint(shape: tuple[int, ...], channels: int, dims: int) -> str:
    """The fix for the most likely mistake behind a wrong shape."""
    if len(shape) == dims + 2 and shape[1] == channels:
        order = ", ".join(map(str, (0, *range(2, dims + 2), 1)))
        return f"; channels are last here: x.transpose({order})"
    if len(shape) == dims + 1 and shape[-1] == channels:
        return "; a single example needs a batch axis: x[None]"
    if len(shape) == dims + 1 and channels == 1:
        return "; one channel needs an axis too: x[..., None]"
    return ""
