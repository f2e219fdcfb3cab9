"""A batch in parts goes through layers as the whole batch would."""

import functools
import io
import re

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random
from lucid_fn.cpu import linear
from lucid_fn.cpu.parallel import split_batch, streams
from lucid_fn.nn.recurrent import recurrence
from lucid_fn.ops import seam
from tests.registry.case import over
from tests.registry.layers import LAYERS

pytestmark = pytest.mark.tuned("batches are divided for the cores of a CPU")


@pytest.fixture
def three_streams(monkeypatch):
    """Three streams, whatever the machine has, and batches of any size in parts."""
    for module in (streams, split_batch):
        monkeypatch.setattr(module, "count", lambda: 3)
    monkeypatch.setattr(split_batch, "_MIN_SIZE", 0)


@pytest.fixture
def two_streams(monkeypatch):
    """Two streams, and everything in parts that can be, however small."""
    for module in (streams, split_batch):
        monkeypatch.setattr(module, "count", lambda: 2)
    monkeypatch.setattr(split_batch, "_MIN_SIZE", 0)
    monkeypatch.setattr(linear, "_MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(recurrence, "_MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(split_batch, "_MIN_ROWS", 1)
    monkeypatch.setattr(split_batch, "_MIN_EXAMPLES", {2: 1, 3: 1, 4: 1})
    monkeypatch.setattr(linear, "_MIN_ROWS", 1)
    monkeypatch.setattr(linear, "_MIN_SUMMED", 1)


def watched():
    """A list, and a layer that appends to it what kind of input it gets."""
    seen = []

    @seam.accepts_divided
    def look(x):
        seen.append(type(x).__name__)
        return x

    return seen, look


def divided(x: mx.array) -> split_batch.DividedBatch:
    parts = split_batch.divide(x)
    assert isinstance(parts, split_batch.DividedBatch)
    return parts


def images(batch: int) -> mx.array:
    return mx.random.normal((batch, 8, 8, 4), key=mx.random.key(batch))


def network() -> nn.Layer:
    """A network for images with layers that take split_batch."""
    block = nn.serial(nn.conv2d(16, 16, 3, padding=1, bias=False), nn.batch_norm(16))
    return nn.serial(
        nn.conv2d(4, 16, 3, padding=1),
        nn.batch_norm(16),
        nn.relu,
        nn.residual(block),
        nn.max_pool2d(2),
        nn.dropout(0.5),
        nn.avg_pool2d(2),
        nn.flatten,
        nn.linear(64, 5),
        nn.tanh,
    )


def outcome(model, x, *, jit=False):
    """The output, the new state and the gradients of one training step."""
    params, state = model.init(random.key(0))

    def loss(params, x, state):
        y, new = model.apply(params, state, x, train=True, key=random.key(1))
        return mx.sum(y**2), (y, new)

    run = lf.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, aux), grads = (lf.jit(run) if jit else run)(params, x, state)
    return lf.tree.named_leaves({"aux": aux, "grads": grads})


@pytest.mark.parametrize("batch", [3, 7, 8])
@pytest.mark.parametrize("jit", [False, True])
def test_a_batch_in_parts_gives_what_the_whole_batch_gives(
    monkeypatch, request, batch, jit
):
    whole = outcome(network(), images(batch))
    request.getfixturevalue("three_streams")
    parts = outcome(network(), images(batch), jit=jit)
    assert list(parts) == list(whole)
    for name, expected in whole.items():
        np.testing.assert_allclose(parts[name], expected, 1e-3, 1e-4, err_msg=name)


def test_vmap_of_the_gradient_sees_single_examples(three_streams):
    model = nn.serial(nn.conv2d(4, 3, 3), nn.relu, nn.flatten, nn.linear(108, 2))
    params, state = model.init(random.key(0))
    x = images(6)

    def loss(params, x):
        return mx.sum(model.apply(params, state, x, train=True)[0] ** 2)

    each = lf.vmap(lf.grad(loss), in_axes=(None, 0))(params, x[:, None])
    whole = lf.grad(loss)(params, x)
    total = lf.tree.map(lambda g: mx.sum(g, axis=0), each)
    for got, expected in zip(lf.tree.leaves(total), lf.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, expected, 1e-4, 1e-4)


