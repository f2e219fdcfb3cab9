"""Counts: hand values, corners and messages."""

import mlx.core as mx
import pytest

from lucid_fn import metrics, tree


def test_rows_are_labels_and_columns_predictions():
    matrix = metrics.confusion_matrix(mx.array([2]), mx.array([0]), num_classes=3)
    assert matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert matrix.dtype == mx.int32


def test_predictions_and_labels_of_different_integer_dtypes_are_counted():
    matrix = metrics.confusion_matrix(
        mx.array([200], mx.uint8), mx.array([200], mx.int64), num_classes=201
    )
    assert matrix[200, 200].item() == 1


def test_logits_are_answered_with_argmax():
    logits, labels = mx.zeros((4, 3)), mx.zeros((4,), mx.int32)
    with pytest.raises(
        TypeError, match=r"of logits give mx\.argmax\(logits, axis=-1\)"
    ):
        metrics.confusion_matrix(logits, labels, num_classes=3)


def test_no_examples_are_no_counts():
    none = mx.zeros((0,), mx.int32)
    matrix = metrics.confusion_matrix(none, none, num_classes=2)
    assert matrix.tolist() == [[0, 0], [0, 0]]


def test_a_class_that_never_occurs_has_zeros_not_nan():
    counts = metrics.class_counts(mx.array([[5, 0], [0, 0]]))
    assert metrics.precision(counts).tolist() == [1, 0]
    assert metrics.recall(counts).tolist() == [1, 0]
    assert metrics.f1(counts).tolist() == [1, 0]


def test_counts_beyond_float32_stay_exact():
    counts = metrics.Counts(*[mx.array(2**24 + 1)] * 3)
    doubled = tree.map(mx.add, counts, counts)
    assert doubled.true_positives.item() == 2**25 + 2


def test_large_counts_do_not_overflow_f1():
    counts = metrics.Counts(mx.array(2**31 - 1), mx.array(2**31 - 1), mx.array(0))
    assert metrics.f1(counts).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("misses", [0, 1, 2**31 - 1])
def test_counts_up_to_2_to_the_31_do_not_overflow(misses):
    hits = 2**31 - 1
    counts = metrics.Counts(*[mx.array([n] * 3) for n in (hits, misses, misses)])
    exact = hits / (hits + misses)
    for metric in (metrics.precision, metrics.recall, metrics.f1):
        assert metric(counts).tolist() == pytest.approx([exact] * 3)
        assert metric(metrics.micro(counts)).item() == pytest.approx(exact)
    assert metrics.micro(counts).true_positives.item() == 3 * hits


def test_micro_adds_the_classes_up():
    counts = metrics.micro(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
    assert [x.item() for x in counts] == [5, 1, 1]


def test_messages_of_confusion_matrix():
    one = mx.array([0])
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        metrics.confusion_matrix(one, one, num_classes=0)
    with pytest.raises(
        ValueError, match="num_classes must be at most 46340, got 50000"
    ):
        metrics.confusion_matrix(one, one, num_classes=50_000)
    with pytest.raises(TypeError, match=r"labels must be integers, got .*float32"):
        metrics.confusion_matrix(one, mx.zeros(1), num_classes=2)
    with pytest.raises(
        ValueError, match=r"labels must have the shape of predictions, \(1,\)"
    ):
        metrics.confusion_matrix(one, mx.array([0, 1]), num_classes=2)


def test_messages_of_class_counts():
    with pytest.raises(ValueError, match=r"\(num_classes, num_classes\), got \(2, 3\)"):
        metrics.class_counts(mx.zeros((2, 3), mx.int32))
    with pytest.raises(TypeError, match=r"confusion must be integers, got .*float32"):
        metrics.class_counts(mx.zeros((2, 2)))


def test_messages_of_binary_counts():
    yes = mx.array([True])
    with pytest.raises(
        TypeError, match=r"labels must be bool, got .*int32; compare it"
    ):
        metrics.binary_counts(yes, mx.array([1]))
    with pytest.raises(ValueError, match="labels must have the shape of predictions"):
        metrics.binary_counts(yes, mx.array([True, False]))
    with pytest.raises(ValueError, match=r"labels must have shape .*got \(\)"):
        metrics.binary_counts(mx.array(True), mx.array(True))


@pytest.mark.parametrize("metric", [metrics.precision, metrics.f1, metrics.micro])
def test_a_matrix_in_place_of_counts_is_refused(metric):
    with pytest.raises(TypeError, match=r"counts must be metrics.Counts, got array; m"):
        metric(mx.array([[3, 1], [0, 2]]))
