"""jit starts evaluating what it returns: memory is flat, few calls are in flight."""

import subprocess
import sys
import time

import mlx.core as mx
import pytest

from lucid_fn import grad, jit, tree

TRAINING = """
import gc
import sys

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import nn, random, tree

gc.disable()  # what a step leaves behind must not wait for the collector
model = nn.serial(nn.linear(64, 64), nn.linear(64, 64))
params, state = model.init(random.key(0))
x = random.normal(random.key(1), (32, 64))


def loss_fn(params, x):
    return mx.mean(mx.square(model.apply(params, {}, x, train=True)[0]))


@lf.jit
def step(carry, x):
    loss, grads = lf.value_and_grad(loss_fn)(carry["params"], x)
    params = tree.map(lambda p, g: p - 0.01 * g, carry["params"], grads)
    return {"params": params, "total": carry["total"] + loss}


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


carry = {"params": params, "total": mx.array(0.0)}
for i in range(1, 3001):
    carry = step(carry, x)
    if i == 300:
        early, early_active = resident(), mx.get_active_memory()
print(resident() - early, mx.get_active_memory() - early_active)
assert 0 < carry["total"].item() < float("inf")  # read at the end, and only here
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat_over_3000_steps_that_read_nothing():
    run = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    resident, active = map(int, run.stdout.split())
    # A lazy graph of 2,700 steps holds 2,700 copies of the params: 90 MB.
    assert resident < 4 * 2**20
    assert active < 2**20


def slow(x):
    for _ in range(4):
        x = x @ x
    return x


RESULTS = {
    "alone": lambda x, n: slow(x),
    "beside a counter": lambda x, n: (slow(x), n + 1),
    "beside an argument": lambda x, n: (slow(x), n),
    "beside a constant": lambda x, n: (slow(x), mx.array(1)),
    "beside an empty array": lambda x, n: (slow(x), mx.zeros((0, 2))),
}


@pytest.mark.parametrize("what", RESULTS)
def test_at_most_two_calls_are_in_flight(what):
    compiled = jit(RESULTS[what])
    x, n = mx.zeros((500, 500)), mx.array(0)
    calls = [compiled(x, n) for _ in range(3)]
    waited, start = 0.0, time.perf_counter()
    for _ in range(8):
        calls.append(compiled(x, n))
        before = time.perf_counter()
        mx.eval(calls[-3])
        waited += time.perf_counter() - before
    # The call before the last two has ended when the last is dispatched. With a third
    # in flight, all of the time would go by in waiting for it.
    assert waited < 0.25 * (time.perf_counter() - start)


def test_the_evaluation_starts_before_the_result_is_read():
    compiled = jit(slow)
    x = mx.zeros((600, 600))
    mx.eval(compiled(x))
    start = time.perf_counter()
    mx.eval(slow(x))
    alone = time.perf_counter() - start
    waits = []
    for _ in range(3):
        y = compiled(x)
        time.sleep(3 * alone)
        start = time.perf_counter()
        mx.eval(y)
        waits.append(time.perf_counter() - start)
    assert min(waits) < alone / 2


def test_a_compiled_function_keeps_no_large_result_alive():
    compiled = jit(lambda x: mx.negative(x))
    x = mx.zeros((1 << 20,))  # 4 MiB
    for _ in range(4):
        x = compiled(x)
    mx.synchronize()
    before = mx.get_active_memory()
    del x
    assert before - mx.get_active_memory() >= 4 * 2**20
    again = mx.get_active_memory()
    del compiled
    assert again - mx.get_active_memory() < 2**20


def test_a_compiled_function_inside_grad_keeps_no_graph_alive():
    inner = jit(lambda w, x: mx.sum(mx.tanh(mx.tanh(x * w))))
    x = mx.zeros((1 << 20,))
    mx.eval(x)
    for i in range(4):
        mx.eval(grad(inner)(mx.array(1.0), x))
        if i == 0:
            before = mx.get_active_memory()
    assert mx.get_active_memory() - before < 2**20


def test_a_trace_keeps_no_array_that_it_makes_itself():
    compiled = jit(lambda x: tree.zeros_like({"a": mx.zeros(1 << 20)})["a"] + x)
    mx.eval(compiled(mx.array(1.0)))
    mx.synchronize()
    before = mx.get_active_memory()
    held = jit(lambda x: tree.zeros_like({"a": mx.zeros(1 << 22)})["a"] + x)
    mx.eval(held(mx.array(1.0)))
    mx.synchronize()
    assert mx.get_active_memory() - before < 2**20
