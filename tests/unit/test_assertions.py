"""The assertions of the tests fail where they should."""

import mlx.core as mx
import pytest

from tests.assertions import assert_close

A = {"w": mx.array([100.0, 1.0]), "b": [mx.array([0.5], mx.bfloat16)]}


def moved(difference):
    return {**A, "w": A["w"] + mx.array([0.0, difference])}


@pytest.mark.parametrize("bound", ["rtol", "atol", "of_largest"])
def test_a_tree_is_close_to_itself(bound):
    assert_close(A, A, **{bound: 0.0})


@pytest.mark.parametrize(
    ("bound", "scale"), [("rtol", 1.0), ("atol", 1.0), ("of_largest", 100.0)]
)
def test_each_bound_has_its_scale(bound, scale):
    assert_close(moved(0.009 * scale), A, **{bound: 0.01})
    with pytest.raises(AssertionError, match=r"\.w|w"):
        assert_close(moved(0.011 * scale), A, **{bound: 0.01})


@pytest.mark.parametrize(
    "other", [{"w": A["w"]}, {**A, "c": A["w"]}, {**A, "w": A["w"][:1]}, [1, 2]]
)
def test_other_structures_and_shapes_are_not_close(other):
    with pytest.raises(AssertionError):
        assert_close(other, A, atol=1000.0)


def test_nan_is_close_to_nothing_but_itself():
    nan = {**A, "w": A["w"] * float("nan")}
    assert_close(nan, nan)
    with pytest.raises(AssertionError):
        assert_close(nan, A, atol=1000.0)
