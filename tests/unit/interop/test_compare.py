import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses, nn, optim, random, train, tree
from lucid_fn.interop.compare import (
    BOUNDS,
    differences,
    first_gap,
    record_step,
    report,
)
from tests.strategies import equal


@pytest.fixture
def model():
    return nn.serial(fc=nn.linear(3, 4), norm=nn.batch_norm(4), head=nn.linear(4, 2))


@pytest.fixture
def batch():
    return random.normal(random.key(1), (6, 3)), mx.array([0, 1, 1, 0, 1, 0])


def step(model, optimizer, ts, batch, loss=losses.softmax_cross_entropy, **options):
    return record_step(model, optimizer, loss, ts, *batch, **options)


def test_a_recorded_step_is_the_step_of_training(model, batch):
    optimizer = optim.sgd(0.1)
    ts = train.init(model, optimizer, random.key(0))
    after, record = step(model, optimizer, ts, batch)
    train_step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
    expected, metrics = train_step(ts, *batch)
    wanted = tree.named_leaves(expected)
    for name, array in tree.named_leaves(after).items():
        np.testing.assert_allclose(array, wanted[name], 0, 1e-6, err_msg=name)
    assert record["loss"].item() == pytest.approx(metrics["loss"].item(), abs=1e-6)
    assert equal(after.state, record["statistic"])


def test_given_gradients_are_used_and_its_own_recorded(model, batch):
    optimizer = optim.sgd(1.0)
    ts = train.init(model, optimizer, random.key(0))
    ones = {
        n: {k: mx.ones(a.shape) for k, a in c.items()} for n, c in ts.params.items()
    }
    _, record = step(model, optimizer, ts, batch, grads=ones)
    assert mx.all(record["update"]["fc"]["weight"] == -1).item()
    assert not mx.all(record["gradient"]["fc"]["weight"] == 1).item()


def test_equal_runs_have_no_gap(model, batch):
    optimizer = optim.adam(1e-2)
    ts = train.init(model, optimizer, random.key(0))
    _, record = step(model, optimizer, ts, batch)
    assert first_gap([record], [record]) is None
    assert all(d.relative == 0 for d in differences([record], [record]))


@pytest.mark.parametrize(
    ("change", "quantity"),
    [
        ({"model": lambda: nn.serial(fc=nn.linear(3, 4), norm=nn.batch_norm(4, eps=0.1),
                                     head=nn.linear(4, 2))}, "output"),
        ({"loss": lambda z, y: losses.softmax_cross_entropy(z, y) * 1.01}, "loss"),
        ({"model": lambda: nn.serial(fc=nn.linear(3, 4),
                                     norm=nn.batch_norm(4, momentum=0.2),
                                     head=nn.linear(4, 2))}, "statistic"),
        ({"optimizer": lambda: optim.adam(1e-2, weight_decay=0.1)}, "update"),
    ],
)  # fmt: skip
def test_the_first_gap_is_where_the_runs_differ(model, batch, change, quantity):
    right = optim.adam(1e-2)
    _, ours = step(model, right, train.init(model, right, random.key(0)), batch)
    other = change["model"]() if "model" in change else model
    wrong = change["optimizer"]() if "optimizer" in change else right
    loss = change.get("loss", losses.softmax_cross_entropy)
    ts = train.init(other, wrong, random.key(0))
    _, theirs = step(other, wrong, ts, batch, loss, grads=ours["gradient"])
    gap = first_gap([ours], [theirs])
    assert (gap.step, gap.quantity) == (0, quantity)


def test_the_step_of_the_gap_is_counted_from_0():
    same = {"loss": mx.array(1.0)}
    gap = first_gap([same, same, same], [same, same, {"loss": mx.array(2.0)}])
    assert str(gap) == (
        "step 2, loss: relative difference 5.0e-01 (bound 1e-05), largest 1.0e+00"
    )


def test_a_nan_is_a_gap():
    gap = first_gap([{"loss": mx.array(float("nan"))}], [{"loss": mx.array(1.0)}])
    assert gap.quantity == "loss"


def test_a_report_does_not_hide_a_nan_behind_a_number():
    ours = {"a": mx.ones(2), "b": mx.ones(2)}
    theirs = {"a": mx.ones(2), "b": mx.array([1.0, float("nan")])}
    found = differences([{"gradient": ours}], [{"gradient": theirs}])
    assert report(found).startswith("gradient   nan  (bound 5e-02, step 0 b)")


def test_numbers_arrays_of_numpy_and_tensors_are_compared():
    torch = pytest.importorskip("torch")
    ours = [{"output": mx.array([1.0, 2.0], mx.bfloat16), "loss": 0.5}]
    for theirs in (np.array([1.0, 2.0]), torch.tensor([1.0, 2.0], requires_grad=True)):
        other = [{"output": theirs, "loss": np.float32(0.5)}]
        assert first_gap(ours, other) is None


def test_runs_that_are_no_lists_of_records_or_of_other_lengths_are_told():
    record = {"loss": mx.array(1.0)}
    with pytest.raises(
        TypeError, match="theirs must be a record for each step, got on"
    ):
        first_gap([record], record)
    with pytest.raises(ValueError, match="as many records, got only 1 of theirs"):
        first_gap([record, record], [record])
    with pytest.raises(TypeError, match="differences: a quantity must be a NumPy arra"):
        first_gap([{"loss": "0.5"}], [record])
    with pytest.raises(TypeError, match="first_gap: has no argument 'tol'"):
        first_gap([record], [record], tol=1e-3)


def test_arrays_that_are_all_rounding_are_measured_by_the_others():
    large, noise = mx.array([1.0, 2.0]), mx.array([1e-9, -1e-9])
    ours = {"gradient": {"weight": large, "bias": noise}}
    theirs = {"gradient": {"weight": large, "bias": -noise}}
    assert first_gap([ours], [theirs]) is None


def test_bounds_can_be_given():
    ours, theirs = {"loss": mx.array(1.0)}, {"loss": mx.array(1.001)}
    assert first_gap([ours], [theirs]) is not None
    assert first_gap([ours], [theirs], bounds={"loss": 0.01}) is None


def test_a_report_has_a_line_for_each_quantity(model, batch):
    optimizer = optim.adam(1e-2)
    _, record = step(
        model, optimizer, train.init(model, optimizer, random.key(0)), batch
    )
    lines = report(differences([record], [record])).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(BOUNDS)
    assert lines[-1] == "first gap: none, all of it is rounding"


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ({"loss": 1.0}, {"output": 1.0}, "must have the same quantities.*loss and out"),
        ({"speed": 1.0}, {"speed": 1.0}, "each with a bound, got speed"),
        (
            {"output": mx.ones(3)},
            {"output": mx.ones(2)},
            r"output must have the same names and shapes .* got one as \(3,\)",
        ),
        (
            {"gradient": {"a": mx.ones(3)}},
            {"gradient": {"b": mx.ones(3)}},
            r"got a as \(3,\) and None",
        ),
    ],
)
def test_records_that_cannot_be_compared_are_an_error(ours, theirs, message):
    with pytest.raises(ValueError, match=message):
        list(differences([ours], [theirs]))
