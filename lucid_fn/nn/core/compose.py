"""The combinator that all others are made of: it threads params, state and keys."""

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
    check_made,
    check_names,
    check_pair,
    input_of,
)
from lucid_fn.nn.core.layer import Layer, as_apply
from lucid_fn.nn.core.recording import record_child
from lucid_fn.ops.seam import accepts_divided, divide, is_divided, join, takes_divided
from lucid_fn.random import fold_in
from lucid_fn.tracing import lazily, repetition, started
from lucid_fn.types import ArrayFn, Key, Params, State


@contextmanager
def _scope(name: str) -> Iterator[None]:
    """Adds the dotted path of the layer to the notes of any error raised inside."""
    try:
        yield
    except Exception as error:
        path = (name, *getattr(error, "layer_path", ()))
        error.layer_path = path  # type: ignore[attr-defined]  # ours, read just above
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
    """A layer whose named children are called by `forward(x, **children)`.

    `forward` is plain Python. It gets each child as a bound function of arrays, whose
    params, state and key are threaded for it, under the name that the child has in
    the call of `compose` and in the trees. A child that is called twice shares its
    params; its state moves twice, and its two keys differ.

    If `forward` has keyword-only parameters `train` or `key`, it is given the mode, or
    a key of its own, for what it does differently or draws itself: `forward(x, encoder,
    decoder, *, train, key)`. The keys of the children do not depend on that.

    Do not call a bound child inside a transformation made in `forward`, such as
    `lf.vmap` or `lf.checkpoint`: its state would escape it. Transform the layer.

    Args:
        forward: takes `x` and the children by name, and returns the output. Its `key`
            is `None` where `apply` has none, which it may have in eval mode only.
        examplewise: whether `forward` itself, apart from its children, treats the
            entries of axis 0 of `x` independently. On a CPU of several cores a large
            batch then stays divided among the cores from child to child, as it does in
            `serial`. Inside of `forward` such a batch has arithmetic, `shape` and
            `dtype`; a `forward` that does more with it is called with the whole batch.
        children: layers, or plain functions on arrays.

    Raises:
        TypeError: if `forward` does not accept the children, or a child is neither a
            layer nor a function on arrays; on init and apply, if a child returns
            something other than what a layer returns; on apply, if `train` is not a
            bool.
        ValueError: if a child's name holds a dot; on apply, if params or state hold a
            name that is not a child's, or if `forward` takes a key and there is none in
            train mode.

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
    in_parts = _stays_divided if examplewise else None
    return compose_layers(forward, layers, in_parts=in_parts, extras=extras)


def _stays_divided(x: Any) -> Any:
    """`x` as a divided batch if it is one, or if that pays.

    Of what `forward` adds up, either all is divided or nothing: MLX's arrays refuse to
    be added to anything else.
    """
    return x if is_divided(x) else divide(x)


def compose_layers(
    forward: Callable[..., Any],
    layers: dict[str, Layer],
    *,
    in_parts: Callable[[Any], Any] | None,
    extras: frozenset[str] = frozenset(),
) -> Layer:
    """The layer of a `forward` that accepts the children `layers`.

    Where `forward` treats examples independently, `in_parts` divides what it and its
    children get; `None` where it does not. `extras` are the names among `train` and
    `key` that `forward` accepts too.
    """

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = {}, {}
        for name, layer in layers.items():
            with _scope(name):
                made = layer.init(fold_in(key, name))
                params[name], state[name] = check_pair("init", made, "(params, state)")
                check_made("init", params=params[name], state=state[name])
        return started((_drop_empty(params), _drop_empty(state)))

    @as_apply
    def apply(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        check_names(params, layers, "params")
        check_names(state, layers, "state")
        given = _extras_given(extras, train, key)
        around = repetition()

        def run(x: Any, for_child: Callable[[Any], Any]) -> tuple[Any, State]:
            """The output and the new state; children get what `for_child` returns."""
            new_state = dict(state)
            calls = dict.fromkeys(layers, 0)

            def bind(name: str, layer: Layer) -> Callable[[Any], Any]:
                def call(*args: Any, **options: Any) -> Any:
                    calls[name] += 1
                    label = f"{name}:{calls[name]}"
                    before = new_state.get(name, {})
                    inside = repetition()
                    repeated = inside is not None and inside is not around
                    # What is computed has lost the graph that tells of its key.
                    with _scope(name), lazily() if repeated else nullcontext():
                        x = input_of(name, args, options)
                        own = None if key is None else fold_in(key, label)
                        out = record_child(name, layer.apply)(
                            params.get(name, {}),
                            before,
                            for_child(x) if takes_divided(layer.apply) else join(x),
                            train=train,
                            key=own,
                        )
                        y, after = check_pair("apply", out, "(y, state)")
                        check_made("apply", state=after)
                        if inside is not None and repeated:
                            _check_repeated(name, inside.caller, before, after, own, y)
                        new_state[name] = after
                    return y

                return call

            bound = {name: bind(name, layer) for name, layer in layers.items()}
            return forward(x, **bound, **given), _drop_empty(new_state)

        if in_parts is None:
            y, new_state = run(join(x), join)
            return join(y), new_state
        try:
            y, new_state = run(in_parts(x), in_parts)
        except (AttributeError, TypeError, ValueError) as error:
            if hasattr(error, "layer_path"):  # raised by a child
                raise
            # `forward` may have met a divided batch with what arrays alone can do.
            y, new_state = run(join(x), join)
        return y if is_divided(x) else join(y), new_state

    def rebuild(children: dict[str, Layer]) -> Layer:
        return compose_layers(forward, children, in_parts=in_parts, extras=extras)

    # What `repr` shows, and what replaces layers inside of this one: see `surgery`.
    apply.children, apply.rebuild = layers, rebuild  # type: ignore[attr-defined]
    return Layer(init, apply if in_parts is None else accepts_divided(apply))


def _check_repeated(
    name: str, caller: str, before: State, after: State, key: Key | None, y: Any
) -> None:
    """Raises if a child, of which `caller` repeats one call, has a state or draws."""
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
        "nn.repeat or nn.scan, or give forward the parts: "
        "layer.apply(params, state, x, train=train, key=key) with the state in the "
        "carry, and a key for each call from random.split or random.fold_in(key, i)"
    )


def _depends_on(y: Any, key: Key) -> bool:
    """Whether arrays that are not computed yet are made from a key."""
    graph = io.StringIO()
    mx.export_to_dot(graph, *tree.leaves(join(y)), the_key=key)
    return '"the_key" ->' in graph.getvalue()


def _extras_given(
    extras: frozenset[str], train: bool, key: Key | None
) -> dict[str, Any]:
    """What `forward` gets besides its children.

    Its key has a label that no child can have: theirs end in the number of the call.
    """
    given: dict[str, Any] = {"train": train} if "train" in extras else {}
    if "key" in extras:
        own = check_key("compose", key) if train else key
        given["key"] = None if own is None else fold_in(own, "forward")
    return given


def _drop_empty(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree without the children that hold nothing."""
    return {name: child for name, child in tree.items() if child}
