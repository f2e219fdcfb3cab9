"""jit: how many traces there are, and how many are kept."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import jit
from lucid_fn.transforms import traces

ONE = mx.array(1.0)


class Counted:
    """Counts the traces of a function."""

    def __init__(self):
        self.traces = 0

    def __call__(self, x, n=0):
        self.traces += 1
        return x + 1


def test_the_traces_used_last_are_kept_and_no_more():
    fn = Counted()
    compiled = jit(fn)
    for size in range(1, 201):
        compiled(mx.zeros(size))
    assert fn.traces == 200
    for size in range(200, 200 - traces.MAX_KEPT, -1):
        compiled(mx.zeros(size))
    assert fn.traces == 200
    compiled(mx.zeros(1))  # makes room by forgetting 200, which was used first
    assert fn.traces == 201
    compiled(mx.zeros(199))
    assert fn.traces == 201
    compiled(mx.zeros(200))
    assert fn.traces == 202


def test_all_traces_are_kept_where_their_number_is_given():
    fn = Counted()
    compiled = jit(fn, max_traces=100)
    for _ in range(2):
        for size in range(1, 101):
            compiled(mx.zeros(size))
    assert fn.traces == 100


@pytest.mark.parametrize(
    "value", [float("nan"), np.float64("nan"), (1, float("nan")), complex("nan")]
)
def test_a_static_nan_has_one_trace(value):
    fn = Counted()
    compiled = jit(fn, static_argnames="n")
    for _ in range(3):
        compiled(ONE, value)
    assert fn.traces == 1


def test_static_zeros_of_both_signs_have_separate_traces():
    compiled = jit(lambda x, n: math.copysign(1, n) * x, static_argnames="n")
    assert [compiled(ONE, n).item() for n in (0.0, -0.0, 0.0)] == [1, -1, 1]


def test_a_trace_that_fails_leaves_nothing_behind():
    failures = [KeyError, OSError]

    def fn(x):
        if failures:
            raise failures.pop()("not yet")
        return x + 1

    run = jit(fn, max_traces=1)
    for shape, error in (((2,), OSError), ((3,), KeyError)):
        with pytest.raises(error, match="not yet"):
            run(mx.zeros(shape))
    assert run(mx.zeros(4)).tolist() == [1.0] * 4
