"""Arguments that ask for arrays which no memory holds, or MLX cannot count."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, optim, random
from lucid_fn.checks import check_size

KEY = random.key(0)
SEQUENCE, IMAGE, VOLUME = (mx.ones((1, *(4,) * dims, 2)) for dims in (1, 2, 3))


def applied(layer, x):
    params, state = layer.init(KEY)
    return layer.apply(params, state, x, train=False)[0]


def with_padding(conv, x, padding):
    return lambda: applied(conv(2, 2, 3, padding=padding), x)


# One that memory does not hold and one whose axes are too long, by the function and the
# argument that the error names.
TOO_LARGE = {
    ("linear", "x and weight"): [lambda: ops.linear(*[mx.ones((2**20, 1))] * 2)],
    ("conv1d", "padding"): [with_padding(nn.conv1d, SEQUENCE, 2**30)],
    ("conv2d", "padding"): [
        with_padding(nn.conv2d, IMAGE, 2**18),
        with_padding(nn.conv2d, IMAGE, 2**30),
        lambda: ops.conv2d(IMAGE, mx.ones((1, 1, 1, 2)), padding=2**18),
    ],
    ("conv3d", "padding"): [with_padding(nn.conv3d, VOLUME, 2**12)],
    ("conv_transpose1d", "stride and dilation"): [
        lambda: applied(nn.conv_transpose1d(2, 2, 3, stride=2**30), SEQUENCE)
    ],
    ("conv_transpose2d", "stride and dilation"): [
        lambda: applied(nn.conv_transpose2d(2, 2, 3, stride=2**20), IMAGE)
    ],
    ("avg_pool2d", "padding"): [
        lambda: ops.avg_pool2d(IMAGE, 2**20, padding=2**19),
        lambda: ops.avg_pool2d(IMAGE, 2**31 - 1, padding=2**30 - 1),
    ],
    ("max_pool3d", "padding"): [
        lambda: ops.max_pool3d(VOLUME, 2**14, stride=1, padding=2**13)
    ],
    ("adaptive_avg_pool2d", "output_size"): [
        lambda: ops.adaptive_avg_pool2d(IMAGE, 2**20)
    ],
    ("adaptive_avg_pool3d", "output_size"): [
        lambda: applied(nn.adaptive_avg_pool3d(2**14), VOLUME)
    ],
    ("upsample_nearest", "scale"): [lambda: applied(nn.upsample_nearest(1e6), IMAGE)],
    ("upsample_linear", "size"): [
        lambda: applied(nn.upsample_linear(size=2**20), IMAGE)
    ],
    ("upsample_cubic", "scale"): [lambda: applied(nn.upsample_cubic(1e12), IMAGE)],
    ("constant_pad", "padding"): [
        lambda: applied(nn.constant_pad(2**20), IMAGE),
        lambda: applied(nn.constant_pad(2**30), IMAGE),
    ],
    ("replicate_pad", "padding"): [lambda: applied(nn.replicate_pad(2**20), IMAGE)],
    ("reflect_pad", "padding"): [lambda: applied(nn.reflect_pad(2**20), IMAGE)],
    ("layer_norm", "shape"): [lambda: nn.layer_norm((2**20, 2**20)).init(KEY)],
    ("cached_attention", "batch_size and max_length"): [
        lambda: nn.cached_attention(8, 2, batch_size=2**20, max_length=2**20).init(KEY)
    ],
    ("sinusoidal_positions", "length and features"): [
        lambda: nn.sinusoidal_positions(2**20, 2**20)
    ],
    ("alibi_bias", "num_heads and length"): [lambda: nn.alibi_bias(8, 2**20)],
    ("dot_product_attention_weights", "query and key"): [
        lambda: ops.dot_product_attention_weights(*[mx.ones((1, 2**20, 1, 1))] * 2)
    ],
    ("jacrev", "`fn`"): [lambda: lf.jacrev(fn)(mx.ones(2**20))],
    ("initializers.zeros", "shape"): [
        lambda: nn.initializers.zeros(KEY, (2**20, 2**20)),
        lambda: nn.initializers.zeros(KEY, (2**31,)),
    ],
    ("initializers.identity", "shape"): [
        lambda: nn.initializers.identity(KEY, (2**20, 2**20))
    ],
    ("random.normal", "shape"): [lambda: random.normal(KEY, (2**20, 2**20))],
    ("scale_by_lbfgs", "history_size"): [
        lambda: optim.scale_by_lbfgs(history_size=2**30).init({"w": mx.ones(2**12)})
    ],
}


def fn(x):
    return 2 * x


@pytest.mark.parametrize("named", TOO_LARGE, ids=": ".join)
def test_what_memory_does_not_hold_is_an_error_that_names_the_argument(named):
    function, argument = named
    message = rf"^{function}: {argument} must give an array .* got one of shape \("
    for make in TOO_LARGE[named]:
        for run in (make, lambda: lf.jit(lambda _: make())(KEY)):  # noqa: B023
            with pytest.raises((MemoryError, ValueError), match=message):
                run()


def test_an_axis_beyond_32_bits_is_a_value_error():
    with pytest.raises(ValueError, match=r"f: n must .* fewer than 2\*\*31 items"):
        check_size("f", "n", (1, 2**31))


def test_bytes_beyond_the_memory_are_a_memory_error():
    with pytest.raises(MemoryError, match=r"fits in memory, .* takes 18014399 GB; lf"):
        check_size("f", "n", (2**26, 2**26))
    check_size("f", "n", (0, 2**20, 2**20))


def test_shapes_of_what_is_too_large_are_known():
    layer = nn.linear(2**18, 2**20)
    params, state = lf.eval_shape(layer.init, KEY)
    found = lf.eval_shape(
        lambda params, x: layer.apply(params, state, x, train=False)[0],
        params,
        lf.eval_shape(lambda: mx.zeros((2**20, 2**18))),
    )
    assert found.shape == (2**20, 2**20)
