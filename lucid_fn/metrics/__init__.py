"""Metrics: numbers to look at, computed inside compiled steps like everything else."""

from lucid_fn.metrics.hits import accuracy, top_k_accuracy

__all__ = ["accuracy", "top_k_accuracy"]
