"""`fit(debug=True)` stops at the first step that is not finite, and can repeat it."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses, nn, optim, random, train, tree
from tests.unit.train.runs import equal, fit


def rooted():
    """A model whose gradients are infinite where its hidden numbers are 0."""
    model = nn.serial(fc=nn.linear(2, 8), root=mx.sqrt, out=nn.linear(8, 1))
    optimizer = optim.sgd(0.0)
    ts = train.init(model, optimizer, random.key(0))
    zeros = tree.map(mx.zeros_like, ts.params["fc"])
    weight = tree.at(zeros, "bias").set(mx.ones((8,)))
    ts = ts._replace(params={**ts.params, "fc": weight})
    return ts, train.make_step(model, optimizer, losses.mse)


def test_a_finite_run_is_the_same_with_and_without(task):
    plain, history = fit(task)
    ts, watched = fit(task, debug=True)
    assert equal(ts, plain)
    assert history.batch_losses == watched.batch_losses


def test_the_step_and_the_layer_are_named_and_the_step_can_be_repeated():
    ts, step = rooted()
    good, bad = mx.ones((4, 2)), mx.array([[1.0, mx.inf]] * 4)
    targets = mx.zeros((4, 1))
    batches = [(good, targets), (good, targets), (bad, targets), (good, targets)]
    with pytest.raises(train.NonFiniteError) as failure:
        train.fit(ts, step, lambda _: batches, epochs=2, show=False, debug=True)
    error = failure.value
    assert "fit: step 3 (epoch 1) is the first" in str(error)
    assert "step(error.ts, error.x, error.targets)" in str(error)
    assert error.ts.step.item() == 2
    assert error.x is bad
    _, metrics = step(error.ts, error.x, error.targets)
    assert not np.isfinite(metrics["loss"].item())
    assert error.found.phase == "forward"


def test_a_gradient_that_is_not_finite_is_found_in_its_layer():
    ts, step = rooted()
    ts = ts._replace(params={**ts.params, "fc": tree.zeros_like(ts.params["fc"])})
    batches = [(mx.ones((4, 2)), mx.zeros((4, 1)))]
    with pytest.raises(train.NonFiniteError) as failure:
        train.fit(ts, step, lambda _: batches, epochs=1, show=False, debug=True)
    assert (failure.value.found.phase, failure.value.found.path) == ("backward", "root")


def test_debug_must_be_a_bool(task):
    with pytest.raises(TypeError, match="fit: debug must be a bool, got 1"):
        fit(task, debug=1)
