"""Laws of the transformations."""

import functools

import mlx.core as mx
from hypothesis import given, settings, strategies as st

from lucid_fn import (
    checkpoint,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    jit,
    jvp,
    random,
    tree,
    value_and_grad,
    vjp,
    vmap,
)
from lucid_fn.transforms import calls
from tests import assertions
from tests.strategies import arrays, equal, keys, params, reordered, shapes, trees

assert_close = functools.partial(assertions.assert_close, of_largest=1e-4)
few = settings(max_examples=10)


def energy(values):
    """A smooth function of all leaves of a tree."""
    return sum(
        (mx.sum(mx.sin(leaf) * leaf) for leaf in tree.leaves(values)), mx.array(0.0)
    )


def like(values, key):
    """A tree of draws with the structure and shapes of another."""
    return tree.map_with_path(
        lambda path, x: random.normal(random.fold_in(key, path), x.shape), values
    )


def inner(a, b):
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return sum((mx.sum(x * y) for x, y in pairs), mx.array(0.0))


@few
@given(trees(arrays()))
def test_a_compiled_function_takes_and_returns_every_tree(values):
    # One operation, so that no kernel is compiled for each drawn structure.
    assert equal(
        jit(lambda t: tree.map(mx.negative, t))(values), tree.map(mx.negative, values)
    )


@few
@given(st.data(), params())
def test_one_trace_serves_every_order_of_insertion(data, values):
    compiled = jit(lambda t: t, max_traces=1)
    assert equal(compiled(values), compiled(reordered(data.draw, values)))


@given(trees(arrays()), trees(arrays()))
def test_a_call_like_the_one_before_is_told_from_another(a, b):
    def before(*args, **kwargs):
        call = calls.to_call(args, kwargs, {}, [], "f", double=False)
        return calls.template_of(call, tree.leaves((args, kwargs)))

    leaves = tree.leaves(((a,), {"b": b}))
    assert equal(calls.match(before(a, b=b), (a,), {"b": b}) or [], leaves)
    same = tree.flatten(a)[1] == tree.flatten(b)[1]
    other = calls.match(before(a), (b,), {})
    assert equal(other or [], tree.leaves(b) if same else [])


@few
@given(trees(arrays()), trees(arrays()))
def test_calls_of_two_structures_may_alternate(a, b):
    compiled = jit(lambda t: tree.map(mx.negative, t))
    for values in (a, b, a, b):
        assert equal(compiled(values), tree.map(mx.negative, values))


@few
@given(trees())
def test_numbers_come_back_as_arrays_of_their_value(values):
    out = jit(lambda t: t)(values)
    assert tree.map(lambda x: x.item(), out) == values


@given(params())
def test_a_gradient_has_structure_shapes_and_dtypes_of_its_argument(values):
    _, grads = value_and_grad(energy)(values)
    assert equal(tree.zeros_like(grads), tree.zeros_like(values))


@given(params())
def test_the_gradient_is_that_of_mlx(values):
    assert equal(grad(energy)(values), mx.grad(energy)(values))


@given(params(), keys())
def test_jvp_is_the_gradient_in_a_direction(values, key):
    direction = like(values, key)
    _, slope = jvp(energy, (values,), (direction,))
    assert_close(slope, inner(grad(energy)(values), direction))


@given(params(), keys())
def test_vjp_of_one_is_the_gradient(values, key):
    value, pull = vjp(energy, values)
    assert mx.array_equal(value, energy(values))
    (pulled,) = pull(mx.array(1.0))
    assert equal(pulled, grad(energy)(values))


@given(params())
def test_checkpoint_changes_no_gradient(values):
    for a, b in zip(
        tree.leaves(grad(checkpoint(energy))(values)),
        tree.leaves(grad(energy)(values)),
        strict=True,
    ):
        assert_close(a, b)