def test_the_gradient_of_a_gradient_goes_through_parts(three_streams):
    model = nn.serial(nn.conv2d(4, 3, 3), nn.tanh, nn.flatten, nn.linear(108, 1))
    params, state = model.init(random.key(0))

    def penalty(params, x):
        def score(x):
            return mx.sum(model.apply(params, state, x, train=True)[0])

        return mx.sum(lf.grad(score)(x) ** 2)

    got = lf.grad(penalty)(params, images(6))
    with ops.plain():
        expected = lf.grad(penalty)(params, images(6))
    for a, b in zip(lf.tree.leaves(got), lf.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, 1e-3, 1e-4)


def test_functions_that_mix_the_batch_get_the_whole_batch(three_streams):
    seen = []

    def center(x):
        seen.append(x.shape)
        return x - mx.mean(x, axis=0)

    model = nn.serial(nn.linear(2, 2), center, nn.relu)
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.ones((6, 1, 1, 2)), train=True)
    assert (seen, mx.any(y).item()) == ([(6, 1, 1, 2)], False)


def test_forward_functions_of_users_get_arrays(three_streams):
    def forward(x, layer):
        assert isinstance(x, mx.array)
        y = layer(x)
        assert isinstance(y, mx.array)
        return mx.sum(y, axis=0)

    model = nn.compose(forward, layer=nn.serial(nn.linear(2, 3), nn.relu))
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.ones((6, 1, 1, 2)), train=True)
    assert y.shape == (1, 1, 3)


@pytest.mark.parametrize("activation", [nn.relu, nn.lift(nn.relu, examplewise=True)])
def test_a_block_of_the_users_is_divided_if_it_says_so(three_streams, activation):
    seen, look = watched()

    def forward(x, conv, look, act):
        return act(look(conv(x)) * 2 - x / 2 + 1)

    block = nn.compose(
        forward, examplewise=True, conv=nn.conv2d(4, 4, 1), look=look, act=activation
    )
    model = nn.serial(look, block, look)
    params, state = model.init(random.key(0))
    got, _ = model.apply(params, state, images(6), train=True)
    assert seen == ["DividedBatch"] * 3
    with ops.plain():
        expected, _ = model.apply(params, state, images(6), train=True)
    np.testing.assert_allclose(got, expected, 1e-4, 1e-5)


def test_a_forward_that_needs_an_array_gets_the_whole_batch(three_streams):
    seen, look = watched()

    def forward(x, look, norm):
        return mx.concatenate([look(norm(x)), mx.tanh(x)], axis=-1)

    block = nn.compose(forward, examplewise=True, look=look, norm=nn.batch_norm(4))
    params, state = block.init(random.key(0))
    y, state = block.apply(params, state, images(6), train=True)
    assert (y.shape, seen[-1]) == ((6, 8, 8, 8), "array")
    assert state["norm"]["num_batches_tracked"].item() == 1


def test_a_wrapper_does_not_inherit_what_the_wrapped_function_accepts(three_streams):
    @functools.wraps(nn.relu)
    def act(x):
        return mx.maximum(x, 0.1 * x)

    model = nn.serial(nn.conv2d(4, 4, 3, padding=1), act)
    params, state = model.init(random.key(0))
    assert model.apply(params, state, images(6), train=True)[0].shape == (6, 8, 8, 4)


def test_a_residual_adds_parts_and_an_array(three_streams):
    model = nn.residual(nn.serial(nn.relu, lambda x: x[::-1]))
    y, _ = model.apply({}, {}, mx.arange(12.0).reshape(6, 1, 1, 2), train=True)
    assert y.reshape(6, 2).tolist() == [[10.0, 12.0]] * 6


