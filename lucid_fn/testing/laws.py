"""What laws have in common: comparisons, slopes, and running all of them."""

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
    """Raises one error that lists the laws which `subject` breaks."""
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
            told = f"{kind}: {error}" if kind else str(error)
            broken.append(f"{name}: {told}")
            causes.append(error)
    if broken:
        raise AssertionError(
            f"{caller}: broken laws, which skip=[...] would leave out\n  "
            + "\n  ".join(broken)
        ) from causes[0]


def require(condition: bool, message: str) -> None:
    """An `assert` that `python -O` keeps."""
    if not condition:
        raise AssertionError(message)


def is_float(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def floats(values: Tree) -> list[Array]:
    return [leaf for leaf in tree.leaves(values) if is_float(leaf)]


def kinds(values: Tree) -> Tree:
    """Everything about a tree but its numbers."""
    return tree.map(lambda x: f"{x.dtype} {x.shape}".replace("mlx.core.", ""), values)


def copied(values: Tree) -> Tree:
    """The same numbers in memory of their own."""
    return tree.map(lambda x: mx.array(x) if isinstance(x, mx.array) else x, values)


def each(values: Tree, i: int) -> Tree:
    """Entry `i` of axis 0 of all leaves."""
    return tree.map(lambda x: x[i], values)


def require_equal(found: Tree, expected: Tree, message: str) -> None:
    """Raises unless two trees are equal bit for bit."""
    require(tree.equal(found, expected, equal_nan=True).item() is True, message)


def require_close(
    found: Tree, expected: Tree, message: str, *, rtol: float = 1e-5, atol: float = 1e-5
) -> None:
    """Raises unless two trees have the same paths, and numbers that are close."""
    ours, theirs = tree.named_leaves({"": found}), tree.named_leaves({"": expected})
    require(ours.keys() == theirs.keys(), f"{message}: the structures differ")
    for path, x in ours.items():
        a, b = _numpy(x), _numpy(theirs[path])
        if a.shape != b.shape or not np.allclose(
            a, b, rtol=rtol, atol=atol, equal_nan=True
        ):
            place = f" at {path[1:]}" if path[1:] else ""
            raise AssertionError(f"{message}{place}: {_summed_up(a, b)}")


def _numpy(x: Any) -> Any:
    """NumPy has no bfloat16."""
    half = isinstance(x, mx.array) and x.dtype == mx.bfloat16
    return np.asarray(x.astype(mx.float32) if half else x)


def _summed_up(a: Any, b: Any) -> str:
    if a.shape != b.shape:
        return f"shape {a.shape} is not {b.shape}"
    gaps = np.abs(a.astype(np.float64) - b.astype(np.float64))
    worst = np.unravel_index(np.nanargmax(np.nan_to_num(gaps, nan=np.inf)), a.shape)
    return f"{a[worst]:.6g} is not {b[worst]:.6g}"


def product(a: Any, b: Any) -> float:
    """The inner product, in float64."""
    return float(np.vdot(_numpy(a).astype(np.float64), _numpy(b).astype(np.float64)))


STEP = 2e-3
"""Of central differences of float32 numbers."""


def require_slope(
    outputs: Callable[[dict[int, Array]], list[Array]],
    movable: dict[int, Array],
    seeds: Iterable[Any],
) -> None:
    """Raises unless the gradient is the slope along one of several directions.

    A right gradient may disagree where a step crosses the kink of a `relu`; a wrong one
    disagrees along nearly all directions.

    Args:
        outputs: from numbered arrays to arrays, in float32 or float64.
        movable: where the slope is measured.
        seeds: of the directions.
    """
    messages = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        found, slope, allowed = _slopes(outputs, movable, rng)
        if abs(found - slope) <= allowed:
            return
        messages.append(
            f"the gradient says {found:.6g} where the slope is {slope:.6g}, allowed is "
            f"a difference of {allowed:.2g}"
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
    require(kinds(grads) == kinds(movable), "gradients have other shapes or dtypes")
    found = sum(product(grads[i], towards[i]) for i in movable)
    # Two central differences, so that the third derivative cancels.
    near, far = ((at(h) - at(-h)) / (2 * h) for h in (STEP, 2 * STEP))
    slope = (4 * near - far) / 3
    size = sum(product(mx.abs(w), mx.abs(y)) for w, y in zip(weights, begun))  # noqa: B905
    return found, slope, max(1e-2 * abs(slope), 2e-2, 2e-4 * size)
