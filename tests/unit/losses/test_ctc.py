"""CTC: hand values, padding, impossible alignments, long sequences, messages."""

import itertools
import math

import mlx.core as mx
import pytest
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import losses


def ctc(logits, labels, logit_lengths=None, label_lengths=None, **options):
    n, frames, _ = logits.shape
    return losses.ctc(
        logits,
        mx.array(labels),
        logit_lengths=mx.array(logit_lengths or [frames] * n),
        label_lengths=mx.array(label_lengths or [len(row) for row in labels]),
        **options,
    )


def collapse(path, blank=0):
    merged = [c for c, _ in itertools.groupby(path)]
    return [c for c in merged if c != blank]


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1, 2]])
def test_it_is_the_sum_over_all_alignments(labels):
    logits = mx.random.normal((1, 4, 3), key=mx.random.key(0))
    probs = mx.softmax(logits[0], axis=-1).tolist()
    total = sum(
        math.prod(probs[t][c] for t, c in enumerate(path))
        for path in itertools.product(range(3), repeat=4)
        if collapse(path) == labels
    )
    assert_allclose(ctc(logits, [labels]), [-math.log(total)], rtol=1e-6)


def test_what_stands_behind_the_lengths_does_not_count():
    logits = mx.random.normal((1, 5, 4), key=mx.random.key(0))
    short = ctc(logits[:, :3], [[1, 2]])
    padded = mx.concatenate([logits[:, :3], mx.full((1, 2, 4), mx.nan)], axis=1)
    assert_allclose(ctc(padded, [[1, 2, -100, 77]], [3], [2]), short, rtol=1e-6)


def test_the_gradient_of_frames_behind_the_length_is_zero():
    logits = mx.random.normal((1, 5, 4), key=mx.random.key(0))
    slope = mx.grad(lambda x: mx.sum(ctc(x, [[1, 2]], [3])))(logits)
    assert mx.all(slope[:, 3:] == 0).item() and mx.all(slope[:, :3] != 0).item()


def test_no_labels_is_all_blank():
    logits = mx.random.normal((1, 3, 4), key=mx.random.key(0))
    log_probs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    expected = -mx.sum(log_probs[0, :, 0])
    loss = losses.ctc(
        logits,
        mx.zeros((1, 0), mx.int32),
        logit_lengths=mx.array([3]),
        label_lengths=mx.array([0]),
    )
    assert_allclose(loss, [expected.item()], rtol=1e-6)


def test_too_few_frames_cost_infinitely_much_and_have_no_slope():
    value, slope = mx.value_and_grad(lambda x: mx.sum(ctc(x, [[1, 1]])))(
        mx.zeros((1, 2, 3))
    )
    assert value.item() == math.inf
    assert mx.all(slope == 0).item()


def test_a_label_outside_the_classes_is_nan_and_spoils_no_other():
    found = ctc(mx.zeros((2, 4, 3)), [[1, 3], [1, 2]])
    assert mx.isnan(found).tolist() == [True, False]


def test_an_impossible_class_leaves_the_gradient_finite():
    logits = mx.zeros((1, 3, 3)).at[:, :, 2].add(-mx.inf)
    value, slope = mx.value_and_grad(lambda x: mx.sum(ctc(x, [[1]])))(logits)
    assert mx.isfinite(value).item() and mx.all(mx.isfinite(slope)).item()


def test_float32_is_enough_for_a_thousand_frames():
    logits = mx.zeros((1, 1000, 2))
    # Runs of the one label: start and end of the run among 1000 frames.
    expected = 1000 * math.log(2) - math.log(1000 * 1001 / 2)
    assert_allclose(ctc(logits, [[1]]), [expected], rtol=2e-6)


