"""What schedules accept, and what they say to a mistake."""

import functools

import mlx.core as mx
import pytest

from lucid_fn import schedules


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
    (
        schedules.multi_step_decay,
        (1.0,),
        {"milestones": [3, -1], "gamma": 0.5},
        ValueError,
        r"milestones\[1\] must be at least 0, got -1",
    ),
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
        schedules.one_cycle,
        (1.0,),
        {"total_steps": 3},
        ValueError,
        "pct_start must be in .* more than one of the total_steps, got 0.3 of 3",
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
        r"schedules\[1\] must be a schedule, got float 1.0; for a number use",
    ),
    (
        schedules.warmup,
        (0.1,),
        {"warmup_steps": 5},
        TypeError,
        "schedule must be a schedule, got float 0.1; for a number use "
        "schedules.constant",
    ),
    (schedules.scale, (constant, None), {}, TypeError, "factor must be a number"),
]


@pytest.mark.parametrize(
    ("make", "args", "options", "kind", "message"),
    MESSAGES,
    ids=[f"{make.__name__}-{i}" for i, (make, *_) in enumerate(MESSAGES)],
)
def test_hyperparameters_are_checked(make, args, options, kind, message):
    with pytest.raises(kind, match=f"{make.__name__}: {message}"):
        functools.partial(make, *args, **options)()
