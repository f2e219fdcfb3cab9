"""Recurrences: tuned against plain, and against PyTorch in float64."""

import functools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lucid_fn as lf
from lucid_fn import ops, tree
from lucid_fn.cpu.recurrent import run as formulation
from tests import assertions

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
ARRAYS = {"rnn": 1, "gru": 1, "lstm": 2}

# float32, in another order of additions, through up to 8 steps
assert_close = functools.partial(assertions.assert_close, rtol=2e-5, of_largest=2e-5)

some = settings(max_examples=10)
sizes = st.fixed_dictionaries(
    {
        "n": st.integers(1, 4),
        "length": st.integers(1, 8),
        "features": st.integers(1, 5),
        "hidden": st.integers(1, 6),
        "bias": st.booleans(),
        "seed": st.integers(0, 2**32 - 1),
        "scale": st.sampled_from([0.1, 0.3, 0.6]),
    }
)


def drawn(name, n, length, features, hidden, bias, seed, scale):
    """Weights, input and carry, and the gradients of what comes out; in NumPy."""
    rng = np.random.default_rng(seed)
    rows = GATES[name] * hidden

    def normal(*shape, scale=1.0):
        return scale * rng.normal(size=shape).astype(np.float32)

    weights = [normal(rows, features, scale=scale), normal(rows, hidden, scale=scale)]
    weights += [normal(rows), normal(rows)] if bias else []
    carry = [normal(n, hidden) for _ in range(ARRAYS[name])]
    out = [normal(n, length, hidden), *[normal(n, hidden) for _ in carry]]
    return weights, normal(n, length, features), carry, out


def to_mlx(values):
    return tree.map(mx.array, values)


def result(name, weights, x, carry):
    y, end = getattr(ops, name)(x, ops.RecurrentWeights(*weights), tuple(carry))
    return [y, *end]


def loss_of(name, out):
    def loss(args):
        pairs = zip(result(name, *args), out, strict=True)
        return sum(mx.sum(y * g) for y, g in pairs)

    return loss


def both(fn, *args):
    """What it gives with the tuned formulation, and with the plain one."""
    tuned = fn(*args)
    mx.eval(tuned)
    with ops.plain():
        plain = fn(*args)
        mx.eval(plain)
    return tuned, plain


# Many steps with large weights are chaotic: no float32 is close to a float64.
FORMS = {"steps": {}, "shut gates": {"length": 1, "scale": 5.0}}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@some
@given(sizes=sizes)
def test_values_and_gradients_are_pytorchs_in_float64(name, form, sizes):
    torch = pytest.importorskip("torch")
    sizes = sizes | form
    weights, x, carry, out = drawn(name, **sizes)
    module = getattr(torch.nn, name.upper())(
        sizes["features"],
        sizes["hidden"],
        bias=sizes["bias"],
        batch_first=True,
        dtype=torch.float64,
    )
    for parameter, weight in zip(module.parameters(), weights, strict=True):
        parameter.data = torch.tensor(weight, dtype=torch.float64)
    doubles = [
        torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, *carry)
    ]
    start = tuple(array[None] for array in doubles[1:])
    y, end = module(doubles[0], start if name == "lstm" else start[0])
    theirs = [y, *[a[0] for a in (end if name == "lstm" else [end])]]
    grads = [torch.tensor(g, dtype=torch.float64) for g in out]
    torch.autograd.backward(theirs, grads)
    args = to_mlx((weights, x, carry))
    assert_close(tree.leaves(result(name, *args)), [a.detach().numpy() for a in theirs])
    ours = lf.grad(loss_of(name, to_mlx(out)))(args)
    expected = [p.grad for p in module.parameters()], *[a.grad for a in doubles]
    assert_close(tree.leaves(ours), [g.numpy() for g in (*expected[0], *expected[1:])])


@pytest.mark.parametrize("name", GATES)
@some
@given(sizes=sizes)
def test_tuned_is_plain(name, sizes):
    *args, out = to_mlx(drawn(name, **sizes))
    assert_close(*both(lambda args: result(name, *args), args))
    assert_close(*both(lf.grad(loss_of(name, out)), args))