@given(keys(), st.integers(1, 5), st.integers(0, 1), st.integers(0, 2))
def test_vmap_is_a_loop(key, size, in_axis, out_axis):
    x = random.normal(key, (size, size, 3))

    def fn(row):
        return mx.outer(mx.sum(row, axis=-1), row[0])

    rows = [fn(mx.take(x, i, axis=in_axis)) for i in range(size)]
    looped = mx.stack(rows, axis=out_axis)
    assert_close(
        vmap(fn, in_axes=in_axis, out_axes=out_axis)(x), looped, of_largest=1e-5
    )


@given(keys(), st.integers(1, 4))
def test_the_gradient_of_a_mean_is_the_mean_of_the_gradients(key, size):
    w, x = random.normal(key, (3,)), random.normal(key, (size, 3))

    def loss(w, x):
        return mx.sin(mx.sum(w * x))

    whole = grad(lambda w: mx.mean(mx.sin(mx.sum(w * x, axis=-1))))(w)
    each = vmap(grad(loss), in_axes=(None, 0))(w, x)
    assert_close(mx.mean(each, axis=0), whole)


def waves(values):
    """A tree of arrays of other shapes, of which each depends on several leaves."""
    total = energy(values)
    return {
        "total": total,
        "rows": tree.map(lambda x: mx.cos(x[..., :1]) * total, values),
    }


def times(blocks, values, like):
    """A Jacobian of results `like`, times a tree of arguments."""
    parts, found = iter(tree.leaves(blocks)), []
    for y in tree.leaves(like):
        products = [
            next(parts).reshape(y.size, x.size) @ x.flatten()
            for x in tree.leaves(values)
        ]
        found.append(sum(products, mx.zeros(y.size)).reshape(y.shape))
    return found


@few
@given(trees(arrays(shapes(min_dims=1))))
def test_jacobians_backward_and_forward_are_equal(values):
    backward, forward = jacrev(waves)(values), jacfwd(waves)(values)
    assert tree.flatten(backward)[1] == tree.flatten(forward)[1]
    for a, b in zip(tree.leaves(backward), tree.leaves(forward), strict=True):
        assert a.shape == b.shape
        assert_close(a, b)


@few
@given(params(), keys())
def test_a_jacobian_times_a_direction_is_jvp(values, key):
    def fn(values):
        return {"energy": energy(values), "sines": tree.map(mx.sin, values)}

    direction = like(values, key)
    value, slope = jvp(fn, (values,), (direction,))
    products = times(jacrev(fn)(values), direction, value)
    for a, b in zip(products, tree.leaves(slope), strict=True):
        assert_close(a, b)


@few
@given(keys(), st.integers(1, 5))
def test_the_jacobian_is_the_finite_difference(key, size):
    x, w = random.normal(key, (size,)), random.normal(key, (3, size))

    def fn(x):
        return mx.sin(w @ x)

    columns = [(fn(x + h) - fn(x - h)) / 2e-2 for h in 1e-2 * mx.eye(size)]
    assert_close(jacrev(fn)(x), mx.stack(columns, axis=1), of_largest=2e-3 * size)
    assert_close(jacrev(fn)(x), mx.cos(w @ x)[:, None] * w, of_largest=1e-5)


@few
@given(params(), keys())
def test_the_hessian_is_symmetric_and_its_products_are_hvp(values, key):
    def fn(values):
        return mx.sin(energy(values))

    dense, direction = hessian(fn)(values), like(values, key)
    (product,) = hvp(fn, (values,), (direction,))
    found = times(dense, direction, values)
    for a, b in zip(found, tree.leaves(product), strict=True):
        assert_close(a, b, of_largest=1e-3)
    n = len(found)
    blocks = tree.leaves(dense)
    for i in range(n):
        for j in range(n):
            x, y = found[i].size, found[j].size
            block, mirrored = blocks[i * n + j], blocks[j * n + i]
            assert_close(block.reshape(x, y), mirrored.reshape(y, x).T)
