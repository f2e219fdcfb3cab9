"""`grad` and `value_and_grad`: gradients of functions over trees."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_bool
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.seam import differentiating
from lucid_fn.tracing import any_traced, tracked, transforming
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.argnums import chooser
from lucid_fn.transforms.arguments import check_function, describe, name_of, split_aux
from lucid_fn.tree.structure import check_depth
from lucid_fn.types import Array, Tree

REVERSE_FIX = "use other operations, or give this one a rule with lf.custom_vjp"


def value_and_grad(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., tuple[Any, Tree]]:
    """Returns a function that computes the value and the gradient of `fn`.

    The gradient for a complex `z = x + iy` is `dL/dx + i dL/dy`, the direction in which
    the loss `L` grows fastest. That is PyTorch's convention; JAX's is the conjugate.

    Args:
        fn: `fn(params, *args) -> loss`, or `-> (loss, aux)` with `has_aux`. `loss` is
            a float array of shape `()`; `aux` is any tree, for instance the new state.
        argnums: the position of the argument to differentiate, or several. Its leaves
            are float or complex arrays, or Python floats, which become arrays.
        has_aux: whether `fn` returns a pair.

    Returns:
        `(params, *args) -> (loss, grads)`, or `-> ((loss, aux), grads)`; `grads` has
        the structure, shapes and dtypes of the argument, and is a tuple of such trees
        if `argnums` is a sequence.

    Raises:
        ValueError: when called, if `loss` is not a scalar, or if there is no argument
            at a position.
        TypeError: if `fn` is not a function, or `argnums` is not a position or a
            sequence of them; when called, if `fn` returns the wrong type, if a leaf to
            differentiate is not of a float dtype, or if the loss depends on no leaf
            since `fn` converts them, as by `np.array(x)` or `x.item()`. A conversion
            in a loss that also depends on leaves otherwise is not found, except by
            compiling the function; no gradient flows through it.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> f = lf.value_and_grad(lambda w: mx.sum(w**2))
        >>> f(mx.array([1.0, 2.0]))
        (array(5, dtype=float32), array([2, 4], dtype=float32))
    """
    return gradient_of(fn, argnums, has_aux, "value_and_grad")


def grad(
    fn: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Returns a function that computes the gradient of `fn`; see `value_and_grad`.

    Complex gradients are PyTorch's, the conjugates of JAX's.

    Args:
        fn: as in `value_and_grad`.
        argnums: the position of the argument to differentiate, or several.
        has_aux: whether `fn` returns a pair, `(loss, aux)`.

    Returns:
        `(params, *args) -> grads`, or `-> (grads, aux)` with `has_aux`.

    Raises:
        ValueError: as `value_and_grad`.
        TypeError: as `value_and_grad`.

    Example:
        >>> import lucid_fn as lf
        >>> lf.grad(lambda x: x**3)(2.0)
        array(12, dtype=float32)
        >>> lf.grad(lf.grad(lambda x: x**3))(2.0)
        array(12, dtype=float32)
    """
    both = gradient_of(fn, argnums, has_aux, "grad")

    @functools.wraps(fn)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return gradient


def stop_gradient(values: Tree, /) -> Tree:
    """The tree as a constant of every derivative.

    For targets computed from params, and for params that are not trained.

    Args:
        values: a tree; leaves that are not MLX arrays are returned as they are.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> frozen = lambda p: mx.sum(p["w"] * lf.stop_gradient(p)["w"])
        >>> lf.grad(frozen)({"w": mx.array([2.0, 3.0])})
        {'w': array([2, 3], dtype=float32)}
    """
    return tree.map(
        lambda x: mx.stop_gradient(x) if isinstance(x, mx.array) else x, values
    )


def gradient_of(
    fn: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool, caller: str
) -> Callable[..., tuple[Any, Tree]]:
    check_bool(caller, has_aux=has_aux)
    check_function(caller, fn)
    choose = chooser(fn, argnums, caller)

    @functools.wraps(fn)
    def both(*args: Any, **kwargs: Any) -> tuple[Any, Tree]:
        leaves, call, collect = choose(args, kwargs)
        leaves, depends = tracked(leaves), True

        def loss_of(leaves: list[Array]) -> Any:
            nonlocal depends
            with differentiating(leaves):
                out = _check_loss(call(leaves), has_aux, name_of(fn), caller)
            depends = any_traced([out[0] if has_aux else out])
            return out

        if leaves:
            with (
                transforming(reverse=True),
                diagnosis.explains_missing_rule(caller, REVERSE_FIX),
            ):
                value, grads = mlx_transforms.value_and_grad(loss_of)(leaves)
        else:
            value, grads = loss_of(leaves), []
        if leaves and not depends:
            loss = f"the loss that `{name_of(fn)}` returns"
            diagnosis.check_conversions(call, leaves, loss, caller)
        return value, collect(grads)

    return both


def _check_loss(out: Any, has_aux: bool, name: str, caller: str) -> Any:
    loss, aux = split_aux(out, has_aux, name, caller, "loss")
    if has_aux:
        check_depth(aux)
    elif isinstance(out, tuple | list | dict):
        raise TypeError(
            f"{caller}: `{name}` must return the loss, an array of shape (), got "
            f"{type(out).__name__}; to return more besides, use has_aux=True and "
            "return (loss, aux)"
        )
    if not isinstance(loss, mx.array):
        raise TypeError(
            f"{caller}: the loss that `{name}` returns must be an array, got "
            f"{describe(loss)}; a number has no gradient (was it made with .item() "
            "or float()?)"
        )
    if loss.shape != ():
        raise ValueError(
            f"{caller}: the loss that `{name}` returns must have shape (), got "
            f'{loss.shape}; reduce it with ops.mean, or a loss\'s reduction="mean"'
        )
    if not mx.issubdtype(loss.dtype, mx.floating):
        raise TypeError(
            f"{caller}: the loss that `{name}` returns must be a float, got "
            f"{loss.dtype}"
        )
    return out
