"""Laws of the losses: of all in the registry, and of some alone."""

import itertools
from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import losses
from lucid_fn.testing import loss_laws as laws
from tests.fusion import jitted
from tests.registry.case import over
from tests.registry.losses import LOSSES, N

seeds = st.integers(0, 2**32 - 1)


def drawn(case, seed):
    return case.make(), case.inputs(np.random.default_rng(seed))


def subject(case, seed):
    return laws.Subject(*drawn(case, seed))


def is_float(x):
    return mx.issubdtype(x.dtype, mx.floating)


@over(LOSSES)
@settings(max_examples=3)
@given(seed=seeds)
def test_the_losses_of_a_batch_are_those_of_its_examples(case, seed):
    laws.a_batch_is_its_examples(subject(case, seed))


@over(LOSSES)
def test_a_loss_is_pure(case):
    laws.the_loss_is_pure(subject(case, 0))


@over(LOSSES, law="nonnegative")
@settings(max_examples=5)
@given(seed=seeds)
def test_a_loss_is_not_negative(case, seed):
    loss, inputs = drawn(case, seed)
    assert mx.min(loss(*inputs)).item() >= -1e-6


@over(LOSSES, law="difference quotient")
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_difference_quotient(case, seed):
    loss, inputs = drawn(case, seed)
    x, *rest = [z.astype(mx.float64) if is_float(z) else z for z in inputs]
    direction = mx.random.normal(x.shape, key=mx.random.key(seed)).astype(mx.float64)
    slope = mx.sum(mx.grad(lambda z: mx.sum(loss(z, *rest)))(x) * direction)
    # No smaller step: the exponential of MLX has 24 bits for float64, too.
    up, down = (mx.sum(loss(x + h * direction, *rest)) for h in (2e-3, -2e-3))
    assert_allclose(slope.item(), (up - down).item() / 4e-3, rtol=1e-3, atol=1e-3)


@over(LOSSES)
def test_first_and_second_derivatives_are_finite_at_zero(case):
    laws.derivatives_at_zero_are_finite(subject(case, 0))


@over(LOSSES)
def test_a_compiled_loss_is_the_loss(case):
    laws.compiled_is_eager(subject(case, 0))


