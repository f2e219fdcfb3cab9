"""Dropouts of whole channels and whole examples."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random

KINDS = [
    (nn.dropout1d(0.4), (64, 5, 32), (1,)),
    (nn.dropout2d(0.4), (64, 3, 4, 32), (1, 2)),
    (nn.dropout3d(0.4), (64, 2, 2, 3, 32), (1, 2, 3)),
    (nn.drop_path(0.4), (2000, 4), (1,)),
]
names = ["dropout1d", "dropout2d", "dropout3d", "drop_path"]
each = pytest.mark.parametrize(("layer", "shape", "whole"), KINDS, ids=names)


def apply(layer, x, key):
    return layer.apply({}, {}, x, train=True, key=key)[0]


@each
def test_what_is_dropped_is_dropped_whole(layer, shape, whole, key):
    y = apply(layer, mx.ones(shape), key)
    assert mx.array_equal(mx.max(y, axis=whole), mx.min(y, axis=whole))


@each
def test_values_are_zero_or_scaled_by_what_remains(layer, shape, whole, key):
    y = apply(layer, mx.ones(shape), key)
    assert mx.all((y == 0) | mx.isclose(y, mx.array(1 / 0.6)))


@each
def test_the_rate_is_the_share_that_is_dropped(layer, shape, whole, key):
    dropped = mx.mean(apply(layer, mx.ones(shape), key) == 0).item()
    assert dropped == pytest.approx(0.4, abs=0.06)  # five deviations of 2,000 draws


@each
def test_other_keys_drop_others(layer, shape, whole, key):
    ones, other = mx.ones(shape), random.fold_in(key, 1)
    assert not mx.array_equal(apply(layer, ones, key), apply(layer, ones, other))


@each
def test_eval_changes_nothing(layer, shape, whole, key):
    x = random.normal(key, shape)
    assert mx.array_equal(layer.apply({}, {}, x, train=False)[0], x)


@each
def test_training_without_a_key_is_an_error(layer, shape, whole):
    with pytest.raises(ValueError, match=r"train=True needs a key, got None; call"):
        apply(layer, mx.ones(shape), None)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.dropout1d(0.5), (3, 4), r"dropout1d: x must have shape \(N, L, C\), got"),
        (
            nn.dropout2d(0.5),
            (3, 4),
            r"dropout2d: x must have shape \(N, H, W, C\), got",
        ),
        (nn.dropout3d(0.5), (3, 4), r"dropout3d: x must .* \(N, D, H, W, C\), got"),
        (nn.drop_path(0.5), (), r"drop_path: x must have shape \(N, ...\), got \(\)"),
    ],
)
def test_another_number_of_axes_is_an_error(layer, shape, message, key):
    with pytest.raises(ValueError, match=message):
        apply(layer, mx.ones(shape), key)


@pytest.mark.parametrize(
    "make", [nn.dropout1d, nn.dropout2d, nn.dropout3d, nn.drop_path]
)
def test_rates_out_of_range_are_errors(make):
    with pytest.raises(ValueError, match=rf"{make.__name__}: rate must be in \[0, 1\)"):
        make(1.0)
