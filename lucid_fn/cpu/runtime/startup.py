"""Sets up MLX on Linux CPUs, once in each process."""

import functools
import os
import sys
import warnings
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.cpu.runtime import allocator, blas, scheduling
from lucid_fn.cpu.runtime.cores import physical_cores
from lucid_fn.cpu.runtime.errors import Unavailable

BLAS_VARIABLE, MALLOC_VARIABLE = "LUCID_FN_BLAS", "LUCID_FN_MALLOC"
SCHEDULING_VARIABLE = "LUCID_FN_SCHEDULING"
ORDER_VARIABLE = "MLX_BFS_MAX_WIDTH"


class Status(NamedTuple):
    """What `start` has done to the process."""

    blas: str | None = None  # file of the optimised BLAS that MLX calls, if it has one
    slots: int = 0  # pointers in MLX's library that now lead to it
    allocator: bool = False  # whether glibc's allocator was tuned
    scheduling: bool = False  # whether threads were put under SCHED_BATCH
    notes: tuple[str, ...] = ()  # what was skipped, and why
    problems: tuple[str, ...] = ()  # what failed, what that costs and the remedy


@functools.cache
def start() -> Status:
    """Give MLX an optimised BLAS and make malloc keep freed memory, once per process.

    MLX also evaluates graphs breadth first from then on, so that all cores advance
    together, and the importing thread no longer preempts those that compute.

    Does nothing unless MLX computes on a Linux CPU. Results change by rounding only.
    `LUCID_FN_BLAS=none`, `LUCID_FN_MALLOC=none` and `LUCID_FN_SCHEDULING=none` switch
    parts off; `LUCID_FN_BLAS=/path/to/lib.so` names another BLAS. If the BLAS or the
    allocator cannot be set up, a `RuntimeWarning` says what that costs and what to do.

    Returns:
        What was done; the same object at each call.

    Example:
        >>> from lucid_fn.cpu import runtime
        >>> runtime.start() is runtime.start()
        True
    """
    system = sys.platform  # a variable, or type checkers skip branches elsewhere
    if system != "linux":
        return Status(notes=(f"nothing to do on {system}",))
    if mx.default_device() != mx.cpu:
        return Status(notes=("nothing to do on a GPU",))
    _evaluate_breadth_first()
    status = _schedule(_tune_allocator(_provide_blas(Status())))
    if status.problems:
        # The frame that imports lucid_fn.
        warnings.warn(_message(status.problems), RuntimeWarning, stacklevel=4)
    return status


def blas_threads() -> int:
    """The number of threads for a matrix product; 0 if the BLAS does not tell.

    Example:
        >>> from lucid_fn.cpu import runtime
        >>> runtime.blas_threads() >= 0
        True
    """
    library = _library()
    return 0 if library is None else blas.threads(library)


def set_blas_threads(number: int) -> int:
    """Set the number of threads for a matrix product, unless the user has.

    One is best if streams keep the cores busy: a training step of ResNet-18 on two
    cores takes 1.46 s with two streams and one thread for each product, 1.89 s with one
    stream and two threads, 1.97 s with two of both (idle BLAS threads spin). A single
    large product is faster with all cores.

    Args:
        number: threads, at least 1. `OPENBLAS_NUM_THREADS` and `OMP_NUM_THREADS` take
            precedence. SciPy shares the library, and so the number.

    Returns:
        The number in effect, as from `blas_threads()`.

    Raises:
        ValueError: if `number` is less than 1.

    Example:
        >>> from lucid_fn.cpu import runtime
        >>> number = runtime.set_blas_threads(runtime.blas_threads() or 1)
        >>> number == runtime.blas_threads()
        True
    """
    if number < 1:
        raise ValueError(f"set_blas_threads: number must be at least 1, got {number}")
    library = _library()
    if library is None:
        return 0
    blas.set_threads(library, number)
    return blas.threads(library)


@functools.cache
def packs_small_products() -> bool:
    """Whether the BLAS packs its operands for products of small matrices, too.

    OpenBLAS with kernels for AVX-512 does not pack them, up to a million
    multiplications; several small products can then be faster than one large one.

    Example:
        >>> from lucid_fn.cpu import runtime
        >>> runtime.packs_small_products() in (True, False)
        True
    """
    library = _library()
    return library is None or blas.kernels(library) not in blas.UNPACKING


def _library() -> blas.Blas | None:
    """The optimised BLAS that MLX calls."""
    path = start().blas
    try:
        return None if path is None else blas.load(path)
    except Unavailable:  # MLX is linked with it under other function names
        return None


def _provide_blas(status: Status) -> Status:
    """Make MLX call an optimised BLAS."""
    choice = os.environ.get(BLAS_VARIABLE, "")
    if choice == "none":
        return status._replace(notes=(*status.notes, f"{BLAS_VARIABLE}=none"))
    if not choice and (own := blas.own_blas()):
        note = "MLX was linked with an optimised BLAS"
        return status._replace(blas=own, notes=(*status.notes, note))
    try:
        library = blas.load(choice or blas.scipy_openblas())
        slots = blas.redirect(library)
    except Unavailable as error:
        remedy = f"unset {BLAS_VARIABLE}" if choice else "pip install --upgrade scipy"
        problem = (
            f"MLX keeps its slow BLAS ({error}), so matrix products and convolutions "
            f"take tens of times as long as they could; {remedy}, or set "
            f"{BLAS_VARIABLE} to the file of a BLAS with cblas_sgemm"
        )
        return status._replace(problems=(*status.problems, problem))
    blas.set_threads(library, min(blas.threads(library), physical_cores()))
    return status._replace(blas=library.path, slots=slots)


def _evaluate_breadth_first() -> None:
    """Make MLX order graphs breadth first, so that the parts of a batch run together.

    MLX has at most ten operations in flight. In depth-first order these belong to one
    part, and the streams of the others wait. MLX switches to it beyond a width of 20
    nodes. The graph of a step has one for each gradient, running statistic and
    optimizer state: with a limit of 100 the halves of a batch pass through six
    transformer blocks one after the other. The order of gradients
    (`lucid_fn.cpu.parallel.gradient_order`) saves the memory that breadth would cost.
    MLX reads the variable at its first evaluation only.
    """
    os.environ.setdefault(ORDER_VARIABLE, "1000")


def _tune_allocator(status: Status) -> Status:
    """Make the allocator keep freed memory."""
    if os.environ.get(MALLOC_VARIABLE) == "none":
        return status._replace(notes=(*status.notes, f"{MALLOC_VARIABLE}=none"))
    try:
        allocator.tune()
    except Unavailable as error:
        problem = (
            f"the allocator stays as it is ({error}), so a training step may spend a "
            "tenth of its time on fresh memory; use glibc's malloc"
        )
        return status._replace(problems=(*status.problems, problem))
    return status._replace(allocator=True)


def _schedule(status: Status) -> Status:
    """Keep this thread from preempting those that compute."""
    if os.environ.get(SCHEDULING_VARIABLE) == "none":
        return status._replace(notes=(*status.notes, f"{SCHEDULING_VARIABLE}=none"))
    try:
        scheduling.use_batch_policy()
    except Unavailable as error:  # costs too little for a warning
        return status._replace(notes=(*status.notes, str(error)))
    return status._replace(scheduling=True)


def _message(problems: tuple[str, ...]) -> str:
    """The text of the warning."""
    switches = f"{BLAS_VARIABLE}=none and {MALLOC_VARIABLE}=none"
    return (
        f"lucid_fn: {'. '.join(problems)}. ({switches} leave all as it is, silently.)"
    )
