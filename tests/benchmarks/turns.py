"""Peers in processes of their own, timed in turns: A B C, A B C, ..."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from tests.benchmarks.workloads import WORKLOADS, Workload

ROOT = Path(__file__).parents[2]


class Peer(NamedTuple):
    """A framework in one of its variants."""

    label: str
    module: str
    variant: str = ""
    images_only: bool = False


OURS = Peer("lucid_fn", "lucid")
PEERS = (
    OURS,
    Peer("lucid_fn, built in", "lucid_built_in"),
    Peer("PyTorch, eager", "pytorch", "nchw"),
    Peer("PyTorch, eager, channels last", "pytorch", "channels_last", True),
    Peer("PyTorch, torch.compile", "pytorch", "nchw+compile"),
    Peer(
        "PyTorch, torch.compile, channels last",
        "pytorch",
        "channels_last+compile",
        True,
    ),
    Peer("jax, jit", "jax_jit"),
    Peer("mlx.nn with this runtime", "mlx_nn", "tuned"),
    Peer("mlx.nn as installed", "mlx_nn", "installed"),
)

# As installed, MLX takes minutes for a step of 128 images: time 8, and scale.
SLOW = {("resnet18", "installed"): 8}

# A shared machine changes its speed for seconds at a time, so few turns say little. Who
# is that many times slower than this library is behind at any speed, and rests after
# the turns that show it: the others have theirs at shorter intervals.
_FAR_BEHIND, _ENOUGH_TURNS = 2.5, 2

_TURN = 1.0  # seconds, where a workload does not name its steps


class Result(NamedTuple):
    """What was measured of one peer, in seconds and bytes."""

    label: str
    first: float  # the first step, with an empty cache of compiled kernels
    times: list[float]  # of later steps, all turns
    peak: int  # largest resident memory
    scaled_from: int | None  # the batch size timed, if it is not the workload's

    @property
    def median(self) -> float:
        return median(self.times)


@contextmanager
def _process(
    peer: Peer, name: str, size: int, side: int | None, caches: str
) -> Iterator[subprocess.Popen]:
    environment = {
        **os.environ,
        "TMPDIR": caches,  # of MLX's compiled kernels
        "TORCHINDUCTOR_CACHE_DIR": caches + "/inductor",
    }
    command = [sys.executable, "-m", "tests.benchmarks.worker"]
    process = subprocess.Popen(
        [*command, peer.module, peer.variant, name, str(size), str(side or 0)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def _answer(process: subprocess.Popen) -> dict:
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{' '.join(process.args)} ended without an answer")
    return json.loads(line)


def peers_of(workload: Workload) -> list[Peer]:
    return [
        peer
        for peer in PEERS
        if (len(workload.shape) == 3 or not peer.images_only)
        and (workload.compiled or "compile" not in peer.variant)
        and peer.module in workload.modules
    ]


def _steps(workload: Workload, warm: list[float]) -> int:
    """How many steps a turn has, once some are known to take so long."""
    if workload.steps or not warm:
        return workload.steps or 3
    return max(1, min(1000, round(_TURN / median(warm))))


def race(
    name: str,
    rounds: int,
    *,
    size: int | None = None,
    side: int | None = None,
    peers: list[Peer] | None = None,
) -> list[Result]:
    """All peers of a workload in turns; the first turn warms up and does not count.

    `size` is that of the batch and `side` that of the images, if not the workload's.
    """
    workload = WORKLOADS[name]
    size = size or workload.batch_size
    with ExitStack() as stack:
        runners = []
        for peer in peers or peers_of(workload):
            caches = stack.enter_context(tempfile.TemporaryDirectory())
            own = SLOW.get((workload.model, peer.variant), size)
            process = stack.enter_context(_process(peer, name, own, side, caches))
            first = _answer(process)["first"]
            print(f"  {peer.label}: first step {first:.2f} s", flush=True)
            runners.append((peer, process, own, first))
        times: dict[str, list[float]] = {peer.label: [] for peer, *_ in runners}
        warm: dict[str, list[float]] = {}
        peaks: dict[str, int] = {}
        for turn in range(rounds + 1):
            for peer, process, own, first in runners:
                slow = own != size or first > 60
                steps = 1 if slow else _steps(workload, warm.get(peer.label, []))
                ours, theirs = times[OURS.label], times[peer.label]
                if turn > _ENOUGH_TURNS and median(theirs) > _FAR_BEHIND * median(ours):
                    continue
                process.stdin.write(f"{steps}\n")
                process.stdin.flush()
                answer = _answer(process)
                peaks[peer.label] = answer["peak"]
                if turn:
                    scale = size / own
                    times[peer.label] += [t * scale for t in answer["times"]]
                else:
                    warm[peer.label] = answer["times"]
        return [
            Result(
                peer.label,
                first,
                times[peer.label],
                peaks[peer.label],
                own if own != size else None,
            )
            for peer, _, own, first in runners
        ]
