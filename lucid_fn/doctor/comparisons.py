"""Compares the results of this device with those of plain operations on the CPU."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import losses, nn, ops, optim, random, tree
from lucid_fn.doctor.check import Check, plural

# Relative to the largest element of an array. GPUs may round the factors of products to
# TF32, which has three digits: emulated on the CPU, the largest difference is 9e-4.
TOLERANCE = 2e-3


class Computation(NamedTuple):
    """A function from trees to a tree of arrays, and its arguments."""

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]


class Comparison(NamedTuple):
    """The difference between a computation and the plain one on the CPU."""

    name: str
    difference: float  # relative to the largest element of its array
    error: str = ""  # the error that it raised, if any


def selftest() -> Check:
    """Run layers, losses and optimizers on this device and on the CPU, and compare.

    Results and gradients, compiled on this device, are compared with those of MLX's
    plain operations on the CPU. Takes about a minute.

    Returns:
        A check that names computations that differ or fail.

    Example:
        >>> from lucid_fn import doctor
        >>> doctor.selftest().verdict  # doctest: +SKIP
        'ok'
    """
    start = time.perf_counter()
    compared = [_compared(computation) for computation in _computations()]
    wrong = [c for c in compared if c.error or not c.difference <= TOLERANCE]
    numbers = {"computations": len(compared), "seconds": time.perf_counter() - start}
    if not wrong:
        worst = max(compared, key=lambda c: c.difference)
        found = (
            f"{len(compared)} computations agree with the CPU's; the largest "
            f"difference is {worst.difference:.1e}, in {worst.name}"
        )
        return Check("selftest", "ok", found, numbers=numbers)
    found = f"{plural(len(wrong), 'computation')} of {len(compared)}: " + "; ".join(
        f"{c.name} fails ({c.error:.200})"
        if c.error
        else f"{c.name} is {c.difference:.1e} off"
        for c in wrong
    )
    advice = "please report it, with this output"
    return Check("selftest", "broken", found, advice, numbers)


def _compared(computation: Computation) -> Comparison:
    name, fn, args = computation
    try:
        ours = lf.jit(fn)(*args)
        mx.eval(ours)
        with mx.stream(mx.cpu), ops.plain(), lf.disable_jit():
            plain = fn(*args)
            mx.eval(plain)
    except Exception as error:
        return Comparison(name, np.inf, f"{type(error).__name__}: {error}")
    pairs = zip(tree.leaves(ours), tree.leaves(plain), strict=True)
    return Comparison(name, max(_distance(a, b) for a, b in pairs))


def _distance(ours: mx.array, plain: mx.array) -> float:
    a, b = (np.array(leaf.astype(mx.float32), np.float64) for leaf in (ours, plain))
    scale = max(float(np.abs(b).max(initial=0.0)), 1e-3)
    return float(np.abs(a - b).max(initial=0.0)) / scale


def _computations() -> Iterator[Computation]:
    for name, layer, shape in _layers():
        yield Computation(f"nn.{name}", *_layer(layer, _draw(shape)))
    tokens = mx.array([[1, 5, 2], [0, 3, 5]])
    yield Computation("nn.embedding", *_layer(nn.embedding(8, 4), tokens))
    logits, targets, labels = _draw((16, 10)), _draw((16, 10), 2), mx.arange(16) % 10
    for loss, target in _losses(targets, labels):
        yield Computation(f"losses.{loss.__name__}", _gradient(loss), (logits, target))
    params = {"weight": _draw((6, 8)), "head": _draw((8, 3))}
    for make in _OPTIMIZERS:
        yield Computation(
            f"optim.{make.__name__}", partial(_steps, make(0.01)), (params,)
        )


def _draw(shape: tuple[int, ...], seed: int = 1) -> mx.array:
    """Normal numbers, the same on every device."""
    return mx.array(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def _layer(layer: nn.Layer, x: mx.array) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """A function to the outputs in both modes and the gradients in train mode."""
    params, state = layer.init(random.key(0))

    def loss(params: Any, x: mx.array, state: Any, key: mx.array) -> Any:
        y, new_state = layer.apply(params, state, x, train=True, key=key)
        outputs = tree.leaves(y)
        total = sum(mx.sum(y * _draw(y.shape, seed=3)) for y in outputs)
        return total, (outputs, new_state)

    argnums = (0, 1) if mx.issubdtype(x.dtype, mx.floating) else 0
    value_and_grad = lf.value_and_grad(loss, argnums, has_aux=True)

    def compute(params: Any, x: mx.array, state: Any, key: mx.array) -> Any:
        (_, results), grads = value_and_grad(params, x, state, key)
        return results, grads, layer.apply(params, state, x, train=False)[0]

    return compute, (params, x, state, random.key(7))


def _layers() -> list[tuple[str, nn.Layer, tuple[int, ...]]]:
    """A layer for each operation and formulation, and the shape of its input."""
    sequence, image, volume = (3, 9, 8), (2, 10, 9, 8), (2, 5, 6, 4, 8)
    activations = [
        *(nn.relu, nn.gelu, nn.silu, nn.mish, nn.softplus, nn.elu, nn.hard_swish),
        *(nn.tanh, nn.sigmoid, nn.softmax, nn.log_softmax),
    ]
    return [
        ("linear", nn.linear(8, 5), sequence),
        ("conv1d", nn.conv1d(8, 6, 3, padding=2, dilation=2), sequence),
        ("conv2d", nn.conv2d(8, 6, 3, padding=1), image),
        ("conv2d, stride 2", nn.conv2d(8, 6, 3, stride=2), image),
        ("conv2d, 1x1", nn.conv2d(8, 6, 1), image),
        ("conv2d, 5x5", nn.conv2d(8, 6, 5, padding=2), image),
        ("conv2d, dilation 2", nn.conv2d(8, 6, 3, dilation=2), image),
        ("conv2d, 2 groups", nn.conv2d(8, 6, 3, groups=2), image),
        ("conv2d, depthwise", nn.conv2d(8, 8, 3, groups=8), image),
        ("conv3d", nn.conv3d(8, 4, 3, padding=1), volume),
        ("conv_transpose2d", nn.conv_transpose2d(8, 4, 3, stride=2), image),
        ("max_pool2d", nn.max_pool2d(3, stride=2, padding=1), image),
        ("avg_pool2d", nn.avg_pool2d(3, stride=2, padding=1), image),
        ("adaptive_avg_pool2d", nn.adaptive_avg_pool2d(3), image),
        ("global_avg_pool2d", nn.lift(nn.global_avg_pool2d), image),
        ("upsample_linear", nn.upsample_linear(2, dims=2), image),
        ("batch_norm", nn.batch_norm(8), image),
        ("layer_norm", nn.layer_norm(8), sequence),
        ("rms_norm", nn.rms_norm(8), sequence),
        ("group_norm", nn.group_norm(2, 8), image),
        ("instance_norm", nn.instance_norm(8), image),
        ("dropout", nn.dropout(0.4), sequence),
        ("rnn", nn.rnn(8, 4), sequence),
        ("gru", nn.gru(8, 4, bidirectional=True), sequence),
        ("lstm", nn.lstm(8, 4, num_layers=2), sequence),
        (
            "transformer_encoder_layer",
            nn.transformer_encoder_layer(8, 2, dim_feedforward=16, causal=True),
            sequence,
        ),
        *((fn.__name__, nn.lift(fn), sequence) for fn in activations),
    ]


def _losses(
    targets: mx.array, labels: mx.array
) -> list[tuple[Callable[..., mx.array], mx.array]]:
    """Losses of logits, and their targets."""
    probabilities = mx.softmax(targets, axis=-1)
    return [
        (losses.softmax_cross_entropy, labels),
        (losses.cross_entropy, labels),
        (losses.sigmoid_binary_cross_entropy, probabilities),
        (losses.soft_target_cross_entropy, probabilities),
        (losses.mse, targets),
        (losses.huber, targets),
    ]


def _gradient(loss: Callable[..., mx.array]) -> Callable[..., Any]:
    return lf.value_and_grad(lambda x, target: mx.sum(loss(x, target)))


_OPTIMIZERS = (
    *(optim.sgd, optim.adam, optim.adamw, optim.lion, optim.rmsprop, optim.adagrad),
    *(optim.adafactor, optim.muon, optim.lamb, optim.nadam, optim.radam),
)


def _steps(optimizer: optim.GradientTransformation, params: Any) -> Any:
    """The params after three steps."""
    opt_state = optimizer.init(params)
    for seed in range(3):
        grads = tree.map(lambda p, seed=seed: _draw(p.shape, seed), params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
    return params
