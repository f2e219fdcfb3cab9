"""`check_optimizer` and `check_loss` pass the library's own, and catch broken ones."""

from functools import partial

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, optim, testing, tree


def broken_laws(check, subject, *args, **options):
    with pytest.raises(AssertionError) as failure:
        check(subject, *args, **options)
    lines = str(failure.value).splitlines()[1:]
    return {line.split(":")[0].strip(): line for line in lines}


of_optimizer = partial(broken_laws, testing.check_optimizer)
of_loss = partial(broken_laws, testing.check_loss)


def momentum(init, update):
    return optim.GradientTransformation(init, update)


def float32_zeros(params):
    return tree.map(lambda p: mx.zeros(p.shape), params)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.sgd(0.1, momentum=0.9),
        optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3)),
        optim.dynamic_loss_scale(optim.adam(0.1), init_scale=4.0),
    ],
    ids=["sgd", "chain", "scaled"],
)
def test_optimizers_of_the_library_pass(optimizer):
    testing.check_optimizer(optimizer)


def test_an_optimizer_is_tried_on_the_params_that_are_given():
    testing.check_optimizer(optim.muon(0.1), {"w": mx.ones((3, 2))})


def test_moments_in_half_precision_are_caught():
    def update(grads, sums, params):
        sums = tree.map(lambda s, g: (0.9 * s + g).astype(g.dtype), sums, grads)
        return tree.map(lambda s: -0.1 * s, sums), sums

    found = of_optimizer(momentum(tree.zeros_like, update))
    assert set(found) == {"moments"}
    assert "make it float32, from tree.cast(params, mx.float32)" in found["moments"]


def test_updates_that_widen_are_caught():
    def update(grads, opt_state, params):
        return tree.map(lambda g: g.astype(mx.float32) / 2, grads), opt_state

    assert (
        "updates change from"
        in of_optimizer(momentum(lambda p: (), update))["structure"]
    )


def test_a_state_that_is_the_params_themselves_is_caught():
    def update(grads, opt_state, params):
        return grads, opt_state

    found = of_optimizer(momentum(lambda params: params, update))
    assert "shares an array" in found["arrays"]


def test_a_state_that_is_kept_outside_is_caught():
    calls = []

    def update(grads, opt_state, params):
        calls.append(1)
        return tree.map(lambda g: g / len(calls), grads), opt_state

    assert (
        "is not deterministic" in of_optimizer(momentum(lambda p: (), update))["purity"]
    )


def test_grads_that_are_changed_in_place_are_caught():
    def update(grads, opt_state, params):
        grads["fc"]["bias"] += 1
        return grads, opt_state

    assert "its arguments" in of_optimizer(momentum(lambda p: (), update))["purity"]


def test_a_branch_on_a_value_is_caught():
    def update(grads, opt_state, params):
        scale = 1.0 if tree.global_norm(grads).item() < 1 else 0.5
        return tree.map(lambda g: scale * g, grads), opt_state

    found = of_optimizer(momentum(lambda p: (), update))
    assert {"jit", "vmap"} <= set(found)


@pytest.mark.parametrize(
    "loss", [losses.mse, losses.huber, partial(losses.mse, reduction="mean")]
)
def test_losses_of_the_library_pass(loss):
    testing.check_loss(loss)


def test_a_loss_is_tried_on_the_arrays_that_are_given():
    logits = mx.array([[0.1, 1.0], [2.0, -1.0]])
    testing.check_loss(losses.softmax_cross_entropy, logits, mx.array([0, 1]))


def test_squares_in_half_precision_are_caught():
    assert set(of_loss(lambda x, y: mx.square(x - y))) == {"dtype"}


def test_a_norm_without_a_slope_at_zero_is_caught():
    found = of_loss(lambda x, y: mx.linalg.norm(x - y, axis=-1), skip=["dtype"])
    assert set(found) == {"zero"}


def test_a_loss_that_looks_at_the_rest_of_its_batch_is_caught():
    found = of_loss(lambda x, y: mx.square(x - mx.mean(y)), skip=["dtype"])
    assert "the loss of example 0 depends on its batch" in found["examples"]


def test_a_wrong_gradient_of_a_loss_is_caught():
    @lf.custom_vjp
    def wrong(x):
        return x * x

    wrong = wrong.defvjp(lambda x: (x * x, x), lambda x, g: (g * x,))
    found = of_loss(lambda x, y: wrong(x - y), skip=["dtype"])
    assert set(found) == {"gradient"}


def test_what_is_no_loss_or_optimizer_is_refused():
    with pytest.raises(TypeError, match="check_loss: fn must be a function"):
        testing.check_loss(3)
    with pytest.raises(TypeError, match="check_optimizer: optimizer must be"):
        testing.check_optimizer(3)
    with pytest.raises(ValueError, match="skip must be a collection of laws"):
        testing.check_loss(losses.mse, skip="dtype")
