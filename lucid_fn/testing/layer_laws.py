"""The laws of layers, and `check_layer`, which checks them."""

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
    require,
    require_close,
    require_equal,
    require_slope,
    specs,
)
from lucid_fn.types import Array, ArrayFn, Key, Params, State, Tree

HALF = (mx.float16, mx.bfloat16)


class Subject(NamedTuple):
    """A layer with its arguments."""

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
    """Check a layer against the laws that all layers of this library satisfy.

    - `"init"`: depends on the key only, and returns float params, no array twice.
    - `"purity"`: `apply` does not change its arguments, and is deterministic.
    - `"train"`: `apply` requires `train`, and accepts only bools.
    - `"eval"`: eval mode needs no key and does not change the state.
    - `"state"`: the new state has the structure, shapes and dtypes of the old one, even
      if params and input are in half precision.
    - `"jit"`: compiled and eager results agree.
    - `"dtype"`: half precision is preserved, with results close to float32.
    - `"examples"`: in eval mode, the result of an example does not depend on its batch.
    - `"gradient"`: gradients of params and input agree with finite differences.
    - `"vmap"`: results and gradients under `vmap` are those of a loop.

    Args:
        layer: a layer, or a function of an array.
        x: an input, with the batch on axis 0; the checks are sharpest for numbers
            near 1.
        seed: seed of the params, the key and the directions of finite differences.
        skip: names of laws that the layer need not satisfy.

    Raises:
        AssertionError: if laws are broken; the message says which and why.
        TypeError: if `layer` is not a layer or function.
        ValueError: if `skip` names an unknown law.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random, testing
        >>> x = random.normal(random.key(0), (4, 3))
        >>> testing.check_layer(nn.serial(nn.linear(3, 2), nn.batch_norm(2)), x)
        >>> testing.check_layer(lambda x: x - mx.mean(x, axis=0), x)
        Traceback (most recent call last):
        ...
        AssertionError: check_layer: broken laws, which skip=[...] would leave out
          examples: the result of example 0 depends on its batch: ...
    """
    made = as_layer("check_layer: layer", layer)
    check_laws("check_layer", LAWS, subject(made, to_input(x), seed), skip)


def init_is_a_function_of_the_key(s: Subject) -> None:
    key = random.key(3)
    message = "init returns different results for the same key"
    require_equal(s.layer.init(key), s.layer.init(key), message)


def no_two_leaves_are_one_array(s: Subject) -> None:
    # MLX compiles no function that takes and captures the same array.
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
    message = f"apply is not deterministic with train={train}"
    require_equal(again, first, message)


def the_new_state_has_the_form_of_the_state(s: Subject) -> None:
    _, new = s.apply(train=True)
    message = f"the state {specs(s.state)} becomes {specs(new)}"
    require(specs(new) == specs(s.state), message)
    require(list(new) == list(s.state), "the names in the state change their order")


def a_state_keeps_its_dtypes(s: Subject, dtype: mx.Dtype) -> None:
    """Running statistics in 16 bits would lose small updates."""
    params, x = tree.cast((s.params, s.x), dtype)
    _, new = s.apply(train=True, params=params, x=x)
    message = f"with {dtype}, the state {specs(s.state)} becomes {specs(new)}"
    require(specs(new) == specs(s.state), message)


def train_has_no_default(s: Subject) -> None:
    for options in ({}, {"train": None}, {"train": 1}):
        try:
            s.layer.apply(s.params, s.state, s.x, key=s.key, **options)
        except TypeError as error:
            message = f"the error for {options} does not name train: {error}"
            require("train" in str(error), message)
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
    """MLX fails if both passes split the same array by `mx.split`."""
    floating = {"params": s.params}
    if all(map(is_float, tree.leaves(s.x))):
        floating["x"] = s.x

    def passes(floating: Tree, state: State, x: Any, key: Key) -> Any:
        def loss(floating: Tree) -> Array:
            params, inputs = floating["params"], floating.get("x", x)
            y, _ = s.layer.apply(params, state, inputs, train=True, key=key)
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
        message = f"the result of example {i} depends on its batch"
        require_close(y, tree.map(lambda leaf, i=i: leaf[i : i + 1], whole), message)


def half_precision_stays(s: Subject, dtype: mx.Dtype, train: bool) -> None:
    exact, _ = s.apply(train=train)
    params, x = tree.cast((s.params, s.x), dtype)
    y, _ = s.apply(train=train, params=params, x=x)
    found = {str(leaf.dtype) for leaf in floats(y)} - {str(dtype)}
    require(
        not found,
        f"params and input of {dtype} give {', '.join(found)}; cast constants and "
        "values computed from a float32 state to the dtype of the input",
    )
    coarse = 40 * mx.finfo(dtype).eps
    message = f"the result in {dtype} is far from that in float32"
    require_close(tree.cast(y, mx.float32), exact, message, rtol=coarse, atol=coarse)


def _movable(values: Tree) -> tuple[dict[int, Array], Any]:
    """The float leaves by their number, and the function that puts them back."""
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
    message = "gradients of vmap differ from those of a loop"
    require_close(got, expected, message, **close)
    if not tree.leaves(s.params):
        return
    found = transforms.vmap(transforms.grad(score), in_axes=(None, 0))(s.params, both)
    for i in range(2):
        one = transforms.grad(score)(s.params, each(both, i))
        message = f"vmap of the gradient differs from the gradient of example {i}"
        require_close(each(found, i), one, message, **close)


def _vmap_law(s: Subject) -> None:
    # The same numbers, with examples in reverse order.
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
