"""Every schedule that PyTorch has, over 45 steps with drawn arguments."""

import mlx.core as mx
import pytest
from hypothesis import assume, given, settings, strategies as st
from numpy.testing import assert_allclose

from lucid_fn import schedules

torch = pytest.importorskip("torch")
lr = torch.optim.lr_scheduler

STEPS = 45
values = st.floats(1e-4, 10)
lengths = st.integers(1, 50)
EXAMPLES = settings(max_examples=10)


def sgd(init, momentum=0.0):
    weight = torch.nn.Parameter(torch.zeros(()))
    return torch.optim.SGD([weight], lr=init, momentum=momentum)


def curve(optimizer, make, steps=STEPS, name="lr"):
    """What PyTorch's scheduler sets, in float64."""
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0][name])
        optimizer.step()
        scheduler.step()
    return found


def agree(schedule, init, make, steps=STEPS, rtol=1e-6):
    expected = curve(sgd(init), make, steps)
    # PyTorch multiplies step by step in float64: where the end is 0, it misses it.
    atol = 1e-15 * max(init, 1)
    assert_allclose(schedule(mx.arange(steps)), expected, rtol=rtol, atol=atol)


@EXAMPLES
@given(init=values, size=lengths, gamma=st.floats(0.1, 1))
def test_step_decay(init, size, gamma):
    agree(
        schedules.step_decay(init, step_size=size, gamma=gamma),
        init,
        lambda o: lr.StepLR(o, size, gamma),
    )


@EXAMPLES
@given(init=values, milestones=st.lists(st.integers(1, 50), max_size=5))
def test_multi_step_decay(init, milestones):
    agree(
        schedules.multi_step_decay(init, milestones=milestones, gamma=0.3),
        init,
        lambda o: lr.MultiStepLR(o, milestones, 0.3),
    )


@EXAMPLES
@given(init=values, gamma=st.floats(0.8, 1.1))
def test_exponential_decay(init, gamma):
    agree(
        schedules.exponential_decay(init, gamma=gamma),
        init,
        lambda o: lr.ExponentialLR(o, gamma),
        rtol=2e-6,  # 1e-7 for each of 15 octaves, and two more
    )


@EXAMPLES
@given(init=values, length=lengths, share=st.floats(0, 1))
def test_cosine_annealing_and_its_first_half(init, length, share):
    end = share * init
    annealing = schedules.cosine_annealing(init, decay_steps=length, end=end)
    agree(annealing, init, lambda o: lr.CosineAnnealingLR(o, length, end))
    decay = schedules.cosine_decay(init, decay_steps=length, end=end)
    half = mx.arange(length + 1)
    assert_allclose(decay(half), annealing(half), rtol=1e-6)


@EXAMPLES
@given(init=values, first=st.integers(1, 20), growth=st.integers(1, 3))
def test_cosine_restarts(init, first, growth):
    agree(
        schedules.cosine_restarts(init, first_period=first, growth=growth, end=1e-5),
        init,
        lambda o: lr.CosineAnnealingWarmRestarts(o, first, growth, 1e-5),
    )


@EXAMPLES
@given(init=values, start=st.floats(0.01, 1), end=st.floats(0, 1), total=lengths)
def test_linear(init, start, end, total):
    agree(
        schedules.linear(init, start_factor=start, end_factor=end, total_steps=total),
        init,
        lambda o: lr.LinearLR(o, start, end, total),
    )


def test_linear_has_the_same_defaults():
    agree(schedules.linear(0.1), 0.1, lr.LinearLR)


@EXAMPLES
@given(init=values, length=lengths, power=st.floats(0.5, 4))
def test_polynomial_decay(init, length, power):
    agree(
        schedules.polynomial_decay(init, decay_steps=length, power=power),
        init,
        lambda o: lr.PolynomialLR(o, length, power),
    )


