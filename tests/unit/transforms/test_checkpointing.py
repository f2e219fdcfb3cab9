"""checkpoint: values, gradients, memory, and compositions."""

import dataclasses
import functools
import itertools
from collections import deque
from types import MappingProxyType, SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import checkpoint, grad, jit, jvp, random, tree, value_and_grad, vmap

V = mx.array([1.0, 2.0])


def network(params, x):
    h = mx.tanh(x @ params["layers"][0]["w"])
    return mx.mean(h @ params["layers"][1]["w"] @ params["b"])


def network_params(key):
    a, b = random.split(key)
    layers = [{"w": random.normal(a, (3, 4))}, {"w": random.normal(b, (4, 2))}]
    return {"layers": layers, "b": mx.array([0.1, -0.2])}


@pytest.mark.parametrize("outer", [lambda f: f, jit])
def test_checkpoint_changes_neither_value_nor_gradient(key, outer):
    params, x = network_params(key), random.normal(key, (5, 3))
    saved = checkpoint(network)
    value, grads = outer(value_and_grad(lambda p, x: saved(p, x)))(params, x)
    expected_value, expected = value_and_grad(network)(params, x)
    assert mx.allclose(value, expected_value)
    for got, want in zip(tree.leaves(grads), tree.leaves(expected), strict=True):
        assert mx.allclose(got, want, atol=1e-6)


def test_checkpoint_computes_again_on_the_way_back():
    calls = itertools.count()

    def counting(x):
        next(calls)
        return mx.sin(x)

    mx.eval(grad(lambda x: mx.sum(checkpoint(counting)(x)))(V))
    with_checkpoint = next(calls)
    mx.eval(grad(lambda x: mx.sum(counting(x)))(V))
    assert with_checkpoint > next(calls) - with_checkpoint - 1 == 1


def test_checkpoint_takes_trees_constants_and_keywords():
    def fn(p, power, *, scale):
        return {"y": p["x"] ** power * scale, "none": None}

    out = checkpoint(fn)({"x": V}, 2, scale=mx.array(3.0))
    assert out["y"].tolist() == [3.0, 12.0] and out["none"] is None
    grads = grad(lambda s: mx.sum(checkpoint(fn)({"x": V}, 2, scale=s)["y"]))(2.0)
    assert grads.item() == 5


def test_checkpoint_works_under_vmap():
    assert vmap(checkpoint(mx.negative))(V).tolist() == [-1.0, -2.0]


def test_checkpoint_wants_arrays_back():
    with pytest.raises(TypeError, match="checkpoint: result must be an array, got str"):
        checkpoint(lambda x: "a")(V)


def test_checkpoint_wants_something_back():
    with pytest.raises(
        ValueError, match="checkpoint: `<lambda>` must return at least one array"
    ):
        checkpoint(lambda x: {})(V)


def noisy(params, batch, *, key):
    """Uses a random key, labels, and a tree that holds both kinds of arrays."""
    rate = random.bernoulli(random.fold_in(key, batch["step"]), 0.5, (3,))
    h = mx.tanh(batch["x"] * rate @ params["w"])
    chosen = mx.take_along_axis(h, batch["labels"][..., None], axis=-1)
    return mx.mean(mx.sin(chosen)), {"rate": rate, "order": mx.argsort(h)}


def noisy_arguments(key):
    a, b, c = random.split(key, 3)
    batch = {
        "x": random.normal(a, (4, 3)),
        "labels": mx.array([0, 1, 1, 0]),
        "step": mx.array(3),
    }
    return {"w": random.normal(b, (3, 2))}, batch, c


def gradient(fn):
    return grad(lambda p, b, k: fn(p, b, key=k)[0])


def curvature(fn):
    return grad(lambda p, b, k: mx.sum(mx.sin(gradient(fn)(p, b, k)["w"])))


def per_example(fn):
    rows = {"x": 0, "labels": 0, "step": None}
    return vmap(gradient(fn), in_axes=(None, rows, None))


def per_seed(fn):
    def of_seed(p, b, seed):
        return gradient(fn)(p, b, random.fold_in(random.key(0), seed))

    return lambda p, b, k: vmap(of_seed, in_axes=(None, None, 0))(p, b, mx.arange(3))


def forward(fn):
    def derivative(p, b, k):
        run = lambda p: fn(p, b, key=k)[0]  # noqa: E731
        return jvp(run, (p,), (tree.map(mx.cos, p),))

    return derivative


OUTER = {
    "grad": gradient,
    "grad of grad": curvature,
    "jit of grad": lambda fn: jit(gradient(fn)),
    "jit of grad of grad": lambda fn: jit(curvature(fn)),
    "grad of jit": lambda fn: gradient(jit(fn)),
    "vmap of grad over examples": per_example,
    "vmap of grad over keys": per_seed,
    "jit of vmap of grad": lambda fn: jit(per_example(fn)),
    "grad of vmap": lambda fn: grad(
        lambda p, b, k: mx.sum(
            vmap(lambda k: fn(p, b, key=k)[0])(random.split(k, 3)),
        )
    ),
    "jvp": forward,
}


