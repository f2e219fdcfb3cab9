import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, models, nn, optim, random, train, tree

TOKENS = mx.array([[1, 2, 3, 4, 5, 6]])


def gpt():
    return models.gpt(20, 8, num_layers=2, num_heads=2, d_model=8, rate=0.0)


def cnn():
    return nn.serial(
        conv=nn.conv2d(3, 4, 3),
        bn=nn.batch_norm(4),
        act=nn.relu,
        flat=nn.flatten,
        fc=nn.linear(36, 2),
    )


CASES = {
    "linear": (lambda: nn.linear(4, 3), lambda path: True, mx.ones((2, 4))),
    "attention projections": (gpt, lambda path: ".attn." in path, TOKENS),
    "a whole gpt": (gpt, lambda path: True, TOKENS),
    "convolution": (cnn, lambda path: path == "conv.weight", mx.ones((2, 5, 5, 3))),
}


@pytest.fixture(params=CASES)
def case(request):
    """A layer, the adapted one, its params with `b` far from 0, its state, an input."""
    make, predicate, x = CASES[request.param]
    layer = make()
    adapted = nn.lora(layer, predicate, rank=2, alpha=4)
    params, state = adapted.init(random.key(0))
    noise = tree.map_with_path(
        lambda path, leaf: random.normal(
            random.fold_in(random.key(1), path), leaf.shape
        ),
        params["lora"],
    )
    return layer, adapted, {**params, "lora": noise}, state, x


@pytest.mark.parametrize("name", CASES)
def test_it_begins_as_the_layer_inside(name):
    make, predicate, x = CASES[name]
    params, state = nn.lora(make(), predicate).init(random.key(0))
    base, base_state = make().init(random.key(0))
    assert tree.equal(params["base"], base) and tree.equal(state, base_state)
    y, _ = nn.lora(make(), predicate).apply(params, state, x, train=False)
    expected, _ = make().apply(base, state, x, train=False)
    assert mx.array_equal(y, expected)


@pytest.mark.parametrize("train", [False, True])
def test_merged_params_give_the_layer_inside_the_same_output(train, case):
    layer, adapted, params, state, x = case
    y, moved = adapted.apply(params, state, x, train=train)
    merged = nn.merge_lora(adapted, params)
    assert tree.paths(merged) == tree.paths(params["base"])
    expected, base_moved = layer.apply(merged, state, x, train=train)
    assert mx.array_equal(y, expected) and tree.equal(moved, base_moved)
    original, _ = layer.apply(params["base"], state, x, train=train)
    assert not mx.allclose(y, original)


def test_a_weight_moves_by_the_scaled_product():
    adapted = nn.lora(nn.linear(4, 3), lambda path: path == "weight", rank=2, alpha=6)
    params, _ = adapted.init(random.key(0))
    a, b = random.normal(random.key(1), (2, 4)), random.normal(random.key(2), (3, 2))
    moved = {**params, "lora": {"weight": {"a": a, "b": b}}}
    merged = nn.merge_lora(adapted, moved)
    assert mx.allclose(merged["weight"], params["base"]["weight"] + 3 * (b @ a))
    assert mx.array_equal(merged["bias"], params["base"]["bias"])


def test_a_kernel_moves_by_the_product_of_its_rows():
    layer = nn.conv2d(3, 4, 2)
    adapted = nn.lora(layer, lambda path: True, rank=2)
    params, _ = adapted.init(random.key(0))
    thin = params["lora"]["weight"]
    assert thin["a"].shape == (2, 2, 2, 3) and thin["b"].shape == (4, 2)
    b = random.normal(random.key(1), (4, 2))
    moved = {**params, "lora": {"weight": {**thin, "b": b}}}
    merged = nn.merge_lora(adapted, moved)["weight"]
    expected = mx.tensordot(b, thin["a"], axes=1)
    assert mx.allclose(merged - params["base"]["weight"], expected, atol=1e-6)


def test_only_its_own_params_have_gradients(case):
    _, adapted, params, state, x = case

    def loss(params):
        y, _ = adapted.apply(params, state, x, train=True)
        return mx.sum(mx.sin(y))

    grads = tree.named_leaves(lf.jit(lf.grad(loss))(params))
    for path, grad in grads.items():
        assert bool(mx.any(grad)) == path.startswith("lora."), path


def test_a_state_moves_as_that_of_the_layer_inside():
    make, predicate, x = CASES["convolution"]
    adapted = nn.lora(make(), predicate)
    params, state = adapted.init(random.key(0))
    _, moved = adapted.apply(params, state, x, train=True)
    assert not mx.array_equal(moved["bn"]["running_mean"], state["bn"]["running_mean"])


