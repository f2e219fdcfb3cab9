"""Times a matrix product, a convolution and a chain of elementwise operations."""

import time
from collections.abc import Callable

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.cpu import runtime
from lucid_fn.doctor.check import Check, on_cpu, on_linux_cpu, plural
from lucid_fn.types import Array

# Rates below these are slow. A reference BLAS reaches 7 GFLOP/s on a core that can do
# 200, a small ARM core 10; unfused operations on fresh memory reach 1 of 30 GB/s.
MIN_GFLOPS = 10  # for each core
MIN_GIGABYTES_PER_SECOND = 4


def matmul() -> Check:
    """The rate of a large matrix product."""
    a = mx.random.normal((1024, 1024), key=mx.random.key(0))
    seconds = best_seconds(lambda: a @ a)
    threads = max(runtime.blas_threads(), 1)
    on = f" on {plural(threads, 'thread')}" if on_linux_cpu() else ""
    work = f"1024 x 1024{on}"
    return _rate("matmul", work, 2 * 1024**3, seconds, threads)


def conv2d() -> Check:
    """The rate of a convolution, and whether it agrees with MLX's own."""
    keys = mx.random.split(mx.random.key(0))
    x = mx.random.normal((32, 32, 32, 64), key=keys[0])
    weight = mx.random.normal((64, 3, 3, 64), key=keys[1]) / 24  # results are about 1
    with ops.plain():
        expected = ops.conv2d(x, weight, padding=1)
    if not mx.allclose(ops.conv2d(x, weight, padding=1), expected, atol=1e-3).item():
        advice = "set LUCID_FN_OPS=plain, and report this"
        return Check("conv2d", "broken", "differs from MLX's own", advice)
    seconds = best_seconds(lambda: ops.conv2d(x, weight, padding=1))
    cores = runtime.physical_cores() if on_linux_cpu() else 1
    flops = 2 * (x.size // 64) * weight.size  # as a direct convolution counts them
    return _rate("conv2d", "3x3 on (32, 32, 32, 64)", flops, seconds, cores)


def elementwise() -> Check:
    """The memory throughput of a compiled chain of operations."""
    x = mx.random.normal((8 << 20,), key=mx.random.key(0))
    chain = mx.compile(lambda x: mx.maximum(x * 2 + 1, x - 3) * x)
    seconds = best_seconds(lambda: chain(x))
    rate = 2 * x.nbytes / seconds / 1e9
    found = f"5 operations on 8 M numbers: {1e3 * seconds:.1f} ms, {rate:.1f} GB/s"
    numbers = {"milliseconds": 1e3 * seconds, "gigabytes_per_second": rate}
    if rate >= MIN_GIGABYTES_PER_SECOND or not on_cpu():
        return Check("elementwise", "ok", found, numbers=numbers)
    advice = "see allocator and compiler; if they are ok, this is the machine's memory"
    return Check("elementwise", "slow", found, advice, numbers)


def best_seconds(compute: Callable[[], Array], repeats: int = 7) -> float:
    """The shortest time of several evaluations, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        mx.eval(compute())
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _rate(name: str, work: str, flops: int, seconds: float, cores: int) -> Check:
    """The check of `flops` operations in `seconds` on a number of cores."""
    gflops = flops / seconds / 1e9
    found = f"{work}: {1e3 * seconds:.1f} ms, {gflops:.0f} GFLOP/s"
    numbers = {"milliseconds": 1e3 * seconds, "gflops": gflops}
    if gflops >= MIN_GFLOPS * cores or not on_cpu():
        return Check(name, "ok", found, numbers=numbers)
    advice = "see BLAS and environment; if they are ok, repeat on an idle machine"
    return Check(name, "slow", found, advice, numbers)