@pytest.mark.parametrize("name", OUTER)
@pytest.mark.parametrize("depth", [1, 2])
def test_keys_and_labels_have_no_gradient_in_any_transformation(key, name, depth):
    saved = checkpoint(noisy) if depth == 1 else checkpoint(checkpoint(noisy))
    arguments = noisy_arguments(key)
    got, want = OUTER[name](saved)(*arguments), OUTER[name](noisy)(*arguments)
    for a, b in zip(tree.leaves(got), tree.leaves(want), strict=True):
        assert mx.allclose(a, b, atol=1e-6).item()
    assert tree.global_norm(want).item() > 0


def test_an_integer_made_of_a_float_argument_has_no_gradient():
    fn = checkpoint(lambda x, i: mx.sum(mx.take(x**2, i)))
    assert grad(lambda x: fn(x, mx.argmax(x)))(V).tolist() == [0.0, 4.0]


def test_a_result_without_a_gradient_leaves_those_of_the_others_alone():
    def loss(x):
        a, b = checkpoint(lambda x: (mx.stop_gradient(x), x * x))(x)
        return mx.sum(10 * a) + mx.sum(b)

    assert grad(loss)(V).tolist() == [2.0, 4.0]


def test_checkpoint_without_arrays_is_the_function():
    assert checkpoint(lambda n: mx.arange(n))(3).tolist() == [0, 1, 2]


def test_compiling_does_not_merge_the_second_computation_with_the_first(tmp_path):
    w = mx.eye(2)

    def products(block):
        fn = mx.compile(value_and_grad(lambda w: mx.sum(block(w))))
        mx.export_to_dot(str(tmp_path / "graph.dot"), fn(w))
        return (tmp_path / "graph.dot").read_text().count("Matmul")

    def block(w):
        return mx.sin(mx.sin(w @ w) @ w)

    # Two forward; two a product backward, of which the first has but one.
    assert products(checkpoint(block)) == products(block) + 2


@dataclasses.dataclass
class Held:
    w: mx.array


class Slotted:
    __slots__ = ("w",)

    def __init__(self, w):
        self.w = w


class Inheriting(Slotted):
    __slots__ = ("bias",)


HIDING = {
    "a closure": lambda w: lambda x: x * w,
    "a partial": lambda w: functools.partial(mx.multiply, w),
    "a method": lambda w: Held(w).__class__.__repr__.__get__(Held(w)),
    "a dataclass": Held,
    "an object with slots": Slotted,
    "an object in an object": lambda w: Held(Held(w)),
    "a dict in an object": lambda w: Held({"a": [w]}),
    "a set": lambda w: {Slotted(w)},
    "an object with inherited slots": Inheriting,
    "a deque": lambda w: deque([w]),
    "a view of a dict": lambda w: MappingProxyType({"a": w}),
    "an iterator": lambda w: iter([w]),
    "a generator": lambda w: (w for _ in range(1)),
    "an array of objects": lambda w: np.array([w, None], dtype=object),
}


@pytest.mark.parametrize("what", HIDING)
def test_an_argument_that_hides_arrays_is_an_error_and_no_zero_gradient(what):
    def loss(w):
        return mx.sum(checkpoint(lambda held, x: x * 2)(HIDING[what](w), V))

    message = (
        "checkpoint: held of `<lambda>`, a .*, holds arrays that depend on a trans"
    )
    with pytest.raises(ValueError, match=message):
        grad(loss)(mx.array(2.0))


@pytest.mark.parametrize(
    "hold", [set, deque, lambda w: MappingProxyType(dict(enumerate(w)))]
)
def test_a_container_that_is_captured_is_an_error_and_no_zero_gradient(hold):
    def loss(w):
        held = hold([w])
        return checkpoint(lambda x: mx.sum(x) if held else x)(V)

    with pytest.raises(ValueError, match="checkpoint: `<lambda>` reads `held`, which"):
        grad(loss)(mx.array(2.0))


@pytest.mark.parametrize("hold", [Held, Slotted, lambda w: Held(Held(w))])
def test_an_object_that_is_handed_on_is_an_error_and_no_zero_gradient(hold):
    def read(held):
        return held.w

    def loss(w):
        held = hold(w)
        return checkpoint(lambda x: mx.sum(x) if read(held) is w else x)(V)

    with pytest.raises(ValueError, match="checkpoint: `<lambda>` reads `held`, which"):
        grad(loss)(mx.array(2.0))
    constants = hold(mx.array(2.0))
    fn = checkpoint(lambda x: mx.sum(x * x) if read(constants) else x)
    assert grad(fn)(V).tolist() == [2.0, 4.0]


def test_an_object_of_which_only_constants_are_read_may_hold_params():
    def loss(w):
        held = SimpleNamespace(w=w, power=2)
        return checkpoint(lambda w: mx.sum(w**held.power))(held.w)

    assert grad(loss)(V).tolist() == [2.0, 4.0]


@pytest.mark.parametrize("what", HIDING)
def test_an_argument_that_holds_constants_is_one(what):
    held = HIDING[what](mx.array(3.0))
    fn = checkpoint(lambda held, x: mx.sum(x * x))
    assert grad(lambda x: fn(held, x))(V).tolist() == [2.0, 4.0]
