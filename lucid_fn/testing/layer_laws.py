"""What every layer promises, and `check_layer`, which asks a layer for it."""

from collections.abc import Collection
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import nn, random, transforms, tree
from lucid_fn.nn.core.children import as_layer
from lucid_fn.nn.core.layer import to_input
from lucid_fn.testing.laws import (
    Law,
    check_laws,
    copied,
    each,
    floats,
    is_float,
    kinds,
    require,
    require_close,
    require_equal,
    require_slope,
)
from lucid_fn.types import Array, ArrayFn, Key, Params, State, Tree

HALF = (mx.float16, mx.bfloat16)


class Subject(NamedTuple):
    """A layer with all that it is applied to."""

    layer: nn.Layer
    params: Params
    state: State
    x: Any
    key: Key

    def apply(self, *, train: bool, **other: Any) -> tuple[Any, State]:
        params, state, x, key = (
            other.get(name, getattr(self, name))
            for name in ("params", "state", "x", "key")
        )
        return self.layer.apply(params, state, x, train=train, key=key)


def subject(layer: nn.Layer, x: Any, seed: int = 0) -> Subject:
    params, state = layer.init(random.key(seed))
    return Subject(layer, params, state, x, random.key(seed + 1))


def check_layer(
    layer: nn.Layer | ArrayFn, x: Any, *, seed: int = 0, skip: Collection[str] = ()
) -> None:
    """Fails unless a layer keeps the laws that all layers of this library keep.

    - `"init"` is a function of the key, and returns float params, no array twice.
    - `"purity"`: `apply` leaves its arguments alone, and repeats its result.
    - `"train"` must be given, as a bool.
    - `"eval"` needs no key, and keeps the state.
    - `"state"`: the new state has the structure, shapes and dtypes of the old one, also
      if params and input are in half precision.
    - `"jit"`: compiled and eager results agree.
    - `"dtype"`: half precision stays, and is close to float32.
    - `"examples"`: in eval mode, the results of a batch are those of its examples.
    - `"gradient"`: gradients in params and input are the slopes of finite differences.
    - `"vmap"`: results and gradients of a vectorized layer are those of a loop.

    Args:
        layer: a layer, or a function on arrays.
        x: an input, with the batch on axis 0; numbers near 1 make the best test.
        seed: of the params, the key, and directions.
        skip: laws that the layer does not promise to keep.

    Raises:
        AssertionError: if laws are broken; the message lists them, and why.
        TypeError: if `layer` is not one.
        ValueError: if `skip` names another law.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random, testing
        >>> x = random.normal(random.key(0), (4, 3))
        >>> testing.check_layer(nn.serial(nn.linear(3, 2), nn.batch_norm(2)), x)
        >>> testing.check_layer(lambda x: x - mx.mean(x, axis=0), x)
        Traceback (most recent call last):
        ...
        AssertionError: check_layer: broken laws, which skip=[...] would leave out
          examples: example 0 alone gives another result than in its batch: ...
    """
    made = as_layer("check_layer: layer", layer)
    check_laws("check_layer", LAWS, subject(made, to_input(x), seed), skip)


def init_is_a_function_of_the_key(s: Subject) -> None:
    key = random.key(3)
    message = "init returns something else for the same key at a second call"
    require_equal(s.layer.init(key), s.layer.init(key), message)


def no_two_leaves_are_one_array(s: Subject) -> None:
    # A compiled function may not take as an argument what it also captures.
    leaves = tree.leaves((s.params, s.state))
    distinct = len({id(leaf) for leaf in leaves}) == len(leaves)
    require(distinct, "two leaves of params and state are the same array")


def params_are_float_arrays(s: Subject) -> None:
    for path, leaf in tree.named_leaves(s.params).items():
        require(is_float(leaf), f"params must be float arrays, {path} is not")


