"""A small model, its data and its steps."""

from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses, metrics, nn, optim, random, train


class Task(NamedTuple):
    """What a test needs to train a model of a few parameters."""

    model: nn.Layer
    optimizer: optim.GradientTransformation
    step: Any
    evaluate: Any
    x: np.ndarray
    labels: np.ndarray

    def start(self, seed: int = 0) -> train.TrainState:
        return train.init(self.model, self.optimizer, random.key(seed))


@pytest.fixture(scope="session")
def task() -> Task:
    """Two classes, 50 examples, dropout, so that keys matter."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50).astype(np.int32)
    x = rng.normal(size=(50, 4)).astype(np.float32)
    x[:, 0] += 3.0 * labels
    model = nn.serial(
        fc1=nn.linear(4, 8), act=mx.tanh, drop=nn.dropout(0.2), fc2=nn.linear(8, 2)
    )
    optimizer = optim.sgd(0.1, momentum=0.9)
    accuracy = {"accuracy": metrics.accuracy}
    return Task(
        model,
        optimizer,
        train.make_step(
            model, optimizer, losses.softmax_cross_entropy, metrics=accuracy
        ),
        train.make_eval_step(model, losses.softmax_cross_entropy, metrics=accuracy),
        x,
        labels,
    )
