"""This library; the variant `plain` forces MLX's own operations."""

from collections.abc import Callable

import mlx.core as mx

from lucid_fn import data, losses, metrics, models, nn, optim, random, train
from tests.benchmarks import workloads
from tests.benchmarks.workloads import Workload


def transformer() -> nn.Layer:
    """One pre-norm encoder block, the mean over the positions, and a classifier."""
    block = nn.transformer_encoder_layer(
        256,
        workloads.HEADS,
        dim_feedforward=workloads.FEED_FORWARD,
        rate=0.0,
        norm_first=True,
    )
    return nn.serial(
        block=block, mean=lambda x: mx.mean(x, axis=1), head=nn.linear(256, 10)
    )


def mlp() -> nn.Layer:
    width = workloads.MLP_WIDTH
    return nn.serial(
        fc1=nn.linear(784, width),
        act1=nn.relu,
        fc2=nn.linear(width, width),
        act2=nn.relu,
        fc3=nn.linear(width, 10),
    )


MODELS = {
    "lenet": models.lenet5,
    "mlp": mlp,
    "resnet18": models.cifar_resnet18,
    "transformer": transformer,
}


def make(workload: Workload, size: int, variant: str) -> Callable[[], None]:
    model = MODELS[workload.model]()
    optimizer = (
        optim.sgd(0.01, momentum=0.9)
        if workload.optimizer == "sgd"
        else optim.adam(1e-3, weight_decay=workloads.WEIGHT_DECAY)
    )
    if workload.loop:
        return make_loop(workload, size, model, optimizer)
    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
    x, labels = map(mx.array, workloads.batch(workload, size))
    ts = train.init(model, optimizer, random.key(0))

    def run() -> None:
        nonlocal ts
        ts, metrics = step(ts, x, labels)
        metrics["loss"].item()

    return run


def make_loop(
    workload: Workload,
    size: int,
    model: nn.Layer,
    optimizer: optim.GradientTransformation,
) -> Callable[[], None]:
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    step = train.make_step(model, optimizer, loss, metrics=accuracy)
    evaluate = train.make_eval_step(model, loss, metrics=accuracy)
    training = workloads.batch(workload, workloads.TRAINING)
    testing = workloads.batch(workload, workloads.TESTING)
    ts = train.init(model, optimizer, random.key(0))

    def run() -> None:
        nonlocal ts
        ts, _ = train.fit(
            ts,
            step,
            lambda epoch: data.batches(training, size, seed=(0, epoch)),
            epochs=1,
            evaluate=evaluate,
            test_batches=data.batches(testing, workloads.TEST_BATCH),
        )

    return run
