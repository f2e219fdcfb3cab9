"""Convolution: hand values, choice of formulation, dtypes, errors."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops
from lucid_fn.cpu import runtime
from lucid_fn.cpu.conv import choose, winograd, winograd_strided
from lucid_fn.ops.conv import PLAIN, Geometry
from tests.convolutions import (
    SUM_BOUND,
    WINOGRAD_BOUND,
    case,
    formulations,
    relative_error,
)

X = mx.arange(16, dtype=mx.float32).reshape(1, 4, 4, 1)


def geometry(size, kernel, *, stride=1, padding=0, dilation=1, groups=1) -> Geometry:
    return Geometry(
        (size, size),
        (kernel, kernel),
        (stride, stride),
        ((padding, padding), (padding, padding)),
        (dilation, dilation),
        groups,
    )


def test_windows_are_weighted_and_summed():
    weight = mx.array([[0.0, 1.0], [2.0, 3.0]]).reshape(1, 2, 2, 1)
    y = ops.conv2d(X, weight)  # the kernel is not turned round
    assert y[0, 0, 0].item() == 0 * 0 + 1 * 1 + 2 * 4 + 3 * 5
    assert y.shape == (1, 3, 3, 1)


def test_a_bias_is_added_to_each_channel():
    y = ops.conv2d(X, mx.zeros((2, 1, 1, 1)), mx.array([1.0, -2.0]))
    assert y[0, 3, 1].tolist() == [1.0, -2.0]


def test_padding_may_differ_on_all_four_sides():
    y = ops.conv2d(X, mx.ones((1, 1, 1, 1)), padding=((1, 0), (0, 2)))
    assert y.squeeze()[:, :4].tolist() == [[0] * 4, *X.squeeze().tolist()]
    assert not y[0, :, 4:].any().item()


def test_a_stride_skips_pixels():
    y = ops.conv2d(X, mx.ones((1, 1, 1, 1)), stride=(1, 3))
    assert y.squeeze().tolist() == [[0, 3], [4, 7], [8, 11], [12, 15]]


def test_a_dilation_spreads_the_taps():
    y = ops.conv2d(X, mx.ones((1, 2, 1, 1)), dilation=(3, 1))
    assert y.flatten().tolist() == [12, 14, 16, 18]


def test_groups_see_their_own_channels():
    x = mx.concatenate([X, X + 100], axis=-1)
    y = ops.conv2d(x, mx.ones((2, 1, 1, 1)), groups=2)
    assert mx.array_equal(y, x).item()


@pytest.mark.parametrize(
    ("sizes", "batch", "inputs", "outputs", "name"),
    [
        (geometry(32, 3, padding=1), 64, 64, 64, "WINOGRAD"),  # ResNet-18, CIFAR
        (geometry(7, 3, padding=1), 64, 512, 512, "WINOGRAD"),  # ResNet-18, ImageNet
        (geometry(32, 3, stride=2, padding=1), 64, 64, 128, "IM2COL"),
        (geometry(32, 1, stride=2), 64, 64, 128, "IM2COL"),
        (geometry(32, 3, padding=1), 64, 3, 64, "TOEPLITZ"),  # stems
        (geometry(224, 7, stride=2, padding=3), 64, 3, 64, "TOEPLITZ"),
        (geometry(28, 5), 64, 1, 6, "TOEPLITZ"),  # LeNet-5
        (geometry(12, 5), 64, 6, 16, "TOEPLITZ"),
        (geometry(9, 3, dilation=2), 64, 1, 6, "IM2COL"),  # wide bands of zeros
        (geometry(8, 3, padding=1, groups=32), 64, 1, 32, "DEPTHWISE"),
        (geometry(8, 3, padding=1, groups=32), 64, 4, 128, "GROUPED"),
        (geometry(8, 3, padding=1, groups=32), 1, 4, 128, "TAPS"),  # of few numbers
        (geometry(8, 1, groups=4), 64, 16, 64, "TAPS"),  # no windows to copy
        (geometry(5, 3, padding=1, dilation=2), 64, 32, 32, "IM2COL"),
        (geometry(3, 3), 64, 64, 64, "IM2COL"),  # one pixel of a tile of sixteen
        (geometry(4, 3, padding=1), 64, 512, 512, "WINOGRAD"),
        (geometry(4, 3, padding=1), 8, 512, 512, "IM2COL"),  # less than its kernels
        (geometry(16, 4, stride=2, padding=1), 32, 64, 128, "WINOGRAD_STRIDED"),
        (geometry(8, 4, stride=2, padding=1), 8, 128, 256, "IM2COL"),
        (geometry(32, 3, padding=1), 1, 64, 64, "WINOGRAD"),
    ],
)
def test_each_shape_gets_the_formulation_measured_best(
    sizes, batch, inputs, outputs, name
):
    chosen = choose.choose(sizes, batch, inputs, outputs)
    assert chosen is getattr(choose, name)


@pytest.mark.tuned("it compares the two formulations")
def test_plain_and_tuned_results_agree_but_are_not_the_same_computation():
    c = case(geometry(8, 3, padding=1), 10, 16, 16)
    tuned = ops.conv2d(c.x, c.weight, **c.options)
    with ops.plain():
        plain = ops.conv2d(c.x, c.weight, **c.options)
    assert 0 < relative_error(tuned, plain) < WINOGRAD_BOUND


def test_compiled_and_eager_gradients_agree():
    c = case(geometry(8, 3, padding=1), 10, 16, 16)
    slopes = mx.grad(
        lambda x, w, b: mx.sum(ops.conv2d(x, w, b, padding=1) ** 2), argnums=(0, 1, 2)
    )
    bias = mx.ones((16,))
    compiled = mx.compile(slopes)(c.x, c.weight, bias)
    for ours, eager in zip(compiled, slopes(c.x, c.weight, bias), strict=True):
        assert relative_error(ours, eager) < WINOGRAD_BOUND


def test_an_input_need_not_be_contiguous():
    c = case(geometry(6, 3, padding=1), 2, 16, 16)
    turned = mx.contiguous(c.x.transpose(2, 1, 0, 3)).transpose(2, 1, 0, 3)
    found, expected = (ops.conv2d(x, c.weight, padding=1) for x in (turned, c.x))
    assert mx.array_equal(found, expected).item()


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_batch_is_its_examples(batch):
    c = case(geometry(7, 3, padding=1), batch, 16, 16)
    together = ops.conv2d(c.x, c.weight)
    alone = mx.concatenate([ops.conv2d(x[None], c.weight) for x in c.x])
    assert relative_error(together, alone) < WINOGRAD_BOUND


@pytest.mark.parametrize(
    "sizes", [geometry(8, 3), geometry(8, 3, stride=2), geometry(8, 3, groups=2)]
)
def test_an_empty_batch_has_an_empty_output_and_no_gradient(sizes):
    c = case(sizes, 0, 16, 16)
    run = lambda x, w: ops.conv2d(x, w, **c.options)  # noqa: E731
    (y,), (dx, dw) = mx.vjp(run, [c.x, c.weight], [c.g])
    assert (y.shape, dx.shape) == (c.g.shape, c.x.shape)
    assert not dw.any().item()


@pytest.mark.parametrize(
    ("dtype", "digits"), [(mx.float16, 2**-10), (mx.bfloat16, 2**-7)]
)
@pytest.mark.parametrize("groups", [1, 2])
def test_half_precision_is_rounded_once_at_the_end(dtype, digits, groups):
    c = case(geometry(8, 3, padding=1, groups=groups), 2, 16, 16)
    x, weight, bias = (a.astype(dtype) for a in (c.x, c.weight, mx.ones((16,))))

    def run(x, weight, bias):
        conv = lambda x, w, b: ops.conv2d(x, w, b, **c.options)  # noqa: E731
        (y,), grads = mx.vjp(
            conv, [x, weight, bias], [c.g.astype(dtype).astype(x.dtype)]
        )
        return y, *grads

    exact = run(*(a.astype(mx.float32) for a in (x, weight, bias)))
    for found, expected in zip(run(x, weight, bias), exact, strict=True):
        assert found.dtype == dtype
        # rounded, and the sum with the bias once more
        assert relative_error(found.astype(mx.float32), expected) < 1.5 * digits


def test_mixed_precision_gives_the_wider_dtype():
    y = ops.conv2d(X.astype(mx.bfloat16), mx.ones((1, 1, 1, 1)))
    assert y.dtype == mx.float32


@pytest.mark.parametrize(("taps", "module"), [(3, winograd), (2, winograd_strided)])
def test_the_transforms_of_winograd_are_exact_in_exact_arithmetic(taps, module):
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-9, 9, (side, side)) for side in (taps + 3, taps))
    at, g, bt = module._AT, module._G, module._BT
    found = at @ ((g @ w @ g.T) * (bt @ x @ bt.T)) @ at.T
    direct = [
        [np.sum(x[i : i + taps, j : j + taps] * w) for j in range(4)] for i in range(4)
    ]
    np.testing.assert_allclose(found, direct, atol=1e-10)


def test_pixels_beyond_the_last_window_have_no_gradient():
    # Two columns of padding, a window in the first of them, and none in the image.
    beyond = geometry(1, 1)._replace(stride=(1, 3), padding=((0, 0), (2, 0)))
    one = mx.ones((1, 1, 1, 1))
    for name, (formulation, _) in formulations(beyond).items():
        dx = formulation.input_grad(one, one, beyond)
        assert dx.shape == one.shape, name
        assert dx.item() == 0, name


@pytest.mark.parametrize(
    "channels", [(65, 70), (40, 3), (128, 64), (2, 256), (320, 64)]
)
@pytest.mark.parametrize("packs", [False, True])
def test_winograd_in_small_products_or_large_ones_is_the_convolution(
    channels, packs, monkeypatch
):
    monkeypatch.setattr(runtime, "packs_small_products", lambda: packs)
    # 125 tiles: more than a row, or two pieces
    one = case(geometry(19, 3, padding=1), 5, *channels)
    exact = PLAIN
    tiles = choose.WINOGRAD
    prepared = tiles.prepare(one.g, channels[0], one.geometry)
    for name, arrays, given in [
        ("forward", (one.x, one.weight), []),
        ("input_grad", (one.g, one.weight), []),
        ("input_grad", (one.g, one.weight), prepared),
        ("weight_grad", (one.x, one.g), []),
        ("weight_grad", (one.x, one.g), prepared),
    ]:
        found = getattr(tiles, name)(*arrays, one.geometry, *given)
        expected = getattr(exact, name)(*arrays, one.geometry)
        assert relative_error(found, expected) < WINOGRAD_BOUND, name


@pytest.mark.parametrize("channels", [(16, 70), (64, 128), (40, 256), (192, 24)])
@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("padding", [((1, 1), (1, 1)), ((3, 0), (2, 1))])
def test_winograd_with_a_stride_is_the_convolution(
    channels, packs, padding, monkeypatch
):
    monkeypatch.setattr(runtime, "packs_small_products", lambda: packs)
    place = geometry(19, 4, stride=2)._replace(padding=padding)
    one = case(place, 5, *channels)
    for run, exact, arrays in zip(
        choose.WINOGRAD_STRIDED[:3],
        PLAIN[:3],
        [(one.x, one.weight), (one.g, one.weight), (one.x, one.g)],
        strict=True,
    ):
        found, expected = run(*arrays, place), exact(*arrays, place)
        assert relative_error(found, expected) < WINOGRAD_BOUND


def test_one_window_and_phases_of_many_channels_have_the_gradient_of_a_sum():
    for place in (geometry(4, 4), geometry(9, 3, stride=2, padding=1), geometry(5, 3)):
        one = case(place, 2, 64, 7)
        found = choose.IM2COL.input_grad(one.g, one.weight, place)
        expected = PLAIN.input_grad(one.g, one.weight, place)
        assert relative_error(found, expected) < SUM_BOUND


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": X[0]}, ValueError, r"x must have shape \(N, H, W, 1\), got \(4, 4, 1\)"),
        ({"x": mx.ones((1, 4, 4, 3))}, ValueError, r"x must have shape \(N, H, W, 1\)"),
        ({"groups": 2}, ValueError, "groups must be positive and divide the 3 output"),
        ({"groups": 3}, ValueError, r"x must have shape \(N, H, W, 3\)"),
        ({"groups": 0}, ValueError, "groups must be positive"),
        ({"weight": mx.ones((3, 2, 1))}, ValueError, "weight must have shape"),
        ({"weight": mx.ones((3, 0, 2, 1))}, ValueError, "weight must have shape"),
        ({"bias": mx.ones((2,))}, ValueError, r"bias must have shape \(3,\), got"),
        (
            {"x": X.astype(mx.int32)},
            TypeError,
            "x must be float32, float16 or bfloat16",
        ),
        ({"stride": 0}, ValueError, "stride must be an integer of at least 1"),
        ({"stride": (1, 2, 3)}, ValueError, "stride must be .*, or 2 of them, got"),
        ({"stride": 1.5}, TypeError, "stride must be an integer of at least 1"),
        ({"padding": ()}, ValueError, "padding must be .*, or 2 of them, got"),
        ({"padding": -1}, ValueError, "padding must be an integer of at least 0"),
        (
            {"padding": ((0, -1), (0, 0))},
            ValueError,
            "padding must be an integer of at least 0",
        ),
        ({"padding": ((0, 0),)}, ValueError, "a pair of pairs"),
        ({"dilation": 0}, ValueError, "dilation must be an integer of at least 1"),
        ({"dilation": 4}, ValueError, "kernel must fit into the padded input"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, message):
    right = {"x": X, "weight": mx.ones((3, 2, 2, 1))}
    with pytest.raises(error, match=f"conv2d: .*{message}"):
        ops.conv2d(**(right | arguments))
