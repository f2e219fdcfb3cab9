"""`custom_vjp` and `custom_jvp`: functions over trees with derivatives of their own.

`lucid_fn.ops.custom_derivative` carries a rule through `vmap`. A rule applies to the
innermost derivative around a call. Outer derivatives differentiate the operations of
the rule, as in JAX.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import signature_of
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, directions
from lucid_fn.tracing import are_rules_bypassed, bypassing_rules, tracked
from lucid_fn.transforms import captures, diagnosis
from lucid_fn.transforms.arguments import (
    as_array,
    check_function,
    fenced,
    name_of,
    to_arrays,
)
from lucid_fn.transforms.closures import RULES, Frozen, frozen
from lucid_fn.transforms.rule_checks import (
    check_places,
    cotangents_of,
    pair,
    tangents_of,
)
from lucid_fn.types import Array


def custom_vjp(
    fn: Callable[..., Any], nondiff_argnums: Sequence[int] = ()
) -> Callable[..., Any]:
    """Gives `fn` a reverse derivative of its own, by `defvjp(fwd, bwd)`.

    `fwd(*args)` returns `(y, residuals)`, where `y` is what `fn(*args)` returns, and
    `residuals` any tree. `bwd(residuals, cotangent)` returns a tuple with one cotangent
    an argument: a tree of the argument's structure, shapes and dtypes, or `None` for
    zeros. As in JAX the rule has no forward derivative: `jvp` raises.

    The value is computed by `fn`. `fwd` runs when the backward pass is built. `jit`
    merges the operations that both have in common, which are computed twice outside.

    Args:
        fn: a function of trees to a tree of arrays, pure. It must not read arrays that
            depend on a transformation around its call, which no gradient would reach.
        nondiff_argnums: positions of arguments that are constants, such as functions
            and shapes. `bwd` takes them first: `bwd(*constants, residuals, ct)`.

    Returns:
        A function with the signature of `fn` and a method `defvjp(fwd, bwd)`, which
        returns that function.

    Raises:
        TypeError: if `fn` is not a function; inside `jvp`; inside `grad`, if `bwd` does
            not return a tuple, or returns a wrong dtype.
        ValueError: when called, if there is no rule yet, or `fn`, `fwd` or `bwd` read
            arrays of a transformation around the call; inside `grad`, if the number,
            structure or shape of a cotangent is wrong, or if something that `fwd` reads
            has changed since the call, other than variables of its closure.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> @lf.custom_vjp
        ... def reverse(x):
        ...     return x
        >>> reverse = reverse.defvjp(lambda x: (x, None), lambda _, ct: (-ct,))
        >>> lf.grad(lambda x: mx.sum(reverse(x) * 3))(mx.array([1.0, 2.0]))
        array([-3, -3], dtype=float32)
    """
    check_function("custom_vjp", fn)
    constant = check_places(nondiff_argnums)
    rules: dict[str, Callable[..., Any]] = {}

    @wraps(fn)
    def ruled(*args: Any, **kwargs: Any) -> Any:
        if not rules:
            raise ValueError(
                f"custom_vjp: `{name_of(fn)}` must have a rule before it is called; "
                f"give it one with {name_of(fn)}.defvjp(fwd, bwd)"
            )
        bwd = rules["bwd"]
        call = _split(fn, constant, args, kwargs, "custom_vjp", (rules["fwd"], bwd))
        rule = Frozen(lambda: rules["fwd"], None, "custom_vjp")  # until it has run

        def fwd(*given: Any) -> tuple[Any, Any]:
            out = rule.at_call()(*given)
            rule.note_run()
            return pair(out, "fwd", "(y, residuals)", "custom_vjp")

        def pull(
            primals: list[Array], cotangents: list[Array], out: tree.Structure
        ) -> list[Array]:
            given = call.arguments(primals)
            _, residuals = fwd(*given)
            found = bwd(
                *[given[i] for i in constant],
                residuals,
                tree.unflatten(out, cotangents),
            )
            return cotangents_of(found, given, constant, name_of(fn))

        def push(*_: Any) -> Any:
            raise TypeError(
                f"jvp: `{name_of(fn)}` has a reverse derivative alone, made with "
                "custom_vjp; use grad or vjp, or define it with custom_jvp, which "
                "serves both"
            )

        def plain(given: tuple[Any, ...]) -> Any:
            return fwd(*given)[0]

        if are_rules_bypassed():
            with bypassing_rules(False):
                return plain(call.arguments(call.arrays))
        before = frozen(rules["fwd"], "custom_vjp")
        y = _run(call, fn, plain, pull, push, "custom_vjp")
        before.note_run()
        # The closure of now: the run may have appended to a log that it holds.
        rule = frozen(rules["fwd"], "custom_vjp")._replace(outside=before.outside)
        return y

    def defvjp(fwd: Callable[..., Any], bwd: Callable[..., Any]) -> Callable[..., Any]:
        check_function("custom_vjp: fwd of defvjp", fwd)
        check_function("custom_vjp: bwd of defvjp", bwd)
        rules.update(fwd=fwd, bwd=bwd)
        setattr(ruled, RULES, (id(ruled), (fn, fwd, bwd)))
        return ruled

    ruled.defvjp = defvjp  # type: ignore[attr-defined]  # a function may hold one
    return ruled


def custom_jvp(
    fn: Callable[..., Any], nondiff_argnums: Sequence[int] = ()
) -> Callable[..., Any]:
    """Gives `fn` a forward derivative of its own, by `defjvp(rule)`.

    `rule(primals, tangents)` takes two tuples with one tree an argument, and returns
    `(y, tangent of y)`, the latter linear in the tangents. As in JAX, reverse
    derivatives are made of it, so that `grad` and `jvp` both follow the rule.

    Args:
        fn: as in `custom_vjp`.
        nondiff_argnums: positions of arguments that are constants; the rule takes them
            first: `rule(*constants, primals, tangents)`.

    Returns:
        A function with the signature of `fn` and a method `defjvp(rule)`, which returns
        that function.

    Raises:
        TypeError: if `fn` is not a function; inside a derivative, if the rule does not
            return a pair, or returns a tangent of a wrong dtype.
        ValueError: when called, if there is no rule yet, or `fn` or the rule read
            arrays of a transformation around the call; inside a derivative, if the
            structure or shape of the tangent is wrong, or if something that the rule
            reads has changed since the call, other than variables of its closure.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> softplus = lf.custom_jvp(lambda x: mx.logaddexp(x, mx.array(0.0)))
        >>> @softplus.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return softplus(x), t * mx.sigmoid(x)
        >>> lf.grad(softplus)(0.0)
        array(0.5, dtype=float32)
    """
    check_function("custom_jvp", fn)
    constant = check_places(nondiff_argnums)
    rules: dict[str, Callable[..., Any]] = {}

    @wraps(fn)
    def ruled(*args: Any, **kwargs: Any) -> Any:
        if not rules:
            raise ValueError(
                f"custom_jvp: `{name_of(fn)}` must have a rule before it is called; "
                f"give it one with {name_of(fn)}.defjvp(rule)"
            )
        call = _split(fn, constant, args, kwargs, "custom_jvp", (rules["rule"],))
        rule = Frozen(lambda: rules["rule"], None, "custom_jvp")  # until it has run

        def both(given: tuple[Any, ...], tangents: tuple[Any, ...]) -> Any:
            primals = tuple(x for i, x in enumerate(given) if i not in constant)
            moved = tuple(x for i, x in enumerate(tangents) if i not in constant)
            out = rule.at_call()(*[given[i] for i in constant], primals, moved)
            rule.note_run()
            return pair(out, "the rule", "(y, tangent)", "custom_jvp")

        def push(primals: list[Array], tangents: list[Array]) -> list[Array]:
            y, moved = both(call.arguments(primals), call.arguments(tangents))
            return tangents_of(moved, y, name_of(fn))

        def pull(
            primals: list[Array], cotangents: list[Array], out: tree.Structure
        ) -> list[Array]:
            zeros = [mx.zeros_like(x) for x in primals]
            linear = fenced(lambda *tangents: push(primals, list(tangents)))
            return list(mlx_transforms.vjp(linear, zeros, cotangents)[1])

        def plain(given: tuple[Any, ...]) -> Any:
            return both(given, tree.map(_zero, given))[0]

        if are_rules_bypassed():
            with bypassing_rules(False):
                return plain(call.arguments(call.arrays))
        before = frozen(rules["rule"], "custom_jvp")
        y = _run(call, fn, plain, pull, push, "custom_jvp")
        before.note_run()
        # The closure of now: the run may have appended to a log that it holds.
        rule = frozen(rules["rule"], "custom_jvp")._replace(outside=before.outside)
        return y

    def defjvp(rule: Callable[..., Any]) -> Callable[..., Any]:
        check_function("custom_jvp: the rule of defjvp", rule)
        rules["rule"] = rule
        setattr(ruled, RULES, (id(ruled), (fn, rule)))
        return ruled

    ruled.defjvp = defjvp  # type: ignore[attr-defined]  # a function may hold one
    return ruled


class _Call(NamedTuple):
    """The arguments of a call, divided into arrays and constants."""

    structure: tree.Structure
    constants: list[Any]  # the leaves, with `None` in place of arrays
    places: list[int]  # the indices of the arrays among the leaves
    arrays: list[Array]

    def arguments(self, arrays: list[Array]) -> tuple[Any, ...]:
        leaves = list(self.constants)
        for place, array in zip(self.places, arrays, strict=True):
            leaves[place] = array
        args: tuple[Any, ...] = tree.unflatten(self.structure, leaves)
        return tuple(arg.value if isinstance(arg, _Constant) else arg for arg in args)


class _Constant:
    """An argument that is one leaf, even if it is a tree."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _split(
    fn: Callable[..., Any],
    constant: tuple[int, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    caller: str,
    rules: tuple[Callable[..., Any], ...],
) -> _Call:
    for function in (fn, *rules):
        captures.find(function, caller)
    signature = signature_of(fn)
    bound = None if signature is None else signature.bind(*args, **kwargs)
    if named := kwargs if bound is None else bound.kwargs:
        raise TypeError(
            f"{caller}: `{name_of(fn)}` must be given its arguments by position, got "
            f"the keyword-only {', '.join(named)}"
        )
    if bound is not None:
        bound.apply_defaults()  # the rules get them, too
        args = bound.args
    held = tuple(_Constant(arg) if i in constant else arg for i, arg in enumerate(args))
    leaves, structure = tree.flatten(held)
    captures.check_constants(leaves, held, {}, fn, caller)
    constants: list[Any] = []
    places: list[int] = []
    arrays: list[Array] = []
    for i, leaf in enumerate(leaves):
        array = None if isinstance(leaf, int | float | complex) else as_array(leaf)
        constants.append(leaf if array is None else None)
        if array is not None:
            places.append(i)
            arrays.append(array)
    return _Call(structure, constants, places, arrays)


