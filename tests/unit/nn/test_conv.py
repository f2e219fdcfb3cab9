"""Convolutions: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random


def apply(layer, x, key):
    return layer.apply(*layer.init(key), x, train=False)[0]


def test_a_convolution_of_one_pixel_is_a_linear_layer(key):
    params, _ = nn.conv2d(3, 5, 1).init(key)
    x = random.normal(key, (2, 4, 4, 3))
    y, _ = nn.conv2d(3, 5, 1).apply(params, {}, x, train=False)
    flat = {"weight": params["weight"].reshape(5, 3), "bias": params["bias"]}
    expected, _ = nn.linear(3, 5).apply(flat, {}, x, train=False)
    assert mx.allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("conv", "transposed", "shape"),
    [
        (nn.conv1d, nn.conv_transpose1d, (2, 9, 3)),
        (nn.conv2d, nn.conv_transpose2d, (2, 9, 7, 3)),
        (nn.conv3d, nn.conv_transpose3d, (1, 5, 5, 7, 3)),
    ],
)
def test_the_transpose_is_the_adjoint(conv, transposed, shape, key):
    """`<conv(x), y> = <x, transposed(y)>`, with the same weight."""
    options = {"stride": 2, "padding": 1, "bias": False}
    layer, adjoint = conv(3, 4, 3, **options), transposed(4, 3, 3, **options)
    params, _ = layer.init(key)
    x = random.normal(key, shape)
    forth, _ = layer.apply(params, {}, x, train=False)
    y = random.normal(random.fold_in(key, "y"), forth.shape)
    back, _ = adjoint.apply(params, {}, y, train=False)
    assert back.shape == x.shape
    assert mx.sum(forth * y).item() == pytest.approx(mx.sum(x * back).item(), rel=1e-4)


def test_a_depthwise_convolution_keeps_channels_apart(key):
    layer = nn.conv2d(3, 3, 3, groups=3, bias=False)
    x = random.normal(key, (1, 5, 5, 3))
    params, _ = layer.init(key)

    def first(x):
        return mx.sum(layer.apply(params, {}, x, train=False)[0][..., 0])

    assert mx.all(lf.grad(first)(x)[..., 1:] == 0)


@pytest.mark.parametrize("layer", [nn.conv3d(2, 2, 2), nn.conv_transpose2d(2, 2, 2)])
def test_gradients_of_gradients(layer, key):
    shape = (1, 3, 3, 3, 2) if layer.init(key)[0]["weight"].ndim == 5 else (1, 3, 3, 2)
    params, x = layer.init(key)[0], random.normal(key, shape)

    def loss(x):
        return mx.sum(layer.apply(params, {}, x, train=False)[0] ** 3)

    (product,) = lf.hvp(loss, (x,), (mx.ones_like(x),))
    step = 1e-2
    grads = [lf.grad(loss)(x + s * step) for s in (1, -1)]
    expected = (grads[0] - grads[1]) / (2 * step)
    assert mx.allclose(product, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 3, 8, 8),
            r"got \(2, 3, 8, 8\); channels are last here: x.transpose\(0, 2",
        ),
        ((8, 8, 3), r"got \(8, 8, 3\); a single example needs a batch axis: x\[None\]"),
        ((2, 8, 8, 4), r"x must have shape \(N, H, W, 3\), got \(2, 8, 8, 4\)$"),
    ],
)
def test_another_shape_is_an_error_with_a_hint(shape, message, key):
    with pytest.raises(ValueError, match=message):
        apply(nn.conv2d(3, 4, 3), mx.ones(shape), key)


def test_a_missing_channel_axis_is_named(key):
    with pytest.raises(
        ValueError, match=r"one channel needs an axis too: x\[..., None\]"
    ):
        apply(nn.conv2d(1, 4, 3), mx.ones((2, 8, 8)), key)


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.conv1d(3, 4, 3), (2, 4), "L"),
        (nn.conv3d(3, 4, 3), (2, 4), "D, H, W"),
        (nn.conv_transpose1d(3, 4, 3), (2, 4), "L"),
        (nn.conv_transpose2d(3, 4, 3), (2, 4), "H, W"),
        (nn.conv_transpose3d(3, 4, 3), (2, 4), "D, H, W"),
    ],
)
def test_the_axes_are_named(layer, shape, axes, key):
    with pytest.raises(ValueError, match=rf"x must have shape \(N, {axes}, 3\), got"):
        apply(layer, mx.ones(shape), key)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.conv2d(0, 4, 3), "conv2d: in_channels must be at least 1, got 0"),
        (
            lambda: nn.conv1d(3, 4, 0),
            "conv1d: kernel_size must be an integer of at least",
        ),
        (
            lambda: nn.conv2d(3, 4, 3, stride=-1),
            "stride must be an integer of at least 1",
        ),
        (lambda: nn.conv2d(3, 4, 3, padding=(1,)), r"padding must be .*, got \(1,\)"),
        (
            lambda: nn.conv2d(3, 4, 3, groups=2),
            "groups must divide in_channels and out",
        ),
        (
            lambda: nn.conv_transpose2d(3, 4, 3, stride=2, output_padding=2),
            "output_padding must be less than stride or dilation, got 2",
        ),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_size_that_is_no_integer_is_an_error():
    with pytest.raises(TypeError, match=r"conv3d: dilation must be .*, got True"):
        nn.conv3d(3, 4, 3, dilation=True)
    with pytest.raises(TypeError, match=r"kernel_size must be .*, or 2 of them, got"):
        nn.conv2d(3, 4, 2.5)
    with pytest.raises(TypeError, match="conv2d: out_channels must be an integer, got"):
        nn.conv2d(3, 4.0, 3)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("axis", range(3))
def test_a_kernel_that_does_not_fit_is_an_error_of_the_layer(dims, axis, key):
    sizes = [5 if i == axis % dims else 1 for i in range(dims)]
    make = getattr(nn, f"conv{dims}d")
    message = rf"^conv{dims}d: kernel must fit .* spans \({', '.join(map(str, sizes))}"
    with pytest.raises(ValueError, match=message):
        apply(make(1, 1, tuple(sizes)), mx.ones((1, *[4] * dims, 1)), key)


def test_padding_that_leaves_nothing_is_an_error(key):
    layer = nn.conv_transpose1d(1, 1, 2, padding=2)
    with pytest.raises(
        ValueError, match="padding must leave an output, got one of size"
    ):
        apply(layer, mx.ones((1, 2, 1)), key)


def test_a_bias_of_another_size_is_an_error(key):
    params, _ = nn.conv1d(2, 3, 1).init(key)
    with pytest.raises(ValueError, match=r"bias'.* shape \(3,\), got \(1,\)"):
        nn.conv1d(2, 3, 1).apply(
            {**params, "bias": mx.ones(1)}, {}, mx.ones((1, 4, 2)), train=False
        )


@pytest.mark.parametrize("channels", [15, 16])
def test_a_convolution_of_volumes_is_that_of_mlx(channels, key):
    """With few channels, and with as many as are taken as those of one image."""
    layer = nn.conv3d(channels, 4, (3, 2, 3), stride=(2, 1, 1), padding=1, dilation=2)
    x = random.normal(key, (2, 9, 6, 5, channels))
    params, _ = layer.init(key)

    def by_mlx(params, x):
        y = mx.conv3d(x, params["weight"], (2, 1, 1), padding=1, dilation=2)
        return y + params["bias"]

    def by_layer(params, x):
        return layer.apply(params, {}, x, train=False)[0]

    assert mx.allclose(by_layer(params, x), by_mlx(params, x), atol=1e-5)
    # The derivatives are those of a function that is linear in x and in the weight.
    weight_only = {"weight": params["weight"], "bias": mx.zeros((4,))}
    y = by_layer(weight_only, x)
    grads = lf.grad(lambda p, x: mx.sum(by_layer(p, x) * y), (0, 1))(weight_only, x)
    for array, grad in ((params["weight"], grads[0]["weight"]), (x, grads[1])):
        assert mx.sum(array * grad).item() == pytest.approx(mx.sum(y * y).item(), 1e-4)


def test_the_same_padding_needs_a_stride_of_1():
    message = "conv2d: padding='same' needs a stride of 1, got .2, 1.; give"
    with pytest.raises(ValueError, match=message):
        nn.conv2d(3, 4, 3, padding="same", stride=(2, 1))


def test_an_unknown_padding_is_an_error():
    with pytest.raises(ValueError, match=r"conv1d: padding must .* got 'full'"):
        nn.conv1d(3, 4, 3, padding="full")
    with pytest.raises(ValueError, match=r"conv2d: padding must .* 'full'"):
        ops.conv2d(mx.ones((1, 3, 3, 1)), mx.ones((1, 2, 2, 1)), padding="full")
    with pytest.raises(ValueError, match=r"conv3d: padding_mode must .* got 'mirror'"):
        nn.conv3d(3, 4, 3, padding=1, padding_mode="mirror")


def test_an_image_too_small_to_reflect_is_an_error_of_the_convolution(key):
    layer = nn.conv2d(1, 1, 3, padding=2, padding_mode="reflect")
    with pytest.raises(ValueError, match="conv2d: padding must be at most 1 for an"):
        apply(layer, mx.ones((1, 2, 5, 1)), key)
