"""Sums on GPUs, whose threads add up a part each: few operations, every number."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import numerics, tree


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))


def sums(fn, x):
    """How many sums MLX computes for `fn(x)`."""
    names = []
    mx.export_function(lambda seen: names.append(seen.get("name")), fn, x)
    return names.count("Reduce")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((65_536, 64), 1),  # of which 1024 threads add up 64 each
        ((2048, 64), 1),
        ((2048, 8192), 1),
        ((5003, 8192), 3),  # 32 threads: of each block, of these, of the rest
        ((131_072, 64), 2),
        ((33_554_432, 1), 2),
    ],
)
def test_a_gpu_sums_rows_in_few_operations(shape, expected, gpu):
    x = mx.broadcast_to(mx.array(1.0), shape)
    assert sums(numerics.sum_rows, x) == expected


def test_a_gpu_takes_the_norm_of_each_weight_of_a_network_by_one_sum(gpu):
    params = {"weight": mx.ones((512, 128)), "bias": mx.ones((512,))}

    def norm(flat):
        parts = {"weight": flat[512:].reshape(512, 128), "bias": flat[:512]}
        return tree.global_norm(parts)

    flat = mx.concatenate([params["bias"], params["weight"].flatten()])
    assert sums(norm, flat) == 2


@given(rows=st.integers(0, 200_000), columns=st.integers(1, 3), seed=st.integers(0, 99))
def test_long_blocks_add_up_every_row(rows, columns, seed):
    x = np.random.default_rng(seed).integers(0, 9, (2, rows, columns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
        found = numerics.sum_rows(mx.array(x.astype(np.float32)))
        everything = numerics.total(mx.array(x.astype(np.float32)))
    assert found.tolist() == x.sum(axis=1).tolist()
    assert everything.item() == x.sum()
