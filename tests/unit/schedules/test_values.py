"""Values of schedules at their ends, at their tops and up to the last step of int32."""

import math
from fractions import Fraction

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lucid_fn import schedules

LAST = 2**31 - 1


def half_cosine(steps, length):
    """From 1 to 0."""
    share = 1 - Fraction(steps) / Fraction(length)
    return math.sin(math.pi / 2 * float(share)) ** 2


def one_cycle(t):
    turn = 0.3 * LAST - 1
    if t < turn:
        low = 1e-12 * half_cosine(t, turn)
        return low + half_cosine(Fraction(turn) - t, turn)
    fall = Fraction(LAST - 1) - Fraction(turn)
    last = 1e-16 * half_cosine(LAST - 1 - t, fall)
    return half_cosine(t - Fraction(turn), fall) + last


# Schedules, steps, and the values in exact arithmetic.
LARGE = [
    (
        schedules.noam(512, warmup_steps=1000),
        [0, 998, 999, 1000, 2**24, LAST - 1, LAST],
        lambda t: 512**-0.5 * min((t + 1) ** -0.5, (t + 1) * 1000**-1.5),
    ),
    (
        schedules.inverse_sqrt(1.0, warmup_steps=LAST),
        [1, 2**30, LAST],
        lambda t: t / LAST,
    ),
    (
        schedules.cosine_annealing(1.0, decay_steps=1_500_000_000),
        [1, 10**9, 1_499_999_999, 1_500_000_001, LAST],
        lambda t: half_cosine(t, 1_500_000_000),
    ),
    (
        schedules.cosine_annealing(1.0, decay_steps=LAST),
        [2**30, LAST - 1, LAST],
        lambda t: half_cosine(t, LAST),
    ),
    (
        schedules.cosine_restarts(1.0, first_period=2**30, growth=3),
        [0, 2**30 - 1, 2**30, LAST],
        lambda t: half_cosine(t % 2**30, 2**30 if t < 2**30 else 3 * 2**30),
    ),
    (
        schedules.cosine_restarts(1.0, first_period=LAST),
        [1, LAST - 1, LAST],
        lambda t: half_cosine(t % LAST, LAST),
    ),
    (
        schedules.cyclic(0.0, 1.0, up_steps=LAST),
        [1, 2**30, LAST],
        lambda t: t / LAST,
    ),
    (
        schedules.cyclic(0.0, 1.0, up_steps=10**9, down_steps=2 * 10**9),
        [1, 10**9 - 1, 10**9, 10**9 + 1, LAST],
        lambda t: min(t / 1e9, (3e9 - t) / 2e9),
    ),
    (
        schedules.exponential_decay(1.0, gamma=1 - 2e-9),
        [1, 2**24 + 1, 10**9, LAST],
        lambda t: math.exp(t * math.log(1 - 2e-9)),
    ),
    (
        schedules.cyclic_exponential(1.0, 0.0, up_steps=1, gamma=1 - 1e-7),
        [1, 3, 2**24 + 1, 10**8 + 1],
        lambda t: -math.expm1(t * math.log(1 - 1e-7)),
    ),
    (
        schedules.one_cycle(1.0, total_steps=LAST, div_factor=1e12),
        [1, 1000, 10**9, LAST - 2, LAST - 1],
        one_cycle,
    ),
    (
        schedules.polynomial_decay(0.0, decay_steps=LAST, power=2, end=1.0),
        [1, 1000, 2**30, LAST],
        lambda t: 1 - Fraction(LAST - t, LAST) ** 2,
    ),
    (
        schedules.warmup_cosine(0.0, warmup_steps=5, total_steps=LAST, end=1.0),
        [6, 1000, LAST],
        lambda t: half_cosine(LAST - t, LAST - 5),
    ),
    (
        schedules.per_epoch(schedules.linear(3.0, total_steps=LAST), 1),
        [1, LAST - 1, LAST],
        lambda t: 1 + 2 * Fraction(t, LAST),
    ),
]


@pytest.mark.parametrize(("schedule", "steps", "exact"), LARGE)
@pytest.mark.parametrize(
    ("dtype", "bound"), [(mx.int32, 1e-6), (mx.float64, 1e-12)], ids=["f32", "f64"]
)
def test_values_are_exact_up_to_the_last_step(schedule, steps, exact, dtype, bound):
    expected = [float(exact(step)) for step in steps]
    found = np.array(schedule(mx.array(steps, dtype)))
    assert_allclose(found, expected, rtol=bound, atol=1e-37)


