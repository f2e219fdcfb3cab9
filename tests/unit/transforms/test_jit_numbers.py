"""jit: Python numbers are arrays inside, and change no dtype of a result."""

import mlx.core as mx
import pytest

from lucid_fn import grad, jit, tree, value_and_grad, vmap

HALF = [mx.float16, mx.bfloat16]


def expressions(x, n):
    """Several in one, since each new kernel is compiled first."""
    return {
        "product": n * x,
        "difference": [x - n, None],
        "chosen": mx.where(x > n, x, n),
        "cast": x.astype(mx.float32) * n,
    }


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.uint8, mx.int32])
@pytest.mark.parametrize("number", [2, 0.5])
def test_results_have_the_dtypes_and_values_that_they_have_outside(number, dtype):
    x = mx.array([3, 4, 5]).astype(dtype)
    got = tree.leaves(jit(expressions)(x, number))
    for a, b in zip(got, tree.leaves(expressions(x, number)), strict=True):
        assert a.dtype == b.dtype
        assert mx.allclose(a, b, rtol=1e-2).item()


@pytest.mark.parametrize("dtype", HALF)
def test_a_learning_rate_leaves_half_precision_as_it_is(dtype):
    def step(params, lr):
        loss, grads = value_and_grad(lambda p: mx.sum(mx.square(p["w"])))(params)
        return {"w": params["w"] - lr * grads["w"]}, loss

    compiled = jit(step, max_traces=1)
    params = {"w": mx.array([1.0, -2.0], dtype)}
    for lr in (0.1, 0.05, 1e-3):
        want = step(params, lr)[0]["w"]
        params, loss = compiled(params, lr)
        assert params["w"].dtype == loss.dtype == dtype
        assert mx.allclose(params["w"], want, rtol=1e-2).item()


def test_arithmetic_of_numbers_alone_keeps_the_digits_of_float32():
    fn = jit(lambda x, b: x / (1 - b))
    got = fn(mx.ones(1, mx.bfloat16), 0.999)
    assert got.dtype == mx.bfloat16
    assert got.item() == pytest.approx(1000, rel=4e-3)  # 1 - bfloat16(0.999) is 0


def test_a_function_that_takes_a_number_for_an_array_decides_itself():
    fn = jit(lambda x, n: x * n.astype(mx.float32))
    assert fn(mx.ones(2, mx.float16), 0.5).dtype == mx.float32


def test_arrays_and_numbers_of_one_dtype_are_told_apart():
    fn = jit(lambda x, n: x * n)
    x = mx.ones(2, mx.float16)
    for _ in range(2):
        assert fn(x, 0.5).dtype == mx.float16
        assert fn(x, mx.array(0.5)).dtype == mx.float32


def test_a_function_runs_once_more_only_where_a_number_could_widen():
    calls = []

    def fn(x, n):
        calls.append(1)
        return x * n

    compiled = jit(fn)
    compiled(mx.ones(2), 0.5)
    assert len(calls) == 1
    compiled(mx.ones(2, mx.float16), 0.5)
    compiled(mx.ones(2, mx.float16), 0.25)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "outer",
    [
        lambda fn: grad(lambda x, n: mx.sum(fn(x, n))),
        lambda fn: vmap(fn, in_axes=(0, None)),
        lambda fn: jit(lambda x, n: fn(x, n)),
    ],
    ids=["grad", "vmap", "jit"],
)
def test_it_holds_inside_other_transformations(outer):
    x = mx.array([1.0, 2.0], mx.float16)
    assert outer(jit(lambda x, n: n * x))(x, 0.5).dtype == mx.float16
