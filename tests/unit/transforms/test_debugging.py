"""disable_jit, eval_shape and check_pure."""

import os
import subprocess
import sys

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import (
    ShapeDtype,
    check_pure,
    disable_jit,
    eval_shape,
    grad,
    jit,
    losses,
    nn,
    optim,
    random,
    train,
    tree,
)

V = mx.array([1.0, 2.0])


def test_without_jit_every_call_runs_line_by_line():
    seen = []

    @jit
    def step(x, table):
        seen.append(float(mx.sum(x)))
        return {"y": x * table if seen[-1] > 0 else x}

    table = np.array([2.0, 3.0])
    with disable_jit():
        for _ in range(2):
            assert step(V, table)["y"].tolist() == [2, 6]
        with (
            disable_jit(False),
            pytest.raises(TypeError, match=r"jit: .* needs the val"),
        ):
            step(V, table)
        assert grad(lambda x: mx.sum(step(x, table)["y"]))(V).tolist() == [2, 3]
    assert seen == [3.0] * 3
    with pytest.raises(TypeError, match=r"jit: .* needs the value"):
        step(V, table)
    with pytest.raises(TypeError, match="disable_jit: disable must be a bool"):
        disable_jit("no").__enter__()


def test_a_training_step_is_the_same_without_jit():
    model = nn.serial(nn.linear(4, 8), nn.relu, nn.linear(8, 3))
    optimizer = optim.sgd(0.1, momentum=0.9)
    step = train.make_step(model, optimizer, losses.cross_entropy)
    x, y = random.normal(random.key(1), (6, 4)), mx.array([0, 1, 2, 0, 1, 2])

    def run():
        ts = train.init(model, optimizer, random.key(0))
        for _ in range(3):
            ts, _ = step(ts, x, y)
        return ts.params

    compiled = run()
    with disable_jit():
        plain = run()
    for a, b in zip(tree.leaves(compiled), tree.leaves(plain), strict=True):
        assert mx.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "out"), [("none", "2"), ("", "1"), ("off", "LUCID_FN_JIT must be 'no")]
)
def test_the_environment_switches_jit_off(setting, out):
    code = (
        "import lucid_fn as lf, mlx.core as mx; calls = []\n"
        "f = lf.jit(lambda x: (calls.append(1), x)[1])\n"
        "f(mx.ones(1)); f(mx.ones(1)); print(len(calls))"
    )
    environment = {**os.environ, "LUCID_FN_JIT": setting}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert out in run.stdout + run.stderr


def test_shapes_come_from_arrays_numbers_and_shapes_alone():
    def fn(x, n, *, scale):
        return {"y": x @ x.T * scale, "n": n, "none": None}

    half = ShapeDtype((3, 2), mx.float16)
    shapes = eval_shape(fn, half, 4, scale=0.5)
    expected = ShapeDtype((3, 3), mx.float16)
    assert shapes == {"y": expected, "n": 4, "none": None}
    assert (expected.ndim, expected.size) == (2, 9)
    assert eval_shape(lambda t: t[0], (np.zeros((2, 3)),)).shape == (2, 3)


def test_shapes_of_a_whole_training_step_need_no_memory():
    model = nn.linear(1 << 20, 1 << 14)  # 64 GiB of weights
    optimizer = optim.adam(1e-3)
    ts = eval_shape(lambda key: train.init(model, optimizer, key), random.key(0))
    assert ts.params["weight"].shape == (1 << 14, 1 << 20)
    logits, _ = eval_shape(
        lambda p, x: model.apply(p, {}, x, train=True),
        ts.params,
        ShapeDtype((8, 1 << 20), mx.float32),
    )
    assert logits == ShapeDtype((8, 1 << 14), mx.float32)


def test_shapes_that_depend_on_values_are_an_error():
    with pytest.raises(TypeError, match=r"eval_shape: .* needs the value of an array"):
        eval_shape(lambda x: mx.zeros(int(x)), mx.array(3))
    with pytest.raises(TypeError, match="eval_shape: fn must be a function"):
        eval_shape(3)


COUNTER = {"calls": 0}
LOG = []
CACHE = [mx.zeros(2)]


def counts(x):
    COUNTER["calls"] += 1
    return x


def logs(x):
    LOG.append(x)
    return x


def caches(x):
    CACHE[0] += 1
    return x


def in_place(d):
    d["x"] += 1
    return d["x"]


def adds_a_key(d):
    d["new"] = V
    return d["x"]


def draws_mlx(x):
    return x + mx.random.normal(x.shape)


def draws_numpy(x):
    return x + mx.array(np.random.normal(size=2))


def of_state():
    calls = iter(range(10))
    return lambda x: x + next(calls)


IMPURE = {
    "a dict outside": (counts, V, "changes `COUNTER.*`, which it is not given"),
    "a list outside": (logs, V, "changes `LOG`"),
    "an array outside": (caches, V, "changes `CACHE`"),
    "a function that it calls": (lambda x: counts(x), V, r"changes `COUNTER\["),
    "an argument in place": (in_place, {"x": V + 0}, r"its argument args\.0\.x; build"),
    "a key of an argument": (
        adds_a_key,
        {"x": V},
        r"its argument args\.0\.new",
    ),
    "MLX's random state": (draws_mlx, V, "draws from a hidden random state"),
    "NumPy's random state": (draws_numpy, V, "draws from a hidden random state"),
    "an iterator": (of_state(), V, "returns another value at a second call, at result"),
}


@pytest.mark.parametrize("what", IMPURE)
def test_what_makes_a_function_impure_is_named(what):
    fn, argument, words = IMPURE[what]
    with pytest.raises(ValueError, match=f"^check_pure: .*{words}"):
        check_pure(fn)(argument)


def test_a_pure_function_passes_and_returns_its_result():
    model = nn.serial(nn.linear(2, 3), nn.dropout(0.5))
    params, state = model.init(random.key(0))
    apply = check_pure(lambda p, x, key: model.apply(p, state, x, train=True, key=key))
    y, _ = apply(params, V[None], random.key(1))
    expected, _ = model.apply(params, state, V[None], train=True, key=random.key(1))
    assert mx.array_equal(y, expected)
    nan = check_pure(lambda x: x * float("nan"))(V)
    assert mx.all(mx.isnan(nan))