def apply_is_pure(s: Subject, train: bool) -> None:
    given = (s.params, s.state, s.x, s.key)
    before = copied(given)
    first = s.apply(train=train)
    again = s.apply(train=train)
    require_equal(given, before, f"apply changes its arguments with train={train}")
    message = f"apply returns something else at a second call with train={train}"
    require_equal(again, first, message)


def the_new_state_has_the_form_of_the_state(s: Subject) -> None:
    _, new = s.apply(train=True)
    message = f"the state {kinds(s.state)} becomes {kinds(new)}"
    require(kinds(new) == kinds(s.state), message)
    require(list(new) == list(s.state), "the state has its names in another order")


def a_state_keeps_its_dtypes(s: Subject, dtype: mx.Dtype) -> None:
    """Running statistics in 16 bits would stop to move."""
    params, x = tree.cast((s.params, s.x), dtype)
    _, new = s.apply(train=True, params=params, x=x)
    message = f"with {dtype}, the state {kinds(s.state)} becomes {kinds(new)}"
    require(kinds(new) == kinds(s.state), message)


def train_has_no_default(s: Subject) -> None:
    for options in ({}, {"train": None}, {"train": 1}):
        try:
            s.layer.apply(s.params, s.state, s.x, key=s.key, **options)
        except TypeError as error:
            require("train" in str(error), f"another error for {options}: {error}")
        else:
            given = f"train={options['train']}" if options else "no train"
            raise AssertionError(
                f"apply accepts {given}; refuse it, or let nn.compose, nn.lift or "
                "nn.parametric make the layer"
            )


def eval_needs_no_key_and_keeps_the_state(s: Subject) -> None:
    y, new = s.apply(train=False, key=None)
    require_equal(new, s.state, "the state changes in eval mode")
    again, _ = s.apply(train=False)
    require_equal(y, again, "the result depends on the key in eval mode")


def compiled_is_eager(s: Subject) -> None:
    def apply(params: Params, state: State, x: Any, key: Key) -> Any:
        return s.layer.apply(params, state, x, train=True, key=key)

    given = (s.params, s.state, s.x, s.key)
    found, expected = transforms.jit(apply)(*given), apply(*given)
    require_close(found, expected, "compiled and eager results differ")


def a_gradient_and_another_pass_are_compiled_together(s: Subject) -> None:
    """MLX fails where both split one array by `mx.split`."""
    floating = {"params": s.params}
    if all(map(is_float, tree.leaves(s.x))):
        floating["x"] = s.x

    def passes(floating: Tree, state: State, x: Any, key: Key) -> Any:
        def loss(floating: Tree) -> Array:
            x_or_its_own, params = floating.get("x", x), floating["params"]
            y, _ = s.layer.apply(params, state, x_or_its_own, train=True, key=key)
            return sum((mx.sum(leaf) for leaf in floats(y)), mx.array(0.0))

        grads = transforms.grad(loss)(floating) if tree.leaves(floating) else ()
        y, _ = s.layer.apply(floating["params"], state, x, train=False)
        return grads, y

    given = (floating, s.state, s.x, s.key)
    found, expected = transforms.jit(passes)(*given), passes(*given)
    require_close(found, expected, "compiled gradients differ from eager ones")


def a_batch_is_its_examples(s: Subject, train: bool) -> None:
    whole, _ = s.apply(train=train)
    size = tree.leaves(s.x)[0].shape[0]
    for i in range(size):
        example = tree.map(lambda leaf, i=i: leaf[i : i + 1], s.x)
        y, _ = s.apply(train=train, x=example)
        message = f"example {i} alone gives another result than in its batch"
        require_close(y, tree.map(lambda leaf, i=i: leaf[i : i + 1], whole), message)


