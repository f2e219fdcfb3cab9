"""One rule for every bool: what is neither true nor false gets an error by name."""

import inspect
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import interop, nn, ops, random, tree
from tests.registry import arguments


def square(x):
    return mx.sum(x * x)


X, DENSE = mx.ones((2, 2)), nn.linear(2, 2)
BY_HAND = [
    *(partial(f, square) for f in (lf.grad, lf.value_and_grad)),
    *(partial(f, square) for f in (lf.jacfwd, lf.jacrev, lf.hessian)),
    partial(lf.scan, lambda carry, x: (carry, x), X, X),
    partial(ops.linalg.cholesky, X),
    partial(ops.linalg.solve_triangular, X, X),
    partial(ops.linalg.svd, X),
    partial(tree.equal, X, X),
    partial(interop.torch.from_state_dict, DENSE, {}),
]
"""Calls of functions with bools in packages that have no numbers."""


def is_bool(parameter):
    return isinstance(parameter.default, bool)


def flags():
    """Each bool of a public function, with a call that takes it by name."""
    for package in arguments.PACKAGES:
        for name in arguments.functions(package):
            for p in inspect.signature(getattr(package, name)).parameters.values():
                if is_bool(p):
                    short = package.__name__.rpartition(".")[2]
                    call = partial(called, package, name)
                    yield pytest.param(
                        call, name, p.name, id=f"{short}.{name}-{p.name}"
                    )
    for call in BY_HAND:
        name = call.func.__name__
        for p in inspect.signature(call.func).parameters.values():
            if is_bool(p):
                yield pytest.param(call, name, p.name, id=f"{name}-{p.name}")


def called(package, name, **changed):
    args, kwargs = arguments.of(package, name, changed)
    return getattr(package, name)(*args, **kwargs)


@pytest.mark.parametrize(("call", "name", "flag"), list(flags()))
def test_what_is_no_bool_is_refused_by_name(call, name, flag):
    start = rf"^(\w+\.)?{name}: {flag} must be a bool, got .+; give True or False$"
    for value in ("yes", 1, None, mx.array(True), [True]):
        with pytest.raises(TypeError, match=start):
            call(**{flag: value})


def test_a_bool_of_numpy_is_a_bool():
    init, _ = nn.linear(2, 2, bias=np.False_)
    assert init(random.key(0))[0].keys() == {"weight"}
