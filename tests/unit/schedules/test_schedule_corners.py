"""Schedules: steps beyond float32, messages."""

import functools
import math
from fractions import Fraction

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lucid_fn import schedules


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


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="schedule: step must be at least 0, got -1"):
        schedules.constant(1.0)(-1)


def test_no_milestones_is_constant():
    rate = schedules.multi_step_decay(1.0, milestones=[], gamma=0.5)
    assert rate(mx.arange(3)).tolist() == [1, 1, 1]


def test_a_warm_up_of_no_steps_begins_at_the_peak():
    assert schedules.warmup_cosine(1.0, warmup_steps=0, total_steps=9)(0).item() == 1


def test_a_numpy_style_unsigned_step_is_a_step():
    rate = schedules.cosine_decay(1.0, decay_steps=4)
    assert rate(mx.array(9, mx.uint32)).item() == 0


@pytest.mark.parametrize("step", [0.5, True, mx.array(1.0), "1"])
def test_a_step_must_be_an_integer(step):
    with pytest.raises(
        TypeError, match=r"schedule: step must be (an integer|integers)"
    ):
        schedules.constant(1.0)(step)


constant = schedules.constant(1.0)
MESSAGES = [
    (schedules.constant, ("x",), {}, TypeError, "value must be a number, got 'x'"),
    (schedules.constant, (True,), {}, TypeError, "value must be a number, got True"),
    (schedules.constant, (float("nan"),), {}, ValueError, "value must be finite"),
    (
        schedules.step_decay,
        (1.0,),
        {"step_size": 0, "gamma": 0.5},
        ValueError,
        "step_size must be at least 1, got 0",
    ),
    (
        schedules.step_decay,
        (1.0,),
        {"step_size": 1.5, "gamma": 0.5},
        TypeError,
        r"step_size must be an integer, got 1.5",
    ),
    (
        schedules.step_decay,
        (1.0,),
        {"step_size": 1, "gamma": 0},
        ValueError,
        "gamma must be positive and finite, got 0",
    ),
    (
        schedules.multi_step_decay,
        (1.0,),
        {"milestones": [3, -1], "gamma": 0.5},
        ValueError,
        r"milestones\[1\] must be at least 0, got -1",
    ),
    (
        schedules.exponential_decay,
        (1.0,),
        {"gamma": -0.1},
        ValueError,
        "gamma must be positive and finite, got -0.1",
    ),
    (
        schedules.polynomial_decay,
        (1.0,),
        {"decay_steps": 1, "power": 0},
        ValueError,
        "power must be positive and finite, got 0",
    ),
    (schedules.linear, (1.0,), {"total_steps": 0}, ValueError, "total_steps must be"),
    (schedules.cosine_decay, (1,), {"decay_steps": -1}, ValueError, "decay_steps must"),
    (
        schedules.cosine_restarts,
        (1.0,),
        {"first_period": 2**31},
        ValueError,
        r"first_period must be below 2\*\*31, got 2147483648",
    ),
    (
        schedules.warmup_cosine,
        (1.0,),
        {"warmup_steps": 5, "total_steps": 5},
        ValueError,
        "need 0 <= warmup_steps < total_steps, got 5 and 5",
    ),
    (
        schedules.warmup_linear,
        (1.0,),
        {"warmup_steps": -1, "total_steps": 5},
        ValueError,
        "warmup_steps must be at least 0, got -1",
    ),
    (schedules.inverse_sqrt, (1.0,), {"warmup_steps": 0}, ValueError, "warmup_steps"),
    (
        schedules.noam,
        (0,),
        {"warmup_steps": 1},
        ValueError,
        "model_size must be at least 1",
    ),
    (
        schedules.one_cycle,
        (1.0,),
        {"total_steps": 3},
        ValueError,
        "pct_start must be in .* more than one of the total_steps, got 0.3 of 3",
    ),
    (
        schedules.one_cycle_momentum,
        (),
        {"total_steps": 9, "pct_start": 1.0},
        ValueError,
        "pct_start must be in",
    ),
    (
        schedules.cyclic,
        (0.0, 1.0),
        {"up_steps": 0},
        ValueError,
        "up_steps must be at least 1",
    ),
    (
        schedules.cyclic_exponential,
        (0.0, 1.0),
        {"up_steps": 1, "gamma": 0.0},
        ValueError,
        "gamma must be positive",
    ),
    (
        schedules.join,
        ([constant],),
        {"boundaries": [1]},
        ValueError,
        "boundaries must be one fewer than schedules, got 1 for 1",
    ),
    (
        schedules.join,
        ([constant] * 3,),
        {"boundaries": [5, 5]},
        ValueError,
        r"boundaries must increase, got \[5, 5\]",
    ),
    (
        schedules.join,
        ([constant, 1.0],),
        {"boundaries": [5]},
        TypeError,
        r"schedules\[1\] must be a schedule, got 1.0; for a number use",
    ),
    (
        schedules.warmup,
        (0.1,),
        {"warmup_steps": 5},
        TypeError,
        "schedule must be a schedule, got 0.1; for a number use schedules.constant",
    ),
    (
        schedules.per_epoch,
        (constant, 0),
        {},
        ValueError,
        "steps_per_epoch must be at least 1, got 0",
    ),
    (schedules.scale, (constant, None), {}, TypeError, "factor must be a number"),
    (
        schedules.reduce_on_plateau,
        (1.0,),
        {"factor": 1.0},
        ValueError,
        r"factor must be in \(0, 1\), got 1.0",
    ),
    (
        schedules.reduce_on_plateau,
        (1.0,),
        {"patience": -1},
        ValueError,
        "patience must be at least 0",
    ),
    (
        schedules.reduce_on_plateau,
        (1.0,),
        {"threshold": -0.1},
        ValueError,
        "threshold must be at least 0 and finite, got -0.1",
    ),
]


@pytest.mark.parametrize(
    ("make", "args", "options", "kind", "message"),
    MESSAGES,
    ids=[f"{make.__name__}-{i}" for i, (make, *_) in enumerate(MESSAGES)],
)
def test_hyperparameters_are_checked(make, args, options, kind, message):
    with pytest.raises(kind, match=f"{make.__name__}: {message}"):
        functools.partial(make, *args, **options)()
