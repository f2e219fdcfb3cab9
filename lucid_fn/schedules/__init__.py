"""Schedules: functions from the step, an int32 array, to a float32 array.

A compiled function that calls one is traced once: the step is data, never a branch.
Steps count from 0, and may be an array of any shape, as for a plot. Values are computed
in float32 from exact integer steps: within 1e-6 of the exact value, relatively, for all
steps that int32 holds, but where a docstring says otherwise.
"""

from lucid_fn.schedules.base import Schedule
from lucid_fn.schedules.combining import per_epoch
from lucid_fn.schedules.cosine import (
    cosine_annealing,
    cosine_decay,
    cosine_restarts,
    warmup_cosine,
)
from lucid_fn.schedules.decay import (
    constant,
    exponential_decay,
    linear,
    multi_step_decay,
    polynomial_decay,
    step_decay,
)

__all__ = [
    "Schedule",
    "constant",
    "cosine_annealing",
    "cosine_decay",
    "cosine_restarts",
    "exponential_decay",
    "linear",
    "multi_step_decay",
    "per_epoch",
    "polynomial_decay",
    "step_decay",
    "warmup_cosine",
]
