"""Losses of no examples, metrics of none, and params without numbers.

MLX may give anything for a reduction over an axis of length 0, or compute it for
minutes. Here it gives a wrong number whenever it is asked for one, so that a result
that depends on such a reduction is seen.
"""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import metrics, numerics, optim, random, tree
from tests.assertions import assert_close
from tests.fusion import unfused
from tests.registry.case import over
from tests.registry.losses import LOSSES
from tests.registry.metrics import METRICS
from tests.registry.optimizers import OPTIMIZERS, PARTS
from tests.strategies import equal

REDUCTIONS = ("sum", "mean", "prod", "any", "all")


@pytest.fixture(autouse=True)
def stray_memory(monkeypatch):
    """MLX's reductions over axes of length 0, which give 7s or `True`s."""

    def strayed(reduction):
        def reduce(x, *args, **kwargs):
            y = reduction(x, *args, **kwargs)
            stray = isinstance(x, mx.array) and x.size == 0 and y.size > 0
            return mx.full(y.shape, 7, y.dtype) if stray else y

        return reduce

    for name in REDUCTIONS:
        monkeypatch.setattr(mx, name, strayed(getattr(mx, name)))
        monkeypatch.setattr(mx.array, name, strayed(getattr(mx.array, name)))


def no_examples(case):
    return [x[:0] for x in case.inputs(np.random.default_rng(0))]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_the_fixture_strays(name):
    assert mx.all(getattr(mx, name)(mx.zeros((0, 2)), axis=0) == 7) or name == "any"


@pytest.mark.parametrize(("name", "empty"), [("sum", 0), ("mean", -1), ("all", 1)])
def test_a_guarded_reduction_does_not(name, empty):
    x = mx.zeros((0, 2)).T
    found = numerics.reduced(getattr(mx, name), x, axis=1, empty=empty)
    assert found.tolist() == [empty, empty]


@over(LOSSES, law="no examples")
def test_a_loss_of_no_examples_is_empty_and_sums_to_0(case):
    loss, inputs = case.make(), no_examples(case)
    first, *rest = inputs
    for fn in (loss, lf.jit(loss)):
        values = fn(*inputs)
        assert values.shape[0] == 0
    assert loss(*inputs, reduction="sum").item() == 0
    assert mx.isnan(loss(*inputs, reduction="mean"))
    for reduction in ("sum", "mean"):
        slope = lf.grad(lambda x: loss(x, *rest, reduction=reduction))  # noqa: B023
        assert slope(first).shape == lf.jit(slope)(first).shape == first.shape


@pytest.mark.parametrize(
    "case",
    [case for case in LOSSES + METRICS if "no examples" in case.exempt],
    ids=lambda case: case.name,
)
def test_what_needs_examples_says_so(case):
    message = rf"^{case.name}: \w+ must .*(not be empty|of which none is 0)"
    with pytest.raises(ValueError, match=message):
        case.make()(*no_examples(case))


@over(METRICS, law="no examples")
def test_a_metric_of_no_examples_is_0_or_nan(case):
    metric, inputs = case.make(), no_examples(case)
    for fn in (metric, lf.jit(metric)):
        found = fn(*inputs)
        expected = mx.isnan if case.name.endswith("accuracy") else mx.logical_not
        assert mx.all(expected(found))


def test_the_perplexity_of_no_labels_is_nan():
    assert mx.isnan(metrics.perplexity(mx.zeros((0, 4)), mx.zeros(0, mx.int32)))


def after(optimizer, params, grads):
    opt_state = optimizer.init(params)
    for _ in range(2):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
    return params


@over(OPTIMIZERS + PARTS)
@pytest.mark.parametrize("compile", [False, True], ids=["eager", "jit"])
def test_a_leaf_without_numbers_leaves_the_others_alone(case, compile):
    optimizer = case.make()
    params = {
        "a": {"weight": random.normal(random.key(0), (2, 3))},
        "b": {"weight": random.normal(random.key(1), (3, 2)), "bias": mx.ones(2)},
    }
    none = {
        "weight": mx.zeros((0, 3)),
        "bias": mx.zeros(0),
        "transposed": {"weight": mx.zeros((3, 0)).T, "kernel": mx.zeros((2, 0, 3))},
    }

    def run(params):
        return after(optimizer, params, tree.map(lambda p: 0.5 * p, params))

    with unfused():
        found = (lf.jit(run) if compile else run)({**params, "z": none})
    assert equal(found.pop("z"), none)
    assert_close(found, run(params), rtol=1e-5, atol=1e-6)


DRAWS = {
    "beta": (2.0, 3.0),
    "bernoulli": (0.5,),
    "dirichlet": (mx.ones(3),),
    "exponential": (),
    "gamma": (2.0,),
    "multivariate_normal": (mx.zeros(3), mx.eye(3)),
    "normal": (),
    "poisson": (20.0,),
    "randint": (),
}


@pytest.mark.parametrize("name", DRAWS)
def test_no_draws_are_an_empty_array(name):
    options = {"low": 0, "high": 9} if name == "randint" else {}
    draw = getattr(random, name)
    found = draw(random.key(0), *DRAWS[name], shape=(0, 2), **options)
    assert found.shape[:2] == (0, 2)
    mx.eval(found)


@pytest.mark.parametrize(("axis", "shape"), [(-1, (2, 0)), (0, (0, 3)), (2, (2, 0))])
def test_no_distributions_give_no_classes(axis, shape):
    drawn = random.categorical(random.key(0), mx.zeros((2, 0, 3)), axis=axis)
    assert drawn.shape == shape
    assert drawn.dtype == mx.uint32
