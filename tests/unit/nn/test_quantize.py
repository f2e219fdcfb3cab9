import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, ops, random, train, tree

OPTIONS = [(bits, size) for bits in (4, 8) for size in (32, 64, 128)]


def dequantized(params, bits, group_size):
    """The params as arrays: what the quantized ones stand for."""

    def widen(leaf):
        if not isinstance(leaf, ops.QuantizedWeight):
            return leaf
        return mx.dequantize(*leaf, bits=bits, group_size=group_size)

    return tree.map(
        widen, params, is_leaf=lambda leaf: isinstance(leaf, ops.QuantizedWeight)
    )


LAYERS = {
    "linear": (nn.linear(128, 6), random.normal(random.key(1), (5, 128))),
    "linear-no-bias": (nn.linear(128, 6, bias=False), mx.ones((2, 3, 128))),
    "embedding": (nn.embedding(9, 128), mx.array([[0, 8, 3]])),
    "attention": (
        nn.multi_head_attention(128, 4, causal=True),
        random.normal(random.key(1), (2, 5, 128)),
    ),
    "cross-attention": (
        nn.multi_head_attention(128, 4),
        nn.AttentionInputs(
            *(random.normal(random.key(i), (2, 3 + i, 128)) for i in (1, 2)),
            random.normal(random.key(3), (2, 5, 128)),
        ),
    ),
    "cached attention": (
        nn.cached_attention(128, 4, batch_size=2, max_length=6),
        random.normal(random.key(1), (2, 5, 128)),
    ),
    "tied_embedding": (
        nn.tied_embedding(nn.layer_norm(128), 9, 128),
        mx.array([[0, 8, 3]]),
    ),
    "gpt": (
        models.gpt(20, 8, num_layers=2, num_heads=2, d_model=128),
        mx.array([[1, 2, 3]]),
    ),
}


@pytest.mark.parametrize(("bits", "group_size"), OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_it_computes_with_the_weights_that_the_integers_stand_for(
    name, bits, group_size
):
    layer, x = LAYERS[name]
    params, state = layer.init(random.key(0))
    small = nn.quantize(layer, params, bits=bits, group_size=group_size)
    wide = dequantized(small, bits, group_size)
    assert tree.paths(wide) == tree.paths(params)
    y, _ = layer.apply(small, state, x, train=False)
    expected, _ = layer.apply(wide, state, x, train=False)
    assert mx.allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("bits", "group_size"), OPTIONS)
def test_no_weight_moves_by_more_than_a_step_of_its_group(bits, group_size):
    layer = nn.linear(512, 64)
    for shift in (0.0, 0.3, -5.0):  # groups of both signs, and of one
        weight = random.normal(random.key(bits), (64, 512)) + shift
        small = nn.quantize(
            layer,
            {"weight": weight, "bias": mx.zeros(64)},
            bits=bits,
            group_size=group_size,
        )
        error = mx.abs(dequantized(small, bits, group_size)["weight"] - weight)
        groups = weight.reshape(64, -1, group_size)
        step = (groups.max(-1) - groups.min(-1)) / (2**bits - 1)
        worst = (error.reshape(groups.shape).max(-1) / step).max().item()
        assert 0.4 < worst <= 1 + 1e-3


@pytest.mark.parametrize("bits", [4, 8])
def test_a_gpt_stays_close_to_itself(bits):
    layer, x = LAYERS["gpt"]
    params, state = layer.init(random.key(0))
    params = tree.map(lambda leaf: 5 * leaf, params)
    y, _ = layer.apply(params, state, x, train=False)
    small, _ = layer.apply(nn.quantize(layer, params, bits=bits), state, x, train=False)
    distance = mx.linalg.norm(small - y) / mx.linalg.norm(y)
    assert 1e-4 < distance.item() < {4: 0.5, 8: 0.05}[bits]


def test_bits_are_saved_memory():
    layer = nn.linear(1024, 256, bias=False)
    params, _ = layer.init(random.key(0))
    for bits, group_size in OPTIONS:
        small = nn.quantize(layer, params, bits=bits, group_size=group_size)
        expected = 256 * 1024 * (bits / 8 + 8 / group_size)
        assert tree.nbytes(small) == expected


