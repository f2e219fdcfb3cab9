"""Layers that change how another one is built, called or computed."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, random
from tests.strategies import equal


def block():
    return nn.serial(fc=nn.linear(4, 4), bn=nn.batch_norm(4), drop=nn.dropout(0.5))


def test_repeated_layers_have_their_own_params(key):
    params, state = nn.repeat(block(), 2).init(key)
    assert list(params) == ["0", "1"] == list(state)
    assert not equal(params["0"], params["1"])


def test_no_repetition_is_an_error():
    with pytest.raises(ValueError, match="repeat: times must be at least 1, got 0"):
        nn.repeat(nn.linear(4, 4), 0)


def test_parallel_layers_see_the_same_input(key):
    layer = nn.parallel(double=lambda x: 2 * x, same=nn.identity)
    y, _ = layer.apply({}, {}, mx.array([1.0]), train=True)
    assert [part.item() for part in y] == [2.0, 1.0]


def test_positional_and_named_parallel_layers_are_an_error():
    with pytest.raises(
        TypeError, match="all positional or all named, got 1 positional"
    ):
        nn.parallel(nn.tanh, b=nn.relu)


def test_checkpointed_changes_no_number(key):
    plain, saving = block(), nn.checkpointed(block())
    params, state = plain.init(key)
    assert equal((params, state), saving.init(key))
    x = random.normal(key, (6, 4))

    def run(layer):
        def loss(params):
            y, moved = layer.apply(params, state, x, train=True, key=key)
            return mx.sum(y**2), moved

        return lf.value_and_grad(loss, has_aux=True)(params)

    assert equal(run(plain), run(saving))


def test_taps_are_the_outputs_on_the_way(key):
    model = nn.serial(a=nn.serial(nn.linear(4, 3), nn.tanh), b=nn.linear(3, 2))
    params, state = model.init(key)
    x = random.normal(key, (5, 4))
    (y, taps), _ = nn.tap(model, "a.1", "a.0", "b").apply(params, state, x, train=True)
    assert list(taps) == ["a.1", "a.0", "b"]
    assert mx.array_equal(taps["b"], y)
    assert mx.array_equal(taps["a.1"], nn.tanh(taps["a.0"]))


def test_taps_reach_into_models(key):
    model = nn.tap(models.lenet5(), "pool2")
    (_, taps), _ = model.apply(*model.init(key), mx.ones((1, 28, 28, 1)), train=False)
    assert taps["pool2"].shape == (1, 4, 4, 16)


def test_gradients_flow_through_taps(key):
    model = nn.tap(nn.serial(a=nn.linear(2, 2), b=nn.tanh), "a")
    params, state = model.init(key)

    def loss(params):
        return mx.sum(
            model.apply(params, state, mx.ones((1, 2)), train=True)[0].taps["a"]
        )

    assert mx.all(lf.grad(loss)(params)["a"]["weight"] == 1)


def test_taps_inside_of_taps(key):
    inner = nn.tap(nn.serial(a=nn.linear(2, 2), b=nn.tanh), "a")
    outer = nn.tap(nn.serial(first=inner, rest=lambda tapped: tapped.y), "first")
    (_, taps), _ = outer.apply(*outer.init(key), mx.ones((1, 2)), train=True)
    assert list(taps["first"].taps) == ["a"]


def test_a_tap_of_no_layer_is_an_error(key):
    model = nn.tap(nn.serial(a=nn.linear(2, 2)), "b")
    with pytest.raises(ValueError, match="that are called, got 'b'; there are a"):
        model.apply(*model.init(key), mx.ones((1, 2)), train=True)
    with pytest.raises(ValueError, match="tap: paths must name at least one layer"):
        nn.tap(nn.linear(2, 2))


def test_weight_norm_starts_as_the_layer(key):
    plain, normed = nn.linear(4, 3), nn.weight_norm(nn.linear(4, 3))
    x = random.normal(key, (5, 4))
    y, _ = plain.apply(*plain.init(key), x, train=True)
    z, _ = normed.apply(*normed.init(key), x, train=True)
    assert mx.allclose(y, z, atol=1e-6)


def test_the_length_of_a_direction_does_not_matter(key):
    layer = nn.weight_norm(nn.linear(4, 3))
    params, _ = layer.init(key)
    x = random.normal(key, (5, 4))
    longer = {**params, "weight_v": 7 * params["weight_v"]}
    y, _ = layer.apply(params, {}, x, train=True)
    assert mx.allclose(layer.apply(longer, {}, x, train=True)[0], y, atol=1e-5)


def test_weight_norm_needs_that_parameter(key):
    with pytest.raises(ValueError, match="must have a parameter 'weight', got none"):
        nn.weight_norm(nn.dropout(0.5)).init(key)
    layer = nn.weight_norm(nn.linear(2, 2))
    with pytest.raises(
        ValueError, match="params must hold 'weight_g', got weight, bias"
    ):
        layer.apply(nn.linear(2, 2).init(key)[0], {}, mx.ones((1, 2)), train=True)


@pytest.mark.parametrize(
    "wrapper", [nn.checkpointed, nn.tap, nn.weight_norm, nn.spectral_norm]
)
def test_a_function_in_place_of_a_layer_is_told(wrapper):
    text = f"{wrapper.__name__}: layer must be a layer, got function .* with nn.lift"
    with pytest.raises(TypeError, match=text):
        wrapper(nn.relu)
