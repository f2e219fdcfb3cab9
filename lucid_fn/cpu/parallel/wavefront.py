"""Recurrent layers beside each other, each on a core of its own.

A step of a recurrence is one small product and a dozen small operations, each of which
takes MLX about as long as its arithmetic. Half of the batch on each core makes twice as
many of them. So layers are divided among the cores, and not the batch, while steps are
small: the sequence goes through the layers in chunks, and layer k has chunk c + 1 while
layer k + 1 has what came out for chunk c.
"""

from itertools import pairwise

from lucid_fn.cpu.parallel.streams import available, count

# Fewer chunks leave cores without work at both ends of the sequence, and more have more
# operations of their own.
_STEPS, _MOST = 16, 8

# Multiplications of a step: with fewer, Python's thread has more work than the cores,
# and with more the operations of a step take little of the time.
_FEWEST, _LARGE = 1 << 20, 1 << 24


def chunks_of_sequence(
    length: int, layers: int, directions: int, multiplications: int
) -> list[int] | None:
    """`ops.seam.chunks_of_sequence`."""
    beside = directions if directions > 1 else layers
    chunks = 1 if directions > 1 else min(length // _STEPS, _MOST)
    if not _FEWEST <= multiplications < _LARGE or max(chunks, directions) < 2:
        return None
    # Not `count` at first: it leaves one thread to each product.
    if available() < 2 or beside % available() or count() < available():
        return None
    ends = [length * chunk // chunks for chunk in range(chunks + 1)]
    return [end - start for start, end in pairwise(ends)]


def core_of(place: int) -> int:
    """The part, or core, of one of several things beside each other."""
    return place % count()
