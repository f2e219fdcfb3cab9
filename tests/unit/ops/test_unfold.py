"""Windows as rows: the transpose, transformations and errors."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import ops, random


def test_a_product_with_the_windows_is_a_convolution(key):
    x = random.normal(key, (2, 6, 5, 3))
    weight = random.normal(key, (4, 3, 2, 3))
    rows = ops.unfold(x, (3, 2), stride=(1, 2), padding=1)
    y = rows @ weight.transpose(0, 3, 1, 2).reshape(4, -1).T
    expected = ops.conv2d(x, weight, stride=(1, 2), padding=1)
    assert mx.allclose(y.reshape(expected.shape), expected, atol=1e-5)


def test_fold_under_vmap_and_jit_is_the_loop(key):
    x = random.normal(key, (3, 1, 4, 8))
    fold = lambda x: ops.fold(x, 3, 2)  # noqa: E731
    together = lf.jit(lf.vmap(fold))(x)
    assert mx.allclose(together, mx.stack([fold(one) for one in x]))
    grad = lf.grad(lambda x: mx.square(fold(x)).sum())
    assert mx.allclose(lf.vmap(grad)(x), mx.stack([grad(one) for one in x]))


def test_windows_of_integers():
    x = mx.arange(9).reshape(1, 3, 3, 1)
    assert ops.unfold(x, 3).flatten().tolist() == list(range(9))


def test_windows_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="unfold: size must be at most that of the"):
        ops.unfold(mx.ones((1, 3, 3, 1)), 4)
    with pytest.raises(ValueError, match=r"unfold: x must have shape \(N, H, W, C\)"):
        ops.unfold(mx.ones((3, 3, 1)), 2)
    with pytest.raises(ValueError, match=r"fold: x must have shape \(N, 4, C \* 4\)"):
        ops.fold(mx.ones((1, 5, 4)), 3, 2)
