"""scan, map, fori_loop, while_loop and cond: traces, closures, limits and errors."""

import functools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, random
from lucid_fn.transforms import iterations
from tests.strategies import equal

XS = mx.arange(12.0).reshape(4, 3)


def add(carry, x):
    return carry + x, carry


class Counter:
    """Counts how often Python runs a function."""

    def __init__(self, fn):
        self.fn, self.calls = fn, 0

    def __call__(self, *args):
        self.calls += 1
        return self.fn(*args)


def body_calls(length, transform):
    counter = Counter(lambda h, x: (mx.sin(h) * x, h))

    def total(h, xs):
        last, ys = lf.scan(lambda h, x: counter(h, x), h, xs)
        return mx.sum(ys) + last

    transform(total)(mx.array(1.0), mx.full((length,), 0.9))
    return counter.calls


TRANSFORMS = {
    "as it is": lambda f: f,
    "grad": lf.grad,
    "grad of grad": lambda f: lf.grad(lf.grad(f)),
    "jit": lf.jit,
    "jit of grad": lambda f: lf.jit(lf.grad(f)),
}


@pytest.mark.parametrize("how", TRANSFORMS)
def test_python_runs_the_body_as_often_for_many_iterations_as_for_few(how):
    few, many = (body_calls(length, TRANSFORMS[how]) for length in (3, 300))
    assert few == many > 0


def test_functions_from_one_line_of_code_share_their_compiled_body():
    counter = Counter(lambda w, h, x: (w * h + x, None))

    def run(w):
        return lf.scan(lambda h, x: counter(w, h, x), mx.zeros(3), XS)[0]

    first = run(mx.array(0.1))
    calls = counter.calls
    second = run(mx.array(0.2))
    assert counter.calls == calls
    assert not equal(first, second)


def test_a_changed_constant_is_not_taken_for_the_old_one():
    def run(factor):
        return lf.scan(lambda h, x: (h * factor + x, None), mx.zeros(3), XS)[0]

    assert equal(run(0), XS[-1])
    assert equal(run(1), XS.sum(0))


SCALE = mx.array(2.0)


def test_arrays_in_globals_and_defaults_are_read():
    def by_default(h, x, scale=SCALE):
        return h + scale * x, None

    for body in (lambda h, x: (h + SCALE * x, None), by_default):
        assert lf.scan(body, 0.0, XS[0])[0].item() == 6


CLOSURES = {
    "a closure": lambda w: lambda h, x: (mx.tanh(h * w + x), h),
    "a tree in a closure": lambda w: (
        lambda p: lambda h, x: (mx.tanh(h * p["w"][0] + x), h)
    )({"w": [w]}),
    "a partial": lambda w: functools.partial(
        lambda w, h, x: (mx.tanh(h * w + x), h), w
    ),
    "another function": lambda w: (lambda f: lambda h, x: (f(h, x), h))(
        lambda h, x: mx.tanh(h * w + x)
    ),
    "a compiled function": lambda w: (lambda f: lambda h, x: (f(h, x), h))(
        lf.jit(lambda h, x: mx.tanh(h * w + x))
    ),
}


@pytest.mark.parametrize("what", CLOSURES)
def test_gradients_reach_arrays_that_the_body_closes_over(what):
    def loss(w):
        last, hs = lf.scan(CLOSURES[what](w), mx.zeros(3), XS)
        return mx.sum(last) + mx.sum(hs)

    def by_hand(w):
        h, total = mx.zeros(3), mx.array(0.0)
        for x in XS:
            total = total + mx.sum(h)
            h = mx.tanh(h * w + x)
        return total + mx.sum(h)

    w = mx.array(0.3)
    for transform in (lf.grad, lambda f: lf.jit(lf.grad(f))):
        grads = transform(loss)(w), lf.grad(by_hand)(w)
        assert mx.allclose(*grads, rtol=1e-5).item()


def test_an_attribute_that_no_gradient_would_reach_is_refused():
    class Cell:
        pass

    def loss(w):
        cell = Cell()
        cell.w = w
        return lf.scan(lambda h, x: (h * cell.w + mx.sum(x), None), 0.0, XS)[0]

    with pytest.raises(ValueError, match=r"scan: .* depends on a transformation"):
        lf.grad(loss)(mx.array(1.0))


