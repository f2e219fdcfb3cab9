"""Gradients of weights are computed before the backward pass goes on."""

import importlib
import io

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random
from lucid_fn.cpu.parallel import gradient_order
from lucid_fn.ops import seam


def test_what_is_differentiated_is_known_inside_the_function_only():
    w = mx.ones((2,))
    seen = []

    def loss(params, other):
        seen.append(seam.is_differentiated(params["w"]))
        seen.append(seam.is_differentiated(mx.stop_gradient(params["w"])))
        seen.append(seam.is_differentiated(other))
        return mx.sum(params["w"] * other)

    lf.grad(loss)({"w": w}, w)
    assert seen == [True, False, False]
    assert not seam.is_differentiated(w)


def test_an_outer_gradient_stays_wanted_inside_an_inner_one():
    seen = []

    def outer(w):
        def inner(x):
            seen.append(seam.is_differentiated(w))
            return mx.sum(w * x**2)

        return mx.sum(lf.grad(inner)(mx.ones(2)))

    lf.grad(outer)(mx.ones(2))
    assert seen == [True]


ORDERED = pytest.mark.tuned("plain gradients are computed in MLX's order")


@ORDERED
@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("lucid_fn.cpu.conv.choose", lambda: nn.conv2d(16, 16, 1), (2, 4, 4, 16)),
        ("lucid_fn.cpu.linear", lambda: nn.linear(16, 16), (2, 16)),
    ],
)
def test_the_gradient_of_a_weight_comes_before_that_of_the_layer_below(
    monkeypatch, name, layer, shape
):
    model = nn.serial(layer(), nn.tanh, layer())
    params, state = model.init(random.key(0))
    x = mx.ones(shape)

    def matmuls():
        """Those that the gradient of the first layer's weight waits for."""

        def loss(params):
            return mx.sum(model.apply(params, state, x, train=True)[0] ** 2)

        return _operations(lf.grad(loss)(params)["0"]["weight"]).count("Matmul")

    monkeypatch.setattr(gradient_order, "_MIN_SIZE", 0)
    ordered = matmuls()
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "weight_grad_first", lambda *_: False)
    assert ordered > matmuls()


def test_a_gradient_in_the_input_alone_computes_none_of_the_weight(monkeypatch):
    # That of the weight would be inf * 0, if it were waited for and computed.
    layer = nn.linear(2, 2)
    params, state = layer.init(random.key(0))

    def loss(x):
        return mx.sum(layer.apply(params, state, x, train=True)[0])

    monkeypatch.setattr(gradient_order, "_MIN_SIZE", 0)
    x = mx.ones((4, 2))
    mx.eval(params, x)
    graph = _operations(lf.grad(loss)(x))
    assert graph.count("Matmul") == 1  # of the gradient and the weight


def _operations(y: mx.array) -> str:

    text = io.StringIO()
    mx.export_to_dot(text, y)
    return text.getvalue()


@ORDERED
def test_a_transposed_convolution_waits_for_no_gradient_of_its_weight(monkeypatch):
    layer = nn.conv_transpose2d(16, 16, 1, bias=False)
    params, state = layer.init(random.key(0))
    x, seen = mx.ones((2, 4, 4, 16)), []
    monkeypatch.setattr(gradient_order, "_MIN_SIZE", 0)

    def loss(params):
        y, _ = layer.apply(params, state, x, train=True)
        seen.append(_operations(mx.sum(y)).count("Matmul"))
        return mx.sum(y)

    lf.grad(loss)(params)
    loss(params)
    assert seen[0] == seen[1] > 0