# What the docstrings say of single steps holds exactly.
EXACT = [
    (schedules.cosine_decay(0.3, decay_steps=7, end=0.1), {0: 0.3, 7: 0.1, 9: 0.1}),
    (
        schedules.cosine_annealing(0.3, decay_steps=7, end=0.1),
        {0: 0.3, 7: 0.1, 14: 0.3, 21: 0.1},
    ),
    (
        schedules.cosine_restarts(0.3, first_period=5, growth=2, end=0.1),
        {0: 0.3, 5: 0.3, 15: 0.3, 35: 0.3},
    ),
    (
        schedules.polynomial_decay(0.3, decay_steps=7, power=1.7, end=0.1),
        {0: 0.3, 7: 0.1, LAST: 0.1},
    ),
    (
        schedules.linear(1.0, start_factor=0.3, end_factor=0.1, total_steps=7),
        {0: 0.3, 7: 0.1, LAST: 0.1},
    ),
    (
        schedules.warmup_cosine(0.3, warmup_steps=3, total_steps=7, end=0.1),
        {0: 0.0, 3: 0.3, 7: 0.1, LAST: 0.1},
    ),
    (
        schedules.warmup_linear(0.3, warmup_steps=3, total_steps=7, end=0.1),
        {0: 0.0, 3: 0.3, 7: 0.1, LAST: 0.1},
    ),
    (schedules.inverse_sqrt(0.3, warmup_steps=4), {0: 0.0, 4: 0.3, 16: 0.15}),
    (
        schedules.one_cycle(0.3, total_steps=10),
        {0: 0.3 / 25, 2: 0.3, 9: 0.3 / 25 / 1e4, LAST: 0.3 / 25 / 1e4},
    ),
    (schedules.one_cycle_momentum(total_steps=10), {0: 0.95, 2: 0.85, 9: 0.95}),
    (schedules.cyclic(0.1, 0.3, up_steps=3, down_steps=2), {0: 0.1, 5: 0.1, 10: 0.1}),
    (schedules.cyclic(0.3, 0.1, up_steps=3, down_steps=2), {3: 0.1, 8: 0.1}),
    (schedules.step_decay(0.3, step_size=4, gamma=0.5), {0: 0.3, 3: 0.3, 4: 0.15}),
    (
        schedules.multi_step_decay(0.3, milestones=[4, 2, 4], gamma=0.5),
        {1: 0.3, 2: 0.15, 3: 0.15, 4: 0.0375},
    ),
    (
        schedules.warmup(schedules.constant(0.3), warmup_steps=3, start=0.1),
        {0: 0.1, 3: 0.3, 4: 0.3},
    ),
]


@pytest.mark.parametrize(("schedule", "values"), EXACT)
def test_ends_and_tops_are_exact(schedule, values):
    assert (
        schedule(mx.array([*values])).tolist()
        == np.float32([*values.values()]).tolist()
    )
    steps = mx.array([*values], mx.float64)
    assert schedule(steps).tolist() == [*values.values()]


def test_stairs_are_exact_beyond_2_to_the_24():
    edge = 2**24 + 1
    rate = schedules.multi_step_decay(1.0, milestones=[edge], gamma=0.5)
    assert rate(mx.array([edge - 1, edge])).tolist() == [1.0, 0.5]
    stairs = schedules.step_decay(1.0, step_size=edge, gamma=0.5)
    assert stairs(mx.array([edge - 1, edge])).tolist() == [1.0, 0.5]


def test_a_cosine_does_not_end_a_step_early_beyond_2_to_the_24():
    rate = schedules.cosine_decay(1.0, decay_steps=2**24 + 1)
    assert rate(2**24).item() > 0
    assert rate(2**24 + 1).item() == 0


def test_periods_of_nearly_all_steps_fit_into_int32():
    for rate in (
        schedules.cosine_annealing(1.0, decay_steps=2**31 - 1),
        schedules.cosine_restarts(1.0, first_period=2**31 - 1, growth=3),
    ):
        assert_allclose(rate(2**30), 0.5, rtol=1e-6)
