"""Metrics against PyTorch where it has them, against NumPy transcriptions elsewhere."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose

from lucid_fn import metrics

torch = pytest.importorskip("torch")

seeds = st.integers(0, 2**32 - 1)
N = 30


@given(seed=seeds, num_classes=st.integers(2, 8), data=st.data())
def test_top_k_accuracy(seed, num_classes, data):
    k = data.draw(st.integers(1, num_classes))
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(N, num_classes)).astype(np.float32)
    labels = rng.integers(0, num_classes, N)
    best = torch.tensor(logits).topk(k).indices
    expected = (best == torch.tensor(labels)[:, None]).any(-1).float().mean()
    found = metrics.top_k_accuracy(mx.array(logits), mx.array(labels), k=k)
    assert_allclose(found, expected, rtol=1e-6)


@given(seed=seeds, num_classes=st.integers(1, 6))
def test_confusion_matrix_and_what_follows_from_it(seed, num_classes):
    rng = np.random.default_rng(seed)
    predictions = rng.integers(0, num_classes, N)
    labels = rng.integers(-1, num_classes + 1, N)  # some are outside
    expected = np.zeros((num_classes, num_classes), int)
    for label, prediction in zip(labels, predictions, strict=True):
        if 0 <= label < num_classes:
            expected[label, prediction] += 1
    found = metrics.confusion_matrix(
        mx.array(predictions), mx.array(labels), num_classes=num_classes
    )
    assert found.tolist() == expected.tolist()

    counts, hits = metrics.class_counts(found), np.diag(expected)
    positives = np.maximum(expected.sum(0), 1), np.maximum(expected.sum(1), 1)
    assert_allclose(metrics.precision(counts), hits / positives[0], rtol=1e-6)
    assert_allclose(metrics.recall(counts), hits / positives[1], rtol=1e-6)
    either = np.maximum(expected.sum(0) + expected.sum(1), 1)
    assert_allclose(metrics.f1(counts), 2 * hits / either, rtol=1e-6)


@given(seed=seeds, columns=st.sampled_from([(), (1,), (3,)]))
def test_r2(seed, columns):
    rng = np.random.default_rng(seed)
    x, y = (rng.normal(size=(N, *columns)).astype(np.float32) for _ in range(2))
    r2 = np.mean(1 - ((y - x) ** 2).sum(0) / (y.var(0) * N))
    assert_allclose(metrics.r2(mx.array(x), mx.array(y)), r2, rtol=1e-4, atol=1e-5)


@given(seed=seeds)
def test_perplexity(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(2, N, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (2, N))
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).flatten(0, 1), torch.tensor(labels).flatten()
    ).exp()
    found = metrics.perplexity(mx.array(logits), mx.array(labels))
    assert_allclose(found, expected, rtol=2e-6)
