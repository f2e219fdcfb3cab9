"""What single operations of MLX become in ONNX."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import interop, random
from tests.onnx_files import assert_computes

X = random.normal(random.key(0), (4, 6))
INTEGERS = mx.array(np.random.default_rng(0).integers(-9, 9, (4, 6)))
HEADS = random.normal(random.key(1), (4, 4, 5, 8))
IMAGES = random.normal(random.key(2), (4, 5, 6, 3))


def updated(x):
    y = mx.array(x)
    y[:, 1:3] = 0
    y[:, 5:2:-2] = x[:, :2]
    return y


OPERATIONS = {
    "logarithms": (
        lambda x: [f(mx.abs(x) + 1) for f in (mx.log, mx.log2, mx.log10, mx.log1p)],
        X,
    ),
    "powers": (lambda x: (mx.rsqrt(x * x + 1), mx.abs(x) ** 1.7, mx.expm1(x)), X),
    "far from zero": (lambda x: mx.logaddexp(100 * x, mx.array(0.0)), X),
    "rounded": (lambda x: (mx.floor(x), mx.round(x), mx.sign(x), x // 0.3), X),
    "not finite": (lambda x: (mx.isnan(x / 0), mx.isinf(x / 0)), X),
    "divided integers": (lambda x: (x // 4, x // -4, x % 4, x % -4), INTEGERS),
    "bits": (lambda x: (x & 3, x | 3, x ^ 3, (x > 2) & (x < 5)), INTEGERS),
    "shifted bits": (lambda x: (x << 2, x >> 1), INTEGERS.astype(mx.uint32)),
    "reductions of bools": (
        lambda x: [f(x > 5, axis=1) for f in (mx.any, mx.all, mx.sum)],
        INTEGERS,
    ),
    "reductions": (
        lambda x: (mx.max(x, 0), mx.min(x), mx.prod(x, 1), mx.var(x, 1)),
        X,
    ),
    "largest": (lambda x: (mx.argmax(x, 1), mx.argmin(x, 0), mx.topk(x, 2)), X),
    "sorted": (
        lambda x: (mx.sort(x), mx.argsort(x, 0), mx.argpartition(x, 2)[:, 2]),
        X,
    ),
    "summed up": (lambda x: (mx.cumsum(x, 1), mx.cumsum(x, 0, reverse=True)), X),
    "softmax over examples": (lambda x: mx.softmax(x, axis=0), X),
    "logsumexp": (lambda x: (mx.logsumexp(x, -1), mx.logsumexp(x, 0)), X),
    "slices": (lambda x: (x[::-1], x[:, ::-2], x[1:, 2:5], x[:, 3], x[..., -2:]), X),
    "split": (lambda x: mx.split(x, [2, 3], axis=1), X),
    "gathered": (
        lambda x: (x[:, mx.array([0, 2, -1])], x[mx.arange(len(x)), mx.array(2)]),
        X,
    ),
    "updated": (updated, X),
    "repeated": (
        lambda x: (mx.repeat(x, 2, 0), mx.tile(x, (2, 1)), mx.pad(x, ((1, 1), (0, 0)))),
        X,
    ),
    "reshaped": (lambda x: x.reshape(-1, 2, 3).transpose(1, 0, 2).reshape(2, -1), X),
    "as long as the batch": (lambda x: (mx.zeros((len(x), 2)), mx.arange(len(x))), X),
    "square": (lambda x: mx.broadcast_to(x[:, 0], (len(x), len(x))), X),
    "products": (
        lambda x: (x @ x.T, mx.addmm(mx.ones(3), x, mx.ones((6, 3)), 2.0, 0.5)),
        X,
    ),
    "attention": (
        lambda q: mx.fast.scaled_dot_product_attention(
            q, q[:, :1], q[:, 1:2], scale=0.5, mask="causal"
        ),
        HEADS,
    ),
    "rotary": (
        lambda q: mx.fast.rope(q, 8, traditional=True, base=1e4, scale=1, offset=2),
        HEADS,
    ),
    "norms": (
        lambda x: (
            mx.fast.rms_norm(x, mx.ones(6), 1e-5),
            mx.fast.layer_norm(x, mx.ones(6), mx.zeros(6), 1e-5),
        ),
        X,
    ),
    "transposed convolution": (
        lambda x: mx.conv_transpose2d(x, 0.1 * mx.ones((2, 3, 3, 3)), (2, 3), 1),
        IMAGES,
    ),
    "flipped convolution": (
        lambda x: mx.conv_general(x, mx.arange(12.0).reshape(1, 2, 2, 3), flip=True),
        IMAGES,
    ),
    "transposed and added": (
        lambda x: (
            mx.conv2d(x, mx.ones((3, 1, 1, 3))) + x.transpose(0, 1, 2, 3)[..., :1]
        ),
        IMAGES,
    ),
    "gradients": (lf.vmap(lf.grad(lambda x: mx.sum(mx.tanh(x) ** 2))), X),
    "a loop": (lambda x: lf.scan(lambda c, a: (c + a, c * a), x[:, 0], x.T), X),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_onnxruntime_computes_an_operation_for_any_number_of_examples(name, tmp_path):
    fn, x = OPERATIONS[name]
    path = tmp_path / "operation.onnx"
    interop.onnx.export(fn, path, x, batch_argnums=0)
    assert_computes(path, fn, mx.concatenate([x, x, x[:1]]))