def test_layers_may_be_steps_of_a_scan():
    cell = nn.gru_cell(3, 5)
    params, _ = cell.init(random.key(0))
    x = random.normal(random.key(1), (2, 4, 3))

    def loss(params, scanned):
        if scanned:

            def turn(h, x):
                inputs = nn.SequenceAndCarry(x, h)
                out, _ = cell.apply(params, {}, inputs, train=False)
                return out.carry, out.sequence

            ys = lf.scan(turn, mx.zeros((2, 5)), x.swapaxes(0, 1))[1]
        else:
            ys = nn.scan(cell).apply(params, {}, x, train=False)[0].sequence
        return mx.sum(ys**2)

    ours, theirs = (lf.grad(loss)(params, scanned) for scanned in (True, False))
    for name in params:
        assert mx.allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-5).item()


def test_checkpoint_every_changes_no_gradient():
    def loss(w, every):
        def turn(h, x):
            return mx.tanh(h * w + x), h

        last, hs = lf.scan(turn, mx.zeros(3), XS, checkpoint_every=every)
        return mx.sum(last) + mx.sum(hs)

    grads = [lf.grad(loss)(mx.array(0.3), every) for every in (None, 1, 2, 3, 4, 9)]
    assert all(mx.allclose(g, grads[0], rtol=1e-6).item() for g in grads)


def test_checkpoint_every_saves_memory():
    x = mx.zeros(1 << 14)
    mx.eval(x)

    def loss(w, every):
        def turn(h, _):
            return mx.sin(h * w) * mx.cos(h), None

        return mx.sum(lf.scan(turn, x, None, 256, checkpoint_every=every)[0])

    def peak(every):
        mx.synchronize()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(lf.grad(loss)(mx.array(0.5), every))
        return mx.get_peak_memory() - before

    assert peak(16) < 0.5 * peak(None)


def test_without_jit_the_body_runs_at_every_iteration():
    counter = Counter(add)
    with lf.disable_jit():
        last, _ = lf.scan(lambda h, x: counter(h, x), mx.zeros(3), XS)
    assert counter.calls == len(XS)
    assert equal(last, XS.sum(0))


def test_a_loop_that_is_too_long_for_jit_is_refused():
    length = iterations.MAX_UNROLLED + 1
    run = lf.jit(lambda x: lf.fori_loop(0, length, lambda i, x: x + 1, x))
    with pytest.raises(ValueError, match="fori_loop: a loop must have at most 2,048"):
        run(mx.array(0))


def test_a_loop_whose_body_has_a_longer_one_runs_step_by_step():
    length = iterations.MAX_UNROLLED + 1

    def outer(total, x):
        return lf.fori_loop(0, length, lambda i, t: t + x, total), None

    assert lf.scan(outer, mx.array(0.0), mx.array([1.0, 2.0]))[0].item() == 3 * length


def test_a_long_loop_takes_the_memory_of_a_short_one():
    def peak(length):
        mx.synchronize()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        mx.eval(lf.fori_loop(0, length, lambda i, x: mx.sin(x), mx.zeros(1 << 16)))
        return mx.get_peak_memory() - before

    peak(40)
    assert peak(400) <= 1.3 * peak(40)


def test_fori_loop_counts_from_lower_to_below_upper():
    seen = lf.scan(lambda c, i: (c, i), None, mx.arange(2, 5))[1]
    assert seen.tolist() == [2, 3, 4]
    assert lf.fori_loop(2, 5, lambda i, c: c + i, 0).item() == 9
    assert lf.fori_loop(5, 2, lambda i, c: c + i, 7).item() == 7
    assert lf.fori_loop(mx.array(-1), mx.array(2), lambda i, c: c + i, 1).item() == 1


def test_while_loop_compiles_its_functions_once():
    holds, double = Counter(lambda x: x < 1000), Counter(lambda x: 2 * x)
    out = lf.while_loop(lambda x: holds(x), lambda x: double(x), mx.array(1))
    assert out.item() == 1024
    assert (holds.calls, double.calls) == (2, 1)


def test_while_loop_runs_inside_jit_where_its_condition_is_known():
    def power(x):
        return lf.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x))

    assert lf.jit(power)(mx.array(2.0))[1].item() == 16
    assert lf.grad(lambda x: power(x)[1])(mx.array(2.0)).item() == 32


def test_cond_runs_one_function_where_the_condition_can_be_read():
    yes, no = Counter(lambda x: x + 1), Counter(lambda x: x - 1)
    assert lf.cond(mx.array(True), yes, no, mx.array(1)).item() == 2
    assert lf.cond(False, yes, no, mx.array(1)).item() == 0
    assert (yes.calls, no.calls) == (1, 1)


def test_a_nan_of_the_function_not_taken_stays_out_of_every_derivative():
    def root(x):
        return lf.cond(x > 0, mx.sqrt, lambda x: 2 * x, x)

    x = mx.array(-1.0)
    assert lf.grad(root)(x).item() == 2
    assert lf.grad(lf.grad(root))(x).item() == 0
    assert lf.jvp(root, (x,), (x,))[1].item() == -2
    assert lf.vmap(lf.grad(root))(mx.array([-1.0, 0.25])).tolist() == [2.0, 1.0]


