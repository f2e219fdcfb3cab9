"""Metrics, computed inside of compiled steps.

Three kinds: of one batch (`accuracy`, `r2`), of counts that add up over batches
(`confusion_matrix`, then `class_counts`, then `precision`), and over a stream of
batches (`streaming_mean`, `streaming_confusion`), with an explicit state. Any loss is a
metric too: the mean squared error is `losses.mse(x, y, reduction="mean")`.
"""

from lucid_fn.call_errors import guide
from lucid_fn.metrics.accuracy import accuracy, top_k_accuracy
from lucid_fn.metrics.confusion import (
    Counts,
    binary_counts,
    class_counts,
    confusion_matrix,
    f1,
    micro,
    precision,
    recall,
)
from lucid_fn.metrics.perplexity import perplexity
from lucid_fn.metrics.r2 import r2
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
    "micro",
    "perplexity",
    "precision",
    "r2",
    "recall",
    "streaming_confusion",
    "streaming_mean",
    "top_k_accuracy",
]

guide(globals(), "metrics")