OPTIMIZERS = {
    "masked": lambda inner: optim.masked(inner, lambda p: p.startswith("lora.")),
    "partition": lambda inner: optim.partition(
        {"lora": inner, "base": optim.freeze()}, lambda p: p.partition(".")[0]
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_only_its_own_params_train_and_the_run_is_saved(name, tmp_path):
    adapted = nn.lora(gpt(), lambda path: path.endswith("in_proj_weight"), rank=2)
    optimizer = OPTIMIZERS[name](optim.adamw(0.05, weight_decay=0.1))
    step = train.make_step(adapted, optimizer, losses.softmax_cross_entropy)
    begin = ts = train.init(adapted, optimizer, random.key(0))
    seen = []
    for _ in range(12):
        ts, metrics = step(ts, TOKENS[:, :-1], TOKENS[:, 1:])
        seen.append(metrics["loss"].item())
    assert seen[-1] < seen[0]
    assert tree.equal(ts.params["base"], begin.params["base"])
    assert not tree.equal(ts.params["lora"], begin.params["lora"])
    path = tmp_path / "run.safetensors"
    train.save(path, ts)
    assert tree.equal(train.load(path, like=begin), ts)


def test_the_moments_of_the_optimizer_are_those_of_its_own_params_only():
    adapted = nn.lora(gpt(), lambda path: path.endswith("in_proj_weight"), rank=1)
    params, _ = adapted.init(random.key(0))
    opt_state = OPTIMIZERS["masked"](optim.adam(0.1)).init(params)
    moments = sum(leaf.size for leaf in tree.leaves(opt_state) if leaf.ndim)
    assert moments == 2 * tree.size(params["lora"])


def test_half_precision_weights_stay_in_half_precision(case):
    _, adapted, params, *_ = case
    half = {**params, "base": tree.cast(params["base"], mx.bfloat16)}
    merged = nn.merge_lora(adapted, half)
    assert all(leaf.dtype == mx.bfloat16 for leaf in tree.leaves(merged))


def test_wrong_arguments_are_errors():
    layer = nn.linear(4, 3)
    with pytest.raises(TypeError, match="lora: layer must be a layer"):
        nn.lora(nn.relu, lambda path: True)
    with pytest.raises(TypeError, match="lora: predicate must be a function of the pa"):
        nn.lora(layer, "weight")
    with pytest.raises(ValueError, match="lora: rank must be at least 1, got 0"):
        nn.lora(layer, lambda path: True, rank=0)
    with pytest.raises(ValueError, match="lora: alpha must be positive"):
        nn.lora(layer, lambda path: True, alpha=0)
    with pytest.raises(ValueError, match=r"choose a weight .*, among bias, weight"):
        nn.lora(layer, lambda path: path == "bias").init(random.key(0))


def test_params_of_another_layer_are_errors():
    adapted = nn.lora(nn.linear(4, 3), lambda path: True)
    params, _ = adapted.init(random.key(0))
    with pytest.raises(ValueError, match="params must hold 'base', got weight, bias"):
        adapted.apply(params["base"], {}, mx.ones((1, 4)), train=False)
    other = {**params, "lora": {"kernel": params["lora"]["weight"]}}
    with pytest.raises(ValueError, match=r"paths of params\['base'\], got kernel"):
        adapted.apply(other, {}, mx.ones((1, 4)), train=False)
    with pytest.raises(TypeError, match=r"merge_lora: layer must be made by nn\.lora"):
        nn.merge_lora(nn.linear(4, 3), params)
    with pytest.raises(
        ValueError, match=r"^merge_lora: params must hold 'base', got w"
    ):
        nn.merge_lora(adapted, params["base"])


def test_quantized_weights_are_told_to_be_merged_before():
    layer = nn.serial(fc=nn.linear(64, 64), out=nn.linear(64, 64))
    adapted = nn.lora(layer, lambda path: path == "fc.weight")
    params, state = adapted.init(random.key(0))
    small = {**params, "base": nn.quantize(layer, params["base"])}
    with pytest.raises(
        TypeError, match=r"base\.fc\.weight .* merge before you quantize"
    ):
        adapted.apply(small, state, mx.ones((1, 64)), train=True)
    merged = nn.quantize(layer, nn.merge_lora(adapted, params))
    assert layer.apply(merged, state, mx.ones((1, 64)), train=False)[0].shape == (1, 64)
