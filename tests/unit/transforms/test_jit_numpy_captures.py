"""jit: captured NumPy values."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import jit


def test_numpys_arrays_and_numbers_are_watched_too():
    table, scale = np.array([1.0, 2.0], np.float32), np.float32(2.0)

    @jit
    def by_table(x):
        return x * mx.array(table)

    @jit
    def by_scale(x):
        return x * scale

    x = mx.ones((2,))
    assert by_table(x).tolist() == [1.0, 2.0]
    assert by_scale(x).tolist() == [2.0, 2.0]
    table, scale = np.array([9.0, 9.0], np.float32), np.float32(5.0)
    for function, name in (by_table, "table"), (by_scale, "scale"):
        with pytest.raises(ValueError, match=f"reads `{name}`, .* has changed"):
            function(x)
