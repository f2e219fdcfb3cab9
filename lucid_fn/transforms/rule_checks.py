"""Checks of what the rules of `custom_vjp` and `custom_jvp` return."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms.arguments import as_array, describe, to_arrays
from lucid_fn.tree.mapping import describe as show
from lucid_fn.tree.nodes import entries_of
from lucid_fn.types import Array, Tree


def pair(out: Any, what: str, words: str, caller: str) -> tuple[Any, Any]:
    if not (isinstance(out, tuple | list) and len(out) == 2):
        raise TypeError(
            f"{caller}: {what} must return the pair {words}, got {type(out).__name__}"
        )
    return out[0], out[1]


def cotangents_of(
    found: Any, given: tuple[Any, ...], constant: tuple[int, ...], name: str
) -> list[Array]:
    """The cotangents of the arrays among the arguments, checked."""
    if not isinstance(found, tuple | list):
        raise TypeError(
            f"custom_vjp: bwd of `{name}` must return a tuple with one cotangent an "
            f"argument, got {type(found).__name__}; write (cotangent,) for a single one"
        )
    places = [i for i in range(len(given)) if i not in constant]
    if len(found) != len(places):
        raise ValueError(
            f"custom_vjp: bwd of `{name}` must return one cotangent for each of "
            f"{len(places)} arguments, got {len(found)}; give None where there is none"
        )
    out: list[Array] = []
    for place, cotangent in zip(places, found, strict=True):
        _collect_cotangents(cotangent, given[place], f"{name}, argument {place}", out)
    return out


def _collect_cotangents(
    cotangent: Any, primal: Tree, where: str, out: list[Array]
) -> None:
    """Appends the cotangents of the arrays in `primal`, in the order of its leaves."""
    if cotangent is None:
        out += [mx.zeros_like(x) for x in tree.leaves(primal) if _is_array(x)]
        return
    ours, theirs = entries_of(primal), entries_of(cotangent)
    if (ours and ours[:2]) != (theirs and theirs[:2]):
        raise ValueError(
            f"custom_vjp: the cotangent of `{where}` must have its structure, "
            f"{show(primal)}, got {show(cotangent)}"
        )
    if ours and theirs:
        for key, x, g in zip(*ours[1:], theirs[2], strict=True):
            _collect_cotangents(g, x, f"{where}, {key}", out)
    elif _is_array(primal):
        out.append(_cotangent(cotangent, primal, where))


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, mx.array)


def _cotangent(cotangent: Any, primal: Array, where: str) -> Array:
    if not mx.issubdtype(primal.dtype, mx.inexact):
        return mx.zeros_like(primal)  # such as a random key, which has none
    array = as_array(cotangent)
    if array is None or array.shape != primal.shape:
        raise ValueError(
            f"custom_vjp: the cotangent of `{where}` must have its shape, "
            f"{primal.shape}, got {describe(cotangent)}"
        )
    if _is_array(cotangent) and array.dtype != primal.dtype:
        raise TypeError(
            f"custom_vjp: the cotangent of `{where}` must have its dtype, "
            f"{primal.dtype}, got {array.dtype}; cast it with astype"
        )
    return array.astype(primal.dtype)


def tangents_of(moved: Tree, y: Tree, name: str) -> list[Array]:
    """The tangents of the results, checked."""
    outs, structure = to_arrays(y, "result", "custom_jvp")
    found, other = to_arrays(moved, "tangent", "custom_jvp")
    if structure != other:
        raise ValueError(
            f"custom_jvp: the tangent that the rule of `{name}` returns must have the "
            f"structure of the result, {structure}, got {other}"
        )
    for x, t in zip(outs, found, strict=True):
        if t.shape != x.shape:
            raise ValueError(
                f"custom_jvp: the tangent that the rule of `{name}` returns must have "
                f"the shape of the result, {x.shape}, got {t.shape}"
            )
        if t.dtype != x.dtype and mx.issubdtype(x.dtype, mx.inexact):
            raise TypeError(
                f"custom_jvp: the tangent that the rule of `{name}` returns must have "
                f"the dtype of the result, {x.dtype}, got {t.dtype}; cast it with "
                "astype"
            )
    return found


def check_places(nondiff_argnums: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(nondiff_argnums, tuple | list) or any(
        not isinstance(i, int) or isinstance(i, bool) or i < 0 for i in nondiff_argnums
    ):
        raise TypeError(
            "custom rules: nondiff_argnums must be a tuple of positions of arguments, "
            f"got {nondiff_argnums!r}"
        )
    return tuple(nondiff_argnums)
