"""Trees as tables, and differences by name."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import tree

A = {"w": mx.array([1.0, 2.0, 3.0]), "n": [mx.array(1), 2]}


def test_equal_trees_have_no_difference():
    same = {"w": mx.array([1.0, 2.0, 3.0]), "n": [mx.array(1), 2]}
    assert tree.diff(A, same) == {}
    nan = {"w": mx.array([mx.nan])}
    assert tree.diff(nan, {"w": mx.array([mx.nan])}) == {}


@pytest.mark.parametrize(
    ("b", "expected"),
    [
        (
            {**A, "w": mx.array([1.0, 2.5, 2.0])},
            {"w": "2 of 3 numbers differ, by up to 1"},
        ),
        ({**A, "w": mx.zeros(2)}, {"w": "float32 (3,) is float32 (2,) in the second"}),
        (
            {**A, "w": A["w"].astype(mx.float16)},
            {"w": "float32 (3,) is float16 (3,) in the second"},
        ),
        ({**A, "n": [mx.array(1), 3]}, {"n.1": "2 is 3 in the second"}),
        ({"w": A["w"]}, {"n.0": "only in the first", "n.1": "only in the first"}),
        ({**A, "z": 1}, {"z": "only in the second"}),
        (
            {**A, "n": (mx.array(1), 2)},
            {"n": "list(0, 1) is tuple(0, 1) in the second"},
        ),
        (
            {**A, "w": mx.array([1.0, mx.nan, 3.0])},
            {"w": "1 of 3 numbers differ, by up to nan"},
        ),
    ],
)
def test_each_difference_is_named(b, expected):
    assert tree.diff(A, b) == expected


def test_small_differences_may_be_allowed():
    b = {**A, "w": mx.array([1.0, 2.0, 3.003])}
    assert tree.diff(A, b) == {"w": "1 of 3 numbers differ, by up to 0.003"}
    assert tree.diff(A, b, rtol=1e-2) == tree.diff(A, b, atol=0.01) == {}


def test_large_integers_and_half_precision_are_compared_exactly():
    big = 2**62
    assert tree.diff(mx.array(big), mx.array(big + 1)) != {}
    assert tree.diff(mx.array([1], mx.bfloat16), mx.array([1], mx.bfloat16)) == {}
    assert tree.diff(mx.array([True]), mx.array([False])) != {}


def test_a_summary_has_a_row_for_each_leaf_and_the_bytes_of_all():
    found = tree.summary({**A, "h": mx.zeros((2, 2), mx.bfloat16), "none": None})
    assert [row.path for row in found.rows] == ["h", "n.0", "n.1", "w"]
    assert found.nbytes == 8 + 4 + 12
    assert [row.dtype for row in found.rows] == ["bfloat16", "int32", "int", "float32"]
    lines = str(found).splitlines()
    assert lines[0].split() == ["path", "shape", "dtype", "numbers", "bytes"]
    assert lines[-1].split() == ["total", "8", "24"]
    assert np.ptp([len(line) for line in lines]) == 0
