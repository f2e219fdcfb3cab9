"""Loops over functions with rules of their own, which close over arrays."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from tests.assertions import assert_close

W = mx.array([2.0, 3.0])
XS = mx.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def with_vjp(w):
    """A product whose derivative is ten times too large."""
    fn = lf.custom_vjp(lambda x: x * w)
    return fn.defvjp(lambda x: (x * w, None), lambda _, ct: (10 * w * ct,))


def with_jvp(w):
    fn = lf.custom_jvp(lambda x: x * w)
    return fn.defjvp(lambda xs, ts: (xs[0] * w, 10 * w * ts[0]))


def recomputed(w):
    return lf.checkpoint(lambda x: mx.sin(x * w))


FUNCTIONS = pytest.mark.parametrize("make", [with_vjp, with_jvp, recomputed])


def scanned(fn):
    return lambda xs: lf.scan(lambda c, x: (c + c * mx.sum(fn(x)), None), 1.0, xs)[0]


def unrolled(fn):
    def run(xs):
        c = mx.array(1.0)
        for i in range(len(XS)):
            c = c + c * mx.sum(fn(xs[i : i + 1]))
        return c

    return run


OUTER = {
    "the value": lambda fn: fn,
    "jit": lf.jit,
    "grad": lf.grad,
    "jit of grad": lambda fn: lf.jit(lf.grad(fn)),
    "grad of grad": lambda fn: lf.grad(lambda xs: mx.sum(lf.grad(fn)(xs) ** 2)),
    "jvp of grad": lambda fn: lambda xs: lf.jvp(lf.grad(fn), (xs,), (xs,)),
    "grad of vmap of grad": lambda fn: lf.grad(
        lambda xs: mx.sum(lf.vmap(lf.grad(fn))(mx.stack([xs, xs + 1])) ** 2)
    ),
    "jit of hessian": lambda fn: lf.jit(lf.hessian(fn)),
    "vmap of grad": lambda fn: lambda xs: lf.vmap(lf.grad(fn))(mx.stack([xs, xs + 1])),
}


@FUNCTIONS
@pytest.mark.parametrize("outer", OUTER)
def test_arrays_outside_of_the_loop_are_constants(make, outer):
    fn = make(W)
    found, expected = (OUTER[outer](loop(fn))(XS) for loop in (scanned, unrolled))
    assert_close(found, expected, rtol=1e-4)


@FUNCTIONS
def test_outer_derivatives_of_a_loop_in_a_loop_pass_rules_over(make):
    fn = make(W)

    def nested(xs):
        turn = lambda c, _: (mx.sin(scanned(fn)(xs) * c), None)  # noqa: E731
        return lf.scan(turn, 1.0, None, 2)[0]

    def written(xs):
        c = mx.sin(unrolled(fn)(xs) * mx.array(1.0))
        return mx.sin(unrolled(fn)(xs) * c)

    found, expected = (OUTER["grad of grad"](run)(XS / 10) for run in (nested, written))
    assert_close(found, expected, rtol=1e-3)


@FUNCTIONS
@pytest.mark.parametrize("outer", ["grad", "grad of grad", "jvp of grad"])
def test_outer_derivatives_of_cond_pass_rules_over(make, outer):
    fn = make(W)

    def chosen(xs):
        return mx.sum(lf.cond(xs[0, 0] > 0, lambda x: fn(x) * x, mx.negative, xs) ** 2)

    found = OUTER[outer](chosen)(XS)
    expected = OUTER[outer](lambda xs: mx.sum((fn(xs) * xs) ** 2))(XS)
    assert_close(found, expected, rtol=1e-4)


@FUNCTIONS
def test_the_other_loops_take_them_too(make):
    fn, x = make(W), XS[0]

    def total(x):
        mapped = lf.map(fn, XS * x)
        counted = lf.fori_loop(0, 2, lambda i, x: fn(x), x)
        return mx.sum(mapped) + mx.sum(lf.cond(x[0] > 0, fn, mx.negative, counted))

    def written(x):
        mapped = mx.stack([fn(row) for row in XS * x])
        return mx.sum(mapped) + mx.sum(fn(fn(fn(x))))

    assert_close(lf.grad(total)(x), lf.grad(written)(x), rtol=1e-5)


@FUNCTIONS
def test_a_later_loop_sees_another_array(make):
    total = scanned(make(W)), scanned(make(W + 1)), scanned(make(W))
    first, second, third = (run(XS).item() for run in total)
    assert first == third != second


@pytest.mark.parametrize("make", [with_vjp, with_jvp])
def test_a_rule_that_closes_over_params_says_so(make):
    with pytest.raises(ValueError, match="pass `w` as an argument"):
        lf.grad(lambda w: scanned(make(w))(XS))(W)


def test_gradients_reach_arrays_that_a_checkpointed_body_closes_over():
    found, expected = (
        lf.grad(lambda w, loop=loop: loop(recomputed(w))(XS))(W)
        for loop in (scanned, unrolled)
    )
    assert_close(found, expected, rtol=1e-5)


def test_a_checkpointed_body_may_close_over_the_carry():
    def turn(c, x):
        return c + lf.checkpoint(lambda x: mx.sum(mx.sin(c * x)))(x), None

    def written(xs):
        c = mx.array(1.0)
        for i in range(len(XS)):
            c = c + mx.sum(mx.sin(c * xs[i]))
        return c

    found = lf.grad(lambda xs: lf.scan(turn, 1.0, xs)[0])(XS)
    assert_close(found, lf.grad(written)(XS), rtol=1e-4)


@pytest.mark.parametrize(
    "call",
    [
        lambda fn, x: lf.scan(lambda c, _: (fn(c), None), x, None, length=1)[0],
        lambda fn, x: lf.checkpoint(lambda x: fn(x))(x),
        lambda fn, x: lf.cond(mx.array(True), lambda x: fn(x), mx.sin, x),
    ],
    ids=["scan", "checkpoint", "cond"],
)
def test_a_rule_may_call_the_function_that_it_is_of(call):
    steep = lf.custom_jvp(lambda x: mx.sin(x))
    steep.defjvp(lambda primals, tangents: (steep(*primals), 3 * tangents[0]))
    reverse = lf.custom_vjp(lambda x: steep(x))
    reverse.defvjp(lambda x: (reverse(x), None), lambda _, ct: (-ct,))
    for fn, slope in (steep, 3), (reverse, -1):
        assert lf.grad(lambda x, fn=fn: call(fn, x))(mx.array(0.5)).item() == slope


@pytest.mark.parametrize("outer", [lf.vmap, lambda fn: lf.vmap(lf.grad(fn))])
def test_outer_derivatives_use_the_rules_of_functions_that_a_rule_calls(outer):
    softplus = lf.custom_jvp(lambda x: mx.logaddexp(x, mx.array(0.0)))
    softplus.defjvp(lambda p, t: (softplus(p[0]), t[0] * mx.sigmoid(p[0])))

    def slope(fn):
        return lf.grad(lambda w: lf.fori_loop(0, 3, lambda _, c: fn(c * w), w))

    ws = mx.array([0.3, 0.7, 1.1])
    plain = outer(slope(lambda x: mx.logaddexp(x, mx.array(0.0))))
    assert_close(outer(slope(softplus))(ws), plain(ws), rtol=1e-5)
