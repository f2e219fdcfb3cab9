"""Training: compiled steps, the loop around them, its record and its checkpoints."""

from lucid_fn.train.checkpoint import load, load_metadata, save
from lucid_fn.train.history import History, load_history
from lucid_fn.train.loop import fit
from lucid_fn.train.state import TrainState, init, make_eval_step, make_step

__all__ = [
    "History",
    "TrainState",
    "fit",
    "init",
    "load",
    "load_history",
    "load_metadata",
    "make_eval_step",
    "make_step",
    "save",
]
