"""Steps and sums of groups of 1, 2 and 4 processes on this machine.

    python -m tests.benchmarks.groups steps --rounds 3
    python -m tests.benchmarks.groups sums --rounds 3
    python -m tests.benchmarks.groups overlap

The sizes take turns, so that all see the same other load. It prints the smallest and
the median time of a step, and the processor time of all processes together.

`overlap` says when, within a step, the gradients of each layer have been summed, and
how much longer the step takes if the other process is late for each sum.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

STEPS = {"lenet": (64, 60), "mlp": (64, 60), "resnet18": (32, 6)}  # batch, steps
SUMS = {44_000: 200, 11_000_000: 6}  # numbers, repetitions


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "what", choices=["steps", "sums", "step", "sum", "overlap", "late"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--name", default=None)
    chosen = parser.parse_args()
    if chosen.what == "step":
        print(json.dumps(step(chosen.name)))
    elif chosen.what == "sum":
        print(json.dumps(sums()))
    elif chosen.what == "late":
        late()
    elif chosen.what == "overlap":
        command = [sys.executable, "-m", "lucid_fn", "launch", "-n", "2", __file__]
        subprocess.run([*command, "late"], check=True)
    else:
        names = [chosen.name] if chosen.what == "sums" or chosen.name else [*STEPS]
        for name in names:
            take_turns(chosen.what[:-1], name, chosen.sizes, chosen.rounds)


def take_turns(what: str, name: str | None, sizes: list[int], rounds: int) -> None:
    """All sizes, one after the other, several times."""
    found: dict[str, list[dict]] = {}
    for _ in range(rounds):
        for size in sizes:
            if what == "sum" and size == 1:
                continue
            for case in launched(what, name, size):
                found.setdefault(f"{case['name']}, {size} processes", []).append(case)
    for label, cases in found.items():
        least = min(case["least"] for case in cases)
        median = statistics.median(case["median"] for case in cases)
        cpu = min(case["cpu"] for case in cases)
        print(
            f"{label}: least {1e3 * least:.2f} ms, median {1e3 * median:.2f} ms, "
            f"processors {1e3 * cpu:.2f} ms",
            flush=True,
        )


def launched(what: str, name: str | None, size: int) -> list[dict]:
    """What rank 0 measured, with the processor time of all ranks."""
    options = [] if name is None else ["--name", name]
    command = [sys.executable, "-m", "lucid_fn", "launch", "-n", str(size), __file__]
    done = subprocess.run([*command, what, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads(line.split("] ", 1)[1]) for line in done.stdout.splitlines()]
    return [
        {**same[0], "cpu": sum(case["cpu"] for case in same)}
        for same in zip(*ranks, strict=True)
    ]


def step(name: str) -> list[dict]:
    import numpy as np

    from lucid_fn import data, distributed, losses, models, optim, random, train

    group = distributed.init()
    models_by_name = {
        "lenet": (models.lenet5, (28, 28, 1)),
        "mlp": (mlp, (28, 28, 1)),
        "resnet18": (models.cifar_resnet18, (32, 32, 3)),
    }
    make, shape = models_by_name[name]
    batch, steps = STEPS[name]
    draw = np.random.default_rng(0)
    x = draw.standard_normal((batch, *shape)).astype(np.float32)
    labels = draw.integers(0, 10, batch).astype(np.int32)
    shard = (group.rank, group.size)
    [(x, labels)] = data.batches((x, labels), batch, shard=shard)
    model, optimizer = make(), optim.sgd(0.01, momentum=0.9)
    loss = losses.softmax_cross_entropy
    run = train.make_step(model, optimizer, loss, group=group)
    ts = train.init(model, optimizer, random.key(0))

    def once() -> None:
        nonlocal ts
        ts, metrics = run(ts, x, labels)
        metrics["loss"].item()

    for _ in range(3):
        once()
    return [timed(name, once, steps)]


def mlp():
    from lucid_fn import nn

    return nn.serial(
        *(nn.flatten, nn.linear(784, 512), nn.relu),
        *(nn.linear(512, 512), nn.relu, nn.linear(512, 10)),
    )


def sums() -> list[dict]:
    import mlx.core as mx

    import lucid_fn as lf
    from lucid_fn import distributed

    group = distributed.init()
    found = []
    for count, times in SUMS.items():
        for dtype in (mx.float32, mx.bfloat16):
            x = mx.ones((count,), dtype)
            run = lf.jit(lambda x: distributed.all_sum(x, group))
            mx.eval(run(x))
            name = f"{count:,} numbers of {str(dtype).rpartition('.')[2]}"
            found.append(timed(name, lambda run=run, x=x: mx.eval(run(x)), times))
    return found


def late() -> None:
    """A step of rank 0, while rank 1 does nothing but its sums, each of them late."""
    import mlx.core as mx

    import lucid_fn as lf
    from lucid_fn import distributed, nn, optim, random, tree

    layers, width, batch = 10, 1024, 1024
    group, count = distributed.init(), width * width
    layer = nn.serial(nn.linear(width, width, bias=False), nn.relu)
    model = nn.repeat(layer, layers)
    params, state = model.init(random.key(0))
    x = random.normal(random.key(1), (batch, width))
    average = optim.average_gradients(group, bucket_bytes=4 * count)  # one for each

    def loss(params):
        return mx.mean(model.apply(params, state, x, train=False)[0] ** 2)

    @lf.jit
    def step(params):
        grads, _ = average.update(lf.grad(loss)(params), (), params)
        return tree.map(lambda p, g: p - 0.01 * g, params, grads)

    mx.eval(step(params))
    for delay in (0.0, 0.04) * 4:
        distributed.barrier(group)
        began, ended = time.perf_counter(), []
        if group.rank == 0:
            mx.eval(step(params))
        for place in range(layers if group.rank == 1 else 0):
            time.sleep(delay)
            x = mx.zeros(count + (place == 0))  # with the weight of the mean
            mx.eval(mx.distributed.all_sum(x, group=group.handle))
            ended.append(round(1e3 * (time.perf_counter() - began)))
        took = 1e3 * (time.perf_counter() - began)
        found = f"sums end after {ended} ms" if group.rank else f"step {took:.0f} ms"
        print(f"{1e3 * delay:.0f} ms late: {found}", flush=True)


def timed(name: str, once, times: int) -> dict:
    walls, cpu = [], time.process_time()
    for _ in range(times):
        began = time.perf_counter()
        once()
        walls.append(time.perf_counter() - began)
    used = (time.process_time() - cpu) / times
    return {
        "name": name,
        "least": min(walls),
        "median": statistics.median(walls),
        "cpu": used,
    }


if __name__ == "__main__":
    main()
