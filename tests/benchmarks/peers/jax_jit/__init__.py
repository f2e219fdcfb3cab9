"""jax with `jax.jit`, the models and update rules written out."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks import workloads
from tests.benchmarks.peers.jax_jit.models import MODELS
from tests.benchmarks.peers.jax_jit.optimizers import UPDATES
from tests.benchmarks.peers.jax_jit.others import OTHERS
from tests.benchmarks.workloads import Workload


def make(workload: Workload, size: int, variant: str) -> Callable[[], object]:
    if workload.kind == "other":
        return OTHERS[workload.model](workload, size)
    options = {"train": False} if workload.kind == "infer" else {}
    options = options if workload.model.startswith("resnet") else {}
    params, apply = MODELS[workload.model](np.random.default_rng(0), **options)
    x, labels = map(jnp.asarray, workloads.batch(workload, size))
    if workload.kind == "infer":
        infer = jax.jit(apply)
        return lambda: jax.block_until_ready(infer(params, x))
    settings = workloads.OPTIMIZERS[workload.optimizer]
    update = functools.partial(UPDATES[workload.optimizer], **settings)
    # Each its own arrays, since what is donated must not be there twice.
    moments = tuple(jax.tree.map(jnp.zeros_like, params) for _ in range(2))
    moments = moments[0] if workload.optimizer == "sgd" else moments

    def loss_of(params, x, labels):
        y = apply(params, x)
        if not workload.classes:
            return jnp.square(y - labels).mean()
        logp = jax.nn.log_softmax(y)
        return -jnp.take_along_axis(logp, labels[..., None], -1).mean()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, moments, t, x, labels):
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels)
        params, moments = update(params, grads, moments, t)
        return params, moments, t + 1, loss

    carry = (params, moments, jnp.float32(1.0))

    def run() -> float:
        nonlocal carry
        *carry, loss = step(*carry, x, labels)
        jax.block_until_ready((carry, loss))
        return loss.item()

    return run
