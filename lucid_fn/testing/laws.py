"""Shared code of laws: comparisons, finite differences, and running all laws."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import transforms, tree
from lucid_fn.types import Array, Tree

Law = Callable[[Any], None]


def check_laws(
    caller: str, laws: Mapping[str, Law], subject: Any, skip: Collection[str]
) -> None:
    """Raise one `AssertionError` that lists all laws that `subject` breaks."""
    if isinstance(skip, str) or not set(skip) <= laws.keys():
        raise ValueError(
            f"{caller}: skip must be a collection of laws ({', '.join(laws)}), got "
            f"{skip!r}"
        )
    broken, causes = [], []
    for name, law in laws.items():
        if name in skip:
            continue
        try:
            law(subject)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else type(error).__name__
            message = f"{kind}: {error}" if kind else str(error)
            broken.append(f"{name}: {message}")
            causes.append(error)
    if broken:
        raise AssertionError(
            f"{caller}: broken laws, which skip=[...] would leave out\n  "
            + "\n  ".join(broken)
        ) from causes[0]


def require(condition: bool, message: str) -> None:
    """An `assert` that `python -O` does not remove."""
    if not condition:
        raise AssertionError(message)


def is_float(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def floats(values: Tree) -> list[Array]:
    return [leaf for leaf in tree.leaves(values) if is_float(leaf)]


def specs(values: Tree) -> Tree:
    """A tree with the dtype and shape of each leaf, as text."""
    return tree.map(lambda x: f"{x.dtype} {x.shape}".replace("mlx.core.", ""), values)


def copied(values: Tree) -> Tree:
    """A deep copy."""
    return tree.map(lambda x: mx.array(x) if isinstance(x, mx.array) else x, values)


def each(values: Tree, i: int) -> Tree:
    """Index axis 0 of all leaves by `i`."""
    return tree.map(lambda x: x[i], values)


def require_equal(found: Tree, expected: Tree, message: str) -> None:
    """Raise unless two trees are equal, bit for bit."""
    require(tree.equal(found, expected, equal_nan=True).item() is True, message)


def require_close(
    found: Tree, expected: Tree, message: str, *, rtol: float = 1e-5, atol: float = 1e-5
) -> None:
    """Raise unless two trees have the same paths and close values."""
    ours, theirs = tree.named_leaves({"": found}), tree.named_leaves({"": expected})
    require(ours.keys() == theirs.keys(), f"{message}: the structures differ")
    for path, x in ours.items():
        a, b = _numpy(x), _numpy(theirs[path])
        if a.shape != b.shape or not np.allclose(
            a, b, rtol=rtol, atol=atol, equal_nan=True
        ):
            place = f" at {path[1:]}" if path[1:] else ""
            raise AssertionError(f"{message}{place}: {_difference(a, b)}")


def _numpy(x: Any) -> Any:
    # NumPy has no bfloat16.
    half = isinstance(x, mx.array) and x.dtype == mx.bfloat16
    return np.asarray(x.astype(mx.float32) if half else x)


def _difference(a: Any, b: Any) -> str:
    if a.shape != b.shape:
        return f"shape {a.shape} is not {b.shape}"
    gaps = np.abs(a.astype(np.float64) - b.astype(np.float64))
    worst = np.unravel_index(np.nanargmax(np.nan_to_num(gaps, nan=np.inf)), a.shape)
    return f"{a[worst]:.6g} is not {b[worst]:.6g}"


def product(a: Any, b: Any) -> float:
    """The inner product, in float64."""
    return float(np.vdot(_numpy(a).astype(np.float64), _numpy(b).astype(np.float64)))


STEP = 2e-3
"""Step of central differences in float32."""


def require_slope(
    outputs: Callable[[dict[int, Array]], list[Array]],
    movable: dict[int, Array],
    seeds: Iterable[Any],
) -> None:
    """Raise unless the gradient agrees with finite differences along one direction.

    A correct gradient may disagree where a step crosses the kink of a `relu`; a wrong
    one disagrees along nearly all directions.

    Args:
        outputs: function from numbered arrays to arrays, in float32 or float64.
        movable: the point at which the gradient is checked.
        seeds: seeds of the directions to try.
    """
    messages = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        found, slope, allowed = _slopes(outputs, movable, rng)
        if abs(found - slope) <= allowed:
            return
        messages.append(
            f"the gradient gives a slope of {found:.6g}, finite differences give "
            f"{slope:.6g}; the tolerance is {allowed:.2g}"
        )
    raise AssertionError(messages[0])


def _slopes(
    outputs: Callable[[dict[int, Array]], list[Array]],
    movable: dict[int, Array],
    rng: np.random.Generator,
) -> tuple[float, float, float]:
    def direction(leaf: Array) -> Array:
        return mx.array(rng.normal(size=leaf.shape).astype(np.float32))

    begun = outputs(movable)
    weights = [direction(y) for y in begun]
    towards = tree.map(direction, movable)

    def loss(movable: dict[int, Array]) -> Array:
        pairs = zip(weights, outputs(movable), strict=True)
        return sum((mx.sum(w * y) for w, y in pairs), mx.array(0.0))

    def at(step: float) -> float:
        moved = tree.map(lambda p, d: p + step * d, movable, towards)
        return sum(map(product, weights, outputs(moved)))

    grads = transforms.grad(loss)(movable)
    require(specs(grads) == specs(movable), "gradients have other shapes or dtypes")
    found = sum(product(grads[i], towards[i]) for i in movable)
    # Richardson extrapolation of two central differences.
    near, far = ((at(h) - at(-h)) / (2 * h) for h in (STEP, 2 * STEP))
    slope = (4 * near - far) / 3
    size = sum(product(mx.abs(w), mx.abs(y)) for w, y in zip(weights, begun))  # noqa: B905
    return found, slope, max(1e-2 * abs(slope), 2e-2, 2e-4 * size)