def _run(
    call: _Call,
    fn: Callable[..., Any],
    plain: Callable[[tuple[Any, ...]], Any],
    pull: Callable[[list[Array], list[Array], tree.Structure], list[Array]],
    push: Callable[[list[Array], list[Array]], list[Array]],
    caller: str,
) -> Any:
    """`fn` of the arguments, with rules for the innermost derivative."""
    structures: list[tree.Structure] = []
    uses = 0

    def flat(*arrays: Array) -> tuple[Array, ...]:
        with diagnosis.drawing_nothing(name_of(fn), caller):
            value = fn(*call.arguments(list(arrays)))
        out, structure = to_arrays(value, "result", caller)
        structures.append(structure)
        return tuple(out)

    def outer(*arrays: Array) -> list[Array]:
        return to_arrays(plain(call.arguments(list(arrays))), "result", caller)[0]

    def vjp(primals: Any, cotangents: Any, _: Any) -> tuple[Array, ...]:
        nonlocal uses
        uses += 1
        xs, gs = as_list(primals), as_list(cotangents)
        if uses == 1:
            return tuple(pull(xs, gs, structures[-1]))
        return tuple(mlx_transforms.vjp(fenced(outer), tracked(xs), gs)[1])

    def jvp(primals: Any, tangents: Any) -> tuple[Array, ...]:
        nonlocal uses
        uses += 1
        xs, moved = as_list(primals), directions(primals, tangents)
        if uses == 1:
            return tuple(push(xs, moved))
        return tuple(mlx_transforms.jvp(outer, tracked(xs), moved)[1])

    if not call.arrays:
        return fn(*call.arguments([]))
    ruled = custom_function(flat)
    ruled.vjp(vjp)
    ruled.jvp(jvp)
    out = as_list(ruled(*call.arrays))
    if not structures:  # a trace for export has the results, and does not run `flat`
        mlx_transforms.without_handlers(flat)(*call.arrays)
    return tree.unflatten(structures[-1], out)


def _zero(leaf: Any) -> Any:
    return mx.zeros_like(leaf) if isinstance(leaf, mx.array) else leaf
