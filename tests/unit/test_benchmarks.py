"""The peers of the benchmarks run the same models."""

import importlib.util

import jax
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import random, tree
from tests.benchmarks import turns, workloads
from tests.benchmarks.peers import jax_jit, lucid

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch"
)
COMPARED = [w for w in workloads.WORKLOADS.values() if "pytorch" in w.modules]
TRAINED = sorted({w.model for w in COMPARED if w.kind != "other"})


class Zeros:
    """Draws nothing, as shapes are all that matters."""

    def normal(self, size):
        return np.zeros(size)


@needs_torch
@pytest.mark.parametrize("name", TRAINED)
def test_all_have_as_many_params(name):
    import torch

    from tests.benchmarks.peers import pytorch

    params, _ = lf.eval_shape(lucid.MODELS[name]().init, random.key(0))
    theirs, _ = jax_jit.MODELS[name](Zeros())
    with torch.device("meta"):
        module = pytorch.MODELS[name]()
    ours = sum(leaf.size for leaf in tree.leaves(params))
    assert ours == sum(p.numel() for p in module.parameters())
    assert ours == sum(leaf.size for leaf in jax.tree.leaves(theirs))


def test_a_user_s_own_model_is_the_built_in_one():
    sizes = []
    for name in ("resnet18-own", "resnet18"):
        params, _ = lf.eval_shape(lucid.MODELS[name]().init, random.key(0))
        sizes.append(sum(leaf.size for leaf in tree.leaves(params)))
    assert sizes[0] == sizes[1]


@needs_torch
def test_all_have_every_workload():
    from tests.benchmarks.peers import pytorch

    for workload in COMPARED:
        peers = {"lucid": lucid, "pytorch": pytorch, "jax_jit": jax_jit}
        for peer in (peers[name] for name in workload.modules if name in peers):
            known = peer.OTHERS if workload.kind == "other" else peer.MODELS
            assert workload.model in known


@pytest.fixture
def one_thread():
    """For PyTorch, whose threads mostly wait for each other on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@needs_torch
@pytest.mark.parametrize("name", ["lenet-64", "mlp", "mlp-sgd", "autoencoder"])
def test_the_steps_of_all_peers_train(name, one_thread):
    from tests.benchmarks.peers import pytorch

    workload = workloads.WORKLOADS[name]
    for peer, variant in ((lucid, ""), (pytorch, "nchw"), (jax_jit, "")):
        run = peer.make(workload, 4, variant)
        losses = [run() for _ in range(20)]
        assert losses[-1] < losses[0]


def test_recurrent_layers_and_sequences_have_no_image_layouts():
    labels = {peer.label for peer in turns.peers_of(workloads.WORKLOADS["lstm"])}
    assert labels == {"lucid_fn", "PyTorch, eager", "jax, jit"}
