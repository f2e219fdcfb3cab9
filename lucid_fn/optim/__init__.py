"""Optimizers: stateless `init` / `update` pairs, chained of small ones."""

from lucid_fn.optim.base import (
    GradientTransformation,
    apply_updates,
    chain,
    stateless,
)
from lucid_fn.optim.learning_rate import (
    LearningRateState,
    ScalarOrSchedule,
    ScheduledLearningRateState,
    learning_rate,
    scale_by_learning_rate,
    set_learning_rate,
)
from lucid_fn.optim.momentum import TraceState, trace
from lucid_fn.optim.optimizers import sgd
from lucid_fn.optim.regularization import add_decayed_weights, clip_by_global_norm

__all__ = [
    "GradientTransformation",
    "LearningRateState",
    "ScalarOrSchedule",
    "ScheduledLearningRateState",
    "TraceState",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "learning_rate",
    "scale_by_learning_rate",
    "set_learning_rate",
    "sgd",
    "stateless",
    "trace",
]
