"""Embeddings, tied embeddings and learned positions."""

import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, tree


def test_integers_become_rows(key):
    layer = nn.embedding(5, 3)
    params, _ = layer.init(key)
    y, _ = layer.apply(params, {}, mx.array([[4, 0]]), train=False)
    assert mx.array_equal(y[0, 0], params["weight"][4])
    assert y.shape == (1, 2, 3)


def test_rows_are_drawn_with_a_standard_deviation_of_one(key):
    weight = nn.embedding(200, 50).init(key)[0]["weight"]
    assert mx.std(weight).item() == pytest.approx(1.0, abs=0.05)


def test_a_row_gets_the_sum_of_the_gradients_of_its_places(key):
    layer = nn.embedding(4, 2)

    def loss(params):
        y, _ = layer.apply(params, {}, mx.array([1, 1, 3]), train=True)
        return mx.sum(y)

    grads = lf.grad(loss)(layer.init(key)[0])["weight"]
    assert grads.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


def test_a_tied_embedding_has_one_weight(key):
    model = nn.tied_embedding(nn.linear(3, 3), 7, 3)
    params, _ = model.init(key)
    assert sorted(tree.paths(params)) == [
        "body.bias",
        "body.weight",
        "embedding.weight",
    ]


def test_a_tied_embedding_scores_by_its_rows(key):
    model = nn.tied_embedding(nn.identity, 7, 3)
    params, state = model.init(key)
    y, _ = model.apply(params, state, mx.array([2]), train=False)
    weight = params["embedding"]["weight"]
    assert mx.allclose(y, weight[2:3] @ weight.T)


def test_an_untrained_tied_embedding_guesses(key):
    model = nn.tied_embedding(nn.layer_norm(16), 50, 16)
    params, state = model.init(key)
    labels = mx.arange(50)
    logits, _ = model.apply(params, state, labels, train=False)
    loss = lf.losses.cross_entropy(logits, labels[::-1])
    assert loss.item() == pytest.approx(math.log(50), abs=0.2)


def test_the_state_of_the_body_is_kept_and_moved(key):
    model = nn.tied_embedding(nn.batch_norm(3), 7, 3)
    params, state = model.init(key)
    _, state = model.apply(params, state, mx.array([1, 2]), train=True)
    assert state["body"]["num_batches_tracked"].item() == 1


def test_learned_positions_are_added(key):
    layer = nn.learned_positions(5, 3)
    params, _ = layer.init(key)
    x = random.normal(key, (2, 4, 3))
    y, _ = layer.apply(params, {}, x, train=False)
    assert mx.allclose(y - x, params["weight"][:4], atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 6, 3), (2, 4, 2), (3,)])
def test_a_sequence_that_does_not_fit_is_an_error(shape, key):
    layer = nn.learned_positions(5, 3)
    message = r"x must have shape \(..., L, 3\) with L at most 5, got"
    with pytest.raises(ValueError, match=message):
        layer.apply(layer.init(key)[0], {}, mx.ones(shape), train=False)


@pytest.mark.parametrize(
    "layer", [nn.embedding(5, 3), nn.tied_embedding(nn.tanh, 5, 3)]
)
def test_floats_are_an_error(layer, key):
    with pytest.raises(TypeError, match="embedding: x must be integers, got"):
        layer.apply(*layer.init(key), mx.ones((2, 3)), train=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.embedding(0, 3), "embedding: num_embeddings must be at least 1"),
        (lambda: nn.learned_positions(5, 0), "embedding_dim must be at least 1, got 0"),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
