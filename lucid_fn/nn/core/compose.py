"""`compose`, which threads params, state and keys through the children of a layer."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from operator import is_not
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_bool
from lucid_fn.nn.core.checks import check_key
from lucid_fn.nn.core.children import (
    as_layers,
    check_forward,
    check_names,
    check_returned,
    single_input,
)
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.core.recording import record_child
from lucid_fn.ops.seam import accepts_divided, divide, is_divided, join, takes_divided
from lucid_fn.random import fold_in
from lucid_fn.tracing import lazily, repetition, started
from lucid_fn.types import ArrayFn, Key, Params, State


@contextmanager
def _error_path(name: str) -> Iterator[None]:
    """Adds the dotted path of the layer to the notes of any error raised inside."""
    try:
        yield
    except Exception as error:
        path = (name, *getattr(error, "layer_path", ()))
        error.layer_path = path  # type: ignore[attr-defined]  # read just above
        notes = getattr(error, "__notes__", [])
        kept = [note for note in notes if not note.startswith("in layer ")]
        error.__notes__ = [*kept, "in layer " + ".".join(path)]
        raise


def compose(
    forward: Callable[..., Any],
    /,
    *,
    examplewise: bool = False,
    **children: Layer | ArrayFn,
) -> Layer:
    """A layer that computes `forward(x, **children)`, from named children.

    `forward` is plain Python. Each child is passed to it as a function of arrays, bound
    to its own params, state and key, under the name that the child has in the call of
    `compose` and in the trees of params and state. A child that is called twice uses
    the same params twice; its state is updated twice, and its two keys differ.

    If `forward` has keyword-only parameters `train` or `key`, it also gets the mode, or
    a key of its own: `forward(x, encoder, decoder, *, train, key)`. The keys of the
    children do not depend on that.

    Do not call a bound child inside a transformation made in `forward`, such as
    `lf.vmap` or `lf.checkpoint`: the update of its state would leak out of the
    transformation. Transform the layer instead.

    Args:
        forward: takes `x` and the children by name, and returns the output. Its `key`
            is `None` if `apply` gets none, which is allowed in eval mode only.
        examplewise: whether `forward` itself, apart from its children, treats the
            entries of axis 0 of `x` independently. On a CPU with several cores a large
            batch then stays divided among the cores from child to child, as in
            `serial`. Within `forward` a divided batch has arithmetic, `shape` and
            `dtype`; if `forward` needs more than that, it is called with the whole
            batch.
        children: layers, or plain functions on arrays.

    Raises:
        TypeError: if `forward` does not accept the children, or a child is neither a
            layer nor a function on arrays; on init and apply, if a child returns
            something other than what a layer returns; on apply, if `train` is not a
            bool.
        ValueError: if a child's name contains a dot; on apply, if params or state have
            a name that is not a child's, or if `forward` takes a key and there is none
            in train mode.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> def forward(x, up, down):
        ...     return x + down(nn.relu(up(x)))
        >>> block = nn.compose(forward, up=nn.linear(4, 8), down=nn.linear(8, 4))
        >>> params, state = block.init(random.key(0))
        >>> params["up"]["weight"].shape
        (8, 4)
        >>> y, state = block.apply(params, state, mx.ones((2, 4)), train=True)
        >>> y.shape
        (2, 4)
        >>> def noisy(x, body, *, train, key):
        ...     return body(x + random.normal(key, x.shape) if train else x)
        >>> noisy = nn.compose(noisy, body=nn.linear(4, 2))
        >>> params, state = noisy.init(random.key(0))
        >>> noisy.apply(params, state, y, train=True, key=random.key(1))[0].shape
        (2, 2)
    """
    check_bool("compose", examplewise=examplewise)
    layers = as_layers("compose", children)
    extras = check_forward(forward, layers)
    split = _divided if examplewise else None
    return compose_layers(forward, layers, split=split, extras=extras)


def _divided(x: Any) -> Any:
    """`x`, which is divided unless it is already, or too small.

    A divided batch stays divided even if it is small by now: MLX arrays cannot be added
    to divided ones, and `forward` may add both.
    """
    return x if is_divided(x) else divide(x)


def compose_layers(
    forward: Callable[..., Any],
    layers: dict[str, Layer],
    *,
    split: Callable[[Any], Any] | None,
    extras: frozenset[str] = frozenset(),
) -> Layer:
    """The layer of a `forward` that accepts the children `layers`.

    Args:
        forward: as in `compose`.
        layers: the children.
        split: divides the inputs of `forward` and of its children among the cores;
            `None` if `forward` does not treat examples independently.
        extras: which of `train` and `key` `forward` takes itself.
    """

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = {}, {}
        for name, layer in layers.items():
            with _error_path(name):
                made = layer.init(fold_in(key, name))
                params[name], state[name] = check_returned("init", made, "params")
        return started((_drop_empty(params), _drop_empty(state)))

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_names(params, layers, "params")
        check_names(state, layers, "state")
        extra_arguments = _extra_arguments(extras, train, key)
        outer_loop = repetition()

        def run(x: Any, split: Callable[[Any], Any]) -> tuple[Any, State]:
            new_state = dict(state)
            calls = dict.fromkeys(layers, 0)

            def bind(name: str, layer: Layer) -> Callable[[Any], Any]:
                def call(*args: Any, **options: Any) -> Any:
                    calls[name] += 1
                    label = f"{name}:{calls[name]}"
                    before = new_state.get(name, {})
                    loop = None if repetition() is outer_loop else repetition()
                    # Evaluated arrays have no graph, which `_check_in_loop` reads.
                    with _error_path(name), lazily() if loop else nullcontext():
                        x = single_input(name, args, options)
                        child_key = None if key is None else fold_in(key, label)
                        out = record_child(name, layer.apply)(
                            params.get(name, {}),
                            before,
                            split(x) if takes_divided(layer.apply) else join(x),
                            train=train,
                            key=child_key,
                        )
                        y, after = check_returned("apply", out, "y")
                        if loop is not None:
                            _check_in_loop(
                                name, loop.caller, before, after, child_key, y
                            )
                        new_state[name] = after
                    return y

                return call

            bound = {name: bind(name, layer) for name, layer in layers.items()}
            return forward(x, **bound, **extra_arguments), _drop_empty(new_state)

        if split is None:
            y, new_state = run(join(x), join)
            return join(y), new_state
        try:
            y, new_state = run(split(x), split)
        except (AttributeError, TypeError, ValueError) as error:
            if hasattr(error, "layer_path"):  # raised by a child
                raise
            # `forward` may have used an operation that only arrays have.
            y, new_state = run(join(x), join)
        return y if is_divided(x) else join(y), new_state

    def rebuild(children: dict[str, Layer]) -> Layer:
        return compose_layers(forward, children, split=split, extras=extras)

    # For `repr`, and for `surgery`, which replaces layers inside of this one.
    apply.children, apply.rebuild = layers, rebuild  # type: ignore[attr-defined]
    return Layer(init, apply if split is None else accepts_divided(apply))


def _check_in_loop(
    name: str, caller: str, before: State, after: State, key: Key | None, y: Any
) -> None:
    """Raises if a child that is called in a loop, `caller`, has a state or draws."""
    old, new = tree.leaves(before), tree.leaves(after)
    if len(old) != len(new) or any(map(is_not, old, new)):
        fault = "changes its state, and the change would be lost"
    elif key is not None and _depends_on(y, key):
        fault = "draws random numbers, which would be the same ones at every call"
    else:
        return
    raise ValueError(
        f"compose: child {name!r} is called inside of {caller}, whose function is "
        f"traced once for many calls, and {fault}; call it outside of {caller}, or use "
        "nn.repeat or nn.scan, or call layer.apply(params, state, x, train=train, "
        "key=key) there, with the state in the carry, and a key for each call from "
        "random.split or random.fold_in(key, i)"
    )


def _depends_on(y: Any, key: Key) -> bool:
    """Whether arrays that are not evaluated yet depend on a key."""
    graph = io.StringIO()
    mx.export_to_dot(graph, *tree.leaves(join(y)), the_key=key)
    return '"the_key" ->' in graph.getvalue()


def _extra_arguments(
    extras: frozenset[str], train: bool, key: Key | None
) -> dict[str, Any]:
    """The mode and the key for `forward` itself, as far as it takes them."""
    arguments: dict[str, Any] = {"train": train} if "train" in extras else {}
    if "key" in extras:
        key = check_key("compose", key) if train else key
        # No child has this label: theirs end with the number of the call.
        arguments["key"] = None if key is None else fold_in(key, "forward")
    return arguments


def _drop_empty(values: dict[str, Any]) -> dict[str, Any]:
    """Params or state without the children that have none."""
    return {name: child for name, child in values.items() if child}
