import mlx.core as mx
import pytest

from lucid_fn import losses, metrics as measures, models, nn, optim, random, train, tree
from lucid_fn.train.step import mean_loss


def test_init_depends_only_on_the_key(task):
    a, b = task.start(3), task.start(3)
    assert tree.all_finite(a.params).item()
    assert mx.array_equal(a.params["fc1"]["weight"], b.params["fc1"]["weight"]).item()
    other = task.start(4).params["fc1"]["weight"]
    assert not mx.array_equal(a.params["fc1"]["weight"], other).item()


def test_a_step_leaves_its_arguments_as_they_were(task):
    ts = task.start()
    before = [mx.array(leaf) for leaf in tree.leaves(ts)]
    task.step(ts, task.x, task.labels)
    pairs = zip(tree.leaves(ts), before, strict=True)
    assert all(mx.array_equal(a, b).item() for a, b in pairs)


def test_a_step_is_a_function_of_its_arguments(task):
    ts = task.start()
    a, _ = task.step(ts, task.x, task.labels)
    b, _ = task.step(ts, task.x, task.labels)
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    assert all(mx.array_equal(x, y).item() for x, y in pairs)


def test_each_step_has_another_key(task):
    frozen = train.make_step(task.model, optim.sgd(0.0), losses.softmax_cross_entropy)
    ts = train.init(task.model, optim.sgd(0.0), random.key(0))
    ts, first = frozen(ts, task.x, task.labels)
    ts, second = frozen(ts, task.x, task.labels)
    assert first["loss"].item() != second["loss"].item()  # other dropout masks


def test_the_loss_may_be_a_mean_already(task):
    ts = task.start()
    step = train.make_step(task.model, task.optimizer, losses.cross_entropy)
    _, metrics = step(ts, task.x, task.labels)
    _, expected = task.step(ts, task.x, task.labels)
    assert metrics["loss"].item() == pytest.approx(expected["loss"].item(), rel=1e-6)


def test_evaluation_needs_no_key_and_draws_nothing(task):
    ts = task.start()
    a = task.evaluate(ts, task.x, task.labels)
    b = task.evaluate(ts._replace(key=random.key(9)), task.x, task.labels)
    assert a["loss"].item() == b["loss"].item()


def test_float_labels_are_an_error_that_says_so(task):
    with pytest.raises(TypeError, match="labels must be integers"):
        task.step(task.start(), task.x, task.labels.astype("float32"))


def test_a_wrong_shape_is_an_error_with_the_layer_path(task):
    with pytest.raises(
        ValueError, match=r"linear: x must have shape \(\.\.\., 4\)"
    ) as e:
        task.step(task.start(), task.x[:, :3], task.labels)
    assert "in layer fc1" in e.value.__notes__


def test_a_model_that_is_no_layer_is_an_error(task):
    with pytest.raises(
        TypeError, match=r"train\.init: model must be a Layer, got func"
    ):
        train.init(lambda x: x, task.optimizer, random.key(0))


def test_an_argument_that_is_no_optimizer_is_an_error(task):
    with pytest.raises(TypeError, match="must be a GradientTransformation such as"):
        train.make_step(task.model, 0.1, losses.softmax_cross_entropy)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, o: train.init(o, m, random.key(0)), "it comes before the optimizer"),
        (lambda m, o: train.init(m, o, 0), r"train\.init: key must be a key .* got 0;"),
        (
            lambda m, o: train.make_step(m, o, losses.mse)(mx.ones(3), mx.ones(3)),
            r"step: needs targets; write step\(ts, x, targets\)",
        ),
        (
            lambda m, o: train.make_eval_step(m, losses.mse)(mx.ones(3)),
            r"evaluate: needs x and targets; write evaluate\(ts, x, targets, \*, outp",
        ),
    ],
)
def test_wrong_calls_are_answered_with_the_right_one(call, message):
    with pytest.raises(TypeError, match=message):
        call(nn.linear(3, 2), optim.sgd(0.1))


