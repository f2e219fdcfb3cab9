"""Cross-entropies: corners and messages."""

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lucid_fn import losses

LOGITS = mx.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
LABELS = mx.array([0, 2])


@pytest.mark.parametrize(
    "loss", [losses.softmax_cross_entropy, losses.nll, losses.multi_margin]
)
@pytest.mark.parametrize("wrong", [-1, -101, 3, 1000])
def test_a_label_outside_the_classes_is_nan_and_spoils_no_other(loss, wrong):
    found = loss(LOGITS, mx.array([0, wrong]))
    assert mx.isnan(found).tolist() == [False, True]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, mx.ones(3)])
@pytest.mark.parametrize("wrong", [-1, 3])
def test_cross_entropy_of_a_label_outside_is_nan(smoothing, weight, wrong):
    labels = mx.array([0, wrong])
    options = {"label_smoothing": smoothing, "weight": weight}
    assert mx.isnan(losses.cross_entropy(LOGITS, labels, **options)).item()


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int8, mx.uint32, mx.int64])
def test_labels_of_any_integer_dtype_will_do(dtype):
    labels = LABELS.astype(dtype)
    expected = losses.softmax_cross_entropy(LOGITS, LABELS)
    assert_allclose(losses.softmax_cross_entropy(LOGITS, labels), expected)
    assert_allclose(losses.cross_entropy(LOGITS, labels), mx.mean(expected))


def test_an_impossible_class_costs_nothing_while_it_is_not_the_label():
    logits = mx.array([[0.0, 0.0, -mx.inf]])
    assert_allclose(losses.cross_entropy(logits, mx.array([0])), np.log(2), rtol=1e-6)
    slope = mx.grad(losses.cross_entropy)(logits, mx.array([0]))
    assert_allclose(slope, [[-0.5, 0.5, 0]], atol=1e-6)


def test_an_ignored_row_with_an_impossible_class_costs_nothing():
    logits = mx.array([[0.0, 0.0, 0.0], [-mx.inf, 0.0, 0.0]])
    labels = mx.array([0, -100])
    for smoothing in (0.0, 0.5):
        loss = losses.cross_entropy(logits, labels, label_smoothing=smoothing)
        assert_allclose(loss, np.log(3), rtol=1e-6)


def test_cross_entropy_of_half_precision_is_computed_in_float32():
    logits = mx.zeros((70_000, 2), mx.float16)  # more rows than float16 counts
    loss = losses.cross_entropy(logits, mx.zeros(70_000, mx.int32))
    assert loss.dtype == mx.float32
    assert_allclose(loss, np.log(2), rtol=1e-5)
    slope = mx.grad(losses.cross_entropy)(logits, mx.zeros(70_000, mx.int32))
    assert slope.dtype == mx.float16


def test_one_row_without_a_batch_axis_will_do():
    loss = losses.cross_entropy(LOGITS[0], LABELS[0])
    assert_allclose(loss, losses.cross_entropy(LOGITS[:1], LABELS[:1]))


@pytest.mark.parametrize("loss", [losses.softmax_cross_entropy, losses.nll])
def test_messages_of_losses_with_labels(loss):
    with pytest.raises(TypeError, match=r"labels must be integers, got .*float32"):
        loss(LOGITS, mx.zeros(2))
    with pytest.raises(
        ValueError, match=r"labels must have shape \(2,\) .*, got \(2, 1\)"
    ):
        loss(LOGITS, LABELS[:, None])
    with pytest.raises(TypeError, match=r"must be of a float dtype, got .*int32"):
        loss(LOGITS.astype(mx.int32), LABELS)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., num_classes\) .*got \(\)"):
        loss(mx.array(1.0), mx.array(0))
    with pytest.raises(ValueError, match=r"at least one class, got \(2, 0\)"):
        loss(LOGITS[:, :0], LABELS)


@pytest.mark.parametrize(
    "labels", [mx.zeros(2), mx.zeros(2, mx.bool_), mx.zeros((2, 3), mx.complex64)]
)
def test_labels_of_a_wrong_kind(labels):
    with pytest.raises(
        TypeError,
        match=r"labels must be integers of shape \(2,\) or probabilities of shape "
        rf"\(2, 3\), got {labels.dtype} \(2,",
    ):
        losses.cross_entropy(LOGITS, labels)


@pytest.mark.parametrize("labels", [mx.zeros((2, 3), mx.int32), mx.zeros((2, 4))])
def test_labels_of_a_wrong_shape(labels):
    with pytest.raises(ValueError, match=r"cross_entropy: labels must be .* \(2, \d\)"):
        losses.cross_entropy(LOGITS, labels)


def test_other_messages_of_cross_entropy():
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\).*got \(2,\)"):
        losses.cross_entropy(LOGITS, LABELS, weight=mx.ones(2))
    with pytest.raises(TypeError, match="weight must be an MLX array, got list"):
        losses.cross_entropy(LOGITS, LABELS, weight=[1, 1, 1])
    with pytest.raises(ValueError, match=r"label_smoothing must be in \[0, 1\], got 2"):
        losses.cross_entropy(LOGITS, LABELS, label_smoothing=2)
    with pytest.raises(TypeError, match=r"labels must be an MLX array, got ndarray"):
        losses.cross_entropy(LOGITS, np.array([0, 1]))
    with pytest.raises(ValueError, match=r"ignore_index must be negative .* got 1"):
        losses.cross_entropy(LOGITS, mx.softmax(LOGITS), ignore_index=1)
    with pytest.raises(ValueError, match=r"logits must have shape .*got \(\)"):
        losses.cross_entropy(mx.array(1.0), mx.array(0))
    with pytest.raises(ValueError, match=r"at least one class, got \(2, 0\)"):
        losses.cross_entropy(LOGITS[:, :0], LABELS)


def test_messages_of_soft_target_cross_entropy():
    with pytest.raises(TypeError, match=r"targets must be of a float dtype.*astype"):
        losses.soft_target_cross_entropy(LOGITS, mx.zeros((2, 3), mx.int32))
    with pytest.raises(ValueError, match=r"targets must have the shape of logits"):
        losses.soft_target_cross_entropy(LOGITS, mx.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"logits must have shape .*got \(\)"):
        losses.soft_target_cross_entropy(mx.array(0.0), mx.array(0.0))
