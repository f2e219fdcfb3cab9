"""Schedules: functions from the step, an int32 array, to a float32 array.

They do not branch on the step, so a compiled function that calls one is traced once.
Steps count from 0, and may be arrays of any shape, as for a plot. Values have a
relative error of at most 1e-6 for all steps below 2**31.

Optimizers of float64 params call schedules with a float64 step, a whole number; the
value is then float64 too.
"""

from lucid_fn.call_errors import guide
from lucid_fn.schedules.base import Schedule
from lucid_fn.schedules.combining import join, per_epoch, scale
from lucid_fn.schedules.cosine import cosine_annealing, cosine_decay, cosine_restarts
from lucid_fn.schedules.cyclic import (
    cyclic,
    cyclic_exponential,
    cyclic_halving,
    one_cycle,
    one_cycle_momentum,
)
from lucid_fn.schedules.decay import (
    constant,
    exponential_decay,
    linear,
    multi_step_decay,
    polynomial_decay,
    step_decay,
)
from lucid_fn.schedules.plateau import Plateau, PlateauState, reduce_on_plateau
from lucid_fn.schedules.warmup import (
    inverse_sqrt,
    noam,
    warmup,
    warmup_cosine,
    warmup_linear,
)

__all__ = [
    "Plateau",
    "PlateauState",
    "Schedule",
    "constant",
    "cosine_annealing",
    "cosine_decay",
    "cosine_restarts",
    "cyclic",
    "cyclic_exponential",
    "cyclic_halving",
    "exponential_decay",
    "inverse_sqrt",
    "join",
    "linear",
    "multi_step_decay",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "per_epoch",
    "polynomial_decay",
    "reduce_on_plateau",
    "scale",
    "step_decay",
    "warmup",
    "warmup_cosine",
    "warmup_linear",
]

guide(globals(), "schedules")
