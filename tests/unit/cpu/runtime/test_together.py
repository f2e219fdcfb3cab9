"""The runtime with threads, forks, PyTorch and SciPy in one process."""

import importlib.util

import pytest

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs PyTorch"
)
FORK = """
import os, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on forks with threads
import mlx.core as mx
{before}
import lucid_fn
{after}
pid = os.fork()
if pid == 0:
    signal.alarm(300)  # a child that hangs dies
    {child}
    os._exit(0)
print(os.waitpid(pid, 0)[1])
"""
PRODUCT = "assert (mx.ones((700, 700)) @ mx.ones((700, 700)))[1, 2].item() == 700"
SOLVE = (
    "assert abs(scipy.linalg.solve(2 * np.eye(700), np.eye(700))[1, 1] - 0.5) < 1e-9"
)
TORCH = "assert (torch.ones(700, 700) @ torch.ones(700, 700))[1, 2].item() == 700"


def test_threads_that_multiply_at_once_get_right_products(run):
    code = """
import threading
import lucid_fn, mlx.core as mx
right = []
def work(seed):
    a = mx.random.randint(-9, 9, (200, 200), key=mx.random.key(seed))
    expected = (a[:, :, None] * a[None]).sum(1)
    for _ in range(20):
        product = a.astype(mx.float32) @ a.astype(mx.float32)
        right.append(mx.array_equal(product, expected.astype(mx.float32)).item())
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(right), all(right))
"""
    assert run(code) == "80 True"


def test_starting_while_threads_multiply_is_safe(run):
    code = """
import threading
import mlx.core as mx
right, stop = [], threading.Event()
def work():
    a = mx.ones((120, 120))
    while not stop.is_set():
        right.append(mx.all(a @ a == 120).item())
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
import lucid_fn
slots = lucid_fn.cpu.runtime.start().slots
stop.set()
for thread in threads: thread.join()
print(len(right) > 0, all(right), slots > 0)
"""
    assert run(code) == "True True True"


def test_a_child_forked_after_the_import_multiplies(run):
    assert run(FORK.format(before="", after="", child=PRODUCT)) == "0"


def test_a_child_forked_after_a_product_of_the_blas_multiplies(run):
    after = f"import numpy as np, scipy.linalg; {SOLVE}"
    child = f"{SOLVE}; {PRODUCT}"
    assert run(FORK.format(before="", after=after, child=child)) == "0"


def test_a_child_forked_after_mlx_has_computed_can_still_use_the_blas(run):
    """MLX's own threads do not survive a fork, with or without this library."""
    before = f"import numpy as np, scipy.linalg; {PRODUCT}"
    assert run(FORK.format(before=before, after=PRODUCT, child=SOLVE)) == "0"


def test_the_parent_multiplies_after_a_fork(run):
    code = FORK.format(before="", after=PRODUCT, child="pass") + PRODUCT
    assert run(code) == "0"


def test_a_spawned_process_multiplies_after_mlx_has_computed(run, tmp_path):
    module = tmp_path / "spawned.py"
    module.write_text(f"""
import multiprocessing
import mlx.core as mx
import lucid_fn
def work(_):
    {PRODUCT}
    return lucid_fn.cpu.runtime.start().slots
if __name__ == "__main__":
    {PRODUCT}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(work, [0])[0] > 0)
""")
    code = f"import runpy; runpy.run_path({str(module)!r}, run_name='__main__')"
    assert run(code, PYTHONPATH=f"{tmp_path}:{root()}") == "True"


def root() -> str:
    return importlib.util.find_spec("lucid_fn").submodule_search_locations[0] + "/.."


@pytest.mark.parametrize("order", ["before", "after"])
def test_scipy_and_mlx_compute_in_one_process(run, order):
    use = f"import numpy as np, scipy.linalg; {SOLVE}"
    start = "import mlx.core as mx, lucid_fn"
    lines = [use, start] if order == "before" else [start, use]
    assert run("\n".join([*lines, PRODUCT, SOLVE, PRODUCT, "print('ok')"])) == "ok"


@needs_torch
@pytest.mark.parametrize("order", ["before", "after"])
def test_pytorch_and_mlx_compute_in_one_process(run, order):
    use = f"import torch; {TORCH}"
    start = "import mlx.core as mx, lucid_fn"
    lines = [use, start] if order == "before" else [start, use]
    assert run("\n".join([*lines, PRODUCT, TORCH, PRODUCT, "print('ok')"])) == "ok"
