"""The plateau's state: hand values, NaN, messages."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import schedules


def run(metrics, **options):
    plateau = schedules.reduce_on_plateau(1.0, factor=0.5, **options)
    state = plateau.init()
    for metric in metrics:
        state = plateau.update(state, metric)
    return state


def test_an_improvement_starts_the_count_anew():
    assert run([3, 3, 2, 2], patience=1).value.item() == 1
    assert run([3, 3, 2, 2, 2], patience=1).value.item() == 0.5


def test_nan_never_improves():
    state = run([1.0, float("nan"), float("nan")], patience=1)
    assert (state.value.item(), state.best.item()) == (0.5, 1)


def test_it_stops_at_the_smallest_value():
    assert run([1.0] * 20, patience=0, min_value=0.2).value.item() == pytest.approx(0.2)


def test_falls_too_small_to_matter_are_left_out():
    assert run([1.0] * 20, patience=0, eps=0.3).value.item() == 0.5


def test_larger_is_better_when_maximized():
    assert run([0.5, 0.6, 0.7], patience=0, maximize=True).value.item() == 1
    assert run([0.7, 0.6], patience=0, maximize=True).value.item() == 0.5


def test_the_state_keeps_its_dtypes_and_shapes():
    plateau = schedules.reduce_on_plateau(1.0)
    before = plateau.init()
    after = plateau.update(before, mx.array(1.0, mx.float16))
    assert [(x.dtype, x.shape) for x in before] == [(x.dtype, x.shape) for x in after]


def test_messages_of_update():
    plateau = schedules.reduce_on_plateau(1.0)
    with pytest.raises(ValueError, match=r"metric must have shape \(\), got \(2,\)"):
        plateau.update(plateau.init(), mx.zeros(2))
    with pytest.raises(TypeError, match=r"metric must be a number or .*, got str"):
        plateau.update(plateau.init(), "low")


@pytest.mark.parametrize("mapped", [*schedules.PlateauState._fields, "metric"])
@pytest.mark.parametrize("metric", [0.1, 2.0])
def test_an_update_is_mapped_over_one_number_alone(mapped, metric):
    plateau = schedules.reduce_on_plateau(1.0, patience=0, cooldown=1, eps=0.3)
    numbers = {
        **plateau.update(plateau.init(), 1.0)._asdict(),
        "metric": mx.array(metric),
    }
    two = {"value": [1, 0.2], "best": [0.5, 3], "metric": [0.1, 2]}.get(mapped, [0, 1])
    values = mx.array(two).astype(numbers[mapped].dtype)

    def update(*numbers):
        *state, metric = numbers
        return plateau.update(schedules.PlateauState(*state), metric)

    axes = tuple(0 if name == mapped else None for name in numbers)
    found = lf.vmap(update, axes)(*(numbers | {mapped: values}).values())
    alone = [update(*(numbers | {mapped: value}).values()) for value in values]
    for together, single in zip(found, zip(*alone, strict=True), strict=True):
        assert together.tolist() == [x.item() for x in single]
