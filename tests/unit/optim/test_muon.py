"""Muon: the coefficients of its iteration."""

import mlx.core as mx
import pytest

from lucid_fn import optim, random

CONVERGENT = (15 / 8, -5 / 4, 3 / 8)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_convergent_coefficients_make_a_matrix_orthogonal(shape):
    matrix = random.normal(random.key(0), shape)
    y = optim.orthogonalize(matrix, steps=20, coefficients=CONVERGENT)
    y = y if shape[0] < shape[1] else y.T
    assert mx.allclose(y @ y.T, mx.eye(4), atol=1e-4)


def test_the_optimizer_passes_its_coefficients_on():
    params = {"w": mx.zeros((2, 3))}
    grads = {"w": random.normal(random.key(1), (2, 3))}
    optimizer = optim.muon(1.0, steps=20, coefficients=CONVERGENT, weight_decay=0.0)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert mx.allclose(updates["w"] @ updates["w"].T, mx.eye(2), atol=1e-4)


@pytest.mark.parametrize("coefficients", [(1.0, 2.0), 3.0, "abc"])
def test_other_than_three_coefficients_are_an_error(coefficients):
    message = r"muon: coefficients must be three numbers, \(a, b, c\), got"
    with pytest.raises(ValueError, match=message):
        optim.muon(1.0, coefficients=coefficients)


def test_a_coefficient_that_is_no_number_is_an_error():
    with pytest.raises(TypeError, match="orthogonalize: coefficients must be a number"):
        optim.orthogonalize(mx.eye(2), coefficients=(1.0, "2", 3.0))


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_an_orthogonalized_matrix_keeps_its_dtype(dtype):
    assert optim.orthogonalize(mx.ones((2, 3), dtype)).dtype == dtype
