"""Optimizers: stateless `init` / `update` pairs, chained of small ones."""

from lucid_fn.optim.adam import (
    ScaleByAdamState,
    ScaleByAmsgradState,
    adam,
    adamw,
    scale_by_adam,
    scale_by_amsgrad,
)
from lucid_fn.optim.base import (
    GradientTransformation,
    apply_updates,
    chain,
    stateless,
)
from lucid_fn.optim.clipping import (
    ClipByGlobalNormState,
    clip_by_global_norm,
    clip_by_param_norm,
    clip_by_value,
    gradient_norm,
)
from lucid_fn.optim.learning_rate import (
    LearningRateState,
    ScalarOrSchedule,
    ScheduledLearningRateState,
    learning_rate,
    scale_by_learning_rate,
    set_learning_rate,
)
from lucid_fn.optim.regularization import add_decayed_weights
from lucid_fn.optim.sgd import TraceState, sgd, trace

__all__ = [
    "ClipByGlobalNormState",
    "GradientTransformation",
    "LearningRateState",
    "ScalarOrSchedule",
    "ScaleByAdamState",
    "ScaleByAmsgradState",
    "ScheduledLearningRateState",
    "TraceState",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip_by_global_norm",
    "clip_by_param_norm",
    "clip_by_value",
    "gradient_norm",
    "learning_rate",
    "scale_by_adam",
    "scale_by_amsgrad",
    "scale_by_learning_rate",
    "set_learning_rate",
    "sgd",
    "stateless",
    "trace",
]
