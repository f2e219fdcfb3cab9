"""Layers against PyTorch with its own weights: outputs and all gradients."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lucid_fn as lf
from lucid_fn import nn, tree

torch = pytest.importorskip("torch")
from tests.parity.layouts import (  # noqa: E402  # needs torch
    assert_close,
    grads_of,
    params_of,
    to_mlx,
    to_torch,
)

SEQUENCE, IMAGE, VOLUME = (3, 9, 4), (2, 7, 8, 4), (2, 5, 5, 6, 4)

CASES = {
    "linear": (partial(nn.linear, 4, 3), partial(torch.nn.Linear, 4, 3), (5, 4)),
}


def conv_options(dims, *, transposed=False):
    """Options of a convolution of 4 channels, as PyTorch and we both call them."""

    def sizes(low, high):
        return st.tuples(*[st.integers(low, high)] * dims)

    options = {
        "kernel_size": sizes(1, 3),
        "stride": sizes(1, 3),
        "padding": st.just(0) if transposed else sizes(0, 2),
        "dilation": sizes(1, 2),
        "groups": st.sampled_from([1, 2, 4]),
        "bias": st.booleans(),
    }
    return st.fixed_dictionaries(options)


def check(layer, module, x, seed=0, *, moved=True):
    """Outputs and gradients are those of the module, with its params."""
    params = params_of(module, moved=moved)
    expected = layer.init(mx.random.key(0))[0]
    assert shapes(params) == shapes(expected)
    their_x = to_torch(x, moved=moved).requires_grad_()
    theirs = module(their_x)
    rng = np.random.default_rng(seed)
    g = mx.array(rng.normal(size=to_mlx(theirs, moved=moved).shape).astype(np.float32))

    def loss(args):
        y, _ = layer.apply(args[0], {}, args[1], train=True)
        return mx.sum(y * g), y

    (_, y), (grads, dx) = lf.value_and_grad(loss, has_aux=True)((params, mx.array(x)))
    theirs.backward(to_torch(g, moved=moved))
    assert_close(y, to_mlx(theirs, moved=moved))
    assert_close(dx, to_mlx(their_x.grad, moved=moved))
    assert_close(grads, grads_of(module, moved=moved))


def shapes(values):
    return {path: leaf.shape for path, leaf in tree.named_leaves(values).items()}


def drawn(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_layer_is_pytorchs(case):
    make, make_theirs, shape = case
    torch.manual_seed(0)
    check(make(), make_theirs(), drawn(shape))


@pytest.mark.parametrize(
    ("dims", "shape"), [(1, SEQUENCE), (2, IMAGE), (3, VOLUME)], ids=["1d", "2d", "3d"]
)
@settings(max_examples=15)
@given(data=st.data())
def test_convolutions_are_pytorchs(dims, shape, data):
    options = data.draw(conv_options(dims))
    theirs = getattr(torch.nn, f"Conv{dims}d")(4, 8, **options)
    options["kernel_size"] = tuple(options["kernel_size"])
    layer = getattr(nn, f"conv{dims}d")(4, 8, **options)
    check(layer, theirs, drawn(shape))


@pytest.mark.parametrize(
    ("dims", "shape"), [(1, SEQUENCE), (2, IMAGE), (3, VOLUME)], ids=["1d", "2d", "3d"]
)
@settings(max_examples=15)
@given(data=st.data())
def test_transposed_convolutions_are_pytorchs(dims, shape, data):
    options = data.draw(conv_options(dims, transposed=True))
    pairs = zip(options["kernel_size"], options["dilation"], strict=True)
    reach = [dilation * (kernel - 1) for kernel, dilation in pairs]
    options["padding"] = tuple(data.draw(st.integers(0, r // 2)) for r in reach)
    steps = zip(options["stride"], options["dilation"], strict=True)
    options["output_padding"] = tuple(
        data.draw(st.integers(0, max(step) - 1)) for step in steps
    )
    theirs = getattr(torch.nn, f"ConvTranspose{dims}d")(4, 8, **options)
    layer = getattr(nn, f"conv_transpose{dims}d")(4, 8, **options)
    check(layer, theirs, drawn(shape))
