"""Many sums over MLX's ring, as in a training loop: does one of them hang?"""

import sys
import time

from tests.faults.groups import start


def run(count: int, workers: int, seed: int) -> int:
    """0 if all sums came back and were right."""
    began = time.monotonic()
    options = ("--timeout", "60")  # a sum that hangs ends the run with a message
    launcher = start(__file__, count, seed, workers=workers, options=options)
    assert launcher.stdout is not None
    for line in launcher.stdout:
        print(line, end="", flush=True)
    print(f"{time.monotonic() - began:.1f} s, exit code {launcher.wait()}")
    return launcher.returncode


def worker(count: int, seed: int) -> None:
    import mlx.core as mx
    import numpy as np

    import lucid_fn as lf
    from lucid_fn import distributed
    from lucid_fn.distributed.agreement import should_stop, waiting

    group = distributed.init()
    sizes = np.random.default_rng(seed).choice([1, 7, 1000, 44_000, 300_000], 20)

    @lf.jit
    def step(x: mx.array, w: mx.array) -> mx.array:
        y = mx.tanh(x @ w)  # the ranks compute between their sums
        return distributed.all_sum(x + 0 * y.sum(), group)

    w = mx.zeros((1,))
    slowest, wrong, before = 0.0, 0, time.perf_counter()
    with waiting(group, "sums"):
        for i in range(count):
            size = int(sizes[i % len(sizes)])
            x = mx.full((size, 1), float(group.rank + i % 3 + 1))
            expected = sum(rank + i % 3 + 1 for rank in range(group.size))
            total = step(x, w.reshape(1, 1))
            wrong += total[-1, 0].item() != expected
            should_stop(group, asked=False)
            now = time.perf_counter()
            slowest, before = max(slowest, now - before if i > 40 else 0.0), now
            if group.rank == 0 and (i + 1) % 5000 == 0:
                print(f"{i + 1} sums, {wrong} wrong, slowest {slowest:.2f} s")
    assert not wrong


if __name__ == "__main__":
    worker(int(sys.argv[1]), int(sys.argv[2]))
