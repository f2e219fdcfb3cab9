"""Batch renormalization, and who owns running statistics."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random, tree

X = np.random.default_rng(0).normal(2, 3, (7, 5, 4)).astype(np.float32)


def state_of(mean, var):
    _, state = nn.batch_renorm(4).init(random.key(0))
    return {**state, "running_mean": mx.full(4, mean), "running_var": mx.full(4, var)}


@pytest.mark.parametrize(("r_max", "d_max"), [(1.5, 0.3), (3, 5), (1, 0)])
def test_it_is_algorithm_1(r_max, d_max):
    layer = nn.batch_renorm(4, r_max=r_max, d_max=d_max, momentum=0.1)
    params, _ = layer.init(random.key(0))
    params = {"weight": mx.array([1.0, 2, 3, 4]), "bias": mx.array([4.0, 3, 2, 1])}
    y, state = layer.apply(params, state_of(1.5, 6.0), mx.array(X), train=True)
    x = X.astype(np.float64)
    mean, std = x.mean((0, 1)), np.sqrt(x.var((0, 1)) + 1e-5)
    r = np.clip(std / np.sqrt(6 + 1e-5), 1 / r_max, r_max)
    d = np.clip((mean - 1.5) / np.sqrt(6 + 1e-5), -d_max, d_max)
    expected = ((x - mean) / std * r + d) * [1, 2, 3, 4] + [4, 3, 2, 1]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state["running_mean"], 1.35 + 0.1 * mean, rtol=1e-5)
    var = 5.4 + 0.1 * x.var((0, 1), ddof=1)
    np.testing.assert_allclose(state["running_var"], var, rtol=1e-5)


def test_training_is_evaluation_where_nothing_is_clipped():
    layer = nn.batch_renorm(4)
    params, _ = layer.init(random.key(0))
    state = state_of(1.5, 6.0)
    trained, _ = layer.apply(params, state, mx.array(X), train=True)
    evaluated, _ = layer.apply(params, state, mx.array(X), train=False)
    assert mx.allclose(trained, evaluated, rtol=1e-5, atol=1e-5)


def test_no_gradient_flows_through_the_correction():
    """It is that of batch norm, times `r`."""
    state = state_of(1.5, 6.0)
    params, _ = nn.batch_renorm(4).init(random.key(0))

    def loss(layer, x):
        return mx.sum(
            mx.sin(mx.arange(140.0)).reshape(7, 5, 4)
            * layer.apply(params, state, x, train=True)[0]
        )

    ours = mx.grad(lambda x: loss(nn.batch_renorm(4), x))(mx.array(X))
    plain = mx.grad(lambda x: loss(nn.batch_norm(4), x))(mx.array(X))
    r = np.sqrt(X.var((0, 1)) + 1e-5) / np.sqrt(6 + 1e-5)
    np.testing.assert_allclose(ours, np.array(plain) * r, rtol=1e-4, atol=1e-5)


def test_it_is_reestimated_as_batch_norm_is():
    """The second norm sees what the first makes of statistics not yet known."""

    def two(norm):
        return nn.serial(a=norm(4), b=nn.lift(nn.tanh), c=norm(4))

    params, state = two(nn.batch_renorm).init(random.key(0))
    far = tree.map(lambda leaf: leaf + 7, state)
    batches = [mx.array(X), mx.array(2 * X + 1)]
    found = nn.update_batch_norm(two(nn.batch_renorm), params, far, batches)
    expected = nn.update_batch_norm(two(nn.batch_norm), params, state, batches)
    for path, leaf in tree.named_leaves(expected).items():
        np.testing.assert_allclose(tree.named_leaves(found)[path], leaf, rtol=1e-5)


def own_norm():
    """Whose state has names of batch norm's and means something else."""

    def init(key):
        state = {"running_mean": mx.array(5.0), "num_batches_tracked": mx.array(4)}
        return {}, state

    def apply(params, state, x, *, train, key=None):
        mean = 0.9 * state["running_mean"] + 0.1 * mx.mean(x)
        count = state["num_batches_tracked"] + 1
        return x, {"running_mean": mean, "num_batches_tracked": count}

    return nn.Layer(init, apply)


@pytest.mark.parametrize("wrap", [lambda layer: layer, nn.checkpointed])
def test_a_state_of_your_own_is_left_alone_whatever_its_names(wrap):
    layer = wrap(nn.serial(mine=own_norm(), norm=nn.batch_norm(4)))
    params, state = layer.init(random.key(0))
    found = nn.update_batch_norm(layer, params, state, [mx.array(X)])
    assert found["mine"]["running_mean"].item() == 5.0
    assert found["mine"]["num_batches_tracked"].item() == 4
    np.testing.assert_allclose(found["norm"]["running_mean"], X.mean((0, 1)), rtol=1e-5)


def test_one_value_a_channel_is_refused():
    layer = nn.batch_renorm(4)
    with pytest.raises(ValueError, match=r"^batch_renorm: training needs at least 2"):
        layer.apply(*layer.init(random.key(0)), mx.ones((1, 4)), train=True)
