"""What every model promises, over the registry."""

import functools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import interop, random, tree
from tests import assertions
from tests.registry.case import over
from tests.registry.models import DEAD, LARGE, MODELS
from tests.strategies import equal

# float32, through up to 50 layers, in another order of additions
assert_close = functools.partial(assertions.assert_close, of_largest=1e-4)


@functools.cache
def initialized(make):
    model = make()
    return model, *model.init(random.key(0))


def prepared(case):
    """A model with params, state and an input."""
    return *initialized(case.make), *case.inputs(np.random.default_rng(0))


def outputs(case, x):
    """Those of the evaluation mode, without the state."""
    model, params, state, _ = prepared(case)
    return model.apply(params, state, x, train=False)[0]


@over(MODELS, LARGE)
def test_init_is_a_function_of_the_key(case):
    _, params, state, _ = prepared(case)
    assert equal(case.make().init(random.key(0)), (params, state))


@over(MODELS)
def test_evaluation_compiled_is_eager(case):
    model, params, state, x = prepared(case)
    apply = lf.jit(lambda p, s, x: model.apply(p, s, x, train=False))
    assert_close(apply(params, state, x), model.apply(params, state, x, train=False))


@over(MODELS)
def test_in_evaluation_a_batch_is_its_examples(case):
    *_, x = prepared(case)
    whole = outputs(case, x)
    ones = [outputs(case, x[i : i + 1]) for i in range(x.shape[0])]
    assert_close(whole, tree.map(lambda *parts: mx.concatenate(parts), *ones))


@over(MODELS, LARGE)
def test_a_state_dict_holds_all_of_a_model(case):
    model, params, state, _ = prepared(case)
    kept = interop.torch.to_state_dict(model, params, state)
    assert equal(interop.torch.from_state_dict(model, kept), (params, state))


@over(MODELS, DEAD)
def test_every_parameter_has_a_gradient(case):
    """No child is left out of the forward pass."""
    model, params, state, x = prepared(case)

    def loss(params):
        y, _ = model.apply(params, state, x, train=True, key=random.key(1))
        return sum(mx.mean(mx.abs(leaf)) for leaf in tree.leaves(y))

    grads = tree.named_leaves(lf.grad(loss)(params))
    assert [path for path, grad in grads.items() if not mx.any(grad != 0)] == []


@over(MODELS)
def test_train_has_no_default(case):
    model, params, state, x = prepared(case)
    with pytest.raises(TypeError, match="train"):
        model.apply(params, state, x)
