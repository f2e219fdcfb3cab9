"""Where a computation goes wrong: the layer in which numbers stop being finite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms, tree
from lucid_fn.call_errors import guide
from lucid_fn.checks import check_function
from lucid_fn.nn.core.recording import recording
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array, Tree

__all__ = ["NonFinite", "nonfinite"]


class NonFinite(NamedTuple):
    """Where numbers were first not finite; as text, a sentence."""

    phase: str  # "forward" or "backward"
    path: str  # of the layer, or "" outside of layers
    where: str  # what it is that is not finite
    leaf: str  # its path in that, or "" if that is an array
    nans: int
    infs: int
    size: int

    def __str__(self) -> str:
        place = f"{self.where}, {self.leaf}" if self.leaf else self.where
        layer = f"in layer {self.path}: " if self.path else ""
        return (
            f"{self.phase}: {layer}{place}: of {self.size} numbers {self.nans} are NaN "
            f"and {self.infs} infinite"
        )


class _Event(NamedTuple):
    """What passed a place, with values to be read when all is done."""

    phase: str
    path: str
    where: str
    values: Tree


def nonfinite(fn: Callable[..., Any], *args: Any) -> NonFinite | None:
    """Finds the layer in which a value, or a gradient, is first not finite.

    `fn` runs as it is, without `jit`. If all values are finite and it returns a loss, a
    float array of shape `()` or a tuple that begins with one, the gradients in all
    float arguments are looked at too. So are those that `fn` computes itself, as a
    training step does. What is inside of `lf.vmap` has no values to look at.

    Args:
        fn: a function of trees, such as a loss that applies a model, or a step of
            `train.make_step`.
        args: its arguments.

    Returns:
        A `NonFinite`, whose text is a sentence, or `None` if all is finite. In the
        forward phase `path` is that of the first layer with a result that is not
        finite; in the backward phase it is that of the layer that was given a finite
        gradient and passed on another.

    Raises:
        TypeError: if `fn` is not a function.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import nn, random
        >>> model = nn.serial(fc=nn.linear(2, 2), log=lambda x: mx.log(0 * x))
        >>> params, state = model.init(random.key(0))
        >>> def loss(params, x):
        ...     y, _ = model.apply(params, state, x, train=True)
        ...     return mx.sum(y)
        >>> print(lf.debug.nonfinite(loss, params, mx.array([[1.0, 9.0]])))
        forward: in layer log: output: of 2 numbers 0 are NaN and 2 infinite
    """
    check_function("nonfinite", "fn", fn)
    if found := _first([_Event("forward", "", "the arguments", args)]):
        return found
    events: list[_Event] = []
    out = _watched(fn, events)(*args)
    # Gradients of `fn`'s own come last, and were made by values that came first.
    events.append(_Event("forward", "", "what the function returns", out))
    if found := _first(events):
        return found
    if not _begins_with_a_loss(out):
        return None
    return _first(_backward(fn, args))


def _begins_with_a_loss(out: Any) -> bool:
    loss = out[0] if isinstance(out, tuple) and out else out
    return isinstance(loss, mx.array) and loss.ndim == 0 and _is_float(loss)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def _backward(fn: Callable[..., Any], args: tuple[Any, ...]) -> list[_Event]:
    """The events of differentiating `fn` in all of its float arguments."""
    leaves, structure = tree.flatten(args)
    movable = {i: leaf for i, leaf in enumerate(leaves) if _is_float(leaf)}
    events: list[_Event] = []

    def loss(movable: dict[int, Array]) -> Array:
        filled = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        out = _watched(fn, events)(*tree.unflatten(structure, filled))
        found: Array = out[0] if isinstance(out, tuple) else out
        return found

    grads = transforms.grad(loss)(movable)
    paths = tree.paths({"args": args})
    by_path = {paths[i]: g for i, g in grads.items()}
    return [*events, _Event("backward", "", "the gradient of the arguments", by_path)]


def _watched(fn: Callable[..., Any], events: list[_Event]) -> Callable[..., Any]:
    """`fn`, which notes what its layers get and return, and the gradients of these."""

    def watch(path: str, what: str, values: Any) -> Any:
        if what == "output":
            events.append(_Event("forward", path, what, values))
        leaves, structure = tree.flatten(values)
        places = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]

        if not places:
            return values
        names = [tree.paths(values)[i] for i in places]
        noted = custom_function(lambda *arrays: arrays)

        @noted.vjp
        def _(primals: Any, grads: Any, _: Any) -> Any:
            listed = grads if isinstance(grads, list | tuple) else [grads]
            named = dict(zip(names, listed, strict=True))
            events.append(_Event("backward", path, _GRADIENTS[what], named))
            return grads if isinstance(primals, list | tuple) else listed[0]

        @noted.jvp
        def _(_: Any, tangents: Any) -> Any:
            return (
                tuple(tangents) if isinstance(tangents, list | tuple) else (tangents,)
            )

        passed = noted(*[leaves[i] for i in places])
        for place, leaf in zip(places, passed, strict=True):
            leaves[place] = leaf
        return tree.unflatten(structure, leaves)

    def run(*args: Any) -> Any:
        with transforms.disable_jit(), recording(watch):
            return fn(*args)

    return run


_GRADIENTS = {
    "params": "the gradient of its params",
    "input": "the gradient of its input",
    "output": "the gradient that reaches its output",
}


def _first(events: list[_Event]) -> NonFinite | None:
    """The first event with a value that is not finite; the innermost layer's."""
    for phase, path, where, values in events:
        for leaf_path, leaf in tree.named_leaves(values).items():
            if not _is_float(leaf) or not _has_values(leaf):
                continue
            nans, infs = (
                int(mx.sum(test(leaf)).item())  # type: ignore[arg-type]  # int of a sum
                for test in (mx.isnan, mx.isinf)
            )
            if nans or infs:
                return NonFinite(phase, path, where, leaf_path, nans, infs, leaf.size)
    return None


def _has_values(leaf: Array) -> bool:
    """Whether arrays have values: not while `vmap` runs a function."""
    try:
        mx.eval(leaf)
    except (ValueError, RuntimeError):
        return False
    return True


guide(globals(), "debug")
