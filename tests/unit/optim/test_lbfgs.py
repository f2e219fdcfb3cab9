"""L-BFGS to the end, and the line search in it."""

import math

import mlx.core as mx
import pytest
from hypothesis import given, strategies as st

from lucid_fn import optim
from lucid_fn.optim.line_search import Point, strong_wolfe


def rosenbrock(params):
    x = params["x"]
    return mx.sum(100 * mx.square(x[1:] - x[:-1] ** 2) + mx.square(1 - x[:-1]))


def test_rosenbrocks_minimum_is_found():
    found = optim.lbfgs_minimize(rosenbrock, {"x": mx.array([-1.2, 1.0, -0.5, 0.8])})
    assert found.converged
    assert found.value.item() < 1e-8
    assert mx.allclose(found.params["x"], mx.ones(4), atol=1e-3).item()
    assert found.evaluations < 80


def test_data_are_arguments_and_params_a_tree():
    x = mx.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    y = mx.array([3.0, 5.0, 6.5])

    def loss(params, x, y):
        return mx.mean(mx.square(x @ params["fc"]["weight"] + params["fc"]["bias"] - y))

    start = {"fc": {"weight": mx.zeros(2), "bias": mx.array(0.0)}}
    found = optim.lbfgs_minimize(loss, start, x, y)
    assert found.value.item() < 1e-8
    assert set(found.params["fc"]) == {"weight", "bias"}
    assert start["fc"]["weight"].tolist() == [0, 0]


def test_it_stops_at_the_number_of_iterations():
    found = optim.lbfgs_minimize(
        rosenbrock, {"x": mx.array([-1.2, 1.0])}, max_iterations=2
    )
    assert (found.iterations, found.converged) == (2, False)
    assert found.value.item() < rosenbrock({"x": mx.array([-1.2, 1.0])}).item()


def test_a_minimum_is_converged_at_once():
    found = optim.lbfgs_minimize(rosenbrock, {"x": mx.ones(3)})
    assert (found.iterations, found.evaluations, found.converged) == (0, 1, True)


def test_value_and_gradient_are_those_at_the_params():
    found = optim.lbfgs_minimize(
        rosenbrock, {"x": mx.array([-1.2, 1.0])}, max_iterations=3
    )
    assert mx.allclose(found.value, rosenbrock(found.params)).item()
    grads = mx.grad(rosenbrock)(found.params)
    assert mx.allclose(found.grads["x"], grads["x"], rtol=1e-4).item()


def test_a_wall_of_infinity_is_walked_around():
    def barrier(params):  # infinite for x <= 0, lowest at 1
        return mx.sum(params["x"] - mx.log(params["x"]))

    found = optim.lbfgs_minimize(barrier, {"x": mx.array([0.01, 30.0])})
    assert mx.allclose(found.params["x"], mx.ones(2), atol=1e-3).item()


def line(function, derivative):
    def evaluate(length):
        return Point(length, function(length), derivative(length), None)

    return evaluate, evaluate(0.0)


@given(
    minimum=st.floats(0.01, 100),
    width=st.floats(0.1, 10),
    first=st.floats(0.01, 100),
    wave=st.floats(0, 0.3),
)
def test_the_point_found_fulfils_the_wolfe_conditions(minimum, width, first, wave):
    def function(t):
        u = (t - minimum) / width
        return u * u + wave * math.sin(3 * u)

    def derivative(t):
        u = (t - minimum) / width
        return (2 * u + 3 * wave * math.cos(3 * u)) / width

    evaluate, start = line(function, derivative)
    if start.slope >= 0:
        return
    found, used = strong_wolfe(evaluate, start, first)
    assert used < 25
    assert found.value <= start.value + 1e-4 * found.length * start.slope
    assert abs(found.slope) <= 0.9 * abs(start.slope)


def test_the_search_gives_back_the_lowest_point_it_saw():
    tried = []

    def falls_for_ever(t):
        tried.append(t)
        return -t

    evaluate, start = line(falls_for_ever, lambda t: -1.0)
    found, used = strong_wolfe(evaluate, start, 1.0, max_evaluations=4)
    assert tried == [0, *sorted(tried[1:])]
    assert (found.length, used) == (tried[-1], 4)


def test_the_search_leaves_what_is_not_finite():
    def cliff(t):
        return (t - 1) ** 2 if t < 1.5 else math.inf

    evaluate, start = line(cliff, lambda t: 2 * (t - 1) if t < 1.5 else math.nan)
    found, _ = strong_wolfe(evaluate, start, 100.0)
    assert found.value < start.value
    assert abs(found.slope) <= 1.8


def test_a_search_that_finds_nothing_lower_stays():
    evaluate, start = line(lambda t: t, lambda t: -1.0)  # the slope is a lie
    found, _ = strong_wolfe(evaluate, start, 1.0, max_evaluations=10)
    assert found == start


@pytest.mark.parametrize("history_size", [1, 3])
def test_newtons_step_is_found_on_a_parabola(history_size):
    curvature = mx.array([1.0, 10.0])
    found = optim.lbfgs_minimize(
        lambda p: mx.sum(curvature * mx.square(p["x"] - 3)),
        {"x": mx.array([0.0, 1.0])},
        history_size=history_size,
    )
    assert mx.allclose(found.params["x"], 3 * mx.ones(2), atol=1e-4).item()


def test_the_minimum_of_a_cubic_is_found_by_one_interpolation():
    evaluate, start = line(lambda t: t**3 - 3 * t, lambda t: 3 * t * t - 3)
    found, used = strong_wolfe(evaluate, start, 3.0)
    assert found.length == pytest.approx(1)
    assert used == 2
