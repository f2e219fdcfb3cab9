"""L-BFGS against PyTorch's: steps, and the trials of the line search one by one."""

import importlib
import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from lucid_fn import optim
from lucid_fn.optim.line_search import Point, strong_wolfe

torch = pytest.importorskip("torch")

STEPS = 20


@settings(max_examples=3)
@given(
    seed=st.integers(0, 2**32 - 1),
    lr=st.floats(1e-4, 0.5),
    history_size=st.integers(1, 5),
)
def test_lbfgs_without_line_search(seed, lr, history_size):
    """In float64: each direction depends on differences of all the earlier ones."""
    rng = np.random.default_rng(seed)
    matrix, start = rng.normal(size=(6, 4)), rng.normal(size=4)
    optimizer = optim.lbfgs(lr, history_size=history_size)
    params = {"x": mx.array(start, mx.float64)}
    hessian = mx.array(matrix.T @ matrix, mx.float64)
    opt_state = optimizer.init(params)
    x = torch.tensor(start, requires_grad=True)
    other = torch.optim.LBFGS(
        [x],
        lr=lr,
        max_iter=1,
        history_size=history_size,
        tolerance_grad=0,
        tolerance_change=0,
    )

    def closure():
        other.zero_grad()
        loss = ((torch.tensor(matrix) @ x) ** 2).sum() / 2
        loss.backward()
        return loss

    for _ in range(STEPS):
        grads = {"x": mx.sum(hessian * params["x"], axis=-1)}
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
        other.step(closure)
    np.testing.assert_allclose(params["x"], x.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("iterations", [3, 8])
def test_lbfgs_with_line_search(iterations):
    start = np.array([-1.2, 1.0, 0.5, -0.3], np.float32)

    def rosenbrock(x):
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    found = optim.lbfgs_minimize(
        lambda p: rosenbrock(p["x"]), {"x": mx.array(start)}, max_iterations=iterations
    )
    x = torch.tensor(start, requires_grad=True)
    other = torch.optim.LBFGS(
        [x],
        max_iter=iterations,
        max_eval=1000,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    evaluations = 0

    def closure():
        nonlocal evaluations
        evaluations += 1
        other.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    other.step(closure)
    assert (found.iterations, found.evaluations) == (iterations, evaluations)
    np.testing.assert_allclose(found.params["x"], x.detach(), rtol=1e-4, atol=1e-4)


@settings(max_examples=50)
@given(
    minimum=st.floats(0.01, 100),
    width=st.floats(0.1, 10),
    first=st.floats(0.01, 100),
    wave=st.floats(0, 3),
)
def test_the_line_search_makes_the_trials_of_pytorch(minimum, width, first, wave):
    def point(t):
        u = (t - minimum) / width
        value = u * u + wave * math.sin(3 * u)
        return Point(t, value, (2 * u + 3 * wave * math.cos(3 * u)) / width, None)

    start = point(0.0)
    assume(start.slope < -1e-6)
    mine, other = [], []

    def evaluate(t):
        mine.append(t)
        return point(t)

    def objective(x, t, d):
        other.append(float(t))
        value, slope = point(float(t))[1:3]
        return value, torch.tensor([slope], dtype=torch.float64)

    strong_wolfe(evaluate, start, first, min_bracket=1e-9)
    slope = torch.tensor([start.slope], dtype=torch.float64)
    line = (
        torch.zeros(1, dtype=torch.float64),
        first,
        torch.ones(1, dtype=torch.float64),
    )
    search = importlib.import_module("torch.optim.lbfgs")._strong_wolfe
    search(objective, *line, start.value, slope, slope[0], max_ls=24)
    np.testing.assert_allclose(mine, other, rtol=1e-6)