@EXAMPLES
@given(
    peak=values,
    total=st.integers(STEPS, 90),
    pct=st.floats(0.05, 0.9),
    div=st.floats(1, 50),
    final=st.floats(1, 1e5),
)
def test_one_cycle_and_its_momentum(peak, total, pct, div, final):
    def make(optimizer):
        return lr.OneCycleLR(
            optimizer,
            peak,
            total,
            pct_start=pct,
            div_factor=div,
            final_div_factor=final,
        )

    rate = schedules.one_cycle(
        peak,
        total_steps=total,
        pct_start=pct,
        div_factor=div,
        final_div_factor=final,
    )
    agree(rate, peak, make, steps=STEPS - 1)
    momentum = schedules.one_cycle_momentum(total_steps=total, pct_start=pct)
    expected = curve(sgd(peak, 0.9), make, STEPS - 1, "momentum")
    assert_allclose(momentum(mx.arange(STEPS - 1)), expected, rtol=1e-6)


@EXAMPLES
@given(
    low=values,
    rise=values,
    up=st.integers(1, 20),
    down=st.none() | st.integers(1, 20),
    gamma=st.floats(0.8, 1),
)
def test_cyclic_in_its_three_forms(low, rise, up, down, gamma):
    high = low + rise
    length = {"up_steps": up, "down_steps": down}
    for mode, schedule in (
        ("triangular", schedules.cyclic(low, high, **length)),
        ("triangular2", schedules.cyclic_halving(low, high, **length)),
        ("exp_range", schedules.cyclic_exponential(low, high, gamma=gamma, **length)),
    ):
        agree(
            schedule,
            low,
            lambda o, mode=mode: lr.CyclicLR(
                o, low, high, up, down, mode, gamma, cycle_momentum=False
            ),
        )


@EXAMPLES
@given(init=values, warm=st.integers(1, 20), length=lengths)
def test_join_is_sequential_lr(init, warm, length):
    def make(o):
        first = lr.LinearLR(o, 0.1, 1.0, warm)
        then = lr.CosineAnnealingLR(o, 60, init / 10)
        return lr.SequentialLR(o, [first, then], [warm])

    parts = [
        schedules.linear(init, start_factor=0.1, total_steps=warm),
        schedules.cosine_annealing(init, decay_steps=60, end=init / 10),
    ]
    agree(schedules.join(parts, boundaries=[warm]), init, make)


def test_both_step_schedules_of_the_cifar_experiment_for_40_epochs():
    for size, gamma in ((5, 0.5), (10, 0.1)):
        by_epoch = schedules.step_decay(1e-3, step_size=size, gamma=gamma)
        rate = schedules.per_epoch(by_epoch, 391)
        expected = curve(sgd(1e-3), lambda o: lr.StepLR(o, size, gamma), 40)  # noqa: B023
        assert_allclose(rate(391 * mx.arange(40) + 390), expected, rtol=1e-6)


@given(
    metrics=st.lists(st.floats(0.125, 5, width=32), min_size=40, max_size=60),
    factor=st.floats(0.1, 0.9),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    cooldown=st.integers(0, 3),
    maximize=st.booleans(),
)
def test_reduce_on_plateau(metrics, factor, patience, threshold, cooldown, maximize):
    plateau = schedules.reduce_on_plateau(
        0.5,
        factor=factor,
        patience=patience,
        threshold=threshold,
        cooldown=cooldown,
        min_value=1e-3,
        maximize=maximize,
    )
    optimizer, state = sgd(0.5), plateau.init()
    scheduler = lr.ReduceLROnPlateau(
        optimizer,
        "max" if maximize else "min",
        factor,
        patience,
        threshold,
        cooldown=cooldown,
        min_lr=1e-3,
    )
    for metric in metrics:
        # A metric on the threshold itself is decided by rounding.
        best, sign = scheduler.best, 1 if maximize else -1
        assume(threshold == 0 or abs(metric / best - 1 - sign * threshold) > 1e-6)
        state = plateau.update(state, metric)
        scheduler.step(metric)
        assert_allclose(state.value, optimizer.param_groups[0]["lr"], rtol=1e-5)
