"""Which functions take a divided batch: those marked, and no copies of the mark."""

import functools

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random
from lucid_fn.cpu.parallel import split_batch, streams
from lucid_fn.ops.seam import takes_divided
from tests.registry.layers import ACTIVATIONS

ALONG_AN_AXIS = {nn.glu, nn.log_softmax, nn.softmax, nn.softmin}  # it may be the batch


@pytest.fixture
def two_streams(monkeypatch):
    for module in (streams, split_batch):
        monkeypatch.setattr(module, "count", lambda: 2)
    monkeypatch.setattr(split_batch, "_LEAST", 0)


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