def test_a_metric_called_loss_is_an_error(task):
    with pytest.raises(ValueError, match="metrics must not hold 'loss'"):
        train.make_eval_step(task.model, losses.cross_entropy, metrics={"loss": len})


def test_a_hand_written_layer_can_be_trained():
    def init(key):
        return {"w": mx.zeros((2,))}, {"calls": mx.array(0)}

    def apply(params, state, x, *, train, key=None):
        return x @ params["w"], {"calls": state["calls"] + 1}

    model, optimizer = nn.Layer(init, apply), optim.sgd(0.1)
    step = train.make_step(model, optimizer, lambda y, t: mx.square(y - t))
    ts = train.init(model, optimizer, random.key(0))
    for _ in range(100):
        ts, metrics = step(ts, mx.array([[1.0, 0.0], [0.0, 1.0]]), mx.array([1.0, 2.0]))
    assert ts.state["calls"].item() == 100
    assert metrics["loss"].item() < 1e-3


def test_the_mean_of_many_values_keeps_its_digits():
    model, optimizer = nn.Layer(lambda key: ({"w": mx.array(0.1)}, {}), _times), None
    evaluate = train.make_eval_step(model, lambda y, targets: y)
    ts = train.TrainState({"w": mx.array(0.1)}, {}, optimizer, random.key(0), None)
    loss = evaluate(ts, mx.ones((1_000_000,)), mx.zeros(1))["loss"]
    assert loss.item() == pytest.approx(0.1, rel=1e-5)  # one running sum is 1e-2 off


def _times(params, state, x, *, train, key=None):
    return x * params["w"], state


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss_fn": "mse"}, r"loss_fn must be a function \(predictions, targets\)"),
        ({"metrics": [measures.accuracy]}, "metrics must be a dict of functions by"),
        ({"metrics": {"accuracy": 1}}, "metrics must be a dict .* got {'accuracy': 1}"),
    ],
)
def test_arguments_of_a_wrong_kind_are_reported_when_the_step_is_made(
    arguments, message
):
    given = {"loss_fn": losses.mse, **arguments}
    with pytest.raises(TypeError, match=f"train.make_step: {message}"):
        train.make_step(nn.linear(3, 2), optim.sgd(0.1), **given)
    with pytest.raises(TypeError, match=f"train.make_eval_step: {message}"):
        train.make_eval_step(nn.linear(3, 2), **given)


@pytest.mark.parametrize(
    ("loss_fn", "got"), [(lambda y, _: (y, y), "tuple"), (lambda *_: 1.0, "float")]
)
def test_a_loss_that_is_no_array_is_reported(loss_fn, got):
    model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
    ts = train.init(model, optimizer, random.key(0))
    step = train.make_step(model, optimizer, loss_fn)
    with pytest.raises(TypeError, match=f"what loss_fn returns: .* got {got}"):
        step(ts, mx.ones((4, 3)), mx.ones((4, 2)))


def test_the_mean_of_half_precision_losses_is_that_of_their_numbers():
    losses_ = mx.full((70_000,), 6.15, mx.float16)
    mean = mean_loss(losses_)
    assert mean.dtype == mx.float32
    assert mean.item() == pytest.approx(losses_[0].item(), rel=1e-6)


@pytest.mark.parametrize("name", ["loss", "seconds"])
def test_reserved_names_of_metrics_are_errors(name):
    with pytest.raises(ValueError, match=f"metrics must not hold '{name}'"):
        train.make_eval_step(nn.linear(3, 2), losses.mse, metrics={name: losses.mse})


def test_a_model_that_decodes_with_a_cache_is_not_trained(key):
    sizes = {"num_layers": 1, "num_heads": 1, "d_model": 4, "cache": (1, 8)}
    message = r"^train\.init: model must not decode .* in h\.0\.attn; make the model wi"
    with pytest.raises(ValueError, match=message):
        train.init(models.gpt(5, 8, **sizes), optim.sgd(0.1), key)
