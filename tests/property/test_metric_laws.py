"""Laws of the metrics."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import metrics

seeds = st.integers(0, 2**32 - 1)
classes = st.integers(2, 6)


def logits_and_labels(seed, num_classes, n=20, ties=False):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, num_classes))
    logits = np.round(logits) if ties else logits
    return mx.array(logits.astype(np.float32)), mx.array(
        rng.integers(0, num_classes, n)
    )


def test_dir_shows_the_metrics_and_no_modules():
    assert dir(metrics) == sorted(metrics.__all__)


@given(seed=seeds, num_classes=classes, ties=st.booleans())
def test_top_1_is_accuracy_and_top_all_is_one(seed, num_classes, ties):
    logits, labels = logits_and_labels(seed, num_classes, ties=ties)
    first = metrics.top_k_accuracy(logits, labels, k=1)
    assert first.item() == metrics.accuracy(logits, labels).item()
    assert metrics.top_k_accuracy(logits, labels, k=num_classes).item() == 1


@given(seed=seeds, num_classes=classes, ties=st.booleans())
def test_more_guesses_hit_no_less(seed, num_classes, ties):
    logits, labels = logits_and_labels(seed, num_classes, ties=ties)
    hits = [
        metrics.top_k_accuracy(logits, labels, k=k).item()
        for k in range(1, num_classes + 1)
    ]
    assert hits == sorted(hits)


@given(seed=seeds, num_classes=classes)
def test_the_diagonal_of_the_confusion_is_the_accuracy(seed, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    predictions = mx.argmax(logits, axis=-1)
    matrix = metrics.confusion_matrix(predictions, labels, num_classes=num_classes)
    assert mx.sum(matrix).item() == labels.size
    accuracy = mx.trace(matrix) / labels.size
    assert_allclose(accuracy, metrics.accuracy(logits, labels), rtol=1e-6)
    together = metrics.micro(metrics.class_counts(matrix))
    for metric in (metrics.precision, metrics.recall, metrics.f1):
        assert_allclose(metric(together), accuracy, rtol=1e-6)


@given(seed=seeds, num_classes=classes)
def test_f1_is_the_harmonic_mean_and_lies_between(seed, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    predictions = mx.argmax(logits, axis=-1)
    counts = metrics.class_counts(
        metrics.confusion_matrix(predictions, labels, num_classes=num_classes)
    )
    p, r = metrics.precision(counts), metrics.recall(counts)
    assert_allclose(metrics.f1(counts), 2 * p * r / mx.maximum(p + r, 1e-9), rtol=1e-5)


@given(seed=seeds, num_classes=classes)
def test_swapping_predictions_and_labels_swaps_precision_and_recall(seed, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    predictions = mx.argmax(logits, axis=-1).astype(mx.int32)
    one, other = (
        metrics.class_counts(metrics.confusion_matrix(a, b, num_classes=num_classes))
        for a, b in ((predictions, labels), (labels, predictions))
    )
    assert metrics.precision(one).tolist() == metrics.recall(other).tolist()


@given(seed=seeds, num_classes=classes)
def test_the_counts_of_one_hot_decisions_are_those_of_the_classes(seed, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    predictions = mx.argmax(logits, axis=-1)
    by_matrix = metrics.class_counts(
        metrics.confusion_matrix(predictions, labels, num_classes=num_classes)
    )
    hot = mx.arange(num_classes)
    by_decision = metrics.binary_counts(
        predictions[:, None] == hot, labels[:, None] == hot
    )
    assert [x.tolist() for x in by_matrix] == [x.tolist() for x in by_decision]


batches = st.lists(
    st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 5)), min_size=1, max_size=7),
    min_size=1,
    max_size=5,
)


@given(batches=batches)
def test_a_streaming_mean_is_the_mean_of_everything(batches):
    mean = metrics.streaming_mean()
    state = mean.init()
    for batch in batches:
        values, weights = mx.array(batch).T
        state = mean.update(state, values, weights)
    values, weights = np.float32([pair for batch in batches for pair in batch]).T
    expected = (values * weights).sum(dtype=float), weights.sum(dtype=float)
    if expected[1] > 1e-3:
        found = mean.result(state).item()
        assert_allclose(found, expected[0] / expected[1], rtol=1e-5, atol=1e-5)


@given(seed=seeds, cut=st.integers(1, 19), num_classes=classes)
def test_a_streaming_confusion_is_that_of_everything(seed, cut, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    predictions = mx.argmax(logits, axis=-1)
    matrix = metrics.streaming_confusion(num_classes)
    state = matrix.update(matrix.init(), predictions[:cut], labels[:cut])
    state = matrix.update(state, predictions[cut:], labels[cut:])
    expected = metrics.confusion_matrix(predictions, labels, num_classes=num_classes)
    assert matrix.result(state).tolist() == expected.tolist()


@settings(max_examples=5)
@given(sizes=st.lists(st.integers(1, 64), min_size=1, max_size=4))
def test_batch_means_weighted_by_their_sizes_are_the_mean_of_the_examples(sizes):
    mean = metrics.streaming_mean()
    by_batch = by_example = mean.init()
    for i, size in enumerate(sizes):
        losses = mx.random.uniform(shape=(size,), key=mx.random.key(i))
        by_batch = mean.update(by_batch, mx.mean(losses), size)
        by_example = mean.update(by_example, losses)
    assert_allclose(mean.result(by_batch), mean.result(by_example), rtol=1e-5)


@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-10, 10))
def test_r2_ignores_the_unit_of_the_targets(seed, scale, shift):
    k1, k2 = mx.random.split(mx.random.key(seed))
    targets = mx.random.normal((20, 2), key=k1)
    predictions = targets + 0.3 * mx.random.normal((20, 2), key=k2)
    plain = metrics.r2(predictions, targets)
    scaled = metrics.r2(scale * predictions + shift, scale * targets + shift)
    assert plain.item() <= 1
    assert_allclose(scaled, plain, rtol=1e-3, atol=1e-4)


@given(seed=seeds, num_classes=st.integers(2, 6))
def test_perplexity_is_at_least_one_and_the_classes_for_equal_logits(seed, num_classes):
    logits, labels = logits_and_labels(seed, num_classes)
    assert metrics.perplexity(logits, labels).item() >= 1
    equal = metrics.perplexity(mx.zeros_like(logits), labels)
    assert_allclose(equal, num_classes, rtol=1e-6)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize("name", ["accuracy", "top_k", "perplexity", "confusion"])
def test_each_argument_may_be_mapped_alone(name, axes):
    def confusion(logits, labels):
        guess = mx.argmax(logits, axis=-1)
        return metrics.confusion_matrix(guess, labels, num_classes=4)

    metric = {
        "accuracy": metrics.accuracy,
        "top_k": partial(metrics.top_k_accuracy, k=2),
        "perplexity": metrics.perplexity,
        "confusion": confusion,
    }[name]
    pairs = [logits_and_labels(seed, 4) for seed in range(2)]
    stacked = [mx.stack(both) for both in zip(*pairs, strict=True)]
    given = [x[0] if axis is None else x for x, axis in zip(stacked, axes, strict=True)]
    found = lf.vmap(metric, in_axes=axes)(*given)
    for i in range(2):
        both = [x if a is None else x[i] for x, a in zip(given, axes, strict=True)]
        assert_allclose(found[i], metric(*both), rtol=1e-6)
