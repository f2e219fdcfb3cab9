"""What `mx.compile` makes of an update on a CPU."""

import io
import re

import mlx.core as mx

from lucid_fn import optim, tree
from tests.registry.case import Case, over
from tests.registry.optimizers import OPTIMIZERS

COMMON = [
    Case("decay", lambda: optim.adam(1e-3, weight_decay=5e-4)),
    Case("clip", lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adam(1e-3))),
    Case(
        "clip and decay",
        lambda: optim.chain(
            optim.clip_by_global_norm(1.0), optim.adam(1e-3, weight_decay=5e-4)
        ),
    ),
    Case(
        "clip and decoupled decay",
        lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3)),
    ),
    Case(
        "clip each number",
        lambda: optim.chain(optim.clip_by_value(1.0), optim.adamw(1e-3)),
    ),
]


def spread_for_kernels(arrays: list[mx.array]) -> list[str]:
    """The fused kernels that read an array which is one number, spread in memory."""
    text = io.StringIO()
    mx.export_to_dot(text, *arrays)
    graph = text.getvalue()
    labels = dict(re.findall(r'(\d+) \[label ="([^"]+)"', graph))
    makers = {array: maker for maker, array in re.findall(r'(\d+) -> "(\w+)"', graph)}
    return [
        labels[reader]
        for array, reader in re.findall(r'"(\w+)" -> (\d+)', graph)
        if labels[reader].startswith("Compiled")
        and labels.get(makers.get(array, "")) == "Broadcast"
    ]


@over([*OPTIMIZERS, *COMMON])
def test_no_kernel_reads_a_scalar_by_strides(case):
    """It would read all of its arrays so, number by number."""
    optimizer = case.make()
    params = {"a": mx.ones((64, 128)), "b": mx.ones((64, 128)), "c": mx.ones((3, 5))}
    grads = tree.map(lambda p: 0.1 * p, params)
    opt_state = optimizer.init(params)
    mx.eval(params, grads, opt_state)

    @mx.compile
    def update(grads, opt_state, params):
        grads = tree.map(lambda g: g + mx.contiguous(2 * g), grads)  # of two shards
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state

    results = tree.leaves(update(grads, opt_state, params))
    assert spread_for_kernels(results) == []


def test_a_chain_that_is_too_long_leaves_the_scalar_out():
    """What the test above is for; once it fails, MLX does better, and so can we."""

    @mx.compile
    def deep(x):
        y = 3.0 * x
        for _ in range(10):
            y = mx.abs(y)
        return y

    assert len(spread_for_kernels([deep(mx.ones(4))])) == 1
