"""One rule for numbers: what is one, what range it has to be in, what an error says."""

import sys

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.checks import check_count, check_number, check_scalar, signature_of


@pytest.mark.parametrize(
    "value",
    [1, 0.5, np.float32(0.5), np.float64(0.5), np.int64(1), np.uint8(1), np.array(0.5)],
)
def test_numbers_of_python_and_numpy_are_numbers(value):
    for check in (check_number, check_scalar):
        number = check("f", "x", value)
        assert type(number) is float
        assert number == float(value)


@pytest.mark.parametrize(
    "value", ["1", "x", b"1", None, True, np.bool_(True), 1j, np.ones(2), [1.0], object]
)
@pytest.mark.parametrize("check", [check_number, check_scalar, check_count])
def test_nothing_else_is_a_number(check, value):
    with pytest.raises(TypeError, match=r"^f: x must be (a number|an integer).*, got "):
        check("f", "x", value)


BOUNDS = [
    ({}, float("inf"), "finite, got inf"),
    ({}, float("nan"), "finite, got nan"),
    ({}, 10**400, "finite, got an int beyond the range of floats"),
    ({"above": 0}, 0, "positive and finite, got 0"),
    ({"above": 1.5}, 1, "above 1.5 and finite, got 1"),
    ({"at_least": 0}, -1, "at least 0 and finite, got -1"),
    ({"at_most": 2}, 3, "at most 2 and finite, got 3"),
    ({"below": 2}, 2, "below 2 and finite, got 2"),
    ({"at_least": 0, "below": 1}, 1.0, r"in \[0, 1\), got 1.0"),
    ({"at_least": 0, "at_most": 1}, np.float32(1.5), r"in \[0, 1\], got 1.5"),
    ({"above": 0, "below": 1}, 0, r"in \(0, 1\), got 0"),
    ({"at_least": 0, "below": 1}, 1 - 2**-60, r"in \[0, 1\), got 1.0"),
]


@pytest.mark.parametrize(("bounds", "value", "message"), BOUNDS)
def test_an_error_names_the_range_and_the_value(bounds, value, message):
    for check in (check_number, check_scalar):
        with pytest.raises(ValueError, match=f"^f: x must be {message}"):
            check("f", "x", value, **bounds)


def test_a_scalar_may_be_an_array_whose_number_is_not_read():
    x = mx.array(-1.0)
    assert check_scalar("f", "x", x, at_least=0) is x
    with pytest.raises(ValueError, match=r"^f: x must have shape \(\), got \(1,\)"):
        check_scalar("f", "x", mx.zeros(1))
    with pytest.raises(TypeError, match=r"^f: x must be a real number, got .*bool"):
        check_scalar("f", "x", mx.array(True))
    with pytest.raises(TypeError, match=r"^f: x must be a number, .*\.item\(\)"):
        check_number("f", "x", x)


def test_a_count_is_an_integer_of_int32():
    assert check_count("f", "n", np.int64(3)) == 3
    assert type(check_count("f", "n", np.int64(3))) is int
    with pytest.raises(ValueError, match=r"^f: n must be at least 2, got 1"):
        check_count("f", "n", 1, at_least=2)
    with pytest.raises(
        ValueError, match=r"^f: n must be below 2\*\*31, got 2147483648"
    ):
        check_count("f", "n", 2**31)
    with pytest.raises(
        TypeError, match=r"^f: n must be an integer, .*; give int\(5.0\)"
    ):
        check_count("f", "n", 5.0)
    with pytest.raises(TypeError, match=r"^f: n must be an integer, got 0.5$"):
        check_count("f", "n", 0.5)


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="earlier versions evaluate them at once"
)
def test_annotations_of_a_function_are_not_evaluated():
    """Their names may exist for type checkers only."""
    names = {}
    exec("def f(x: Missing) -> Missing: return x", names)
    assert list(signature_of(names["f"]).parameters) == ["x"]
