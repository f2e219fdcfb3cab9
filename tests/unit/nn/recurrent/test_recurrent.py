"""Recurrent layers: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

import lucid_fn as lf
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
    rest = nn.RecurrentInputs(x[:, 4:], carry)
    (second, carry), _ = layer.apply(params, {}, rest, train=False)
    assert mx.allclose(mx.concatenate([first, second], axis=1), whole, atol=1e-6)
    for a, b in zip(tree.leaves(carry), tree.leaves(end), strict=True):
        assert mx.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("make", KINDS)
def test_a_chain_does_not_pass_on_the_carry(make, key):
    """The second layer would start from the carry of the first."""
    model = nn.serial(make(3, 4), make(4, 4))
    message = rf"{make.__name__}: x must be .*; pass on y\.sequence, .*RecurrentInputs"
    with pytest.raises(TypeError, match=message):
        model.apply(*model.init(key), mx.ones((2, 5, 3)), train=False)
    first, second = make(3, 4), make(4, 4)
    chain = nn.serial(first, lambda y: y.sequence, second)
    params, _ = chain.init(key)
    x = random.normal(key, (2, 5, 3))
    got, _ = chain.apply(params, {}, x, train=False)
    (between, _), _ = first.apply(params["0"], {}, x, train=False)
    expected, _ = second.apply(params["2"], {}, between, train=False)
    assert tree.equal(got, expected)


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
    for shape in [(2, 3), (2, 5, 4)]:
        with pytest.raises(ValueError, match=r"x must have shape \(N, L, 3\), got"):
            layer.apply(*held, mx.ones(shape), train=False)
    with pytest.raises(TypeError, match="x must be of a float dtype"):
        layer.apply(*held, mx.ones((2, 5, 3), mx.int32), train=False)


def test_a_carry_of_another_shape_is_an_error(key):
    layer = nn.gru(3, 4)
    wrong = nn.RecurrentInputs(mx.ones((2, 5, 3)), mx.zeros((2, 4)))
    with pytest.raises(
        ValueError, match=r"carry must have shape \(2, 1, 4\), got \(2, 4\)"
    ):
        layer.apply(*layer.init(key), wrong, train=False)


def test_a_carry_of_the_wrong_type_is_an_error(key):
    layer = nn.lstm(3, 4)
    wrong = nn.RecurrentInputs(mx.ones((2, 5, 3)), mx.zeros((2, 1, 4)))
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


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("shape", [(0, 5, 3), (2, 0, 3), (0, 0, 3)])
def test_empty_batches_and_sequences_have_empty_outputs(make, shape, key):
    layer = make(3, 4, num_layers=2, bidirectional=True)
    params, _ = layer.init(key)

    def total(params, x):
        y, _ = layer.apply(params, {}, x, train=True)
        return sum(map(mx.sum, tree.leaves(y))), y

    (_, (y, carry)), grads = lf.value_and_grad(total, argnums=(0, 1), has_aux=True)(
        params, mx.zeros(shape)
    )
    mx.eval(y, carry, grads)
    assert y.shape == (*shape[:2], 8)
    assert all(leaf.shape == (shape[0], 4, 4) for leaf in tree.leaves(carry))
    assert not any(mx.any(leaf).item() for leaf in tree.leaves(grads))


def test_no_steps_leave_the_carry(key):
    layer = nn.gru(3, 4)
    start = random.normal(key, (2, 1, 4))
    inputs = nn.RecurrentInputs(mx.zeros((2, 0, 3)), start)
    (_, carry), _ = layer.apply(*layer.init(key), inputs, train=False)
    assert mx.array_equal(carry, start)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_length_of_zero_leaves_the_carry(make, bidirectional, key):
    layer = make(3, 4, bidirectional=bidirectional)
    x = random.normal(key, (2, 5, 3))
    inputs = nn.RecurrentInputs(x, lengths=mx.array([0, 5]))
    (y, carry), _ = layer.apply(*layer.init(key), inputs, train=False)
    assert not mx.any(y[0])
    assert not any(mx.any(leaf[0]) for leaf in tree.leaves(carry))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize(
    ("beyond", "dtype"),
    [
        (-1, mx.int32),
        (6, mx.int64),
        (2**32 + 3, mx.int64),
        (2**31 - 1, mx.int32),
        (255, mx.uint8),
        (6, mx.uint32),
    ],
)
def test_a_length_out_of_range_gives_nan_in_its_sequence_alone(
    make, beyond, dtype, key
):
    layer = make(3, 4, bidirectional=True)
    params, _ = layer.init(key)
    x = random.normal(key, (2, 5, 3))
    inputs = nn.RecurrentInputs(x, lengths=mx.array([beyond, 3], dtype))
    (y, carry), _ = layer.apply(params, {}, inputs, train=False)
    (short, _), _ = layer.apply(params, {}, x[1:, :3], train=False)
    assert mx.all(mx.isnan(y[0]))
    assert all(mx.all(mx.isnan(leaf[0])) for leaf in tree.leaves(carry))
    assert mx.allclose(y[1, :3], short[0], atol=1e-6)
    assert not mx.any(mx.isnan(y[1]))


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.usefixtures("unfused")
def test_compiled_gradients_with_lengths_are_eager(make, bidirectional, key):
    layer = make(3, 4, bidirectional=bidirectional)
    params, _ = layer.init(key)  # read from outside of the compiled function

    def loss(x, lengths):
        y, _ = layer.apply(params, {}, nn.RecurrentInputs(x, None, lengths), train=True)
        return sum(mx.sum(mx.sin(leaf)) for leaf in tree.leaves(y))

    args = random.normal(key, (2, 5, 3)), mx.array([5, 2])
    grad = lf.grad(loss)
    assert mx.allclose(lf.jit(grad)(*args), grad(*args), atol=1e-6)


def test_lengths_of_another_shape_or_dtype_are_errors(key):
    layer = nn.lstm(3, 4)
    held, x = layer.init(key), mx.ones((2, 5, 3))
    with pytest.raises(
        ValueError, match=r"lstm: lengths must have shape \(2,\), one for each"
    ):
        layer.apply(*held, nn.RecurrentInputs(x, None, mx.array([1])), train=False)
    with pytest.raises(TypeError, match="lstm: lengths must be integers, got"):
        layer.apply(*held, nn.RecurrentInputs(x, None, mx.ones(2)), train=False)
    with pytest.raises(TypeError, match="lengths must be an MLX array, got list"):
        layer.apply(*held, nn.RecurrentInputs(x, None, [5, 3]), train=False)


def test_lengths_in_a_plain_tuple_are_answered_with_the_named_one():
    layer = nn.lstm(4, 8)
    pair = mx.zeros((2, 3, 4)), mx.array([3, 2])
    with pytest.raises(TypeError, match=r"got tuple; .*Inputs\(x, lengths="):
        layer.apply(*layer.init(random.key(0)), pair, train=False)


def test_padding_does_not_overflow_an_unbounded_activation(key):
    layer = nn.rnn(2, 3, activation=nn.relu)
    params = tree.map(lambda leaf: 3 * mx.ones_like(leaf), layer.init(key)[0])
    x = mx.ones((1, 200, 2))

    def loss(params):
        inputs = nn.RecurrentInputs(x, lengths=mx.array([2]))
        return mx.sum(layer.apply(params, {}, inputs, train=True)[0].carry)

    assert all(mx.all(mx.isfinite(g)) for g in tree.leaves(lf.grad(loss)(params)))


@pytest.mark.parametrize("proj_size", [-1, 4, 5])
def test_a_projection_that_does_not_reduce_is_an_error(proj_size):
    with pytest.raises(
        ValueError, match="lstm: proj_size must be at least 0 and less than hidden_size"
    ):
        nn.lstm(3, 4, proj_size=proj_size)


@pytest.mark.parametrize("make", [*KINDS, nn.rnn_cell, nn.gru_cell, nn.lstm_cell])
@pytest.mark.parametrize(
    "dtypes", [(mx.bfloat16, mx.float32), (mx.float32, mx.float16)]
)
def test_the_output_has_the_promoted_dtype(make, dtypes, key):
    layer = make(3, 4)
    params = tree.cast(layer.init(key)[0], dtypes[1])
    shape = (2, 3) if make.__name__.endswith("cell") else (2, 5, 3)
    y, _ = layer.apply(params, {}, mx.ones(shape, dtypes[0]), train=False)
    assert all(leaf.dtype == mx.float32 for leaf in tree.leaves(y))


@pytest.mark.parametrize("activation", ["relu", None, nn.prelu()])
def test_an_activation_that_is_no_function_is_an_error(activation):
    for make in (
        lambda: nn.rnn(3, 4, activation=activation),
        lambda: nn.rnn_cell(3, 4, activation=activation),
        lambda: nn.transformer_encoder_layer(4, 2, activation=activation),
        lambda: nn.transformer_decoder_layer(4, 2, activation=activation),
    ):
        with pytest.raises(TypeError, match=r"activation must be a function on arrays"):
            make()


def test_scan_refuses_lengths(key):
    layer = nn.scan(nn.gru_cell(3, 4))
    inputs = nn.RecurrentInputs(mx.ones((2, 5, 3)), None, mx.array([5, 3]))
    with pytest.raises(TypeError, match=r"lengths are for nn.rnn, nn.gru and nn.lstm"):
        layer.apply(*layer.init(key), inputs, train=False)
