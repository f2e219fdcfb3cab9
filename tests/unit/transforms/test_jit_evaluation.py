"""jit starts evaluating what it returns: memory is flat, few calls are in flight."""

import ctypes
import subprocess
import sys
import threading
import time

import mlx.core as mx
import pytest

from lucid_fn import grad, jit, tree
from lucid_fn.cpu.runtime import slots

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
    command = [sys.executable, "-c", TRAINING]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    resident, active = map(int, run.stdout.split())
    # A lazy graph of 2,700 steps holds 2,700 copies of the params: 90 MB.
    assert resident < 4 * 2**20
    assert active < 2**20


class Products:
    """Matrix products of MLX, each of which waits until it is allowed."""

    def __init__(self, gemm):
        self.ended = 0
        self._begun, self._allowed = threading.Semaphore(0), threading.Semaphore(0)
        kind = ctypes.CFUNCTYPE(None, *SGEMM)
        self._gemm = kind(gemm)
        self.callback = kind(self._multiply)

    def _multiply(self, *arguments):
        self._begun.release()
        assert self._allowed.acquire(timeout=HANGS)
        time.sleep(0.02)  # whoever does not wait for it goes on in the meantime
        self._gemm(*arguments)
        self.ended += 1

    def begin(self):
        """Whether one more begins."""
        return self._begun.acquire(timeout=HANGS)

    def allow(self, number):
        self._allowed.release(number)


SGEMM = (
    *(ctypes.c_int,) * 6,
    *(ctypes.c_float, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int),
    *(ctypes.c_float, ctypes.c_void_p, ctypes.c_int),
)
HANGS = 3  # seconds, after which something that should happen never will


@pytest.fixture
def products():
    """Puts them between MLX and its BLAS."""
    if sys.platform != "linux":
        pytest.skip("for Linux alone")
    found = slots.mlx_slots(frozenset({"cblas_sgemm"}))
    before = slots.read(found[0])
    gate = Products(before)
    for slot in found:
        slots.write(slot, ctypes.cast(gate.callback, ctypes.c_void_p).value)
    yield gate
    gate.allow(100)
    mx.synchronize()
    for slot in found:
        slots.write(slot, before)


RESULTS = {
    "alone": lambda x, n: x @ x,
    "beside a counter": lambda x, n: (x @ x, n + 1),
    "beside an argument": lambda x, n: (x @ x, n),
    "beside a constant": lambda x, n: (x @ x, mx.array(1)),
    "beside an empty array": lambda x, n: (x @ x, mx.zeros((0, 2))),
}


@pytest.mark.parametrize("what", RESULTS)
def test_at_most_two_calls_are_in_flight(what, products):
    compiled = jit(RESULTS[what])
    x, n = mx.zeros((50, 50)), mx.array(0)
    mx.eval(x, n)
    calls = [compiled(x, n), compiled(x, n)]  # returned, though nothing is allowed yet
    assert products.ended == 0
    for number in range(1, 5):
        products.allow(1)
        calls.append(compiled(x, n))  # waits for the call before the last, and no more
        assert products.ended == number


def test_the_evaluation_starts_before_the_result_is_read(products):
    y = jit(lambda x: x @ x)(mx.zeros((50, 50)))
    assert products.begin()
    products.allow(1)
    assert mx.sum(y).item() == 0


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


MEMORY = """
import mlx.core as mx

import lucid_fn as lf
from lucid_fn import tree


@lf.jit
def step(state, x):
    params, momentum = state
    grads = tree.map(lambda p: mx.square(p) * x, params)
    momentum = tree.map(lambda m, g: 0.9 * m + g, momentum, grads)
    return tree.map(lambda p, m: p - 0.1 * m, params, momentum), momentum


def peak(reads):
    state = ({str(i): mx.zeros(1 << 20) for i in range(5)},) * 2
    state = tree.map(lambda x: x + 0, state)
    mx.eval(state)
    for _ in range(3):
        state = step(state, 1.0)
    mx.eval(state)
    mx.reset_peak_memory()
    for _ in range(10):
        state = step(state, 1.0)
        if reads:
            mx.eval(state)
    mx.eval(state)
    return mx.get_peak_memory()


print(peak(True), peak(False))
"""


def test_calls_in_flight_take_the_memory_of_one_where_results_are_large():
    command = [sys.executable, "-c", MEMORY]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    one, several = map(int, run.stdout.split())
    assert several <= 1.3 * one
