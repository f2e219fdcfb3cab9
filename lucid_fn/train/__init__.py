"""Training: compiled steps, the training loop, its record and its checkpoints."""

from lucid_fn.call_errors import guide
from lucid_fn.train.callbacks import (
    Callback,
    early_stopping,
    keep_best,
    to_jsonl,
    to_tensorboard,
)
from lucid_fn.train.checkpoint import load, load_metadata, load_params, save
from lucid_fn.train.epoch import make_epoch_step
from lucid_fn.train.evaluation import evaluate
from lucid_fn.train.fit import fit
from lucid_fn.train.history import History, load_history
from lucid_fn.train.nonfinite import NonFiniteError
from lucid_fn.train.partial_loading import LoadReport
from lucid_fn.train.state import TrainState, init
from lucid_fn.train.step import make_eval_step, make_step

__all__ = [
    "Callback",
    "History",
    "LoadReport",
    "NonFiniteError",
    "TrainState",
    "early_stopping",
    "evaluate",
    "fit",
    "init",
    "keep_best",
    "load",
    "load_history",
    "load_metadata",
    "load_params",
    "make_epoch_step",
    "make_eval_step",
    "make_step",
    "save",
    "to_jsonl",
    "to_tensorboard",
]

guide(globals(), "train")