TRANSFORMED = {
    "jit": lambda loss, grad: lf.jit(grad),
    "grad of grad": lambda loss, grad: lf.grad(
        lambda args: sum(mx.sum(mx.sin(g)) for g in tree.leaves(grad(args)))
    ),
    "hvp": lambda loss, grad: lambda args: lf.hvp(loss, (args,), (args,)),
    "jvp": lambda loss, grad: lambda args: lf.jvp(loss, (args,), (args,)),
    "checkpoint": lambda loss, grad: lf.grad(lf.checkpoint(loss)),
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("transform", TRANSFORMED)
def test_transformations_of_tuned_are_those_of_plain(name, transform):
    sizes = (2, 4, 3, 5, True, 0, 0.5)
    *args, out = to_mlx(drawn(name, *sizes))
    loss = loss_of(name, out)
    assert_close(*both(TRANSFORMED[transform](loss, lf.grad(loss)), args))


@pytest.mark.parametrize("name", GATES)
def test_vmap_of_grad_and_grad_of_vmap_are_those_of_plain(name):
    weights, x, carry, out = to_mlx(drawn(name, 2, 4, 3, 5, True, 0, 0.5))
    xs = mx.stack([x, -x, 2 * x])
    loss = loss_of(name, out)

    def per_example(weights, xs):
        return lf.vmap(lambda x: lf.grad(loss)((weights, x, carry)))(xs)

    def summed(weights, xs):
        return mx.sum(lf.vmap(lambda x: loss((weights, x, carry)))(xs))

    assert_close(*both(per_example, weights, xs))
    assert_close(*both(lf.grad(summed, argnums=(0, 1)), weights, xs))
    twice = lf.vmap(lambda xs: per_example(weights, xs))
    assert_close(*both(twice, xs[None]))


def test_the_fused_tanh_is_tanh_to_six_units_in_the_last_place():
    x = np.concatenate([np.linspace(-9, 9, 400_001), np.geomspace(1e-30, 1, 10_000)])
    x = x.astype(np.float32)
    y = np.array(mx.compile(formulation._fused_tanh)(mx.array(x)), np.float64)
    exact = np.tanh(x.astype(np.float64))
    unit = np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(y - exact) / unit) < 6


def test_a_shut_gate_has_hardly_a_slope():
    y = np.array(mx.compile(formulation._fused_tanh)(mx.array([8.0, 50.0, 1e30])))
    assert np.all(1 - y <= 1.2e-7)


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_rounded_once(name, dtype):
    weights, x, carry, _ = to_mlx(drawn(name, 2, 6, 3, 5, True, 0, 0.5))
    half = tree.cast((weights, x, carry), dtype)
    exact = result(name, *tree.cast(half, mx.float32))
    for a, b in zip(result(name, *half), exact, strict=True):
        assert a.dtype == dtype
        assert mx.array_equal(a, b.astype(dtype))


@pytest.mark.parametrize("name", GATES)
def test_nan_and_infinite_inputs_are_those_of_plain(name):
    weights, x, carry, _ = to_mlx(drawn(name, 4, 1, 1, 2, True, 0, 1.0))
    x = mx.array([float("nan"), float("inf"), -float("inf"), 1e30]).reshape(4, 1, 1)
    tuned, plain = both(lambda: result(name, weights, x, carry))
    for a, b in zip(tuned, plain, strict=True):
        assert mx.allclose(a, b, atol=1e-6, equal_nan=True)


def test_gradients_of_biases_keep_their_digits():
    x, start = mx.zeros((1 << 14, 64, 1)), (mx.zeros((1 << 14, 1)),)
    zero = [mx.zeros((1, 1)), mx.zeros((1, 1)), mx.zeros(1), mx.zeros(1)]

    def loss(weights):
        y, _ = ops.rnn(x, ops.RecurrentWeights(*weights), start)
        return mx.sum(mx.mean(0.1 * y, axis=2))

    for bias in lf.grad(loss)(zero)[2:]:  # a sum of 2^20 times 0.1
        assert bias.item() == pytest.approx(104857.6, rel=3e-5)