def test_generation_takes_quantized_params():
    sizes = {"num_layers": 2, "num_heads": 2, "d_model": 64}
    model = models.gpt(20, 16, **sizes, cache=(1, 16))
    params, state = model.init(random.key(0))
    small = nn.quantize(model, params, bits=8)
    tokens, _ = models.generate(
        model, small, state, mx.array([[1, 2]]), max_new_tokens=8, temperature=0
    )
    wide = dequantized(small, 8, 64)
    logits, _ = models.gpt(20, 16, **sizes).apply(wide, {}, tokens[:, :-1], train=False)
    top = mx.max(logits[:, 1:], axis=-1)
    taken = mx.take_along_axis(logits[:, 1:], tokens[:, 2:, None], axis=-1)[..., 0]
    assert mx.allclose(taken, top, atol=1e-4)


def test_it_works_under_jit_grad_and_vmap():
    layer = nn.linear(64, 3)
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, params)
    wide = dequantized(small, 4, 64)
    x = random.normal(random.key(1), (5, 2, 64))

    def output(params, x):
        return layer.apply(params, {}, x, train=False)[0]

    def loss(params, x):
        return mx.sum(mx.sin(output(params, x)))

    expected = output(wide, x)
    assert mx.allclose(lf.jit(output)(small, x), expected, atol=1e-5)
    each = lf.vmap(output, in_axes=(None, 0))
    assert mx.allclose(each(small, x), expected, atol=1e-5)
    last = lf.vmap(output, in_axes=(None, 1), out_axes=1)
    assert mx.allclose(last(small, x), expected, atol=1e-5)
    slopes = lf.grad(loss, argnums=1)
    assert mx.allclose(slopes(small, x), slopes(wide, x), atol=1e-5)
    mapped = lf.vmap(slopes, in_axes=(None, 0))
    assert mx.allclose(mapped(small, x), slopes(wide, x), atol=1e-5)
    tangent = mx.ones_like(x)
    _, found = lf.jvp(lambda x: output(small, x), (x,), (tangent,))
    _, expected = lf.jvp(lambda x: output(wide, x), (x,), (tangent,))
    assert mx.allclose(found, expected, atol=1e-5)
    inner = lf.grad(lambda x: mx.sum(mx.sin(each(small, x))))
    assert mx.allclose(inner(x), slopes(wide, x), atol=1e-5)


def test_scales_and_biases_have_gradients():
    weight = random.normal(random.key(0), (3, 64))
    packed, scales, biases = nn.quantize(
        nn.linear(64, 3, bias=False), {"weight": weight}, group_size=32
    )["weight"]
    x = random.normal(random.key(1), (5, 64))

    def loss(scales, biases):
        return mx.sum(
            mx.sin(ops.linear(x, ops.QuantizedWeight(packed, scales, biases)))
        )

    def plain(scales, biases):
        wide = mx.dequantize(packed, mx.ones_like(scales), mx.zeros_like(scales), 32, 4)
        weight = scales[..., None] * wide.reshape(3, 2, 32) + biases[..., None]
        return mx.sum(mx.sin(x @ weight.reshape(3, 64).T))

    found, expected = (
        lf.grad(fn, argnums=(0, 1))(scales, biases) for fn in (loss, plain)
    )
    assert tree.equal(
        tree.map(lambda a, b: mx.allclose(a, b, atol=1e-3), found, expected),
        (mx.array(True),) * 2,
    )


def test_params_that_are_mapped_over_are_refused():
    layer = nn.linear(64, 3)
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, params)
    both = tree.map(lambda x: mx.stack([x, x]), small)
    mapped = lf.vmap(lambda params, x: layer.apply(params, {}, x, train=False)[0])
    with pytest.raises(ValueError, match="which MLX vectorizes wrongly"):
        mapped(both, mx.ones((2, 5, 64)))


