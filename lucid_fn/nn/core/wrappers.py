"""Wrappers of layers: `frozen`, `checkpointed`, `mixed_precision` and `tap`."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms, tree
from lucid_fn.nn.core.children import as_layer
from lucid_fn.nn.core.layer import Layer, as_apply, check_layer, mark_wrapping, wrap
from lucid_fn.nn.core.recording import recording
from lucid_fn.types import ArrayFn, Key, Params, State


def frozen(layer: Layer | ArrayFn) -> Layer:
    """`layer` in eval mode, without gradients to its params.

    Its state does not change, and the gradients of its params are zeros. Weight decay
    would still change them: leave them out of the optimizer too, with `tree.partition`
    or `optim.masked`.

    Args:
        layer: a layer, or a function on arrays.

    Raises:
        TypeError: if `layer` is neither a layer nor a function on arrays.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import nn, random
        >>> layer = nn.frozen(nn.linear(2, 1))
        >>> params, state = layer.init(random.key(0))
        >>> def loss(params):
        ...     y, _ = layer.apply(params, state, mx.ones((1, 2)), train=True)
        ...     return mx.sum(y)
        >>> lf.grad(loss)(params)["weight"]
        array([[0, 0]], dtype=float32)
    """
    inner = as_layer("frozen: layer", layer)

    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        fixed = tree.map(mx.stop_gradient, params)
        y, _ = inner.apply(fixed, state, x, train=False, key=key)
        return y, state

    return wrap(inner, run)


def checkpointed(layer: Layer) -> Layer:
    """`layer` with its activations recomputed in the backward pass, not stored.

    Values, gradients and state are the same. It saves the memory of the activations
    inside the layer, at the price of a second forward pass.

    Args:
        layer: a layer.

    Raises:
        TypeError: if `layer` is not a layer.

    Source: Chen et al., 2016, https://arxiv.org/abs/1604.06174.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.checkpointed(nn.serial(nn.linear(4, 64), nn.tanh))
        >>> params, state = block.init(random.key(0))
        >>> block.apply(params, state, mx.ones((1, 4)), train=True)[0].shape
        (1, 64)
    """
    check_layer("checkpointed", layer)

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:

        def pure(params: Params, state: State, x: Any, key: Key | None) -> Any:
            # Random bits have no gradient, which the backward pass would ask for.
            key = None if key is None else mx.stop_gradient(key)
            return layer.apply(params, state, x, train=train, key=key)

        y, new_state = transforms.checkpoint(pure)(params, state, x, key)
        return y, new_state

    return Layer(layer.init, mark_wrapping(apply, layer))


def mixed_precision(
    layer: Layer | ArrayFn,
    compute_dtype: mx.Dtype = mx.bfloat16,
    *,
    param_dtype: mx.Dtype = mx.float32,
    output_dtype: mx.Dtype = mx.float32,
) -> Layer:
    """`layer` with its params stored in one dtype and computed with in another.

    Params and inputs are cast before `layer` is applied, its output afterwards, so
    gradients reach the params in `param_dtype`. The state is never cast, and norms
    always compute and keep their statistics in float32.

    Args:
        layer: a layer, or a function on arrays.
        compute_dtype: dtype of params and inputs inside of `layer`.
        param_dtype: dtype of the params that `init` returns; `apply` accepts any.
        output_dtype: dtype of the output, and so of the loss.

    Raises:
        TypeError: if `layer` is neither a layer nor a function on arrays, or a dtype is
            not a float dtype.

    Source: Micikevicius et al., 2018, https://arxiv.org/abs/1710.03740, section 3.1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.mixed_precision(nn.linear(4, 2), mx.float16)
        >>> params, state = model.init(random.key(0))
        >>> y, _ = model.apply(params, state, mx.ones((1, 4)), train=True)
        >>> params["weight"].dtype, y.dtype
        (mlx.core.float32, mlx.core.float32)
    """
    inner = as_layer("mixed_precision: layer", layer)
    for name, dtype in (
        ("compute_dtype", compute_dtype),
        ("param_dtype", param_dtype),
        ("output_dtype", output_dtype),
    ):
        if not isinstance(dtype, mx.Dtype) or not mx.issubdtype(dtype, mx.floating):
            raise TypeError(
                f"mixed_precision: {name} must be a float dtype such as mx.bfloat16, "
                f"got {dtype!r}"
            )

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = inner.init(key)
        return tree.cast(params, param_dtype), state

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        half, x = tree.cast((params, x), compute_dtype)
        y, new_state = inner.apply(half, state, x, train=train, key=key)
        return tree.cast(y, output_dtype), new_state

    return Layer(init, mark_wrapping(apply, inner))


class Tapped(NamedTuple):
    """The output of a layer, and the outputs of its inner layers by path."""

    y: Any
    taps: dict[str, Any]


def tap(layer: Layer, *paths: str) -> Layer:
    """`layer` that also returns outputs of its inner layers: `nn.Tapped(y, taps)`.

    For perceptual losses, probes and feature visualization. Gradients flow through the
    taps. Params and state are those of `layer`.

    Args:
        layer: a layer made by combinators, such as `serial`.
        paths: dotted paths of inner layers, such as `"layer2.0.conv1"`; if a layer is
            called several times, its last output is taken.

    Raises:
        ValueError: if no path is given; on apply, if no layer with a path was called.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.serial(fc1=nn.linear(4, 8), act=nn.tanh, fc2=nn.linear(8, 2))
        >>> params, state = model.init(random.key(0))
        >>> (y, taps), _ = nn.tap(model, "act").apply(
        ...     params, state, mx.ones((1, 4)), train=False
        ... )
        >>> y.shape, taps["act"].shape
        ((1, 2), (1, 8))
    """
    check_layer("tap", layer)
    if not paths:
        raise ValueError("tap: paths must name at least one layer, got none")

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        with recording() as recorder:
            y, new_state = layer.apply(params, state, x, train=train, key=key)
        outputs = {record.path: record.y for record in recorder.records}
        for path in paths:
            if path not in outputs:
                raise ValueError(
                    f"tap: paths must be of layers that are called, got {path!r}; "
                    f"there are {', '.join(outputs) or 'none'}"
                )
        return Tapped(y, {path: outputs[path] for path in paths}), new_state

    return Layer(layer.init, mark_wrapping(apply, layer))
