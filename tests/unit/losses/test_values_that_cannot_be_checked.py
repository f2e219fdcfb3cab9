"""Values are lazy: what is wrong with them gives NaN, never a number that looks right.

Compiled functions cannot check values at all, so each law holds there as well.
"""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import jit, losses, metrics, random, value_and_grad
from tests.registry.case import over
from tests.registry.losses import LOSSES

NAN = float("nan")
ZEROS = mx.zeros((2, 3))

OF_LABELS = {
    "softmax_cross_entropy": losses.softmax_cross_entropy,
    "cross_entropy": losses.cross_entropy,
    "smoothed cross_entropy": lambda x, y: losses.cross_entropy(
        x, y, label_smoothing=0.1
    ),
    "weighted cross_entropy": lambda x, y: losses.cross_entropy(
        x, y, weight=mx.ones(3)
    ),
    "nll": losses.nll,
    "multi_margin": losses.multi_margin,
    "perplexity": metrics.perplexity,
    "ctc": lambda x, y: losses.ctc(
        mx.stack([x, x]),
        mx.stack([y[:1], y[1:]]),
        logit_lengths=mx.array([2, 2]),
        label_lengths=mx.array([1, 1]),
    ),
}
OUTSIDE = [
    mx.array([1, 3]),
    mx.array([1, -1]),
    mx.array([1, 2**32 + 1], mx.int64),
    mx.array([1, 255], mx.uint8),
    mx.array([1, 2**32 - 1], mx.uint32),
]


@pytest.mark.parametrize("labels", OUTSIDE, ids=lambda x: f"{x.dtype}-{x[1].item()}")
@pytest.mark.parametrize("name", OF_LABELS)
def test_a_label_outside_the_classes_gives_nan(name, labels):
    assert mx.isnan(OF_LABELS[name](ZEROS, labels)).any().item()


def test_a_label_outside_the_classes_gives_nan_in_compiled_functions():
    both = jit(lambda x, y: [OF_LABELS[name](x, y) for name in sorted(OF_LABELS)])
    for loss in both(ZEROS, OUTSIDE[0]):
        assert mx.isnan(loss).any().item()


@pytest.mark.parametrize("labels", OUTSIDE, ids=lambda x: f"{x.dtype}-{x[1].item()}")
def test_a_label_outside_the_classes_is_never_hit(labels):
    assert metrics.accuracy(ZEROS, 0 * labels + labels[1]).item() == 0
    assert metrics.top_k_accuracy(ZEROS, labels, k=3).item() == 0.5


@pytest.mark.parametrize("label", [0, 1])
def test_logits_that_are_nan_hit_nothing(label):
    logits = mx.array([[NAN, NAN], [1.0, NAN], [NAN, 1.0]])
    labels = mx.full((3,), label)
    assert metrics.accuracy(logits, labels).item() == 0
    assert metrics.top_k_accuracy(logits, labels, k=1).item() == 0


def with_nan(x):
    return mx.concatenate([mx.full_like(x[:1], NAN, mx.float32), x[1:]])


@over(LOSSES)
def test_a_nan_among_the_predictions_is_one_in_the_loss(case):
    first, *rest = case.inputs(np.random.default_rng(0))
    assert mx.isnan(case.make()(with_nan(first), *rest)).any().item()


@over(LOSSES, law="nan targets")
def test_a_nan_among_the_targets_is_one_in_the_loss(case):
    first, second, *rest = case.inputs(np.random.default_rng(0))
    if rest:
        rest[-1] = with_nan(rest[-1])
    else:
        second = with_nan(second)
    assert mx.isnan(case.make()(first, second, *rest)).any().item()


def test_what_is_not_a_number_has_no_r2():
    for bad in (NAN, float("inf")):
        score = metrics.r2(mx.array([1.0, 2.0]), mx.array([bad, 1.0]))
        assert not mx.isfinite(score).item()
    assert mx.isnan(metrics.r2(mx.array([NAN, 1.0]), mx.ones(2))).item()


def test_no_label_that_counts_has_no_mean_and_no_gradient():
    def loss(x):
        return losses.cross_entropy(x, mx.array([2, 2]), ignore_index=2)

    value, gradient = value_and_grad(loss)(ZEROS)
    assert mx.isnan(value).item()
    assert gradient.tolist() == ZEROS.tolist()


def test_r2_of_nothing_is_an_error():
    with pytest.raises(
        ValueError, match=r"r2: targets must not be empty, got \(0, 3\)"
    ):
        metrics.r2(mx.zeros((0, 3)), mx.zeros((0, 3)))


@pytest.mark.parametrize("dtype", [mx.int8, mx.uint8, mx.int16])
def test_labels_of_a_small_dtype_may_have_more_classes_than_it_counts(dtype):
    logits = random.normal(random.key(0), (3, 40_000))
    labels = mx.array([1, 5, 100], dtype)
    wide = labels.astype(mx.int32)
    for loss in losses.softmax_cross_entropy, losses.nll, losses.multi_margin:
        assert mx.array_equal(loss(logits, labels), loss(logits, wide)).item()
    for metric in metrics.accuracy, metrics.perplexity:
        assert mx.array_equal(metric(logits, labels), metric(logits, wide)).item()
