"""Plots of training runs, schedules, gradients and predictions.

Every function writes a `.png`, `.pdf` or `.svg` file and needs no screen. Requires
matplotlib (`pip install 'lucid-fn[examples]'`).
"""

from lucid_fn.call_errors import guide
from lucid_fn.plot.confusion import confusion
from lucid_fn.plot.curves import batch_and_epoch_losses, compare, curves
from lucid_fn.plot.gradients import gradients
from lucid_fn.plot.images import images
from lucid_fn.plot.learning_rate import lr
from lucid_fn.plot.report import report

__all__ = [
    "batch_and_epoch_losses",
    "compare",
    "confusion",
    "curves",
    "gradients",
    "images",
    "lr",
    "report",
]

guide(globals(), "plot")
