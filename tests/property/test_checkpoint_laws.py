"""What every layer and every optimizer keeps is in a checkpoint, to the bit."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, losses, nn, random, train, tree
from tests.fusion import unfused
from tests.registry.case import over
from tests.registry.layers import LAYERS
from tests.registry.optimizers import OPTIMIZERS


def assert_equal(a, b):
    ours, theirs = tree.named_leaves(a), tree.named_leaves(b)
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        assert leaf.dtype == theirs[path].dtype, path
        assert mx.array_equal(leaf, theirs[path], equal_nan=True).item(), path


@over(OPTIMIZERS)
def test_a_run_of_any_optimizer_resumes_bit_for_bit(case, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(24, 3)).astype(np.float32)
    labels = rng.integers(0, 4, 24).astype(np.int32)
    model, optimizer = nn.linear(3, 4), case.make(0.01)
    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)

    def run(epochs, checkpoint=None):
        return train.fit(
            train.init(model, optimizer, random.key(0)),
            step,
            lambda epoch: data.batches((x, labels), 8, seed=(0, epoch)),
            epochs=epochs,
            checkpoint=checkpoint,
            show=False,
        )

    with unfused():
        straight, _ = run(3)
        run(1, tmp_path / "run.safetensors")
        resumed, _ = run(3, tmp_path / "run.safetensors")  # a warning would be an error
    assert_equal(resumed, straight)


@over(LAYERS)
@pytest.mark.parametrize("strict", [True, False])
def test_params_and_state_of_any_layer_come_back(case, tmp_path, strict):
    layer = case.make()
    made = layer.init(random.key(3)) if isinstance(layer, nn.Layer) else ({}, {})
    path = tmp_path / "layer.safetensors"
    saved = dict(zip(("params", "state"), made, strict=True))
    train.save(path, saved)
    like = tree.map(mx.zeros_like, saved)
    if strict:
        assert_equal(train.load(path, like=like), saved)
    else:
        loaded, report = train.load(path, like=like, strict=False)
        assert_equal(loaded, saved)
        assert not report.missing and not report.unexpected
