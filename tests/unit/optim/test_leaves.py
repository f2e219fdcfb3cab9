"""Large leaves of a tree are computed on streams of their own."""

from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, strategies as st

import lucid_fn as lf
from lucid_fn import ops, optim
from lucid_fn.cpu.parallel import leaves as cpu_leaves
from lucid_fn.ops.seam import current_part, tuned
from lucid_fn.optim import leaves

LARGE = cpu_leaves._MIN_SIZE


def test_leaves_is_the_only_seam_to_the_streams_of_ops():
    folder = Path(leaves.__file__).parent
    users = [p.name for p in folder.glob("*.py") if "lucid_fn.ops" in p.read_text()]
    assert users == ["leaves.py"]


@given(st.lists(st.integers(0, 4 * LARGE), max_size=12), st.integers(1, 4))
def test_small_leaves_stay_and_no_stream_has_more_than_its_share(sizes, streams):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_leaves, "available", lambda: streams)
        places = cpu_leaves.parts_of_leaves(sizes)
    assert len(places) == len(sizes)
    busy = [0] * streams
    for size, place in zip(sizes, places, strict=True):
        if size < LARGE:
            assert place == 0
        else:
            busy[place] += size
    # The largest-first rule: at most one leaf above the least busy.
    assert max(busy) - min(busy) <= max(sizes, default=0)


@pytest.fixture
def three_streams(monkeypatch):
    monkeypatch.setattr(cpu_leaves, "available", lambda: 3)


def tree_of(value: float) -> dict[str, mx.array]:
    return {
        "small": mx.full((3,), value),
        "a": mx.full((LARGE + 1,), value),
        "b": mx.full((2, LARGE), value),
        "c": mx.full((LARGE,), value),
    }


@pytest.mark.skipif(not tuned(), reason="plain formulations stay on one stream")
def test_each_large_leaf_has_a_stream_of_its_own(three_streams):
    seen = {}

    def note(path, x):
        seen[path] = current_part()
        return x

    leaves.map_with_path(note, tree_of(1.0))
    assert seen == {"small": None, "b": None, "a": 1, "c": 2}


def test_plain_formulations_stay_on_one_stream(three_streams):
    with ops.plain():
        leaves.map(lambda x: pytest.fail() if current_part() else x, tree_of(1.0))


@pytest.mark.parametrize("jit", [False, True])
def test_an_update_is_the_same_on_any_number_of_streams(monkeypatch, jit):
    optimizer = optim.adam(1e-2, weight_decay=0.1)

    def run(params, grads):
        updates, state = optimizer.update(grads, optimizer.init(params), params)
        return optim.apply_updates(params, updates), state

    results = []
    for streams in (1, 3):
        monkeypatch.setattr(cpu_leaves, "available", lambda streams=streams: streams)
        run_now = lf.jit(run) if jit else run
        results.append(lf.tree.leaves(run_now(tree_of(1.0), tree_of(0.5))))
    for one, three in zip(*results, strict=True):
        assert mx.array_equal(one, three).item()
