"""Evaluation over all batches, and errors about metrics that have no mean."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, losses, metrics, nn, optim, random, train
from tests.unit.train.runs import batches_of, evaluation, fit


def test_it_is_what_fit_records(task):
    ts, history = fit(task, epochs=1, **evaluation(task))
    values = train.evaluate(ts, task.evaluate, evaluation(task)["test_batches"])
    assert values == {
        name: history.epochs[0][f"test_{name}"] for name in ("loss", "accuracy")
    }


def test_outputs_are_those_of_the_model_in_order(task):
    ts = task.start()
    batches = data.batches((task.x, task.labels), 15)
    values, logits = train.evaluate(ts, task.evaluate, batches, outputs=True)
    expected, _ = task.model.apply(ts.params, ts.state, mx.array(task.x), train=False)
    assert logits.shape == (50, 2)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)
    accuracy = metrics.accuracy(logits, mx.array(task.labels)).item()
    assert values["accuracy"] == pytest.approx(accuracy)
    assert values == train.evaluate(ts, task.evaluate, batches)


def test_outputs_may_be_any_tree():
    def apply(params, state, x, /, *, train, key=None):
        return {"sum": x.sum(axis=1), "pair": (x, x * params["w"])}, state

    model = nn.Layer(lambda key: ({"w": mx.array(2.0)}, {}), apply)
    ts = train.init(model, optim.sgd(0.1), random.key(0))
    step = train.make_eval_step(model, lambda y, t: mx.square(y["sum"] - t))
    x = mx.arange(10.0).reshape(5, 2)
    batches = data.batches((x, mx.zeros((5,))), 2)
    _, outputs = train.evaluate(ts, step, batches, outputs=True)
    assert mx.array_equal(outputs["sum"], x.sum(axis=1))
    assert mx.array_equal(outputs["pair"][1], 2 * x)


def test_outputs_without_an_axis_of_examples_are_reported():
    model = nn.Layer(lambda key: ({}, {}), lambda p, s, x, /, **_: (x.mean(), s))
    ts = train.TrainState({}, {}, (), random.key(0), mx.array(0))
    step = train.make_eval_step(model, lambda y, t: y)
    with pytest.raises(
        ValueError, match=r"train\.evaluate: .* examples along the first"
    ):
        train.evaluate(ts, step, [(mx.ones((2, 2)), mx.ones(2))], outputs=True)


def test_no_batches_are_an_error(task):
    with pytest.raises(ValueError, match=r"train\.evaluate: .* at least one batch"):
        train.evaluate(task.start(), task.evaluate, [])


def test_a_handwritten_step_without_outputs_is_reported(task):
    def step(ts, x, targets):
        return {"loss": mx.array(1.0)}

    message = r"evaluate: step must take .* and outputs, .* got step\(ts, x, targets\)"
    with pytest.raises(TypeError, match=message):
        train.evaluate(task.start(), step, [], outputs=True)


def test_steps_that_are_not_functions_are_reported(task):
    with pytest.raises(TypeError, match=r"train\.evaluate: step must be a function"):
        train.evaluate(task.start(), None, [])


BATCH = (mx.ones((4, 4)), mx.zeros((4,), mx.int32))


def fit_with(task, **changed):
    arguments = {
        "ts": task.start(),
        "step": task.step,
        "batches": lambda epoch: [BATCH] * 3,
        "epochs": 1,
        "show": False,
    }
    return train.fit(**{**arguments, **changed})


def returning(task, metrics):
    """A step with other metrics, each time the next of a list."""
    values = iter(metrics)
    return lambda ts, x, labels: (task.step(ts, x, labels)[0], next(values))


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"loss": mx.ones((4,))}, ValueError, r"'loss' must be a scalar, .* \(4,\)"),
        ({"loss": 1.0, "a": mx.ones((2, 3))}, ValueError, r"'a' must be .* \(2, 3\)"),
        ({"loss": 1.0, "a": "x"}, TypeError, "'a' must be a scalar array, got str"),
        ({"loss": mx.array(1j)}, TypeError, "'loss' must be real, got .*complex64"),
        ({"accuracy": 1.0}, ValueError, "with 'loss', got accuracy"),
        ([1.0], TypeError, "a dict of scalars by name, got list"),
    ],
)
def test_metrics_without_a_mean_are_reported_at_the_first_step(
    task, values, kind, message
):
    made = []

    def step(ts, x, labels):
        made.append(1)
        return ts, values

    with pytest.raises(kind, match=f"^fit: .*{message}"):
        fit_with(task, step=step)
    assert len(made) == 1


def test_a_vector_metric_of_make_step_is_reported_with_its_name(task):
    def per_class(logits, labels):
        return logits.mean(axis=0)

    extra = {"per_class": per_class}
    loss = losses.softmax_cross_entropy
    step = train.make_step(task.model, task.optimizer, loss, metrics=extra)
    with pytest.raises(ValueError, match=r"^fit: metric 'per_class' must .* \(2,\)"):
        fit_with(task, step=step)
    evaluate = train.make_eval_step(task.model, loss, metrics=extra)
    with pytest.raises(ValueError, match=r"^fit: metric 'per_class' must .* \(2,\)"):
        fit_with(task, evaluate=evaluate, test_batches=[BATCH])
    with pytest.raises(ValueError, match=r"^train\.evaluate: metric 'per_class' must"):
        train.evaluate(task.start(), evaluate, [BATCH])


def test_other_metrics_at_another_batch_are_reported(task):
    step = returning(task, [{"loss": 1.0, "a": 2.0}, {"loss": 1.0}])
    with pytest.raises(ValueError, match=r"the same metrics .* got loss after loss, a"):
        fit_with(task, step=step)


def test_metrics_may_be_python_numbers(task):
    step = returning(task, [{"loss": 1}, {"loss": 2.5}, {"loss": mx.array([3.0])}])
    assert fit_with(task, step=step)[1].batch_losses == [1.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        (
            {"step": lambda ts, x, y: ts},
            TypeError,
            r"the pair \(ts, metrics\), got Tra",
        ),
        ({"step": 3}, TypeError, "step must be a function .* got int"),
        ({"ts": 3}, TypeError, "ts must be a TrainState, .* got int"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
        ({"epochs": "2"}, TypeError, "epochs must be an integer, got '2'"),
        ({"epochs": True}, TypeError, "epochs must be an integer, got True"),
        ({"max_steps": 1.0}, TypeError, "max_steps must be an integer, got 1.0"),
        ({"start_epoch": -1}, ValueError, "start_epoch must be at least 0, got -1"),
        (
            {"batches": lambda e: [BATCH[0]]},
            TypeError,
            "batches must yield pairs .* ar",
        ),
        ({"batches": lambda e: [(*BATCH, 1)]}, TypeError, "pairs .* a tuple of 3; put"),
        ({"batches": lambda e: None}, TypeError, "batches must be .* NoneType"),
        ({"evaluate": 3, "test_batches": []}, TypeError, "evaluate must be a function"),
        ({"checkpoint": 3}, TypeError, "checkpoint must be a path, got 3"),
        ({"config": [1]}, TypeError, "config must be a dict, got list"),
    ],
)
def test_arguments_of_fit_are_reported(task, changed, kind, message):
    with pytest.raises(kind, match=f"^fit: .*{message}"):
        fit_with(task, **changed)


def test_a_state_that_does_not_count_its_steps_is_reported(task):
    for step, got in ((None, "NoneType"), (mx.zeros(3), r"shape \(3,\)")):
        with pytest.raises(TypeError, match=rf"^fit: ts\.step must be .* {got}"):
            fit_with(task, ts=task.start()._replace(step=step))


def test_test_batches_that_are_not_pairs_are_reported(task):
    with pytest.raises(TypeError, match=r"fit: test_batches must yield pairs .* array"):
        fit_with(task, evaluate=task.evaluate, test_batches=[BATCH[0]])


def test_swapped_arguments_of_a_step_are_reported(task):
    ts, (x, labels) = task.start(), BATCH
    with pytest.raises(TypeError, match=r"^step: the first .* array; call step\(ts, x"):
        task.step(x, ts, labels)
    with pytest.raises(TypeError, match=r"^evaluate: the first argument must be a Tra"):
        task.evaluate(x, ts, labels)
    assert batches_of(task)(0) is not None