def branch(h, x):
    if x[0] > 0:
        h = h + x
    return h, None


def drawing(h, x):
    return h + mx.random.normal(x.shape), None


ERRORS = {
    r"scan: f must be a function, got int": lambda: lf.scan(3, 0, XS),
    r"scan: length must be given where xs has no array": lambda: lf.scan(add, 0),
    r"scan: .* agree on the number of iterations, got 3 for length and 4 for xs": (
        lambda: lf.scan(add, 0, XS, 3)
    ),
    r"scan: .* got 4 for xs.a and 2 for xs.b": lambda: lf.scan(
        add, 0, {"a": XS, "b": XS[:2]}
    ),
    r"scan: xs.b must have an axis 0 to go over, got float 1.0": lambda: lf.scan(
        add, 0, {"a": XS, "b": 1.0}
    ),
    r"scan: `<lambda>` must return the pair \(carry, y\), got array": lambda: lf.scan(
        lambda h, x: h, mx.zeros(3), XS
    ),
    r"scan: .* got float32 \(2,\) for carry.h, which was float32 \(3,\)": (
        lambda: lf.scan(lambda c, x: ({"h": x[:2]}, 0), {"h": mx.zeros(3)}, XS)
    ),
    r"scan: .* got float32 \(\) for carry, which was int32 \(\)": lambda: lf.scan(
        lambda c, x: (c + 0.5, None), mx.array(0), XS
    ),
    r"scan: .* must return the carry with the structure": lambda: lf.scan(
        lambda c, x: ((c, c), None), mx.zeros(3), XS
    ),
    r"scan: init must be an array or a number, got str 'a'": lambda: lf.scan(
        add, "a", XS
    ),
    r"scan: reverse must be a bool, got 1": lambda: lf.scan(add, 0, XS, reverse=1),
    r"scan: checkpoint_every must be": lambda: lf.scan(add, 0, XS, checkpoint_every=0),
    r"scan: .*x\[0\] > 0.* needs the value of an array": lambda: lf.scan(
        branch, mx.zeros(3), XS
    ),
    r"scan: `drawing` uses MLX's hidden random state": lambda: lf.scan(
        drawing, mx.zeros(3), XS
    ),
    r"map: xs must have an axis 0": lambda: lf.map(mx.sin, mx.array(1.0)),
    r"fori_loop: upper must be an integer of shape \(\)": lambda: lf.fori_loop(
        0, mx.array([1]), add, 0
    ),
    r"fori_loop: lower must be": lambda: lf.fori_loop(0.5, 3, add, 0),
    r"fori_loop: upper must be a Python integer inside of jit": lambda: lf.jit(
        lambda n: lf.fori_loop(0, n, add, n)
    )(mx.array(3)),
    r"while_loop: `<lambda>` must return a bool": lambda: lf.while_loop(
        lambda x: x > 0, lambda x: x, XS
    ),
    r"while_loop: .* a Python bool inside of jit": lambda: lf.jit(
        lambda x: lf.while_loop(lambda x: x < 3, lambda x: x + 1, x)
    )(mx.array(0.0)),
    r"cond: pred must be a bool or an array of shape \(\)": lambda: lf.cond(
        XS > 0, mx.sin, mx.cos, XS
    ),
    r"cond: .* one shape and dtype, got float32 \(\) and int32 \(\)": lambda: lf.jit(
        lambda x: lf.cond(x > 0, lambda x: x, lambda x: 1, x)
    )(mx.array(1.0)),
    r"cond: .* trees of one structure": lambda: lf.jit(
        lambda x: lf.cond(x > 0, lambda x: x, lambda x: (x, x), x)
    )(mx.array(1.0)),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_name_the_function_the_leaf_and_what_is_wrong(message):
    with pytest.raises((TypeError, ValueError), match=message):
        ERRORS[message]()


def test_numpy_arrays_are_taken_as_arrays():
    out, ys = lf.scan(add, np.zeros(3, np.float32), np.array(XS))
    assert equal(out, XS.sum(0)) and ys.shape == (4, 3)


@pytest.mark.parametrize("init, added", [(0, 1.5), (0, 1), (0.0, 1)])
def test_a_number_in_the_carry_takes_the_dtype_that_the_body_gives_it(init, added):
    total, _ = lf.scan(lambda c, _: (c + added, None), init, None, length=2)
    assert total.item() == init + 2 * added