@pytest.mark.parametrize("wrong", [-1, 5, 2**32 + 3])
def test_lengths_that_do_not_fit_give_nan_and_spoil_no_other(wrong):
    logits = mx.random.normal((2, 4, 3), key=mx.random.key(0))
    labels, lengths = mx.array([[1, 2]] * 2), mx.array([2, wrong], mx.int64)
    good = mx.array([2, 2])
    for options in (
        {"logit_lengths": lengths, "label_lengths": good},
        {"logit_lengths": mx.array([4, 4]), "label_lengths": lengths},
    ):
        loss = losses.ctc(logits, labels, **options)
        assert mx.isnan(loss).tolist() == [False, True]
        compiled = lf.jit(lambda x, options=options: losses.ctc(x, labels, **options))
        assert mx.isnan(compiled(logits)).tolist() == [False, True]


def test_one_more_label_than_there_is_room_for_gives_nan():
    assert mx.isnan(ctc(mx.zeros((1, 9, 3)), [[1, 2]], [9], [3])).item()


def test_blank_among_the_labels_gives_nan_but_not_behind_them():
    logits = mx.zeros((2, 4, 3))
    found = ctc(logits, [[2, 1], [1, 2]], [4, 4], [1, 2], blank=2)
    assert mx.isnan(found).tolist() == [True, True]
    found = ctc(logits, [[1, 2], [1, 1]], [4, 4], [1, 2], blank=2)
    assert mx.isnan(found).tolist() == [False, False]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("junk", [mx.nan, mx.inf, -mx.inf])
def test_frames_behind_the_length_spoil_no_gradient(junk, dtype):
    logits = mx.random.normal((1, 5, 4), key=mx.random.key(0)).astype(dtype)
    clean = mx.concatenate([logits[:, :3], mx.zeros((1, 2, 4), dtype)], axis=1)
    dirty = mx.concatenate([logits[:, :3], mx.full((1, 2, 4), junk, dtype)], axis=1)

    def slope(x):
        return lf.grad(lambda x: mx.sum(ctc(x, [[1, 2]], [3])))(x)

    assert mx.array_equal(slope(dirty), slope(clean)).item()


def test_no_frames_hold_no_labels_and_nothing_else():
    logits, labels = mx.zeros((2, 3, 4)), [[1], [1]]
    assert ctc(logits, labels, [0, 0], [0, 1]).tolist() == [0, math.inf]


def test_the_mean_divides_by_the_labels_first():
    logits = mx.random.normal((2, 6, 4), key=mx.random.key(0))
    each = ctc(logits, [[1, 2, 3], [1, 0, 0]], [6, 6], [3, 0])
    mean = ctc(logits, [[1, 2, 3], [1, 0, 0]], [6, 6], [3, 0], reduction="mean")
    assert_allclose(mean, (each[0] / 3 + each[1]) / 2, rtol=1e-6)


def test_messages():
    x, labels, n = mx.zeros((2, 4, 3)), mx.array([[1], [2]]), mx.array([1, 1])

    def lengths(a=n, b=n):
        return {"logit_lengths": a, "label_lengths": b}

    with pytest.raises(ValueError, match=r"\(N, T, num_classes\), .* got \(4, 3\)"):
        losses.ctc(x[0], labels, **lengths())
    with pytest.raises(
        ValueError, match=r"labels must have shape \(2, S\), got \(2,\)"
    ):
        losses.ctc(x, n, **lengths())
    with pytest.raises(ValueError, match=r"logit_lengths must have shape \(2,\)"):
        losses.ctc(x, labels, **lengths(a=labels))
    with pytest.raises(ValueError, match=r"label_lengths must have shape \(2,\)"):
        losses.ctc(x, labels, **lengths(b=labels))
    with pytest.raises(ValueError, match=r"blank must be below 3, got 3"):
        losses.ctc(x, labels, **lengths(), blank=3)
    with pytest.raises(TypeError, match=r"labels must be integers, got .*float32"):
        losses.ctc(x, x[:, 0], **lengths())
    with pytest.raises(
        TypeError, match=r"label_lengths must be an MLX array, got list"
    ):
        losses.ctc(x, labels, **lengths(b=[1, 1]))
    with pytest.raises(TypeError, match=r"logits must be of a float dtype"):
        losses.ctc(x.astype(mx.int32), labels, **lengths())
