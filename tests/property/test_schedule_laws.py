"""Laws of the schedules: of all in the registry, and of some alone."""

import math

import mlx.core as mx
import numpy as np
from hypothesis import assume, given, strategies as st
from numpy.testing import assert_allclose

from lucid_fn import schedules
from tests.registry.case import over
from tests.registry.schedules import SCHEDULES

values = st.floats(1e-3, 10)
lengths = st.integers(1, 1000)
steps = st.integers(0, 2**31 - 1)


@over(SCHEDULES)
def test_a_step_gives_a_float32_scalar(case):
    value = case.make()(mx.array(3, mx.int32))
    assert (value.dtype, value.shape) == (mx.float32, ())


@over(SCHEDULES)
def test_a_python_integer_is_a_step(case):
    schedule = case.make()
    assert schedule(11).item() == schedule(mx.array(11, mx.int32)).item()


@over(SCHEDULES)
def test_an_array_of_steps_gives_the_value_of_each(case):
    schedule = case.make()
    grid = mx.arange(100).reshape(5, 20)
    each = [schedule(mx.array(t)).item() for t in range(100)]
    assert_allclose(schedule(grid).reshape(-1), each, rtol=1e-6, atol=1e-12)


@over(SCHEDULES)
def test_a_compiled_schedule_is_traced_once_for_100_steps(case):
    schedule, traces = case.make(), []

    def traced(step):
        traces.append(step)
        return schedule(step)

    compiled = mx.compile(traced)
    found = [compiled(mx.array(t, mx.int32)).item() for t in range(100)]
    assert len(traces) == 1
    assert_allclose(found, schedule(mx.arange(100)), rtol=1e-6, atol=1e-9)


@over(SCHEDULES, law="constant after the end")
def test_it_is_constant_after_the_end(case):
    late = case.make()(mx.array([60, 61, 1000, 2**24 + 1, 2**31 - 1]))
    assert late.tolist() == [late[0].item()] * 5


EDGES = [0, 1, 2, 59, 60, 2**24 - 1, 2**24 + 1, 2**30, 2**31 - 2, 2**31 - 1]


@over(SCHEDULES)
def test_a_float64_step_gives_a_float64_value(case):
    steps = mx.array([*range(100), *EDGES], mx.float64)
    value = case.make()(steps)
    assert (value.dtype, value.shape) == (mx.float64, steps.shape)


@over(SCHEDULES)
def test_float32_values_have_an_error_of_1e_6_at_any_step(case):
    """The powers of 0.9 and the like end at the least number of float32."""
    schedule, steps = case.make(), [*range(100), *EDGES]
    exact = np.array(schedule(mx.array(steps, mx.float64)))
    assert_allclose(schedule(mx.array(steps)), exact, rtol=1e-6, atol=1e-37)


@over(SCHEDULES)
def test_steps_past_int32_are_the_last_one(case):
    schedule = case.make()
    last = schedule(2**31 - 1).item()
    for step in (2**31, 2**40, mx.array(2**31 + 5, mx.int64), mx.array(2**32 - 1)):
        assert schedule(step).item() == last


@over(SCHEDULES)
def test_it_is_finite_and_not_negative_at_every_step(case):
    late = case.make()(mx.array([0, 2**24 - 1, 2**24 + 1, 2**31 - 2]))
    assert mx.all(mx.isfinite(late) & (late >= 0)).item()


@given(peak=values, share=st.floats(0, 1), warm=lengths, rest=lengths, data=st.data())
def test_warmup_cosine_is_within_its_range_and_its_equation(
    peak, share, warm, rest, data
):
    end, total = share * peak, warm + rest
    t = data.draw(st.integers(0, 2 * total))
    rate = schedules.warmup_cosine(peak, warmup_steps=warm, total_steps=total, end=end)
    s = min((t - warm) / rest, 1)
    expected = (
        peak * t / warm
        if t < warm
        else end + (peak - end) * (1 + math.cos(math.pi * s)) / 2
    )
    assert_allclose(rate(t), expected, rtol=1e-6, atol=1e-12)