def test_many_rows_are_the_product_of_one_after_the_other():
    layer = nn.linear(128, 6)
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, params, bits=8)
    x = random.normal(random.key(1), (2, 9, 128))
    y, _ = layer.apply(small, {}, x, train=False)
    rows = [layer.apply(small, {}, x[:, i], train=False)[0] for i in range(9)]
    assert mx.allclose(y, mx.stack(rows, axis=1), atol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_stays_half_precision(dtype):
    layer = nn.linear(64, 3)
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, tree.cast(params, dtype), bits=8)
    assert small["weight"].scales.dtype == dtype
    x = random.normal(random.key(1), (5, 64))
    y, _ = layer.apply(small, {}, x.astype(dtype), train=False)
    assert y.dtype == dtype
    y, _ = layer.apply(small, {}, x, train=False)
    assert y.dtype == mx.float32
    expected, _ = layer.apply(params, {}, x, train=False)
    assert mx.allclose(y, expected, atol=0.05)


def test_tokens_out_of_range_give_nan():
    layer, _ = LAYERS["embedding"]
    params, _ = layer.init(random.key(0))
    y, _ = layer.apply(
        nn.quantize(layer, params), {}, mx.array([9, -1, 2]), train=False
    )
    assert mx.all(mx.isnan(y[:2])) and not mx.any(mx.isnan(y[2]))


def test_the_predicate_chooses_weights_by_path():
    model = nn.serial(a=nn.linear(64, 64), b=nn.conv2d(4, 4, 3), c=nn.linear(64, 2))
    params, _ = model.init(random.key(0))
    small = nn.quantize(model, params, predicate=lambda path: path != "c.weight")
    assert isinstance(small["a"]["weight"], ops.QuantizedWeight)
    assert small["c"] == params["c"] and small["b"] == params["b"]
    assert isinstance(params["a"]["weight"], mx.array)


def test_quantized_params_are_saved_and_loaded(tmp_path):
    layer, _ = LAYERS["gpt"]
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, params)
    path = tmp_path / "small.safetensors"
    ts = train.TrainState(small, {}, (), random.key(0), mx.array(0))
    train.save(path, ts)
    assert tree.equal(train.load(path, like=ts).params, small)


def test_a_width_that_the_group_size_does_not_divide_is_an_error():
    model = nn.serial(a=nn.linear(100, 64), b=nn.linear(64, 2))
    params, _ = model.init(random.key(0))
    message = (
        "quantize: group_size must divide the number of inputs of a.weight, got 64 and "
        "100; give a smaller group_size, or leave a.weight out with predicate=lambda "
        "path: path != 'a.w"
    )
    with pytest.raises(ValueError, match=message):
        nn.quantize(model, params)
    nn.quantize(model, params, predicate=lambda path: path != "a.weight")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 5}, "bits must be one of 4, 8, got 5"),
        ({"group_size": 16}, "group_size must be one of 32, 64, 128, got 16"),
        (
            {"predicate": lambda path: False},
            "predicate must choose a weight, got none; there are weight",
        ),
    ],
)
def test_wrong_options_are_errors(options, message):
    layer = nn.linear(64, 2)
    with pytest.raises(ValueError, match=f"^quantize: .*{message}"):
        nn.quantize(layer, layer.init(random.key(0))[0], **options)


def test_what_is_quantized_or_cannot_be_is_an_error():
    layer = nn.linear(64, 2)
    params, _ = layer.init(random.key(0))
    small = nn.quantize(layer, params)
    with pytest.raises(TypeError, match="got QuantizedWeight; is it quantized already"):
        nn.quantize(layer, small)
    with pytest.raises(ValueError, match="linear layer, an attention or an embedding"):
        nn.quantize(nn.conv2d(3, 4, 3), {})
    with pytest.raises(ValueError, match=r"got frozen\(.* and wrap it afterwards"):
        nn.quantize(nn.frozen(layer), params)
    with pytest.raises(TypeError, match="quantize: layer must be a layer"):
        nn.quantize(params, layer)


def test_quantized_weights_of_another_size_are_errors():
    small = nn.quantize(nn.linear(64, 2), nn.linear(64, 2).init(random.key(0))[0])
    with pytest.raises(ValueError, match=r"params\['weight'\] must have shape \(3, 64"):
        nn.linear(64, 3, bias=False).apply(
            {"weight": small["weight"]}, {}, mx.ones((1, 64)), train=False
        )
    with pytest.raises(ValueError, match="linear: x must have shape"):
        ops.linear(mx.ones((2, 63)), small["weight"])
