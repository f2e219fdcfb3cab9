"""What a layer's or an optimizer's `init` returns can be read by every thread."""

import threading

import mlx.core as mx

from lucid_fn import random, tree
from tests.registry.case import over
from tests.registry.layers import LAYERS
from tests.registry.optimizers import OPTIMIZERS

PARAMS = {"weight": mx.array([[1.0, 2.0], [3.0, 4.0]]), "bias": mx.array([0.5, 1.0])}


def unread(values):
    """The leaves that another thread cannot read."""
    found = []

    def read():
        for path, leaf in tree.named_leaves(values).items():
            try:
                leaf.tolist()
            except RuntimeError:
                found.append(path)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    return found


@over(LAYERS)
def test_params_and_state_of_a_layer_can_be_read_elsewhere(case):
    params, state = case.make().init(random.key(0))
    assert unread({"params": params, "state": state}) == []


@over(OPTIMIZERS)
def test_the_state_of_an_optimizer_can_be_read_elsewhere(case):
    assert unread(case.make().init(PARAMS)) == []
