"""Arrays joined along an axis: values, derivatives and errors."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import ops
from tests.assertions import assert_close

SHAPES = [  # rows of whole words of 64 bits, and of odd numbers of floats
    ([(2, 3, 4), (2, 3, 6)], -1),
    ([(2, 3, 4), (2, 5, 4), (2, 1, 4)], 1),
    ([(2, 3), (3, 3)], 0),
    ([(2, 3, 3), (2, 3, 2)], 2),
    ([(4,), (3,)], 0),
    ([(2, 0, 4), (2, 2, 4)], 1),
]


def arrays_of(shapes, dtype=mx.float32):
    keys = mx.random.split(mx.random.key(0), len(shapes))
    pairs = zip(shapes, keys, strict=True)
    return [(9 * mx.random.normal(s, key=k)).astype(dtype) for s, k in pairs]


@pytest.mark.parametrize(
    "dtype", [mx.float32, mx.bfloat16, mx.int8, mx.bool_, mx.complex64]
)
@pytest.mark.parametrize(("shapes", "axis"), SHAPES)
def test_numbers_are_those_of_mlx(shapes, axis, dtype):
    arrays = arrays_of(shapes, dtype)
    y = ops.concatenate(arrays, axis=axis)
    assert y.dtype == dtype
    assert mx.array_equal(y, mx.concatenate(arrays, axis=axis))


def test_arrays_that_are_not_contiguous_are_joined():
    x = mx.arange(48.0).reshape(2, 4, 6)
    parts = [x[:, ::2].transpose(0, 2, 1), x[:, 1::2].transpose(0, 2, 1)]
    y = ops.concatenate(parts, axis=1)
    assert mx.array_equal(y, mx.concatenate(parts, axis=1))


def test_different_dtypes_become_the_one_that_both_fit_into():
    y = ops.concatenate([mx.ones((2,), mx.float16), mx.ones((2,))])
    assert y.dtype == mx.float32


@pytest.mark.parametrize("transform", [lambda f: f, lf.jit, lf.vmap])
@pytest.mark.parametrize(("shapes", "axis"), SHAPES[:4])
def test_derivatives_of_first_and_second_order_are_those_of_mlx(
    shapes, axis, transform
):
    arrays = arrays_of(shapes)
    if transform is lf.vmap:
        arrays = [mx.stack([x, -x]) for x in arrays]

    def slopes(join):
        def loss(arrays):
            y = join(arrays, axis=axis)
            return mx.sum(y**3 * mx.cos(y))

        def twice(arrays):
            return mx.sum(sum(mx.sum(g**2) for g in mx.grad(loss)(arrays)))

        return transform(lambda *xs: (mx.grad(loss)(xs), mx.grad(twice)(xs)))

    found, expected = slopes(ops.concatenate), slopes(mx.concatenate)
    for ours, theirs in zip(found(*arrays), expected(*arrays), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a, b)


def test_the_tangent_of_one_array_alone_is_joined_with_zeros():
    a, b = arrays_of([(2, 2), (2, 2)])
    _, (dy,) = mx.jvp(lambda a: ops.concatenate([a, b], axis=1), [a], [mx.ones((2, 2))])
    assert dy.tolist() == [[1, 1, 0, 0]] * 2


def test_one_of_two_arrays_may_be_mapped():
    a, b = arrays_of([(3, 2, 4), (2, 4)])
    run = lf.vmap(lambda a, b: ops.concatenate([a, b], axis=-1), in_axes=(0, None))
    expected = mx.stack([mx.concatenate([x, b], axis=-1) for x in a])
    assert mx.array_equal(run(a, b), expected)


@pytest.mark.parametrize(
    ("arrays", "axis", "error", "message"),
    [
        ([], 0, ValueError, "arrays must hold at least one"),
        ([mx.ones(2), [1.0]], 0, TypeError, r"arrays\[1\] must be an MLX array"),
        ([mx.ones(2)], 1, ValueError, r"axis must be one of arrays\[0\], got 1"),
        ([mx.array(1.0)], 0, ValueError, r"axis must be one of arrays\[0\]"),
        ([mx.ones(2)], 0.0, TypeError, "axis must be an integer"),
        (
            [mx.ones((2, 3)), mx.ones((3, 3))],
            1,
            ValueError,
            r"arrays must have equal shapes except along axis 1, got \(2, 3\) and",
        ),
        (
            [mx.ones((2, 3)), mx.ones((2,))],
            0,
            ValueError,
            "arrays must have equal shapes",
        ),
    ],
)
def test_bad_arguments_are_named(arrays, axis, error, message):
    with pytest.raises(error, match=f"^concatenate: {message}"):
        ops.concatenate(arrays, axis=axis)
