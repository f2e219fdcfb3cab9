"""Every metric of a batch: `make()(*inputs(rng))`, a float32 number for all rows."""

from functools import partial

import mlx.core as mx
import numpy as np

from lucid_fn import metrics, ops
from tests.registry.case import Case

N, C = 12, 4


def scores(rng):
    logits = mx.array(rng.normal(size=(N, C)).astype(np.float32))
    return logits, mx.array(rng.integers(0, C, N))


def classes(rng):
    return tuple(mx.array(rng.integers(0, C, N)) for _ in range(2))


def values(rng):
    return tuple(mx.array(rng.normal(size=N).astype(np.float32)) for _ in range(2))


def bits(rng):
    logits = mx.array(rng.normal(size=N).astype(np.float32))
    return logits, mx.array(rng.integers(0, 2, N))


def of_counts(metric):
    return lambda guesses, labels: metric(
        metrics.class_counts(metrics.confusion_matrix(guesses, labels, num_classes=C))
    )


METRICS = [
    Case("accuracy", lambda: metrics.accuracy, scores),
    Case(
        "top_k_accuracy",
        lambda: partial(metrics.top_k_accuracy, k=2),
        scores,
        ranges={"k": "in [1, 4], the number of classes"},
    ),
    Case(
        "confusion_matrix",
        lambda: partial(metrics.confusion_matrix, num_classes=C),
        classes,
    ),
    Case(
        "class_counts", lambda: of_counts(lambda counts: counts.true_positives), classes
    ),
    Case(
        "micro",
        lambda: of_counts(lambda counts: metrics.micro(counts).false_positives),
        classes,
    ),
    Case("precision", lambda: of_counts(metrics.precision), classes),
    Case("recall", lambda: of_counts(metrics.recall), classes),
    Case("f1", lambda: of_counts(metrics.f1), classes),
    Case(
        "binary_counts",
        lambda: lambda x, y: ops.sum(metrics.binary_counts(x > 0, y > 0)[0]),
        bits,
    ),
    Case("r2", lambda: metrics.r2, values, frozenset({"no examples"})),
]

NO_CASES = {
    "perplexity": "a function of a mean loss, not of a batch",
    "streaming_confusion": "a state and three functions, see test_metric_laws",
    "streaming_mean": "a state and three functions, see test_metric_laws",
}
"""Public functions that are no metric of a batch, and why."""
