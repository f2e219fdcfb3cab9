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

F, T = torch.nn.functional, torch.nn

CASES = {
    "linear": (partial(nn.linear, 4, 3), partial(T.Linear, 4, 3), (5, 4)),
    "prelu": (partial(nn.prelu, 4), partial(T.PReLU, 4), IMAGE),
    "group_norm": (partial(nn.group_norm, 2, 4), partial(T.GroupNorm, 2, 4), IMAGE),
    "instance_norm": (
        partial(nn.instance_norm, 4, affine=True),
        partial(T.InstanceNorm2d, 4, affine=True),
        IMAGE,
    ),
    "instance_norm-1d": (
        partial(nn.instance_norm, 4),
        partial(T.InstanceNorm1d, 4),
        SEQUENCE,
    ),
    **{
        f"upsample_linear-{dims}d-{scale}-{align}": (
            partial(nn.upsample_linear, scale, align_corners=align, dims=dims),
            partial(T.Upsample, scale_factor=scale, mode=mode, align_corners=align),
            shape,
        )
        for dims, mode, shape in (
            (1, "linear", SEQUENCE),
            (2, "bilinear", IMAGE),
            (3, "trilinear", VOLUME),
        )
        for scale in (2, 1.7, 0.6)
        for align in (False, True)
    },
    **{
        f"upsample_nearest-{dims}d-{scale}": (
            partial(nn.upsample_nearest, scale, dims=dims),
            partial(T.Upsample, scale_factor=scale),
            shape,
        )
        for dims, shape in ((1, SEQUENCE), (2, IMAGE), (3, VOLUME))
        for scale in (3, 1.7, 0.6)
    },
    "max_pool1d": (
        partial(nn.max_pool1d, 3, stride=2, padding=1),
        partial(T.MaxPool1d, 3, 2, 1),
        SEQUENCE,
    ),
    "max_pool3d": (partial(nn.max_pool3d, 2), partial(T.MaxPool3d, 2), VOLUME),
    "avg_pool1d": (
        partial(nn.avg_pool1d, 3, stride=2, padding=1),
        partial(T.AvgPool1d, 3, 2, 1),
        SEQUENCE,
    ),
    "avg_pool2d-without-padding": (
        partial(nn.avg_pool2d, 3, padding=1, count_include_pad=False),
        partial(T.AvgPool2d, 3, padding=1, count_include_pad=False),
        IMAGE,
    ),
    "avg_pool3d": (partial(nn.avg_pool3d, 2), partial(T.AvgPool3d, 2), VOLUME),
    "adaptive_avg_pool1d": (
        partial(nn.adaptive_avg_pool1d, 4),
        partial(T.AdaptiveAvgPool1d, 4),
        SEQUENCE,
    ),
    "adaptive_max_pool1d": (
        partial(nn.adaptive_max_pool1d, 4),
        partial(T.AdaptiveMaxPool1d, 4),
        SEQUENCE,
    ),
    "adaptive_avg_pool2d": (
        partial(nn.adaptive_avg_pool2d, (3, 5)),
        partial(T.AdaptiveAvgPool2d, (3, 5)),
        IMAGE,
    ),
}

LAST_AXES = {
    "layer_norm": (partial(nn.layer_norm, 4), partial(T.LayerNorm, 4)),
    "layer_norm-2d": (
        partial(nn.layer_norm, (8, 4), bias=False, eps=1e-3),
        partial(T.LayerNorm, (8, 4), bias=False, eps=1e-3),
    ),
    "layer_norm-plain": (
        partial(nn.layer_norm, 4, affine=False),
        partial(T.LayerNorm, 4, elementwise_affine=False),
    ),
    "rms_norm": (partial(nn.rms_norm, (8, 4)), partial(T.RMSNorm, (8, 4), eps=1e-5)),
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


@pytest.mark.parametrize("case", LAST_AXES.values(), ids=LAST_AXES)
def test_a_norm_of_the_last_axes_is_pytorchs(case):
    make, make_theirs = case
    theirs = make_theirs()
    for parameter in theirs.parameters():
        parameter.data = torch.randn(parameter.shape)
    check(make(), theirs, drawn(IMAGE), moved=False)


def test_embedding_is_pytorchs():
    theirs = torch.nn.Embedding(7, 4)
    x = np.array([[1, 6, 1], [0, 2, 1]])
    params = params_of(theirs)
    g = drawn((2, 3, 4))
    theirs(torch.tensor(x)).backward(torch.tensor(g))

    def loss(params):
        y, _ = nn.embedding(7, 4).apply(params, {}, mx.array(x), train=True)
        return mx.sum(y * mx.array(g))

    assert_close(lf.grad(loss)(params), grads_of(theirs))


def test_weight_norm_is_pytorchs():
    theirs = torch.nn.Conv2d(4, 3, 2)
    weight = to_mlx(theirs.weight)
    norm = torch.nn.utils.parametrizations.weight_norm(theirs)
    g = theirs.parametrizations.weight.original0
    g.data = g.data * 1.5
    params = {
        "bias": to_mlx(theirs.bias),
        "weight_g": to_mlx(g),
        "weight_v": to_mlx(theirs.parametrizations.weight.original1),
    }
    assert mx.allclose(params["weight_v"], weight)
    x = drawn(IMAGE)
    y, _ = nn.weight_norm(nn.conv2d(4, 3, 2)).apply(params, {}, x, train=False)
    assert_close(y, to_mlx(norm(to_torch(x))))


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
