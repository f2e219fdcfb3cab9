"""Models beside PyTorch's: the layout of an array is that of its layer."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn
from lucid_fn.interop.torch import from_state_dict, to_state_dict

torch = pytest.importorskip("torch")


def drawn(module, seed=0):
    """The module with other values than its initial ones, which are all equal."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in module.parameters():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return module


def assert_same(model, module, x, *, is_map=False, **options):
    """Both compute the same, and what is exported again is what was there."""
    weights = module.state_dict()
    params, state = from_state_dict(model, weights, **options)
    found, _ = model.apply(params, state, mx.array(x), train=False)
    given = np.moveaxis(x, -1, 1) if is_map else x
    expected = module(torch.from_numpy(np.ascontiguousarray(given))).detach().numpy()
    if is_map and expected.ndim == x.ndim:
        expected = np.moveaxis(expected, 1, -1)
    np.testing.assert_allclose(np.array(found), expected, rtol=2e-4, atol=2e-4)
    if "rename" not in options:
        exported = to_state_dict(model, params, state)
        for name, tensor in weights.items():
            np.testing.assert_array_equal(exported[name], tensor.numpy())


def normal(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


SHAPES = [(4,), (3, 4), (4, 4), (2, 4, 4), (2, 3, 4), (4, 4, 4), (2, 3, 4, 5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_norms_of_vectors_keep_their_axes(shape):
    x = normal(5, *shape)
    assert_same(nn.layer_norm(shape), drawn(torch.nn.LayerNorm(shape)), x)
    assert_same(
        nn.layer_norm(shape, bias=False),
        drawn(torch.nn.LayerNorm(shape, bias=False)),
        x,
    )
    assert_same(nn.rms_norm(shape), drawn(torch.nn.RMSNorm(shape)), x)


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_norms_of_feature_maps_move_their_channels(norm, size):
    (height, width), channels = size, 4
    model = nn.serial(
        conv=nn.conv2d(3, channels, 3, padding=1),
        norm=getattr(nn, norm)((height, width, channels)),
        act=nn.relu,
        flat=nn.flatten,
        fc=nn.linear(height * width * channels, 5),
    )
    module = torch.nn.Sequential()
    torchs = {"layer_norm": torch.nn.LayerNorm, "rms_norm": torch.nn.RMSNorm}[norm]
    module.add_module("conv", torch.nn.Conv2d(3, channels, 3, padding=1))
    module.add_module("norm", torchs((channels, height, width)))
    module.add_module("act", torch.nn.ReLU())
    module.add_module("flat", torch.nn.Flatten())
    module.add_module("fc", torch.nn.Linear(height * width * channels, 5))
    x = normal(2, height, width, 3)
    options = {"input_shape": (height, width, 3)}
    weights = drawn(module).state_dict()
    params, state = from_state_dict(model, weights, **options)
    found, _ = model.apply(params, state, mx.array(x), train=False)
    expected = module(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).detach().numpy()
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-4, atol=1e-4)
    exported = to_state_dict(model, params, state, **options)
    for name, tensor in weights.items():
        np.testing.assert_array_equal(exported[name], tensor.numpy())


def test_norms_of_sequences_after_a_convolution_move_their_channels():
    model = nn.serial(a=nn.conv1d(3, 4, 1), b=nn.layer_norm((6, 4)))
    module = torch.nn.Sequential()
    module.add_module("a", torch.nn.Conv1d(3, 4, 1))
    module.add_module("b", torch.nn.LayerNorm((4, 6)))
    assert_same(model, drawn(module), normal(2, 6, 3), is_map=True)


@pytest.mark.parametrize("shape", [(4, 4), (2, 3)])
def test_a_norm_of_two_axes_is_no_linear(shape):
    size = shape[0] * shape[1]
    model = nn.serial(a=nn.layer_norm(shape), b=nn.flatten, c=nn.linear(size, 3))
    module = torch.nn.Sequential()
    module.add_module("a", torch.nn.LayerNorm(shape))
    module.add_module("b", torch.nn.Flatten())
    module.add_module("c", torch.nn.Linear(size, 3))
    assert_same(model, drawn(module), normal(2, *shape))


def test_a_norm_of_unequal_sizes_is_refused_for_what_is_wrong():
    model = nn.layer_norm((2, 3, 4))
    weights = {"weight": np.ones((2, 4, 3)), "bias": np.ones((2, 3, 4))}
    with pytest.raises(
        ValueError, match=r"weight: must have .*\(2, 3, 4\), got .*3\)$"
    ):
        from_state_dict(model, weights)


KERNELS = {
    "conv1d": (nn.conv1d(3, 4, 3), torch.nn.Conv1d(3, 4, 3), normal(2, 6, 3)),
    "conv2d": (nn.conv2d(3, 4, 3), torch.nn.Conv2d(3, 4, 3), normal(2, 6, 6, 3)),
    "square": (nn.conv2d(3, 3, 3), torch.nn.Conv2d(3, 3, 3), normal(2, 6, 6, 3)),
    "groups": (
        nn.conv2d(4, 8, 3, groups=2),
        torch.nn.Conv2d(4, 8, 3, groups=2),
        normal(2, 6, 6, 4),
    ),
    "without bias": (
        nn.conv2d(3, 4, 3, bias=False),
        torch.nn.Conv2d(3, 4, 3, bias=False),
        normal(2, 6, 6, 3),
    ),
    "conv_transpose2d": (
        nn.conv_transpose2d(3, 4, 3),
        torch.nn.ConvTranspose2d(3, 4, 3),
        normal(2, 6, 6, 3),
    ),
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_move_their_channels(case):
    model, module, x = KERNELS[case]
    assert_same(model, drawn(module), x, is_map=True)


WEIGHT_NORM = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


@pytest.mark.parametrize("case", KERNELS)
def test_kernels_given_by_length_and_direction_move_their_channels(case):
    model, module, x = KERNELS[case]
    normed = torch.nn.utils.parametrizations.weight_norm(drawn(module))
    try:
        assert_same(
            nn.weight_norm(model), drawn(normed), x, is_map=True, rename=WEIGHT_NORM
        )
    finally:
        torch.nn.utils.parametrize.remove_parametrizations(normed, "weight")


def test_a_linear_given_by_length_and_direction_follows_a_flatten():
    model = nn.serial(
        a=nn.weight_norm(nn.conv2d(3, 4, 3)),
        b=nn.flatten,
        c=nn.weight_norm(nn.linear(4 * 9, 5)),
    )
    module = torch.nn.Sequential()
    weight_norm = torch.nn.utils.parametrizations.weight_norm
    module.add_module("a", weight_norm(torch.nn.Conv2d(3, 4, 3)))
    module.add_module("b", torch.nn.Flatten())
    module.add_module("c", weight_norm(torch.nn.Linear(4 * 9, 5)))
    rename = {
        f"{layer}.{old}": f"{layer}.{new}"
        for layer in "ac"
        for old, new in WEIGHT_NORM.items()
    }
    assert_same(model, drawn(module), normal(2, 5, 5, 3), is_map=True, rename=rename)


def test_the_weight_of_a_bilinear_form_has_its_inputs_swapped():
    module = drawn(torch.nn.Bilinear(3, 4, 2))
    params, state = from_state_dict(nn.bilinear(3, 4, 2), module.state_dict())
    a, b = normal(5, 3), normal(5, 4)
    pair = mx.array(a), mx.array(b)
    found, _ = nn.bilinear(3, 4, 2).apply(params, state, pair, train=False)
    expected = module(torch.from_numpy(a), torch.from_numpy(b)).detach().numpy()
    np.testing.assert_allclose(np.array(found), expected, rtol=1e-5, atol=1e-5)
