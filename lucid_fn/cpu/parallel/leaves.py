"""Which core computes which leaf of a tree.

An optimizer's update is bound by the one core that evaluates a stream: Adam on 11
million parameters takes 29 ms there, so large leaves are handed over to other streams.
"""

from lucid_fn.cpu.parallel.streams import available

_LEAST = 1 << 15  # numbers of a leaf that is worth handing over to another core


def parts_of_leaves(sizes: list[int]) -> list[int]:
    """The stream of each leaf, 0 for small ones: the largest first, to the least busy.

    Args:
        sizes: numbers in each leaf.
    """
    busy, parts = [0] * available(), [0] * len(sizes)
    for leaf in sorted(range(len(sizes)), key=lambda leaf: -sizes[leaf]):
        if sizes[leaf] >= _LEAST:
            parts[leaf] = busy.index(min(busy))
            busy[parts[leaf]] += sizes[leaf]
    return parts