def half_precision_stays(s: Subject, dtype: mx.Dtype, train: bool) -> None:
    exact, _ = s.apply(train=train)
    params, x = tree.cast((s.params, s.x), dtype)
    y, _ = s.apply(train=train, params=params, x=x)
    found = {str(leaf.dtype) for leaf in floats(y)} - {str(dtype)}
    require(
        not found,
        f"params and input of {dtype} give {', '.join(found)}; cast constants, and "
        "what is computed from a float32 state, to the dtype of the input",
    )
    coarse = 40 * mx.finfo(dtype).eps
    message = f"the result in {dtype} is far from that in float32"
    require_close(tree.cast(y, mx.float32), exact, message, rtol=coarse, atol=coarse)


def _movable(values: Tree) -> tuple[dict[int, Array], Any]:
    """The float leaves by their number, and the function back to the tree."""
    leaves, structure = tree.flatten(values)
    movable = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

    def filled(movable: dict[int, Array]) -> Tree:
        moved = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        return tree.unflatten(structure, moved)

    return movable, filled


def the_gradient_is_the_slope(s: Subject, seeds: Collection[Any]) -> None:
    movable, filled = _movable((s.params, s.x))

    def outputs(movable: dict[int, Array]) -> list[Array]:
        params, x = filled(movable)
        return floats(s.apply(train=True, params=params, x=x)[0])

    if movable:
        require_slope(outputs, movable, seeds)


def vectorized_gradients_are_those_of_the_single_inputs(s: Subject, other: Any) -> None:
    both = tree.map(lambda a, b: mx.stack([a, b]), s.x, other)
    movable, filled = _movable({"params": s.params, "x": both})

    def score(params: Params, x: Any) -> Array:
        y, _ = s.apply(train=True, params=params, x=x)
        return sum((mx.sum(mx.sin(leaf)) for leaf in floats(y)), mx.array(0.0))

    def total(movable: dict[int, Array], run: Any) -> Array:
        given = filled(movable)
        return mx.sum(run(given["params"], given["x"]))

    def one_by_one(params: Params, xs: Any) -> Array:
        return mx.stack([score(params, each(xs, i)) for i in range(2)])

    close = {"rtol": 1e-4, "atol": 1e-4}
    vectorized = transforms.vmap(score, in_axes=(None, 0))
    grad = transforms.grad(total)
    got, expected = (grad(movable, run) for run in (vectorized, one_by_one))
    require_close(got, expected, "gradients of vmap are not those of a loop", **close)
    if not tree.leaves(s.params):
        return
    found = transforms.vmap(transforms.grad(score), in_axes=(None, 0))(s.params, both)
    for i in range(2):
        one = transforms.grad(score)(s.params, each(both, i))
        message = f"vmap of the gradient is not that of example {i}"
        require_close(each(found, i), one, message, **close)


def _vmap_law(s: Subject) -> None:
    # The same numbers in another order of the examples.
    other = tree.map(lambda leaf: leaf[::-1], s.x)
    vectorized_gradients_are_those_of_the_single_inputs(s, other)


def _all(*laws: Law) -> Law:
    def together(s: Subject) -> None:
        for law in laws:
            law(s)

    return together


LAWS: dict[str, Law] = {
    "init": _all(
        init_is_a_function_of_the_key,
        no_two_leaves_are_one_array,
        params_are_float_arrays,
    ),
    "purity": _all(
        lambda s: apply_is_pure(s, train=True),
        lambda s: apply_is_pure(s, train=False),
    ),
    "train": train_has_no_default,
    "eval": eval_needs_no_key_and_keeps_the_state,
    "state": _all(
        the_new_state_has_the_form_of_the_state,
        *[lambda s, dtype=dtype: a_state_keeps_its_dtypes(s, dtype) for dtype in HALF],
    ),
    "jit": _all(compiled_is_eager, a_gradient_and_another_pass_are_compiled_together),
    "dtype": _all(
        *[
            lambda s, dtype=dtype, train=train: half_precision_stays(s, dtype, train)
            for dtype in HALF
            for train in (True, False)
        ]
    ),
    "examples": lambda s: a_batch_is_its_examples(s, train=False),
    "gradient": lambda s: the_gradient_is_the_slope(s, range(3)),
    "vmap": _vmap_law,
}
