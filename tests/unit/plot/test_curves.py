"""Curves of training runs."""

import math

import numpy as np
import pytest

from lucid_fn import plot, train
from lucid_fn.plot.curves import _moving_average

pytest.importorskip("matplotlib")


def mean_of_each_window(values):
    window = max(1, len(values) // 20)
    spans = [values[max(0, i - window + 1) : i + 1] for i in range(len(values))]
    return [np.mean(span) for span in spans]


@pytest.mark.parametrize("count", [0, 1, 2, 19, 20, 39, 40, 41, 399, 400, 1003])
def test_the_moving_average_is_that_of_each_window(count):
    values = np.random.default_rng(count).normal(size=count).tolist()
    expected = mean_of_each_window(values)
    np.testing.assert_allclose(_moving_average(values), expected, atol=1e-12)


@pytest.mark.parametrize("spike", [1e30, math.inf, math.nan])
def test_a_spike_is_in_the_windows_that_hold_it_only(spike):
    values = [0.5] * 400
    values[137] = spike
    mean = np.array(_moving_average(values))
    held = slice(137, 137 + 20)
    np.testing.assert_array_equal(np.delete(mean, np.r_[held]), 0.5)
    assert not (mean[held] == 0.5).any()


def test_the_moving_average_adds_each_value_a_few_times(monkeypatch):
    # The windows of 78,200 values have 3,910 values each, 3e8 in all.
    added = []
    cumsum = np.cumsum
    monkeypatch.setattr(
        np, "cumsum", lambda a, **kw: added.append(a.size) or cumsum(a, **kw)
    )
    assert _moving_average([0.5] * 78_200) == [0.5] * 78_200
    assert 0 < sum(added) < 3 * 78_200


def test_epochs_without_a_metric_are_left_out_of_its_curve(tmp_path):
    epochs = [
        {"epoch": 1, "train_loss": 0.9, "test_loss": 0.8},
        {"epoch": 2, "train_loss": 0.7},
        {"epoch": 3, "train_loss": 0.6, "test_loss": 0.5},
    ]
    for records in (epochs, epochs[1:], epochs[:2]):
        run = train.History([0.9, 0.7, 0.6], records, {}, {}, False)
        plot.curves(run, tmp_path / "curves.png")
        plot.batch_and_epoch_losses({"sgd": run}, tmp_path / "losses.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_an_error(tmp_path):
    def run(**metrics):
        return train.History([0.9], [{"epoch": 1, **metrics}], {}, {}, False)

    path = tmp_path / "curves.png"
    with pytest.raises(ValueError, match=r"a metric in common, got a and b, c"):
        plot.compare({"x": run(train_a=1), "y": run(train_b=1, train_c=1)}, path)
    with pytest.raises(TypeError, match="runs must be a dict of histories by name, go"):
        plot.compare([run(train_a=1)], path)
    with pytest.raises(TypeError, match="must be a History, got dict; read a file wit"):
        plot.batch_and_epoch_losses({"x": {"epochs": []}}, path)


def test_a_run_without_an_epoch_is_an_error(tmp_path):
    run = train.History([0.9], [], {}, {}, False)
    with pytest.raises(ValueError, match=r"plot\.curves: history must have an epoch"):
        plot.curves(run, tmp_path / "curves.png")


def test_curves_are_those_of_one_run(tmp_path):
    run = train.History([0.9], [{"epoch": 1, "train_loss": 0.9}], {}, {}, False)
    with pytest.raises(
        TypeError, match=r"plot\.curves: .* must be a History, got list"
    ):
        plot.curves([run, run], tmp_path / "curves.png")
