"""A carry keeps its dtypes, as in JAX, and only Python's numbers adapt to a body."""

import itertools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf

HALF = mx.array(1.0, mx.float16)
ONE = mx.array(1.0)
XS = mx.ones(3)


def scanned(fn, init):
    return lf.scan(lambda c, x: (fn(c), None), init, XS)[0]


LOOPS = {
    "scan": scanned,
    "fori_loop": lambda fn, init: lf.fori_loop(0, 3, lambda _, c: fn(c), init),
    "while_loop": lambda fn, init: lf.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, fn(c[1])), (0, init)
    )[1],
}
OUTER = {
    "": lambda fn: fn(ONE),
    "jit": lambda fn: lf.jit(fn)(ONE),
    "grad": lambda fn: lf.grad(lambda x: fn(x).astype(mx.float32))(ONE),
    "vmap": lambda fn: lf.vmap(fn)(XS),
}

UNREADABLE = "while_loop", "vmap"  # the condition cannot be read there


@pytest.mark.parametrize(
    ("loop", "outer"),
    [pair for pair in itertools.product(LOOPS, OUTER) if pair != UNREADABLE],
)
def test_an_array_that_the_body_promotes_is_an_error(loop, outer):
    path = r"carry\.1" if loop == "while_loop" else "carry"
    message = (
        rf"{loop}: .* got float32 \(\) for {path}, which was float16 \(\); begin with "
        r"mx\.float32, or return it as \.astype\(mx\.float16\)"
    )
    with pytest.raises(TypeError, match=message):
        OUTER[outer](lambda x: LOOPS[loop](lambda c: c * x, HALF))


@pytest.mark.parametrize(
    ("init", "after"),
    [
        (mx.array(0), lambda c: c + 0.5),
        (np.int32(0), lambda c: c + ONE),
        (True, lambda c: c + ONE),
        (0.0, lambda c: mx.array(1)),
        (0, lambda c: c > 1),
        (ONE, lambda c: c.astype(mx.float16)),
        (mx.array(0), lambda c: 1.5),
        (mx.array(True), lambda c: 2),
    ],
)
def test_a_carry_that_would_lose_digits_or_change_its_dtype_is_an_error(init, after):
    with pytest.raises(TypeError, match=r"scan: .* with the shapes and dtypes"):
        scanned(after, init)


@pytest.mark.parametrize(
    ("init", "after", "dtype"),
    [
        (0.0, lambda c: c + ONE, mx.float32),
        (0.0, lambda c: c + HALF, mx.float16),
        (0, lambda c: c + HALF, mx.float16),
        (np.float64(0), lambda c: c + ONE, mx.float32),
        (HALF, lambda c: 1.5, mx.float16),
        (HALF, lambda c: c * 2, mx.float16),
        (ONE, lambda c: 1, mx.float32),
    ],
)
def test_a_number_takes_the_dtype_that_it_meets(init, after, dtype):
    assert scanned(after, init).dtype == dtype


def test_the_path_of_the_carry_names_the_leaf():
    init = {"layers": [{"h": HALF}]}
    with pytest.raises(TypeError, match=r"for carry\.layers\.0\.h, which was float16"):
        scanned(lambda c: {"layers": [{"h": c["layers"][0]["h"] * ONE}]}, init)