def test_taps_are_arrays(three_streams):
    body = nn.serial(nn.linear(2, 3), nn.relu)
    model = nn.tap(nn.serial(body=body, head=nn.tanh), "body", "body.0")
    params, state = model.init(random.key(0))
    out, _ = model.apply(params, state, mx.ones((6, 1, 1, 2)), train=True)
    assert all(isinstance(y, mx.array) for y in lf.tree.leaves(out))


def test_errors_name_the_shape_of_the_whole_batch(three_streams):
    model = nn.serial(nn.relu, nn.conv2d(3, 4, 3))
    params, state = model.init(random.key(0))
    with pytest.raises(ValueError, match=r"shape \(N, H, W, 3\), got \(6, 8, 8, 4\)"):
        model.apply(params, state, images(6), train=True)


def test_parts_of_unlike_shape_are_added_as_arrays(three_streams):
    x, row = divided(mx.ones((6, 1, 1, 2))), mx.ones((2,))
    for total in ((x + row).join(), x + x.join(), (x + x).join()):
        assert total.reshape(6, 2).tolist() == [[2.0, 2.0]] * 6


def test_parts_know_the_shape_of_the_batch(three_streams):
    x = divided(mx.zeros((7, 2, 2, 1)))
    assert (x.shape, x.ndim, x.size, x.dtype) == ((7, 2, 2, 1), 4, 28, mx.float32)
    assert x.join().shape == x.map(mx.exp).join().shape == (7, 2, 2, 1)


@pytest.mark.parametrize(
    "x",
    [mx.zeros((2, 9, 9, 1)), mx.zeros((9, 9)), mx.zeros((9, 2, 2, 1), mx.int8), [1.0]],
)
def test_what_gains_nothing_stays_whole(three_streams, x):
    assert split_batch.divide(x) is x


def test_nothing_is_divided_in_the_plain_formulation(three_streams):
    x = mx.zeros((9, 9, 9, 1))
    with ops.plain():
        assert seam.divide(x) is x


def _operations(y: mx.array | list[mx.array]) -> list[str]:
    """The operations behind `y`, compiled ones by the names of their parts."""
    text = io.StringIO()
    mx.export_to_dot(text, *(y if isinstance(y, list) else [y]))
    return re.findall(r'label ?="([^"]+)", shape=rectangle', text.getvalue())


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "leaky_relu", "hard_swish"])
def test_each_part_has_the_constants_in_its_own_kernels(three_streams, name):
    def run(x):
        parts = divided(x)
        y = getattr(ops, name)(parts)
        return mx.concatenate(y.parts)

    x = images(6)
    mx.eval(x)
    found = _operations(mx.compile(run)(x))
    assert any(operation.startswith("Compiled") for operation in found)
    assert "Broadcast" not in found  # one that is an array is read from memory


def test_what_is_left_of_a_small_batch_is_joined(three_streams, monkeypatch):
    seen, look = watched()
    monkeypatch.setattr(split_batch, "_MIN_SIZE", 6 * 8 * 8 * 4)
    model = nn.serial(look, nn.avg_pool2d(2), look, nn.flatten)
    model.apply({}, {}, images(6), train=True)
    assert seen == ["DividedBatch", "array"]


def test_a_batch_is_divided_again_after_what_wants_all_of_it(three_streams):
    seen, look = watched()
    model = nn.serial(look, lambda x: x - mx.mean(x, axis=0), look)
    model.apply({}, {}, images(6), train=True)
    assert seen == ["DividedBatch", "DividedBatch"]


@pytest.mark.parametrize(("rows", "parts"), [(192, 3), (191, 1)])
def test_rows_are_divided_if_there_are_enough(three_streams, rows, parts):
    assert len(split_batch.parts_of(split_batch.divide(mx.zeros((rows, 2))))) == parts


@pytest.mark.parametrize(
    ("shape", "parts"), [((6, 32, 2), 3), ((6, 31, 2), 1), ((5, 99, 2), 1)]
)
def test_sequences_are_divided_if_there_are_enough(three_streams, shape, parts):
    assert len(split_batch.parts_of(split_batch.divide(mx.zeros(shape)))) == parts


