"""Assigns the leaves of a tree to streams, one for each core.

On one stream, an optimizer's update is bound by one core (29 ms for Adam on 11 million
parameters), so large leaves are distributed over all streams.
"""

from lucid_fn.cpu.parallel.streams import available

_MIN_SIZE = 1 << 15  # of a leaf that is worth another stream


def parts_of_leaves(sizes: list[int]) -> list[int]:
    """The stream of each leaf: the largest leaf first, to the least busy stream.

    Args:
        sizes: number of elements of each leaf; small leaves stay on stream 0.
    """
    busy, parts = [0] * available(), [0] * len(sizes)
    for leaf in sorted(range(len(sizes)), key=lambda leaf: -sizes[leaf]):
        if sizes[leaf] >= _MIN_SIZE:
            parts[leaf] = busy.index(min(busy))
            busy[parts[leaf]] += sizes[leaf]
    return parts
