"""Layers against PyTorch with its own weights: outputs and all gradients."""

from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import lucid_fn as lf
from lucid_fn import interop, nn, random, tree

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
    "group_norm-no-bias": (
        partial(nn.group_norm, 2, 4, bias=False),
        partial(T.GroupNorm, 2, 4, bias=False),
        IMAGE,
    ),
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
    "adaptive_avg_pool3d": (
        partial(nn.adaptive_avg_pool3d, (3, 2, 5)),
        partial(T.AdaptiveAvgPool3d, (3, 2, 5)),
        VOLUME,
    ),
    "adaptive_max_pool3d": (
        partial(nn.adaptive_max_pool3d, (3, 2, 5)),
        partial(T.AdaptiveMaxPool3d, (3, 2, 5)),
        VOLUME,
    ),
    **{
        f"{name}-{dims}d": (
            partial(getattr(nn, name), pairs),
            partial(getattr(T, f"{theirs}Pad{dims}d"), sum(reversed(pairs), ())),
            shape,
        )
        for name, theirs in (
            ("constant_pad", "Zero"),
            ("reflect_pad", "Reflection"),
            ("replicate_pad", "Replication"),
            ("circular_pad", "Circular"),
        )
        for dims, pairs, shape in (
            (1, ((3, 1),), SEQUENCE),
            (2, ((0, 2), (3, 1)), IMAGE),
            (3, ((1, 0), (2, 2), (0, 1)), VOLUME),
        )
    },
    "pixel_shuffle": (
        partial(nn.pixel_shuffle, 2),
        partial(T.PixelShuffle, 2),
        (2, 3, 5, 8),
    ),
    "pixel_unshuffle": (
        partial(nn.pixel_unshuffle, 2),
        partial(T.PixelUnshuffle, 2),
        (2, 6, 4, 3),
    ),
    "channel_shuffle": (
        partial(nn.channel_shuffle, 2),
        partial(T.ChannelShuffle, 2),
        IMAGE,
    ),
    **{
        f"local_response_norm-{size}": (
            partial(nn.local_response_norm, size, alpha=0.5, beta=0.6, k=2.0),
            partial(T.LocalResponseNorm, size, alpha=0.5, beta=0.6, k=2.0),
            IMAGE,
        )
        for size in (1, 2, 3, 5)
    },
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


@pytest.mark.parametrize("bias", [True, False])
def test_bilinear_is_pytorchs(bias):
    theirs = torch.nn.Bilinear(3, 5, 4, bias=bias)
    layer = nn.bilinear(3, 5, 4, bias=bias)
    params, _ = interop.torch.from_state_dict(layer, theirs.state_dict())
    assert shapes(params) == shapes(layer.init(mx.random.key(0))[0])
    pair = drawn((2, 6, 3)), drawn((2, 6, 5), 1)
    g = drawn((2, 6, 4), 2)

    def loss(args):
        y, _ = layer.apply(args[0], {}, args[1], train=True)
        return mx.sum(y * mx.array(g)), y

    at = params, tuple(map(mx.array, pair))
    (_, y), (grads, inputs) = lf.value_and_grad(loss, has_aux=True)(at)
    their_pair = [torch.tensor(x, requires_grad=True) for x in pair]
    their_y = theirs(*their_pair)
    their_y.backward(torch.tensor(g))
    assert_close(y, mx.array(their_y.detach().numpy()))
    for ours, x in zip(inputs, their_pair, strict=True):
        assert_close(ours, mx.array(x.grad.numpy()))
    assert_close(grads["weight"].swapaxes(1, 2), mx.array(theirs.weight.grad.numpy()))
    if bias:
        assert_close(grads["bias"], mx.array(theirs.bias.grad.numpy()))


def test_spectral_norm_is_pytorchs():
    theirs = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(4, 3, 2))
    held = theirs.parametrizations.weight[0]
    params = {
        "bias": to_mlx(theirs.bias),
        "weight": to_mlx(theirs.parametrizations.weight.original),
    }
    # Of PyTorch's columns (in, height, width), here (height, width, in).
    v = held._v.reshape(4, 2, 2).permute(1, 2, 0).flatten()
    state = {"weight_u": mx.array(held._u.numpy()), "weight_v": mx.array(v.numpy())}
    layer = nn.spectral_norm(nn.conv2d(4, 3, 2))
    x, g = drawn(IMAGE), drawn((2, 6, 7, 3), 1)
    for _ in range(3):

        def loss(params, state):
            y, state = layer.apply(params, state, mx.array(x), train=True)
            return mx.sum(y * mx.array(g)), (y, state)

        (_, (y, state)), grads = lf.value_and_grad(loss, has_aux=True)(params, state)
        theirs.zero_grad()
        their_y = theirs(to_torch(x))
        their_y.backward(to_torch(g))
        assert_close(y, to_mlx(their_y))
        original = theirs.parametrizations.weight.original
        assert_close(grads["weight"], to_mlx(original.grad))
    y, kept = layer.apply(params, state, mx.array(x), train=False)
    theirs.eval()
    assert_close(y, to_mlx(theirs(to_torch(x))))
    assert all(mx.array_equal(kept[name], state[name]) for name in state)


def test_spectral_norm_of_a_transposed_convolution_is_pytorchs():
    peer = torch.nn.ConvTranspose2d(4, 3, 2, bias=False)
    theirs = torch.nn.utils.parametrizations.spectral_norm(peer, n_power_iterations=50)
    original = theirs.parametrizations.weight.original.detach().numpy()
    weight = mx.array(original).transpose(0, 2, 3, 1)  # (in, height, width, out)
    layer = nn.spectral_norm(
        nn.conv_transpose2d(4, 3, 2, bias=False), axis=-1, iterations=50
    )
    _, state = layer.init(random.key(0))
    x = drawn(IMAGE)
    y, _ = layer.apply({"weight": weight}, state, mx.array(x), train=True)
    assert_close(y, to_mlx(theirs(to_torch(x))))


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
