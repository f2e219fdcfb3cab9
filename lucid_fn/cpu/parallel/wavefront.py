"""Runs stacked recurrent layers, or the two directions of one, on several cores.

A step of a recurrence is one small product and a dozen small operations, for which
MLX's overhead is about as long as the arithmetic; dividing the batch would double the
number of operations. So small steps are divided by layer: the sequence passes through
the layers in chunks, and layer k processes chunk c + 1 while layer k + 1 processes the
output for chunk c.
"""

from itertools import pairwise

from lucid_fn.cpu.parallel.streams import available, count

# Few chunks leave cores idle at both ends of the sequence; many add operations.
_MIN_STEPS, _MAX_CHUNKS = 16, 8

# Multiplications of a step: with fewer, the Python thread is the bottleneck; with more,
# the overhead of operations is small.
_MIN_MULTIPLICATIONS, _LARGE = 1 << 20, 1 << 24


def chunks_of_sequence(
    length: int, layers: int, directions: int, multiplications: int
) -> list[int] | None:
    """`ops.seam.chunks_of_sequence`."""
    beside = directions if directions > 1 else layers
    chunks = 1 if directions > 1 else min(length // _MIN_STEPS, _MAX_CHUNKS)
    if (
        not _MIN_MULTIPLICATIONS <= multiplications < _LARGE
        or max(chunks, directions) < 2
    ):
        return None
    # `count` comes last, since it sets the BLAS to one thread.
    if available() < 2 or beside % available() or count() < available():
        return None
    ends = [length * chunk // chunks for chunk in range(chunks + 1)]
    return [end - start for start, end in pairwise(ends)]


def core_of(place: int) -> int:
    """The part, and so the core, of the layer or direction with this number."""
    return place % count()