def test_labels_are_not_divided(three_streams):
    for x in (mx.zeros((300, 300), mx.int32), mx.zeros(300)):
        assert split_batch.divide(x) is x


@over(LAYERS)
def test_every_layer_gives_for_parts_what_it_gives_for_the_whole(case, request):
    """Between layers that take parts; the output, the state and all gradients."""
    model = nn.serial(before=nn.identity, layer=case.make(), after=nn.identity)
    (x,) = case.inputs(np.random.default_rng(0))
    params, state = model.init(random.key(0))
    leaves, structure = lf.tree.flatten({"params": params, "x": x})

    def loss(floats):
        filled = [floats.get(i, leaf) for i, leaf in enumerate(leaves)]
        given = lf.tree.unflatten(structure, filled)
        y, new = model.apply(
            given["params"], state, given["x"], train=True, key=random.key(1)
        )
        return sum(mx.sum(mx.sin(leaf)) for leaf in lf.tree.leaves(y)), (y, new)

    def run():
        floats = {i: x for i, x in enumerate(leaves) if _is_float(x)}
        return lf.value_and_grad(loss, has_aux=True)(floats)

    whole = run()
    request.getfixturevalue("two_streams")
    parts = run()
    for got, expected in zip(lf.tree.leaves(parts), lf.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(got, expected, 1e-4, 1e-4)


def _is_float(leaf):
    return mx.issubdtype(leaf.dtype, mx.floating)


def test_sequences_stay_in_parts_through_a_transformer(two_streams):
    seen, look = watched()
    block = nn.transformer_encoder_layer(8, 2, dim_feedforward=8, rate=0.5)
    model = nn.serial(
        nn.transformer_encoder(block, 2),
        look,
        nn.dropout(0.5),
        nn.multi_head_attention(8, 2, rate=0.5),
        look,
    )
    params, state = model.init(random.key(0))
    x = mx.ones((4, 3, 8))
    y, _ = model.apply(params, state, x, train=True, key=random.key(1))
    assert seen == ["DividedBatch", "DividedBatch"] and isinstance(y, mx.array)


def test_layers_of_users_get_arrays_among_named_inputs(two_streams):
    def forward(inputs, inner):
        assert isinstance(inputs.x, mx.array)
        return inner(inputs.x)

    model = nn.transformer_encoder(nn.compose(forward, inner=nn.linear(4, 4)), 2)
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.ones((4, 3, 4)), train=False)
    assert y.shape == (4, 3, 4)


@pytest.mark.parametrize("shape", [(5, 1, 3, 3), (4, 1, 3, 2)])
def test_errors_of_a_mask_name_the_shape_of_the_whole_batch(two_streams, shape):
    layer = nn.multi_head_attention(4, 2)
    params, state = layer.init(random.key(0))
    x = mx.ones((4, 3, 4))
    inputs = nn.AttentionInputs(x, x, x, mx.ones(shape, mx.bool_))
    message = re.escape(f"(N, H, L, S) = (4, 2, 3, 3), got {shape}")
    with pytest.raises(ValueError, match=message):
        layer.apply(params, state, inputs, train=False)


def test_the_product_of_a_matrix_is_divided_by_itself(two_streams):
    """Outside of parts, where a BLAS of one thread would leave the other core idle."""
    x = images(8).reshape(
        16, 128
    )  # more than the few rows that have a way of their own
    w = mx.random.normal((5, 128), key=mx.random.key(1))

    def loss(x, w):
        return mx.sum(mx.sin(ops.linear(x, w)))

    found = _operations(ops.linear(x, w))
    assert found.count("Matmul") == 2 and "Concatenate" in found
    got = lf.grad(loss, argnums=(0, 1))(x, w)
    with ops.plain():
        expected = lf.grad(loss, argnums=(0, 1))(x, w)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-4)
