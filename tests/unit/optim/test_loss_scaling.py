"""Loss scaling in training steps: small gradients survive, overflows are skipped."""

import mlx.core as mx
import pytest

from lucid_fn import losses, nn, optim, random, train, tree


def small_targets(predictions, targets):
    """A loss whose gradients of float16 are below its smallest number."""
    return 1e-8 * losses.mse(predictions, targets)


def trained(optimizer, loss_fn, steps=1, x=1.0):
    model = nn.mixed_precision(nn.linear(4, 2), mx.float16, output_dtype=mx.float16)
    ts = train.init(model, optimizer, random.key(0))
    step = train.make_step(model, optimizer, loss_fn)
    begun, inputs = ts.params, mx.full((8, 4), x)
    for _ in range(steps):
        ts, metrics = step(ts, inputs, mx.zeros((8, 2)))
    return begun, ts, metrics


def test_gradients_that_vanish_in_float16_survive_with_a_scale():
    begun, plain, _ = trained(optim.sgd(1e8), small_targets)
    assert tree.equal(begun, plain.params).item()
    scaled = optim.dynamic_loss_scale(optim.sgd(1e8))
    begun, ts, metrics = trained(scaled, small_targets)
    assert not tree.equal(begun, ts.params).item()
    assert metrics["loss"].item() < 1e-6  # not multiplied by the scale


def test_a_step_whose_gradients_overflow_changes_nothing_but_the_scale():
    scaled = optim.dynamic_loss_scale(optim.adam(0.1), init_scale=2.0**30)
    begun, ts, _ = trained(scaled, losses.mse)
    assert tree.equal(begun, ts.params).item()
    assert optim.loss_scale(ts.opt_state).item() == 2.0**29
    assert tree.equal(ts.opt_state.inner, scaled.init(begun).inner).item()


def test_the_scale_falls_until_training_goes_on():
    scaled = optim.dynamic_loss_scale(optim.sgd(0.01), init_scale=2.0**30)
    begun, ts, _ = trained(scaled, losses.mse, steps=25)
    assert 2.0**8 < optim.loss_scale(ts.opt_state).item() < 2.0**30
    assert not tree.equal(begun, ts.params).item()


def test_a_scale_is_found_in_chains_and_two_are_refused():
    scaled = optim.dynamic_loss_scale(optim.sgd(0.1), init_scale=8.0)
    chained = optim.chain(scaled, optim.param_ema(0.9))
    assert optim.loss_scale(chained.init({})).item() == 8.0
    twice = optim.dynamic_loss_scale(scaled)
    with pytest.raises(ValueError, match="loss_scale: opt_state must hold one"):
        optim.loss_scale(twice.init({}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("init_scale", 0.0),
        ("growth_factor", 1.0),
        ("backoff_factor", 1.0),
        ("growth_interval", 0),
    ],
)
def test_numbers_out_of_range_are_told(option, value):
    with pytest.raises(ValueError, match=f"dynamic_loss_scale: {option} must"):
        optim.dynamic_loss_scale(optim.sgd(0.1), **{option: value})
