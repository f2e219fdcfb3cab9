"""The built-in model in place of the one of a user's own layers, named `...-own`."""

from collections.abc import Callable

from tests.benchmarks.peers import lucid
from tests.benchmarks.workloads import Workload


def make(workload: Workload, size: int, variant: str) -> Callable[[], object]:
    built_in = workload._replace(model=workload.model.removesuffix("-own"))
    return lucid.make(built_in, size, variant)
