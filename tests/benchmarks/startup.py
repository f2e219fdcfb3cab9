"""What a process pays before it computes: imports, and the start of the runtime."""

import subprocess
import sys
from statistics import median

from tests.benchmarks.turns import ROOT

# The runtime alone, without the rest of the library.
RUNTIME = """
import sys, types
import mlx.core
package = types.ModuleType("lucid_fn")
package.__path__ = ["lucid_fn"]
sys.modules["lucid_fn"] = package
"""
BASE = "mlx.core, numpy"  # what every user of MLX imports
PROGRAMS = {
    **{name: ("", f"import {name}") for name in (BASE, "lucid_fn", "torch", "jax")},
    "mlx.nn": ("", "import mlx.nn"),
    "lucid_fn.cpu.runtime": (RUNTIME, "from lucid_fn import runtime; runtime.start()"),
}


def measure(rounds: int = 7) -> dict[str, float]:
    """Median seconds in fresh processes, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds):
        for name, (setup, timed) in PROGRAMS.items():
            times[name].append(_seconds(setup, timed))
    return {name: median(values) for name, values in times.items()}


def _seconds(setup: str, timed: str) -> float:
    program = (
        f"{setup}\nimport time; start = time.perf_counter()\n"
        f"{timed}\nprint(time.perf_counter() - start)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=ROOT)
    return float(done.stdout)
