"""This library; the variant `plain` forces MLX's own operations."""

from collections.abc import Callable

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import data, losses, metrics, nn, optim, random, train
from tests.benchmarks import workloads
from tests.benchmarks.peers.lucid.models import MODELS
from tests.benchmarks.peers.lucid.others import OTHERS
from tests.benchmarks.workloads import Workload


def make(workload: Workload, size: int, variant: str) -> Callable[[], object]:
    if workload.kind == "other":
        return OTHERS[workload.model](workload, size)
    model = MODELS[workload.model]()
    if workload.kind == "infer":
        return make_infer(workload, size, model)
    optimizer = make_optimizer(workload.optimizer)
    if workload.kind == "loop":
        return make_loop(workload, size, model, optimizer)
    step = train.make_step(model, optimizer, loss_of(workload))
    x, labels = map(mx.array, workloads.batch(workload, size))
    ts = train.init(model, optimizer, random.key(0))

    def run() -> float:
        nonlocal ts
        ts, metrics = step(ts, x, labels)
        return metrics["loss"].item()

    return run


def make_optimizer(name: str) -> optim.GradientTransformation:
    rate, decay = workloads.OPTIMIZERS[name].values()
    if name == "sgd":
        return optim.sgd(rate, momentum=0.9)
    constructor = optim.adamw if name == "adamw" else optim.adam
    return constructor(rate, weight_decay=decay)


def loss_of(workload: Workload):
    if workload.classes:
        return losses.softmax_cross_entropy
    return lambda y, target: mx.mean(mx.square(y - target))


def make_infer(workload: Workload, size: int, model: nn.Layer) -> Callable[[], None]:
    params, state = model.init(random.key(0))
    x = mx.array(workloads.batch(workload, size)[0])
    mx.eval(params, state, x)
    apply = lf.jit(lambda p, s, x: model.apply(p, s, x, train=False)[0])
    return lambda: mx.eval(apply(params, state, x))


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
