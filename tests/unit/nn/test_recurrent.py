"""Recurrent layers: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random, tree

KINDS = [nn.rnn, nn.gru, nn.lstm]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("num_layers", [1, 2])
def test_pieces_with_the_carry_are_the_whole_sequence(make, num_layers, key):
    layer = make(3, 4, num_layers=num_layers)
    params, _ = layer.init(key)
    x = random.normal(key, (2, 7, 3))
    (whole, end), _ = layer.apply(params, {}, x, train=False)
    (first, carry), _ = layer.apply(params, {}, x[:, :4], train=False)
    rest = nn.Carried(x[:, 4:], carry)
    (second, carry), _ = layer.apply(params, {}, rest, train=False)
    assert mx.allclose(mx.concatenate([first, second], axis=1), whole, atol=1e-6)
    for a, b in zip(tree.leaves(carry), tree.leaves(end), strict=True):
        assert mx.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("make", KINDS)
def test_the_last_output_is_the_carry(make, key):
    layer = make(3, 4)
    (y, carry), _ = layer.apply(*layer.init(key), mx.ones((2, 5, 3)), train=False)
    assert mx.array_equal(
        y[:, -1], tree.leaves(carry)[-1 if make is nn.gru else 0][:, 0]
    )


@pytest.mark.parametrize("make", KINDS)
def test_backwards_is_the_same_on_a_reversed_sequence(make, key):
    layer = make(3, 4, bidirectional=True)
    params, _ = layer.init(key)
    x = random.normal(key, (2, 6, 3))
    (y, _), _ = layer.apply(params, {}, x, train=False)
    swapped = {
        name.removesuffix("_reverse")
        if name.endswith("_reverse")
        else f"{name}_reverse": p
        for name, p in params.items()
    }
    (z, _), _ = layer.apply(swapped, {}, x[:, ::-1], train=False)
    assert mx.allclose(y[..., 4:], z[:, ::-1, :4], atol=1e-6)


@pytest.mark.parametrize("make", KINDS)
def test_names_and_bounds_are_pytorchs(make, key):
    torch = pytest.importorskip("torch")
    options = {"num_layers": 2, "bidirectional": True}
    params, _ = make(3, 16, **options).init(key)
    theirs = getattr(torch.nn, make.__name__.upper())(3, 16, **options)
    shapes = {name: leaf.shape for name, leaf in params.items()}
    assert shapes == {n: tuple(p.shape) for n, p in theirs.named_parameters()}
    largest = max(mx.max(mx.abs(leaf)).item() for leaf in params.values())
    assert 0.24 < largest <= 0.25  # 1 / sqrt(16)


@pytest.mark.parametrize("make", KINDS)
def test_other_inputs_are_errors(make, key):
    layer = make(3, 4)
    held = layer.init(key)
    for shape in [(2, 3), (2, 5, 4), (2, 0, 3)]:
        with pytest.raises(
            ValueError, match=r"x must have shape \(N, L, 3\) with at least"
        ):
            layer.apply(*held, mx.ones(shape), train=False)
    with pytest.raises(TypeError, match="x must be of a float dtype"):
        layer.apply(*held, mx.ones((2, 5, 3), mx.int32), train=False)


def test_a_carry_of_another_shape_is_an_error(key):
    layer = nn.gru(3, 4)
    wrong = nn.Carried(mx.ones((2, 5, 3)), mx.zeros((2, 4)))
    with pytest.raises(
        ValueError, match=r"carry must have shape \(2, 1, 4\), got \(2, 4\)"
    ):
        layer.apply(*layer.init(key), wrong, train=False)


def test_a_carry_of_another_kind_is_an_error(key):
    layer = nn.lstm(3, 4)
    wrong = nn.Carried(mx.ones((2, 5, 3)), mx.zeros((2, 1, 4)))
    with pytest.raises(
        TypeError, match=r"must be nn.LSTMCarry\(hidden, cell\), got array"
    ):
        layer.apply(*layer.init(key), wrong, train=False)


@pytest.mark.parametrize("make", KINDS)
def test_sizes_out_of_range_are_errors(make):
    with pytest.raises(
        ValueError, match=f"{make.__name__}: hidden_size must be at least"
    ):
        make(3, 0)


@pytest.mark.parametrize("make", KINDS)
def test_dropout_lies_between_the_layers(make, key):
    layer = make(3, 4, num_layers=2, rate=0.5)
    params, _ = layer.init(key)
    x = random.normal(key, (2, 6, 3))
    (first, carry), _ = make(3, 4).apply(
        {name: leaf for name, leaf in params.items() if "_l0" in name},
        {},
        x,
        train=False,
    )
    (y, both), _ = layer.apply(params, {}, x, train=True, key=key)
    (again, _), _ = layer.apply(params, {}, x, train=True, key=random.split(key)[0])
    (whole, _), _ = layer.apply(params, {}, x, train=False)
    assert first.shape == y.shape
    for a, b in zip(tree.leaves(carry), tree.leaves(both), strict=True):
        assert mx.allclose(a[:, 0], b[:, 0], atol=1e-6)  # nothing before the first
    assert not mx.allclose(y, again)
    assert not mx.allclose(y, whole)


@pytest.mark.parametrize("make", KINDS)
def test_dropout_of_one_layer_has_no_place(make, key):
    layer = make(3, 4, rate=0.5)
    held, x = layer.init(key), mx.ones((2, 5, 3))
    (y, _), _ = layer.apply(*held, x, train=True)  # needs no key
    (expected, _), _ = layer.apply(*held, x, train=False)
    assert mx.array_equal(y, expected)


def test_dropout_between_layers_needs_a_key(key):
    layer = nn.serial(encoder=nn.gru(3, 4, num_layers=2, rate=0.5))
    with pytest.raises(ValueError, match="gru: train=True needs a key") as caught:
        layer.apply(*layer.init(key), mx.ones((2, 5, 3)), train=True)
    assert caught.value.__notes__ == ["in layer encoder"]


def test_a_rate_out_of_range_is_an_error():
    with pytest.raises(ValueError, match=r"lstm: rate must be in \[0, 1\)"):
        nn.lstm(3, 4, rate=1.0)