def test_gradients_are_summed_in_float32(dtype):
    layer = nn.embedding(3, 2)
    params = {"weight": mx.zeros((3, 2), dtype)}
    x = mx.array([0] * 4096 + [2])

    def loss(params):
        y, _ = layer.apply(params, {}, x, train=True)
        return mx.sum(0.125 * y.astype(mx.float32) + y.astype(mx.float32) ** 2)

    grads = lf.grad(loss)(params)["weight"]
    assert grads.dtype == dtype
    assert grads.tolist() == [[512, 512], [0, 0], [0.125, 0.125]]
    assert mx.array_equal(lf.jit(lf.grad(loss))(params)["weight"], grads)
    value, slope = lf.jvp(loss, (params,), (tree.map(mx.ones_like, params),))
    assert (value.item(), slope.item()) == (0.0, 4097 * 2 * 0.125)
    each = lf.vmap(lf.grad(loss))({"weight": mx.zeros((2, 3, 2), dtype)})["weight"]
    assert each[1].tolist() == grads.tolist()
    (twice,) = tree.leaves(lf.hvp(loss, (params,), (tree.map(mx.ones_like, params),)))
    assert twice.tolist() == [[8192, 8192], [0, 0], [2, 2]]


def test_the_gradient_of_no_integers_is_zero():
    for dtype in (mx.bfloat16, mx.float32):
        params = {"weight": mx.ones((3, 2), dtype)}

        def loss(params):
            none = mx.zeros((0, 4), mx.int32)
            return mx.sum(nn.embedding(3, 2).apply(params, {}, none, train=True)[0])

        assert not mx.any(lf.grad(loss)(params)["weight"])


@pytest.mark.parametrize("padding_idx", [0, 3, -1, 260])
@pytest.mark.parametrize("dtype", [mx.int32, mx.uint8, mx.int64])
def test_the_padding_is_pytorchs(padding_idx, dtype, key):
    torch = pytest.importorskip("torch")
    layer = nn.embedding(300, 2, padding_idx=padding_idx)
    params, _ = layer.init(key)
    assert not mx.any(params["weight"][padding_idx])
    assert mx.sum(mx.all(params["weight"] == 0, axis=1)).item() == 1
    params = {"weight": random.normal(key, (300, 2))}
    x = [[0, 3, 255], [3, 7, 0]]
    theirs = torch.nn.Embedding(300, 2, padding_idx=padding_idx)
    theirs.weight.data = torch.tensor(np.array(params["weight"]))
    their_y = theirs(torch.tensor(x))
    (their_y**2).sum().backward()

    def loss(params):
        y, _ = layer.apply(params, {}, mx.array(x, dtype), train=True)
        return mx.sum(y**2), y

    (_, y), grads = lf.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_array_equal(y, their_y.detach())
    np.testing.assert_allclose(grads["weight"], theirs.weight.grad, rtol=1e-6)


@pytest.mark.parametrize("padding_idx", [10, -11])
def test_a_padding_that_is_no_row_is_an_error(padding_idx):
    with pytest.raises(ValueError, match="embedding: padding_idx must be in"):
        nn.embedding(10, 4, padding_idx=padding_idx)
    with pytest.raises(TypeError, match="padding_idx must be an integer, got '0'"):
        nn.embedding(10, 4, padding_idx="0")


@pytest.mark.parametrize("beyond", [-1, 10, 10**8])
def test_an_integer_without_a_row_gives_nan_and_no_row_is_written(key, beyond):
    layer = nn.embedding(10, 4)
    params, _ = layer.init(key)
    x = mx.array([3, beyond])

    def loss(params):
        return mx.sum(layer.apply(params, {}, x, train=True)[0])

    y, _ = layer.apply(params, {}, x, train=True)
    assert mx.array_equal(y[0], params["weight"][3]).item()
    assert mx.all(mx.isnan(y[1])).item()
    grads = lf.grad(loss)(params)["weight"]
    assert mx.isnan(grads[0]).all().item()  # loud, in the row that stands in
    assert grads[1:].sum().item() == 4.0


def test_bytes_find_all_256_rows(key):
    layer = nn.embedding(256, 4)
    params, _ = layer.init(key)
    y, _ = layer.apply(params, {}, mx.array([0, 255], mx.uint8), train=False)
    assert mx.array_equal(y, params["weight"][mx.array([0, 255])]).item()
