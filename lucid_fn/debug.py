"""Find the layer in which values or gradients stop being finite."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms, tree
from lucid_fn.call_errors import guide
from lucid_fn.checks import check_function
from lucid_fn.nn.core.recording import is_float, recording, tap_gradients
from lucid_fn.types import Array, Tree

__all__ = ["NonFinite", "nonfinite"]


class NonFinite(NamedTuple):
    """Where numbers were first not finite; `str` makes a sentence of it."""

    phase: str  # "forward" or "backward"
    path: str  # of the layer, or "" outside of layers
    where: str  # the tree that is not finite, such as "output"
    leaf: str  # the path of the leaf in that tree, or "" if it is an array
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
    """Values recorded at one place of a pass, to be read at its end."""

    phase: str
    path: str
    where: str
    leaves: list[tuple[str, Any]]  # with their paths


def _named(values: Tree) -> list[tuple[str, Any]]:
    """The leaves of a tree with their paths, of which two may be the same."""
    return list(zip(tree.paths(values), tree.leaves(values), strict=True))


def nonfinite(fn: Callable[..., Any], *args: Any) -> NonFinite | None:
    """Find the layer in which a value, or a gradient, is first not finite.

    `fn` runs without `jit`. If all values are finite and it returns a loss, a float
    array of shape `()` or a tuple that begins with one, the gradients in all its float
    arguments are checked too, as are gradients that `fn` computes itself, as a training
    step does. Values inside of `lf.vmap` cannot be checked.

    Args:
        fn: a function of trees, such as a loss that applies a model, or a step of
            `train.make_step`.
        args: its arguments.

    Returns:
        A `NonFinite`, which prints as a sentence, or `None` if all is finite. In the
        forward phase `path` is that of the first layer whose output is not finite; in
        the backward phase, that of the layer that received a finite gradient and passed
        on one that is not.

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
    if found := _first([_Event("forward", "", "the arguments", _named(args))]):
        return found
    events: list[_Event] = []
    out = _watched(fn, events)(*args)
    # After the gradients that `fn` computes: those depend on earlier values.
    events.append(_Event("forward", "", "what the function returns", _named(out)))
    if found := _first(events):
        return found
    if not _has_loss(out):
        return None
    return _first(_backward(fn, args))


def _has_loss(out: Any) -> bool:
    """Whether `out` is a loss, or a tuple that begins with one."""
    loss = out[0] if isinstance(out, tuple) and out else out
    return is_float(loss) and loss.ndim == 0


def _backward(fn: Callable[..., Any], args: tuple[Any, ...]) -> list[_Event]:
    """The events of differentiating `fn` in all of its float arguments."""
    leaves, structure = tree.flatten(args)
    floats = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}
    events: list[_Event] = []

    def loss(floats: dict[int, Array]) -> Array:
        filled = [floats.get(i, leaf) for i, leaf in enumerate(leaves)]
        out = _watched(fn, events)(*tree.unflatten(structure, filled))
        found: Array = out[0] if isinstance(out, tuple) else out
        return found

    grads = transforms.grad(loss)(floats)
    paths = tree.paths({"args": args})
    named = [(paths[i], grad) for i, grad in grads.items()]
    return [*events, _Event("backward", "", "the gradient of the arguments", named)]


def _watched(fn: Callable[..., Any], events: list[_Event]) -> Callable[..., Any]:
    """`fn`, with its layers' inputs, params, outputs and their gradients recorded."""

    def watch(path: str, what: str, values: Any) -> Any:
        if what == "output":
            events.append(_Event("forward", path, what, _named(values)))

        def receive(grads: list[tuple[str, Array]]) -> None:
            events.append(_Event("backward", path, _GRADIENTS[what], grads))

        return tap_gradients(values, receive)

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
    """The first of the events, which come innermost first, that is not finite."""
    for phase, path, where, leaves in events:
        for leaf_path, leaf in leaves:
            if not is_float(leaf) or not _has_values(leaf):
                continue
            nans, infs = (
                int(mx.sum(test(leaf)).item())  # type: ignore[arg-type]  # int of a sum
                for test in (mx.isnan, mx.isinf)
            )
            if nans or infs:
                return NonFinite(phase, path, where, leaf_path, nans, infs, leaf.size)
    return None


def _has_values(leaf: Array) -> bool:
    """Whether an array has values, which it has not inside of `vmap`."""
    try:
        mx.eval(leaf)
    except (ValueError, RuntimeError):
        return False
    return True


guide(globals(), "debug")
