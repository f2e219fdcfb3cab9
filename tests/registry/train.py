"""Every kind of step, and every callback of the library.

`make()` of a step gives `(step, ts, x, targets)`, and `make(folder)` of a callback what
`fit` calls after an epoch.
"""

import mlx.core as mx

from lucid_fn import losses, metrics, nn, optim, random, train
from tests.registry.case import Case

# Laws that a step may be exempt from.
TRAINS = "the state moves"

MODEL = nn.serial(
    fc1=nn.linear(4, 8),
    norm=nn.batch_norm(8),
    drop=nn.dropout(0.2),
    fc2=nn.linear(8, 2),
)
MEASURES = {"accuracy": metrics.accuracy}


def step(make, *parts, **options):
    """A step of a small classifier that draws, has a state, and has momentum."""
    optimizer = optim.sgd(0.1, momentum=0.9)
    given = [optimizer] if "optimizer" in parts else []

    def made():
        ts = train.init(MODEL, optimizer, random.key(0))
        x = random.normal(random.key(1), (12, 4))
        fn = make(
            MODEL, *given, losses.softmax_cross_entropy, metrics=MEASURES, **options
        )
        return fn, ts, x, mx.arange(12) % 2

    return made


STEPS = [
    Case("make_step", step(train.make_step, "optimizer")),
    Case("make_epoch_step", step(train.make_epoch_step, "optimizer", batch_size=5)),
    Case("make_eval_step", step(train.make_eval_step), exempt=frozenset([TRAINS])),
]

CALLBACKS = [
    Case(
        "early_stopping",
        lambda folder: train.early_stopping(
            "learning_rate", patience=2, higher_is_better=True
        ),
    ),
    Case(
        "keep_best",
        lambda folder: train.keep_best(folder / "best.safetensors", "train_loss"),
    ),
    Case("to_jsonl", lambda folder: train.to_jsonl(folder / "log.jsonl")),
]

NO_CASES = {
    "evaluate": "a loop over batches, see test_evaluation",
    "fit": "the loop itself, see test_loop",
    "init": "makes a state, see test_state",
    "load": "reads a file, see test_checkpoint",
    "load_history": "reads a file, see test_history",
    "load_metadata": "reads a file, see test_checkpoint",
    "load_params": "reads a file, see test_partial_loading",
    "save": "writes a file, see test_checkpoint",
    "to_tensorboard": "needs another package, see test_callbacks",
}
"""Public functions that make neither, and why."""
