"""Which functions and layers take a divided batch, and that no mark is copied."""

import functools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, random
from lucid_fn.cpu.parallel import split_batch, streams
from lucid_fn.ops.seam import is_divided, takes_divided
from tests.registry.activations import ACTIVATIONS
from tests.registry.case import over
from tests.registry.layers import LAYERS

ALONG_AN_AXIS = {nn.glu, nn.log_softmax, nn.softmax, nn.softmin}  # it may be the batch


@pytest.fixture
def two_streams(monkeypatch):
    for module in (streams, split_batch):
        monkeypatch.setattr(module, "count", lambda: 2)
    monkeypatch.setattr(split_batch, "_MIN_SIZE", 0)


AXIS = "the axis that it works along may be that of the examples"
INTEGERS = "integers are not divided"
CACHE = "the state holds the keys and values of all examples"
CARRY = "the carry has as many examples as the input"
JOINED = "what is said of a sequence and the carry after it are whole arrays"
SEVERAL = "the output is several arrays"
DRAWN = "its forward draws one array for the whole batch"
SEQUENCE = "the first axis may be that of the positions"
PURE = "it is run again inside a transformation, which takes arrays"

STAYS_WHOLE = {
    "batch_renorm": "a whole batch is normalized; there is no formulation for parts",
    "bilinear": "the input is a pair, of which neither is the first",
    "cached_attention": CACHE,
    "cached_attention-rotary": CACHE,
    "checkpointed": PURE,
    "compose-train-key": DRAWN,
    "embedding": INTEGERS,
    "embedding-padding": INTEGERS,
    "embedding_bag": INTEGERS,
    "embedding_bag-max": INTEGERS,
    "glu": AXIS,
    "gru": JOINED,
    "gru_cell": CARRY,
    "instance_norm-tracked": "its statistics are those of the whole batch",
    "learned_positions": SEQUENCE,
    "learned_positions-cached": SEQUENCE,
    "log_softmax": AXIS,
    "lstm": JOINED,
    "lstm-carried": JOINED,
    "lstm-dropout": JOINED,
    "lstm-lengths": JOINED,
    "lstm-projected": JOINED,
    "lstm_cell": CARRY,
    "multi_head_attention-weights": SEVERAL,
    "parallel": SEVERAL,
    "positional_encoding": SEQUENCE,
    "rnn": JOINED,
    "rnn_cell": CARRY,
    "scan": CARRY,
    "softmax": AXIS,
    "softmin": AXIS,
    "tap": SEVERAL,
    "tied_embedding": INTEGERS,
}
"""The layers whose output is not divided when their input is, and why."""


@over(LAYERS)
def test_a_divided_batch_stays_divided(case, two_streams, monkeypatch):
    any_number = {axes: 1 for axes in range(2, 6)}
    monkeypatch.setattr(split_batch, "_MIN_EXAMPLES", any_number)
    monkeypatch.setattr(split_batch, "_MIN_ROWS", 1)
    layer = case.make()
    params, state = layer.init(random.key(0))
    (x,) = case.inputs(np.random.default_rng(0))
    if not is_divided(x := split_batch.divide(x)) or not takes_divided(layer.apply):
        assert case.name in STAYS_WHOLE
        return
    y, _ = layer.apply(params, state, x, train=True, key=random.key(1))
    assert is_divided(y) == (case.name not in STAYS_WHOLE)


FUNCTIONS = [nn.flatten, nn.identity, nn.global_avg_pool2d, nn.global_max_pool2d]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda fn: fn.__name__)
def test_a_divided_batch_stays_divided_through_a_function(function, two_streams):
    x = split_batch.divide(mx.ones((4, 5, 5, 3)))
    assert is_divided(function(x))
    y, _ = nn.residual(function, function).apply({}, {}, x, train=False)
    assert is_divided(y)


def test_every_activation_of_single_numbers_takes_a_divided_batch():
    divided = {fn for fn in ACTIVATIONS if takes_divided(fn)}
    assert divided == set(ACTIVATIONS) - ALONG_AN_AXIS


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.batch_norm(8),
        lambda: nn.conv2d(8, 8, 3),
        lambda: nn.dropout(0.5),
        lambda: nn.linear(8, 8),
        lambda: nn.max_pool2d(2),
        lambda: nn.residual(nn.relu),
        lambda: nn.serial(nn.relu),
        lambda: nn.upsample_linear(2),
    ],
)
def test_layers_take_a_divided_batch(make):
    assert takes_divided(make().apply)


def test_a_wrapped_function_gets_whole_batches(two_streams):
    @functools.wraps(nn.relu)
    def leaky(x):
        return mx.maximum(x, 0.1 * x)  # of a divided batch it would be an error

    assert not takes_divided(leaky)
    model = nn.serial(nn.conv2d(3, 4, 3, padding=1), leaky)
    params, state = model.init(random.key(0))
    x = random.normal(random.key(1), (4, 5, 5, 3))
    y, _ = model.apply(params, state, x, train=False)
    conv, _ = nn.conv2d(3, 4, 3, padding=1).apply(params["0"], {}, x, train=False)
    assert mx.allclose(y, leaky(conv), atol=1e-6)
    grads = lf.grad(lambda p: mx.sum(model.apply(p, state, x, train=True)[0]))(params)
    assert grads["0"]["weight"].shape == (4, 3, 3, 3)


def test_an_apply_that_wraps_another_gets_whole_batches(two_streams):
    inner = nn.conv2d(3, 3, 1)

    @functools.wraps(inner.apply)
    def doubled(params, state, x, /, *, train, key=None):
        y, state = inner.apply(params, state, 2 * x, train=train, key=key)
        return y, state

    model = nn.serial(nn.relu, nn.Layer(inner.init, doubled))
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.ones((4, 5, 5, 3)), train=False)
    assert y.shape == (4, 5, 5, 3)


def test_bound_options_keep_a_function_divided(two_streams):
    leaky = functools.partial(nn.leaky_relu, negative_slope=0.2)
    assert takes_divided(leaky)
    assert takes_divided(functools.partial(leaky))
    assert not takes_divided(functools.partial(nn.relu, mx.ones((2,))))
    assert not takes_divided(functools.partial(mx.maximum, 0))
    x = random.normal(random.key(0), (4, 5, 5, 3))
    y = leaky(split_batch.divide(x))
    assert isinstance(y, split_batch.DividedBatch)
    assert mx.array_equal(y.join(), leaky(x))
