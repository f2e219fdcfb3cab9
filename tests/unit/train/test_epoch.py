"""make_epoch_step: its steps equal single steps, its order is the documented one."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses, nn, optim, random, train, tree
from tests.strategies import equal

MODEL = nn.serial(
    nn.linear(6, 32),
    nn.tanh,
    nn.linear(32, 32),
    nn.gelu,
    nn.dropout(0.5),
    nn.linear(32, 3),
)
OPTIMIZER = optim.adam(1e-2)
X = random.normal(random.key(1), (10, 6))
LABELS = mx.arange(10) % 3
LOSS = losses.softmax_cross_entropy


def started():
    return train.init(MODEL, OPTIMIZER, random.key(0))


def epochs(**options):
    return train.make_epoch_step(MODEL, OPTIMIZER, LOSS, batch_size=4, **options)


def order_of(ts, number):
    key = random.fold_in(random.fold_in(ts.key, "shuffle"), number)
    return random.permutation(key, len(X))


def single_steps(ts, order, change=lambda key, x: x):
    step = train.make_step(MODEL, OPTIMIZER, LOSS)
    found = []
    for start in range(0, len(order), 4):
        places = order[start : start + 4]
        key = random.fold_in(random.fold_in(ts.key, "augment"), ts.step)
        ts, metrics = step(ts, change(key, X[places]), LABELS[places])
        found.append(metrics["loss"])
    return ts, mx.stack(found)


def test_two_epochs_are_bit_for_bit_their_single_steps():
    epoch = epochs()
    ours = theirs = started()
    for number in range(2):
        ours, metrics = epoch(ours, X, LABELS)
        theirs, found = single_steps(theirs, order_of(theirs, number))
        assert equal(metrics["loss"], found)
    assert equal(ours, theirs)
    assert ours.step.item() == 6


def test_augmented_epochs_are_bit_for_bit_their_single_steps():
    def noisy(key, x):
        return x + random.normal(key, x.shape)

    ours, metrics = epochs(augment=noisy)(started(), X, LABELS)
    theirs, found = single_steps(started(), order_of(started(), 0), noisy)
    assert equal(metrics["loss"], found)
    assert equal(ours, theirs)


def test_without_shuffling_the_order_is_that_of_the_data():
    ours, _ = epochs(shuffle=False)(started(), X, LABELS)
    assert equal(ours, single_steps(started(), mx.arange(10))[0])


def test_the_last_batch_may_be_dropped():
    ts, metrics = epochs(drop_last=True)(started(), X, LABELS)
    assert metrics["loss"].shape == (2,)
    assert equal(ts, single_steps(started(), order_of(started(), 0)[:8])[0])


def test_the_model_is_traced_as_often_for_many_steps_as_for_few():
    traces = []

    def counted(x):
        traces.append(x.shape)
        return x

    model = nn.serial(nn.lift(counted), nn.linear(6, 3))
    epoch = train.make_epoch_step(model, OPTIMIZER, LOSS, batch_size=2)
    ts = train.init(model, OPTIMIZER, random.key(0))
    ts, _ = epoch(ts, X[:4], LABELS[:4])
    few = len(traces)
    x, labels = tree.map(lambda a: mx.concatenate([a] * 20), (X, LABELS))
    epoch(ts, x, labels)
    assert len(traces) <= 2 * few


def test_other_metrics_have_one_value_a_step():
    def largest(y, labels):
        return mx.max(y)

    _, metrics = epochs(metrics={"largest": largest})(started(), X, LABELS)
    assert {name: x.shape for name, x in metrics.items()} == {
        "loss": (3,),
        "largest": (3,),
    }


@pytest.mark.parametrize(
    ("x", "labels", "options", "message"),
    [
        (
            X,
            LABELS[:3],
            {},
            r"epoch: x and targets must .*, got .*3 in targets",
        ),
        (X[:3], LABELS[:3], {"drop_last": True}, r"at least one batch of 4 .* got 3"),
        (3.0, LABELS, {}, r"epoch: x must be an array with the examples as axis 0"),
    ],
)
def test_data_that_fills_no_epoch_is_refused(x, labels, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        epochs(**options)(started(), x, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"train.make_epoch_step: batch_size must be"),
        ({"shuffle": 1}, r"train.make_epoch_step: shuffle must be a bool, got 1"),
        ({"augment": 3}, r"train.make_epoch_step: augment must be a function"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        train.make_epoch_step(MODEL, OPTIMIZER, LOSS, **{"batch_size": 4, **options})


@pytest.mark.parametrize("augment", [lambda x: x, lambda key, x, targets: x])
def test_augment_takes_a_key_and_a_batch(augment):
    message = (
        r"^train\.make_epoch_step: augment must take key and x, as in augment\(key"
    )
    with pytest.raises(TypeError, match=message):
        epochs(augment=augment)


def test_augment_may_have_more_parameters_with_defaults():
    double = epochs(augment=lambda key, x, scale=2.0: scale * x, shuffle=False)
    plain = epochs(shuffle=False)
    assert equal(double(started(), X, LABELS), plain(started(), 2.0 * X, LABELS))


def test_numpy_arrays_are_taken_as_those_of_mlx():
    ts, metrics = epochs()(started(), X, LABELS)
    found, values = epochs()(started(), np.array(X), np.array(LABELS))
    assert equal(found, ts)
    assert equal(values, metrics)


def test_an_argument_that_is_no_train_state_is_reported():
    with pytest.raises(TypeError, match="epoch: the first argument must be a TrainSta"):
        epochs()(MODEL.init(random.key(0)), X, LABELS)


def test_fit_says_that_an_epoch_is_called_by_itself():
    with pytest.raises(ValueError, match="make_epoch_step returns is called by itself"):
        train.fit(started(), epochs(), lambda epoch: [(X, LABELS)], epochs=1)
