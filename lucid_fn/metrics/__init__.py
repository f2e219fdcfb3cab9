"""Metrics: numbers to look at, computed inside compiled steps like everything else.

Three kinds: of one batch (`accuracy`, `mse`), of counts that add up over batches
(`confusion_matrix`, then `class_counts`, then `precision`), and over a stream of
batches (`streaming_mean`, `streaming_confusion`), with an explicit state.
"""

from lucid_fn.metrics.counts import (
    Counts,
    binary_counts,
    class_counts,
    confusion_matrix,
    f1,
    micro,
    precision,
    recall,
)
from lucid_fn.metrics.errors import mae, mse, perplexity, r2
from lucid_fn.metrics.hits import accuracy, top_k_accuracy
from lucid_fn.metrics.streaming import (
    MeanState,
    Metric,
    Sum,
    streaming_confusion,
    streaming_mean,
)

__all__ = [
    "Counts",
    "MeanState",
    "Metric",
    "Sum",
    "accuracy",
    "binary_counts",
    "class_counts",
    "confusion_matrix",
    "f1",
    "mae",
    "micro",
    "mse",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "streaming_confusion",
    "streaming_mean",
    "top_k_accuracy",
]
