"""One peer in a process of its own, which takes its turns on request.

Reads a number of steps from each line of standard input, and answers with a line of
JSON: the seconds of each step. Its first line tells how long the first step took.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path

from tests.benchmarks.workloads import WORKLOADS

# Model code of our own, and of others, prints; the answers go where they go.
answers = sys.stdout
sys.stdout = sys.stderr


def say(**values: object) -> None:
    print(json.dumps(values), file=answers, flush=True)


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def held_bytes() -> int:
    """The memory of the process now: to tell the model's share from the imports'."""
    if sys.platform != "linux":
        return peak_bytes()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(module: str, variant: str, name: str, size: str, side: str) -> None:
    peer = importlib.import_module(f"tests.benchmarks.peers.{module}")
    workload = WORKLOADS[name]
    if pixels := int(side):
        workload = workload._replace(shape=(pixels, pixels, workload.shape[-1]))
    run = peer.make(workload, int(size), variant)
    imported = held_bytes()
    say(first=seconds(run), imported=imported)
    for line in sys.stdin:
        times = [seconds(run) for _ in range(int(line))]
        say(times=times, peak=peak_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
