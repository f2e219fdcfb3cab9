"""Recurrences on CPUs: products in pieces or whole, and few operations a step."""

import io

import mlx.core as mx
import pytest

from lucid_fn import ops, tree
from lucid_fn.cpu import runtime, small_products
from lucid_fn.ops import seam

pytestmark = pytest.mark.tuned("how the CPU formulation computes a step")

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
MOST = {"rnn": 10, "gru": 24, "lstm": 20}  # operations of a step and its derivative


def value_and_grad(name, length=3, n=2, hidden=32):
    """A function of weights, input and carry, and such arguments."""
    keys = iter(mx.random.split(mx.random.key(0), 8))

    def normal(*shape):
        return 0.2 * mx.random.normal(shape, key=next(keys))

    rows = GATES[name] * hidden
    weights = [normal(rows, 5), normal(rows, hidden), normal(rows), normal(rows)]
    carry = [normal(n, hidden) for _ in range(2 if name == "lstm" else 1)]

    def loss(weights, x, carry):
        y, end = getattr(ops, name)(x, ops.RecurrentWeights(*weights), tuple(carry))
        return sum(mx.sum(mx.sin(array)) for array in (y, *end))

    return mx.value_and_grad(loss, (0, 1, 2)), (weights, normal(n, length, 5), carry)


@pytest.fixture(params=["packs", "does not pack"])
def small(request, monkeypatch):
    """Products of very few rows are small, and the BLAS packs them or not."""
    monkeypatch.setattr(small_products, "MAX_UNPACKED", 300)
    monkeypatch.setattr(small_products, "_MIN_ROWS", 2)
    small_products.piece_rows.cache_clear()
    packs = request.param == "packs"
    monkeypatch.setattr(runtime, "packs_small_products", lambda: packs)
    yield
    small_products.piece_rows.cache_clear()


@pytest.mark.parametrize("name", GATES)
def test_a_recurrence_by_small_products_is_the_plain_one(small, name):
    fn, args = value_and_grad(name)
    with ops.plain():
        expected = fn(*args)
    found = fn(*args)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        assert mx.allclose(a, b, rtol=1e-5, atol=1e-5)


def operations(name, length, part):
    fn, args = value_and_grad(name, length)
    with seam.computing_part(part):
        found = mx.compile(fn)(*args)
    graph = io.StringIO()
    mx.export_to_dot(graph, *tree.leaves(found))
    return graph.getvalue().count("rectangle")


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", GATES)
def test_a_step_is_few_operations(name, part):
    """Each takes MLX 5 to 10 microseconds besides its arithmetic."""
    assert operations(name, 12, part) - operations(name, 8, part) <= 4 * MOST[name]
