"""jit: numbers are arrays inside, and change no dtype of a result."""

import mlx.core as mx
import numpy as np
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


def test_arrays_and_numbers_of_one_dtype_have_separate_traces():
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


NUMPY_NUMBERS = [
    *(np.float16(0.1), np.float32(0.1), np.float64(0.1), np.array(0.1, np.float32)),
    *(np.int8(3), np.int64(3), np.uint16(3), np.array(3)),
]
DTYPES = [mx.float16, mx.bfloat16, mx.float32, mx.int8, mx.int32, mx.complex64]


@pytest.mark.parametrize("number", NUMPY_NUMBERS, ids=lambda n: repr(n))
@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_of_numpy_have_the_effect_that_they_have_outside(number, dtype):
    x = mx.array([1.0, 2.0]).astype(dtype)
    got, want = jit(lambda x, n: x * n)(x, number), x * number
    assert got.dtype == want.dtype
    assert mx.allclose(got, want, rtol=1e-2)


@pytest.mark.parametrize("number", [1j, 2.5 - 1j, np.complex64(1j), np.complex128(1j)])
@pytest.mark.parametrize("dtype", [mx.float16, mx.float32, mx.complex64])
def test_complex_numbers_are_arrays(number, dtype):
    x = mx.array([1.0, 2.0]).astype(dtype)
    got = jit(lambda x, n: x * n, max_traces=1)(x, number)
    assert got.dtype == mx.complex64
    assert mx.allclose(got, x.astype(mx.complex64) * mx.array(number))


@pytest.fixture
def on_the_cpu():
    with mx.stream(mx.cpu):
        yield


DOUBLES = {
    "a product": lambda x, n: x * n,
    "a sum of a product": lambda x, n: mx.sum(x * n),
    "a power": lambda x, n: x**n,
    "arithmetic of numbers": lambda x, n: x * (1 - n),
    "a division": lambda x, n: x / n,
    "a choice": lambda x, n: mx.where(x > 1.5, x, n),
}


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize("what", DOUBLES)
@pytest.mark.parametrize("number", [0.1, np.float64(0.1), 1e39, 3])
def test_numbers_keep_their_digits_beside_float64(what, number):
    x = mx.array([1.0, 2.0], mx.float64)
    got, want = jit(DOUBLES[what])(x, number), DOUBLES[what](x, number)
    assert got.dtype == want.dtype == mx.float64
    assert mx.allclose(got, want, rtol=1e-14, atol=0)


@pytest.mark.usefixtures("on_the_cpu")
def test_float64_of_a_captured_array_counts():
    x = mx.array([1.0, 2.0], mx.float64)
    assert jit(lambda n: x * n)(0.1).tolist() == [0.1, 0.2]


@pytest.mark.usefixtures("on_the_cpu")
def test_a_number_makes_no_float32_array_float64():
    def fn(x, y, i, n):
        return {"x": x * n, "y": y * n, "i": i * n, "both": x * y}

    given = mx.ones(2, mx.float64), mx.ones(2), mx.ones(2, mx.int32)
    got, want = jit(fn)(*given, 0.1), fn(*given, 0.1)
    assert tree.map(lambda x: x.dtype, got) == tree.map(lambda x: x.dtype, want)
    assert got["y"].dtype == mx.float32 and mx.allclose(got["y"], want["y"])


def test_a_number_too_large_for_float32_is_infinite_as_outside():
    assert jit(lambda x, n: x * n)(mx.ones(1), 1e39).item() == float("inf")