@over(LOSSES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("scale", [1, 150])
def test_half_precision_is_the_float32_loss_rounded_once(case, dtype, scale):
    if "scaled inputs" in case.exempt:
        scale = 1
    result = mx.float32 if "dtype" in case.exempt else dtype
    found = laws.half_precision_is_rounded_once(subject(case, 0), dtype, scale, result)
    if "finite in half precision" not in case.exempt:
        assert mx.all(mx.isfinite(found)).item()


def means(case, loss, inputs):
    """The mean by PyTorch's rule, from each value."""
    values = loss(*inputs)
    if case.name == "nll of weighted classes":
        return mx.sum(values) / mx.sum(mx.array([0.5, 1.0, 2.0])[inputs[1]])
    if case.name == "ctc":
        values = values / inputs[-1]
    return mx.mean(values)


@over(LOSSES)
@pytest.mark.parametrize("seed", range(2))
def test_the_reductions_are_the_mean_and_the_sum_of_the_losses(case, seed):
    loss, inputs = drawn(case, seed)
    assert mx.array_equal(loss(*inputs, reduction="none"), loss(*inputs)).item()
    total, mean = (loss(*inputs, reduction=name) for name in ("sum", "mean"))
    assert total.shape == mean.shape == ()
    assert_allclose(total, mx.sum(loss(*inputs)), rtol=1e-5, atol=1e-6)
    assert_allclose(mean, means(case, loss, inputs), rtol=1e-5, atol=1e-6)


@over(LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_reduced_loss_is_compiled_mapped_and_derived(case, reduction):
    loss, (x, *rest) = drawn(case, 0)

    def reduced(x):
        return loss(x, *rest, reduction=reduction)

    slope = lf.grad(reduced)
    jit = lf.jit(slope) if reduction == "mean" else partial(jitted, slope)
    assert_allclose(jit(x), slope(x), rtol=1e-5, atol=1e-6)
    pair = mx.stack([x, x[::-1]])
    mapped, grads = lf.vmap(reduced)(pair), lf.vmap(slope)(pair)
    for i, row in enumerate(pair):
        assert_allclose(mapped[i], reduced(row), rtol=1e-5, atol=1e-6)
        assert_allclose(grads[i], slope(row), rtol=1e-5, atol=1e-6)


@over(LOSSES)
def test_each_argument_may_be_mapped_alone(case):
    """MLX's vmap of `&`, `|` and `!=` is wrong if only one side is mapped."""
    loss, inputs = drawn(case, 0)
    for place, x in enumerate(inputs):
        axes = [0 if i == place else None for i in range(len(inputs))]
        rows = [x, x[::-1]]
        given = [mx.stack(rows) if i == place else y for i, y in enumerate(inputs)]
        found = lf.vmap(loss, in_axes=axes)(*given)
        for i, row in enumerate(rows):
            expected = loss(*[row if i == place else y for i, y in enumerate(inputs)])
            assert_allclose(found[i], expected, rtol=1e-5, atol=1e-6)


@over(LOSSES)
@pytest.mark.parametrize("wrong", ["average", "Mean", None, True])
def test_any_other_reduction_is_an_error(case, wrong):
    loss, inputs = drawn(case, 0)
    message = r"^\w+: reduction must be 'none', 'mean' or 'sum', got .*"
    with pytest.raises(ValueError, match=message):
        loss(*inputs, reduction=wrong)


def test_dir_shows_the_losses_and_no_modules():
    assert dir(losses) == sorted(losses.__all__)


@over(LOSSES)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_a_mean_of_half_precision_does_not_overflow_in_its_sum(case, dtype):
    loss, inputs = drawn(case, 0)
    inputs = [x.astype(dtype) if is_float(x) else x for x in inputs]
    inputs = [mx.repeat(x, 20_000, axis=0) for x in inputs]
    if case.name == "ctc":
        inputs = [x[: len(x) // 100] for x in inputs]
    mean = loss(*inputs, reduction="mean")
    assert mean.dtype == (mx.float32 if "dtype" in case.exempt else dtype)
    exact = [x.astype(mx.float32) if is_float(x) else x for x in inputs]
    assert_allclose(
        mean.astype(mx.float32), loss(*exact, reduction="mean"), rtol=0.005, atol=1e-4
    )


@over(LOSSES)
def test_a_vectorized_loss_and_its_gradient_are_those_of_a_loop(case):
    laws.vectorized_is_a_loop(subject(case, 0))


def logits_and_labels(seed, n=N, c=5):
    rng = np.random.default_rng(seed)
    logits = mx.array(3 * rng.normal(size=(n, c)).astype(np.float32))
    return logits, mx.array(rng.integers(0, c, n)), rng


cross_entropies = st.sampled_from(
    [losses.softmax_cross_entropy, losses.cross_entropy, losses.multi_margin]
)


@given(loss=cross_entropies, shift=st.floats(-50, 50, width=32), seed=seeds)
def test_a_shift_of_the_logits_changes_nothing(loss, shift, seed):
    logits, labels, _ = logits_and_labels(seed)
    shifted = loss(logits + shift, labels)
    assert_allclose(shifted, loss(logits, labels), rtol=1e-5, atol=3e-5)


@given(loss=cross_entropies, seed=seeds)
def test_permuting_the_classes_changes_nothing(loss, seed):
    logits, labels, rng = logits_and_labels(seed)
    order = rng.permutation(5)
    permuted = loss(logits[:, mx.array(order)], mx.array(np.argsort(order))[labels])
    assert_allclose(permuted, loss(logits, labels), rtol=1e-5, atol=1e-6)


@given(smoothing=st.floats(0, 1), seed=seeds)
def test_the_gradient_sums_to_zero_over_the_classes(smoothing, seed):
    logits, labels, rng = logits_and_labels(seed)
    weight = mx.array(rng.uniform(0.1, 2, 5).astype(np.float32))
    grads = mx.grad(losses.cross_entropy)
    slope = grads(logits, labels, weight=weight, label_smoothing=smoothing)
    assert_allclose(mx.sum(slope, axis=-1), mx.zeros(N), atol=1e-6)


@given(seed=seeds, factor=st.floats(0.01, 100))
def test_only_the_ratios_of_the_class_weights_matter(seed, factor):
    logits, labels, rng = logits_and_labels(seed)
    weight = mx.array(rng.uniform(0.1, 2, 5).astype(np.float32))
    scaled = losses.cross_entropy(logits, labels, weight=factor * weight)
    plain = losses.cross_entropy(logits, labels, weight=weight)
    assert_allclose(scaled, plain, rtol=1e-5)


@given(seed=seeds, ignored=st.lists(st.booleans(), min_size=N, max_size=N))
def test_an_ignored_label_is_as_good_as_a_missing_row(seed, ignored):
    logits, labels, _ = logits_and_labels(seed)
    kept = [i for i, skip in enumerate(ignored) if not skip]
    masked = mx.where(mx.array(ignored), -7, labels)
    loss = losses.cross_entropy(logits, masked, ignore_index=-7)
    if kept:
        rows = mx.array(kept)
        expected = losses.cross_entropy(logits[rows], labels[rows])
        assert_allclose(loss, expected, rtol=1e-5)
    else:
        assert mx.isnan(loss).item()


@given(seed=seeds, smoothing=st.floats(0, 1))
def test_probabilities_of_one_label_are_the_label(seed, smoothing):
    logits, labels, _ = logits_and_labels(seed)
    one_hot = (labels[:, None] == mx.arange(5)).astype(mx.float32)
    soft = losses.cross_entropy(logits, one_hot, label_smoothing=smoothing)
    hard = losses.cross_entropy(logits, labels, label_smoothing=smoothing)
    assert_allclose(soft, hard, rtol=1e-5, atol=1e-6)


@given(seed=seeds)
def test_two_classes_are_a_sigmoid(seed):
    x = mx.random.normal((N,), key=mx.random.key(seed))
    targets = (mx.random.uniform(shape=(N,), key=mx.random.key(seed)) > 0.5).astype(
        mx.int32
    )
    logits = mx.stack([mx.zeros_like(x), x], axis=-1)
    softmax = losses.softmax_cross_entropy(logits, targets)
    sigmoid = losses.sigmoid_binary_cross_entropy(x, targets)
    assert_allclose(softmax, sigmoid, rtol=1e-5, atol=1e-6)
    binary = losses.binary_cross_entropy(mx.sigmoid(x), targets)
    assert_allclose(binary, sigmoid, rtol=1e-4, atol=1e-5)
    focal = losses.focal(x, targets, alpha=None, gamma=0)
    assert_allclose(focal, sigmoid, rtol=1e-6)


@given(seed=seeds, delta=st.floats(0.01, 10))
def test_huber_is_smooth_l1_times_delta(seed, delta):
    k1, k2 = mx.random.split(mx.random.key(seed))
    x, y = mx.random.normal((9,), key=k1), mx.random.normal((9,), key=k2)
    huber, smooth = losses.huber(x, y, delta=delta), losses.smooth_l1(x, y, beta=delta)
    assert_allclose(huber, delta * smooth, rtol=1e-5, atol=1e-7)


@settings(max_examples=5)
@given(seed=seeds, frames=st.integers(1, 3))
def test_the_probabilities_of_all_labellings_sum_to_one(seed, frames):
    every = [
        labels
        for length in range(frames + 1)
        for labels in itertools.product((1, 2), repeat=length)
    ]
    padded = [[*labels, *[0] * (frames - len(labels))] for labels in every]
    logits = mx.random.normal((1, frames, 3), key=mx.random.key(seed))
    loss = losses.ctc(
        mx.repeat(logits, len(every), axis=0),
        mx.array(padded),
        logit_lengths=mx.full((len(every),), frames, mx.int32),
        label_lengths=mx.array([len(labels) for labels in every]),
    )
    assert_allclose(mx.sum(mx.exp(-loss)), 1, rtol=1e-5)
