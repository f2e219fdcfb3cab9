"""Accuracy and its relatives: hand values, corners and messages."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import metrics

LOGITS = mx.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])


def test_the_first_of_equal_logits_is_the_prediction():
    logits = mx.zeros((2, 3))
    assert metrics.accuracy(logits, mx.array([0, 1])).item() == 0.5
    assert metrics.top_k_accuracy(logits, mx.array([1, 2]), k=2).item() == 0.5


def test_labels_of_any_leading_axes_count():
    labels = mx.argmax(mx.stack([LOGITS, LOGITS]), axis=-1)
    assert metrics.accuracy(mx.stack([LOGITS, LOGITS]), labels).item() == 1


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int64, mx.uint32])
def test_any_integer_dtype_will_do(dtype):
    labels = mx.array([0, 2], dtype)
    assert metrics.accuracy(LOGITS, labels).item() == 1
    assert metrics.top_k_accuracy(LOGITS, labels, k=1).item() == 1


def test_a_label_outside_the_classes_is_never_hit():
    labels = mx.array([-1, 3])
    assert metrics.accuracy(LOGITS, labels).item() == 0
    assert metrics.top_k_accuracy(LOGITS, labels, k=3).item() == 0


def test_a_logit_of_nan_is_behind_all_others():
    logits = mx.array([[mx.nan, 1.0, 0.0]])
    assert metrics.top_k_accuracy(logits, mx.array([0]), k=2).item() == 0


def test_accuracy_of_half_precision_is_float32():
    logits = mx.random.normal((4097, 2), key=mx.random.key(0)).astype(mx.float16)
    labels = mx.argmax(logits, axis=-1)
    found = metrics.accuracy(logits, labels)
    assert (found.dtype, found.item()) == (mx.float32, 1.0)


@pytest.mark.parametrize(
    "metric",
    [metrics.accuracy, lambda x, y: metrics.top_k_accuracy(x, y, k=1)],
    ids=["accuracy", "top_k_accuracy"],
)
class TestMessages:
    def test_float_labels(self, metric):
        with pytest.raises(
            TypeError, match=r"labels must be integers, got mlx.*float32"
        ):
            metric(LOGITS, mx.zeros(2))

    def test_a_shape_that_does_not_fit(self, metric):
        with pytest.raises(
            ValueError, match=r"labels must have shape \(2,\) .*got \(2, 1\)"
        ):
            metric(LOGITS, mx.zeros((2, 1), mx.int32))

    def test_logits_without_classes(self, metric):
        with pytest.raises(ValueError, match=r"\(\.\.\., num_classes\) .*got \(\)"):
            metric(mx.array(1.0), mx.array(1))

    def test_a_numpy_array(self, metric):
        with pytest.raises(TypeError, match=r"got ndarray; convert it with mx.array"):
            metric(np.zeros((2, 3)), mx.zeros(2, mx.int32))


@pytest.mark.parametrize("k", [0, 4])
def test_the_number_of_guesses_is_checked(k):
    with pytest.raises(ValueError, match=rf"k must be in \[1, 3\].*got {k}"):
        metrics.top_k_accuracy(LOGITS, mx.array([0, 1]), k=k)


def test_one_class_is_an_error_that_names_what_is_meant():
    with pytest.raises(ValueError, match=r"several classes, got \(3, 1\); for one sco"):
        metrics.accuracy(mx.zeros((3, 1)), mx.array([1, 0, 1]))
