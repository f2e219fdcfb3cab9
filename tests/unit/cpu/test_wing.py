"""The table of the CPU wing: which formulation runs in the place of which."""

import inspect

import mlx.core as mx
import pytest

from lucid_fn import ops
from lucid_fn.cpu import wing

TUNED = pytest.mark.tuned("the table is not read")


@pytest.mark.parametrize("operation", wing.FORMULATIONS, ids=lambda fn: fn.__name__)
def test_a_formulation_takes_the_arguments_of_the_operation(operation):
    def kinds(fn):
        given = inspect.signature(fn).parameters.values()
        return [(parameter.kind, parameter.default) for parameter in given]

    assert kinds(wing.FORMULATIONS[operation]) == kinds(operation)


@TUNED
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_an_elementwise_function_runs_what_the_table_says(monkeypatch, dtype):
    seen = []

    def zero(x):
        seen.append(x.dtype)
        return mx.zeros_like(x)

    monkeypatch.setitem(wing.FORMULATIONS, ops.tanh, zero)
    x = mx.ones((2,), dtype)
    (y,), (dx,) = mx.vjp(ops.tanh, [x], [x])
    assert y.tolist() == [0, 0]
    assert dx.tolist() == [1, 1]  # the slope of the operation, from that value
    assert y.dtype == dx.dtype == dtype
    assert seen == [mx.float32]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
def test_float64_and_plain_leave_the_table_aside(monkeypatch, dtype):
    def fail(x):
        raise AssertionError

    monkeypatch.setitem(wing.FORMULATIONS, ops.tanh, fail)
    with ops.plain():
        assert ops.tanh(mx.zeros((2,), dtype)).tolist() == [0, 0]
    assert ops.tanh(mx.zeros((2,), mx.float64)).tolist() == [0, 0]
