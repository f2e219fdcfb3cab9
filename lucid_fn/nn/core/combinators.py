"""Combinators: layers made of other layers, by way of `compose`."""

from collections.abc import Callable
from typing import Any

from lucid_fn.checks import check_array, check_count
from lucid_fn.nn.core.children import as_layers
from lucid_fn.nn.core.compose import compose_layers
from lucid_fn.nn.core.layer import Layer
from lucid_fn.ops.input_checks import takes_anything
from lucid_fn.ops.seam import accepts_divided, divide, is_divided
from lucid_fn.types import ArrayFn


def serial(*layers: Layer | ArrayFn, **named: Layer | ArrayFn) -> Layer:
    """A chain of layers, applied in order.

    Positional layers are named `"0"`, `"1"`, ...

    Args:
        *layers: layers and functions on arrays, in order.
        **named: the same by name, instead; the names are also those of their params.

    Raises:
        TypeError: if some layers are positional and some named.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.serial(nn.linear(4, 8), nn.tanh, nn.linear(8, 2))
        >>> params, state = model.init(random.key(0))
        >>> list(params)
        ['0', '2']
    """
    children = _by_name("serial", layers, named)

    def forward(x: Any, /, **children: Callable[[Any], Any]) -> Any:
        for child in children.values():
            x = child(x)
        return x

    return compose_layers(forward, children, split=divide)


def _by_name(
    caller: str, layers: tuple[Any, ...], named: dict[str, Any]
) -> dict[str, Layer]:
    """The children of a combinator by name; positional ones are numbered."""
    if layers and named:
        raise TypeError(
            f"{caller}: layers must be all positional or all named, got "
            f"{len(layers)} positional and {', '.join(named)}"
        )
    return as_layers(caller, named or {str(i): x for i, x in enumerate(layers)})


def repeat(layer: Layer, times: int) -> Layer:
    """A chain of `times` copies of `layer`, each with its own params: `"0"`, `"1"`, ...

    Args:
        layer: a layer whose output has the shape of its input.
        times: number of copies, at least 1.

    Raises:
        ValueError: if `times` is not positive.

    Example:
        >>> from lucid_fn import nn, random
        >>> params, _ = nn.repeat(nn.linear(4, 4), 3).init(random.key(0))
        >>> list(params)
        ['0', '1', '2']
    """
    times = check_count("repeat", "times", times)
    return serial(*[layer] * times)


def parallel(*layers: Layer | ArrayFn, **named: Layer | ArrayFn) -> Layer:
    """Applies all layers to the same input: `x -> (a(x), b(x), ...)`.

    Positional layers are named `"0"`, `"1"`, ... as in `serial`.

    Args:
        *layers: layers and functions on arrays.
        **named: the same by name, instead; the names are also those of their params.

    Raises:
        TypeError: if some layers are positional and some named.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> towers = nn.parallel(nn.linear(4, 2), nn.linear(4, 3))
        >>> model = nn.serial(towers, lambda ys: mx.concatenate(ys, axis=-1))
        >>> params, state = model.init(random.key(0))
        >>> model.apply(params, state, mx.ones((1, 4)), train=False)[0].shape
        (1, 5)
    """
    children = _by_name("parallel", layers, named)

    def forward(x: Any, /, **children: Callable[[Any], Any]) -> Any:
        return tuple(child(x) for child in children.values())

    return compose_layers(forward, children, split=None)


@accepts_divided
@takes_anything
def identity(x: Any) -> Any:
    """The identity, `x -> x`: a placeholder for a layer that a model leaves out.

    Args:
        x: anything.

    Returns:
        `x`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.identity(mx.array([1.0, 2.0]))
        array([1, 2], dtype=float32)
    """
    return x


def residual(body: Layer | ArrayFn, shortcut: Layer | ArrayFn = identity) -> Layer:
    """Residual connection: `x -> body(x) + shortcut(x)`.

    Args:
        body: a layer, or a function on arrays.
        shortcut: the same; the identity by default.

    Raises:
        TypeError: on apply, if one of the two does not return an array.
        ValueError: on apply, if their shapes differ: nothing is broadcast.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, eq. 1 and 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> double = nn.residual(nn.identity)
        >>> double.apply({}, {}, mx.array([1.0, 2.0]), train=True)
        (array([2, 4], dtype=float32), {})
    """

    def forward(
        x: Any, body: Callable[[Any], Any], shortcut: Callable[[Any], Any]
    ) -> Any:
        y, skip = body(x), shortcut(x)
        for name, value in (("body(x)", y), ("shortcut(x)", skip)):
            if not is_divided(value):
                check_array("residual", **{name: value})
        if y.shape != skip.shape:
            raise ValueError(
                "residual: body(x) and shortcut(x) must have the same shape, got "
                f"{y.shape} and {skip.shape}; give a shortcut that changes the shape "
                "too, such as a 1x1 convolution"
            )
        # A divided batch on the left: an MLX array does not know how to add one.
        return y + skip if is_divided(y) else skip + y

    children = {"body": body, "shortcut": shortcut}
    return compose_layers(forward, as_layers("residual", children), split=divide)