@given(peak=values, warm=lengths, rest=lengths)
def test_a_warm_up_meets_what_follows_without_a_jump(peak, warm, rest):
    after = schedules.polynomial_decay(peak, decay_steps=rest)
    for rate in (
        schedules.warmup(after, warmup_steps=warm),
        schedules.warmup_linear(peak, warmup_steps=warm, total_steps=warm + rest),
        schedules.warmup_cosine(peak, warmup_steps=warm, total_steps=warm + rest),
        schedules.inverse_sqrt(peak, warmup_steps=warm),
    ):
        before, seam = rate(mx.array([warm - 1, warm])).tolist()
        assert_allclose(seam, peak, rtol=1e-6)
        assert abs(seam - before) <= peak / warm + 1e-6 * peak


@given(peak=values, warm=lengths, rest=lengths, t=steps)
def test_warmup_linear_is_a_warm_up_and_a_line(peak, warm, rest, t):
    line = schedules.polynomial_decay(peak, decay_steps=rest)
    joined = schedules.warmup(line, warmup_steps=warm)
    alone = schedules.warmup_linear(peak, warmup_steps=warm, total_steps=warm + rest)
    assert_allclose(alone(t), joined(t), rtol=1e-6, atol=1e-12)


@given(init=values, size=st.integers(1, 500), gamma=st.floats(0.1, 1), t=steps)
def test_step_decay_is_exponential_decay_by_epoch(init, size, gamma, t):
    stairs = schedules.step_decay(init, step_size=size, gamma=gamma)
    slope = schedules.exponential_decay(init, gamma=gamma)
    assert stairs(t).item() == schedules.per_epoch(slope, size)(t).item()


@given(gamma=st.floats(0.5, 1, exclude_max=True), t=st.integers(0, 10**6))
def test_exponential_decay_keeps_its_digits(gamma, t):
    octaves = t * math.log2(gamma)
    assume(octaves > -100)
    found = schedules.exponential_decay(1.0, gamma=gamma)(t).item()
    assert_allclose(found, gamma**t, rtol=1e-7 * (2 + abs(octaves)))


@given(init=values, length=st.integers(2, 10**9), left=st.integers(1, 1000))
def test_a_cosine_keeps_its_digits_just_before_the_end(init, length, left):
    assume(left < length)
    found = schedules.cosine_decay(init, decay_steps=length)(length - left).item()
    expected = init * math.sin(math.pi / 2 * left / length) ** 2
    assert_allclose(found, expected, rtol=1e-6)


@given(parts=st.lists(st.tuples(values, lengths), min_size=1, max_size=4), t=steps)
def test_join_of_constants_is_the_constant_of_the_moment(parts, t):
    boundaries = np.cumsum([length for _, length in parts])[:-1].tolist()
    rate = schedules.join(
        [schedules.constant(value) for value, _ in parts], boundaries=boundaries
    )
    current = sum(t >= boundary for boundary in boundaries)
    assert_allclose(rate(t), parts[current][0], rtol=1e-7)


@given(first=st.integers(1, 50), growth=st.integers(1, 4), n=st.integers(0, 8))
def test_each_restart_begins_at_the_top_and_lasts_longer(first, growth, n):
    rate = schedules.cosine_restarts(1.0, first_period=first, growth=growth)
    start = sum(first * growth**i for i in range(n))
    assert_allclose(rate(start), 1, rtol=1e-6)
    period = first * growth**n
    last = math.sin(math.pi / 2 / period) ** 2
    assert_allclose(rate(start + period - 1), last, rtol=1e-5)


@given(
    metrics=st.lists(st.floats(0.125, 9, width=32), min_size=1, max_size=40),
    patience=st.integers(0, 4),
)
def test_a_plateau_only_falls_and_runs_compiled(metrics, patience):
    plateau = schedules.reduce_on_plateau(1.0, factor=0.5, patience=patience)
    eager = compiled = plateau.init()
    update, rates = mx.compile(plateau.update), [1.0]
    for metric in metrics:
        eager = plateau.update(eager, metric)
        compiled = update(compiled, mx.array(metric))
        rates.append(eager.value.item())
    assert [x.item() for x in eager] == [x.item() for x in compiled]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) - 1 <= len(metrics) / (patience + 1)
