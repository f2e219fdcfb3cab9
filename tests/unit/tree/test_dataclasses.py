"""Dataclasses that are nodes: registered ones, and those of chex."""

import dataclasses

import chex
import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import optim, tree


@tree.register_node
@dataclasses.dataclass(frozen=True)
class Point:
    x: mx.array
    y: mx.array


@chex.dataclass
class Moments:
    mean: mx.array
    scale: mx.array


@dataclasses.dataclass(frozen=True)
class Opaque:
    x: int


NODES = pytest.mark.parametrize(
    "values",
    [
        {"p": Point(mx.array(1.0), mx.array([2.0, 3.0]))},
        {"p": Moments(mean=mx.array(1.0), scale=mx.array([2.0, 3.0]))},
    ],
    ids=["registered", "chex"],
)


@NODES
def test_they_are_flattened_named_and_built_again(values):
    leaves, structure = tree.flatten(values)
    again = tree.unflatten(structure, leaves)
    assert type(again["p"]) is type(values["p"])
    assert tree.equal(again, values).item()
    names = [field.name for field in dataclasses.fields(values["p"])]
    assert tree.paths(values) == [f"p.{name}" for name in names]
    changed = tree.at(values, tree.paths(values)[0]).set(mx.array(5.0))
    assert tree.leaves(changed)[0].item() == 5.0
    a, b = tree.partition(lambda path, leaf: leaf.ndim == 0, values)
    assert tree.equal(tree.merge(a, b), values).item()


@NODES
def test_they_pass_through_the_transformations(values):
    def total(values):
        return sum(mx.sum(x * x) for x in tree.leaves(values))

    doubled = tree.map(lambda x: 2 * x, values)
    for transform in (lf.grad, lambda fn: lf.jit(lf.grad(fn))):
        assert tree.equal(transform(total)(values), doubled).item()
    compiled = lf.jit(lambda values: tree.map(lambda x: 2 * x, values))
    assert tree.equal(compiled(values), doubled).item()
    assert tree.equal(compiled(values), doubled).item()  # by the kept structure
    both = tree.map(lambda x: mx.stack([x, 2 * x]), values)
    assert lf.vmap(total)(both)[1].item() == 4 * total(values).item()
    assert tree.equal(lf.jvp(total, (values,), (values,))[1], 2 * total(values)).item()


@NODES
def test_an_optimizer_updates_them(values):
    optimizer = optim.adam(0.1)
    updates, _ = optimizer.update(values, optimizer.init(values), values)
    moved = optim.apply_updates(values, updates)
    assert type(moved["p"]) is type(values["p"])


def test_other_dataclasses_are_leaves():
    assert tree.leaves([Opaque(1)]) == [Opaque(1)]


@pytest.mark.parametrize("wrong", [dict, 3, Point(1, 2)])
def test_only_a_dataclass_can_be_registered(wrong):
    with pytest.raises(
        TypeError, match=r"tree\.register_node: cls must be a dataclass"
    ):
        tree.register_node(wrong)
