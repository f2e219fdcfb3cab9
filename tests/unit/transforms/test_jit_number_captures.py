"""jit: captured numbers in containers."""

import mlx.core as mx
import pytest

import lucid_fn as lf


@pytest.mark.parametrize(
    ("made", "changed"),
    [
        ({"rate": 0.1}, lambda config: config.update(rate=0.2)),
        ({"rate": 0.1, "sizes": [1, 2]}, lambda config: config["sizes"].append(3)),
        ([0.1, 0.2], lambda config: config.__setitem__(0, 0.3)),
    ],
)
def test_a_changed_number_in_a_container_is_noticed(made, changed):
    @lf.jit
    def scaled(x):
        return x * (made["rate"] if isinstance(made, dict) else made[0])

    assert scaled(mx.array(1.0)).item() == scaled(mx.array(1.0)).item()
    changed(made)
    with pytest.raises(ValueError, match=r"`scaled` reads `made`, which .* changed"):
        scaled(mx.array(1.0))


def test_counters_of_traces_are_not_watched():
    calls, counts = [], {"calls": 0}

    @lf.jit
    def doubled(x):
        calls.append(1)
        counts["calls"] += 1
        return 2 * x

    for size in (1, 1, 2, 3, 2):
        assert doubled(mx.ones(size)).shape == (size,)
    assert calls == [1] * 3
    assert counts == {"calls": 3}


def test_a_long_list_of_numbers_is_not_read_at_every_call():
    table = list(range(1000))

    @lf.jit
    def first(x):
        return x + table[0]

    first(mx.array(1.0))
    table[0] = 5
    assert first(mx.array(1.0)).item() == 1
