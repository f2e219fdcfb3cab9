"""The laws of the registries fail on the code that they are meant for."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses, nn, optim, tree
from lucid_fn.optim.base import stateful
from tests.property import (
    test_layer_laws as layer_laws,
    test_loss_laws as loss_laws,
    test_metric_rules as metric_rules,
    test_number_laws as number_laws,
    test_optimizer_rules as optimizer_rules,
)
from tests.registry.case import Case
from tests.registry.losses import values
from tests.registry.metrics import scores


def images(rng):
    return (mx.array(rng.normal(size=(8, 4)).astype(np.float32)),)


def norm_whose_statistics_have_the_dtype_of_x():
    inner = nn.batch_norm(4)

    def apply(params, state, x, *, train, key=None):
        y, new = inner.apply(params, state, x, train=train, key=key)
        return y, tree.cast(new, x.dtype)

    return nn.Layer(inner.init, apply)


def layer_that_may_forget_to_train():
    inner = nn.linear(4, 4)

    def apply(params, state, x, *, train=False, key=None):
        return inner.apply(params, state, x, train=bool(train), key=key)

    return nn.Layer(inner.init, apply)


def layer_that_does_not_check_train():
    inner = nn.linear(4, 4)

    def apply(params, state, x, *, train, key=None):
        return inner.apply(params, state, x, train=bool(train), key=key)

    return nn.Layer(inner.init, apply)


def test_statistics_in_half_precision_are_noticed():
    case = Case("wrong", norm_whose_statistics_have_the_dtype_of_x, images)
    with pytest.raises(AssertionError):
        layer_laws.test_a_state_keeps_its_dtypes(case)


@pytest.mark.parametrize(
    "wrong", [layer_that_may_forget_to_train, layer_that_does_not_check_train]
)
def test_a_layer_that_takes_any_train_is_noticed(wrong):
    with pytest.raises(AssertionError, match="apply accepts"):
        layer_laws.test_train_has_no_default(Case("wrong", wrong, images))


def squares_in_the_dtype_of_x(predictions, targets, *, reduction="none"):
    losses = mx.square(predictions - targets)
    return mx.mean(losses) if reduction == "mean" else losses


def test_a_loss_that_squares_in_half_precision_is_noticed():
    case = Case("wrong", lambda: squares_in_the_dtype_of_x, values)
    with pytest.raises(AssertionError):
        loss_laws.test_half_precision_is_the_float32_loss_rounded_once(
            case, mx.float16, 150
        )


def test_a_loss_that_sums_in_half_precision_is_noticed():
    def wrong(predictions, targets, *, reduction):
        losses_ = losses.mse(predictions, targets)
        return mx.sum(losses_) / mx.array(losses_.size, mx.float32).astype(
            losses_.dtype
        )

    with pytest.raises(AssertionError):
        loss_laws.test_a_mean_of_half_precision_does_not_overflow_in_its_sum(
            Case("wrong", lambda: wrong, values), mx.float16
        )


def test_a_metric_that_counts_in_half_precision_is_noticed():
    def wrong(logits, labels):
        hits = (mx.argmax(logits, axis=-1) == labels).astype(logits.dtype)
        return mx.sum(hits) / hits.size

    with pytest.raises(AssertionError):
        metric_rules.test_half_precision_is_counted_and_summed_in_float32(
            Case("wrong", lambda: wrong, scores), mx.float16
        )


def optimizer(init, update):
    def made(rate=0.1):
        return optim.GradientTransformation(init, update)

    return Case("wrong", made)


def test_moments_in_half_precision_are_noticed():
    wrong = optimizer(
        lambda params: tree.zeros_like(params),
        lambda grads, mu, params: (grads, mu),
    )
    with pytest.raises(AssertionError):
        optimizer_rules.test_the_state_of_16_bit_params_is_float32(wrong, mx.bfloat16)


def test_a_map_on_one_core_is_noticed(monkeypatch):
    wrong = optimizer(
        lambda params: (),
        lambda grads, opt_state, params: (tree.map(lambda g: g / 2, grads), opt_state),
    )
    with pytest.raises(AssertionError):
        optimizer_rules.test_leaves_are_computed_on_their_streams(wrong, monkeypatch)


def test_an_error_under_another_name_is_noticed():
    wrong = Case(
        "wrong",
        lambda: stateful("other", tuple, lambda params: (), lambda *args: args[:2]),
    )
    with pytest.raises(AssertionError):
        optimizer_rules.test_an_update_without_params_is_refused_by_name(wrong)


def test_a_number_that_is_not_checked_is_noticed(monkeypatch):
    def dropout(rate: float) -> nn.Layer:
        return nn.lift(lambda x: x)

    monkeypatch.setattr(nn, "dropout", dropout)
    rate = number_laws.inspect.signature(dropout).parameters["rate"]
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        number_laws.test_what_is_not_a_number_is_refused_by_name(nn, "dropout", rate)
