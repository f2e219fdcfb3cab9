"""Functions of which `mx.compile` loses an array when it merges equal operations."""

import threading

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random
from lucid_fn.ops import seam
from lucid_fn.transforms import compilation
from tests.assertions import assert_close


def splits_twice(x):
    def product(x):
        a, b = mx.split(x, 2)
        return mx.sum(a * b)

    a, b = mx.split(x, 2)
    return lf.grad(product)(x), a + b


def returns_its_loss_as_aux(x):
    def loss(x):
        a, b = mx.split(x, 2)
        value = mx.sum(a * b)
        return value, {"value": value, "parts": (a, b)}

    return lf.value_and_grad(loss, has_aux=True)(x)


def squared_gradient_of_a_recurrence(x):
    layer = nn.lstm(2, 2)
    params, state = layer.init(random.key(0))

    def loss(x):
        return mx.sum(layer.apply(params, state, x, train=False)[0].sequence ** 2)

    x = x.reshape(1, 2, 2)
    return lf.grad(lambda x: mx.sum(lf.grad(loss)(x) ** 2))(x)


@pytest.fixture(autouse=True)
def unfused():
    """Off in these tests: MLX loses arrays when it fuses, too."""


LOSING = pytest.mark.parametrize(
    "fn", [splits_twice, returns_its_loss_as_aux, squared_gradient_of_a_recurrence]
)


@LOSING
def test_it_is_compiled_without_the_merging(fn):
    x = mx.array([1.0, 2.0, 3.0, 5.0])
    assert_close(lf.jit(fn)(x), fn(x), rtol=1e-5)


@LOSING
def test_it_is_traced_twice_and_no_more(fn):
    traces = []

    def counted(x):
        traces.append(x.shape)
        return fn(x)

    run = lf.jit(counted)
    for value in range(3):
        run(mx.full((4,), float(value)))
    assert len(traces) <= 2


def test_captured_counters_of_one_value_are_two():
    first, second = mx.array(0), mx.array(0)

    def loss(x):
        return mx.sum(x), (first + 1, second + 2)

    (_, counters), _ = lf.jit(lf.value_and_grad(loss, has_aux=True))(mx.ones(2))
    assert [x.item() for x in counters] == [1, 2]


def test_a_loop_may_have_it_for_its_body():
    def turn(total, x):
        return total + splits_twice(x)[0], None

    xs = mx.array([[1.0, 2.0, 3.0, 5.0], [1.0, 0.0, 1.0, 0.0]])
    assert lf.scan(turn, mx.zeros(4), xs)[0].tolist() == [4.0, 5.0, 2.0, 2.0]


def test_other_functions_are_merged_meanwhile_and_afterwards(monkeypatch):
    modes = []
    set_mode = compilation._mode_setter()

    def recorded(mode):
        modes.append(mode)
        set_mode(mode)

    enable = mx.enable_compile
    monkeypatch.setattr(compilation, "_mode_setter", lambda: recorded)
    monkeypatch.setattr(mx, "enable_compile", lambda: [modes.append(3), enable()])
    lf.jit(splits_twice)(mx.ones(4))
    assert modes == [1, 3]
    with compilation._without_merging():
        lf.jit(splits_twice)(mx.ones(4))
        assert modes[-1] == 1
    assert modes[-1] == 3


def test_compiling_that_is_switched_off_stays_off():
    run = lf.jit(splits_twice)
    expected = run(mx.ones(4))
    mx.disable_compile()
    try:
        assert_close(run(mx.ones(4)), expected)
        assert not compilation._is_on()
    finally:
        mx.enable_compile()
    assert compilation._is_on()


def test_threads_may_compile_it_at_once():
    found = []

    def run():
        found.append(lf.jit(splits_twice)(mx.ones(4))[0].tolist())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[1.0] * 4] * 4


def test_without_a_mode_that_does_not_merge_the_error_says_what_to_write(monkeypatch):
    monkeypatch.setattr(compilation, "_mode_setter", lambda: None)
    with pytest.raises(ValueError, match=r"jit: MLX merges .* use slices"):
        lf.jit(splits_twice)(mx.ones(4))


def test_a_loop_outside_of_jit_prepares_the_compiler(monkeypatch):
    calls = []
    monkeypatch.setattr(seam, "prepare_compiler", lambda: calls.append(None))
    lf.scan(lambda total, x: (total + x, None), 0.0, mx.zeros(3))
    assert calls


def without_the_symbol(monkeypatch):
    monkeypatch.setattr(compilation, "_SET_MODE", "gone")


def with_other_numbers(monkeypatch):
    monkeypatch.setattr(compilation, "_NO_SIMPLIFY", 0)  # where nothing is compiled


@pytest.mark.parametrize("change", [without_the_symbol, with_other_numbers])
def test_another_version_of_mlx_is_noticed_and_compiles_all_else(monkeypatch, change):
    change(monkeypatch)
    fresh = compilation._mode_setter.__wrapped__
    monkeypatch.setattr(compilation, "_mode_setter", fresh)
    assert not compilation.goes_without_merging()
    with pytest.raises(ValueError, match=r"jit: MLX merges .* use slices"):
        lf.jit(splits_twice)(mx.ones(4))
    assert compilation._is_on()


@pytest.mark.parametrize("outer", [lambda fn: fn, lf.grad], ids=["", "grad"])
def test_a_body_that_cannot_be_compiled_runs_as_it_is(monkeypatch, outer):
    def run(x):
        last, ys = lf.scan(lambda c, _: splits_twice(c), x, None, 2)
        return mx.sum(last) + mx.sum(ys)

    monkeypatch.setattr(compilation, "_mode_setter", lambda: None)
    found = outer(run)(mx.ones(4))
    with lf.disable_jit():
        assert_close(found, outer(run)(mx.ones(4)))
