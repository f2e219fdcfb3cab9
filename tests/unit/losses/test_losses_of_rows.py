"""Losses of vectors, scores and distributions: corners and messages."""

import mlx.core as mx
import pytest
from numpy.testing import assert_allclose

from lucid_fn import losses

X, Y = mx.array([[1.0, 0.0], [0.0, 2.0]]), mx.array([[1.0, 1.0], [0.0, -1.0]])
SIGNS = mx.array([1, -1])


def test_kl_divergence_of_a_distribution_from_itself_is_zero():
    p = mx.array([[0.25, 0.75], [0.5, 0.5]])
    assert_allclose(losses.kl_divergence(mx.log(p), p), [0, 0], atol=1e-7)


def test_kl_divergence_has_a_finite_slope_in_a_target_of_zero():
    slope = mx.grad(lambda t: mx.sum(losses.kl_divergence(mx.zeros((2,)), t)))
    assert mx.all(mx.isfinite(slope(mx.array([0.0, 1.0])))).item()


def test_gaussian_nll_takes_a_variance_for_each_row():
    wide = losses.gaussian_nll(X, Y, mx.array([[0.5, 0.5], [2.0, 2.0]]))
    assert_allclose(losses.gaussian_nll(X, Y, mx.array([[0.5], [2.0]])), wide)
    assert_allclose(losses.gaussian_nll(X, Y, mx.array([0.5, 2.0])), wide)


def test_gaussian_nll_takes_a_number_as_variance():
    wide = losses.gaussian_nll(X, Y, mx.full(X.shape, 2.0))
    assert_allclose(losses.gaussian_nll(X, Y, 2.0), wide)


def test_kl_divergence_of_a_log_target_of_minus_infinity_is_finite():
    log_p = mx.log(mx.array([0.5, 0.5]))
    log_z = mx.array([0.0, -mx.inf])
    loss = lambda t: losses.kl_divergence(log_p, t, log_targets=True)  # noqa: E731
    assert_allclose(loss(log_z), mx.log(mx.array(2.0)))
    assert mx.isfinite(mx.grad(loss)(log_z)).all().item()


def test_messages_of_kl_divergence():
    with pytest.raises(TypeError, match=r"targets must be of a float dtype"):
        losses.kl_divergence(X, X.astype(mx.int32))
    with pytest.raises(ValueError, match=r"targets must have the shape of log_pred"):
        losses.kl_divergence(X, X[:1])
    with pytest.raises(ValueError, match=r"targets must have shape .*got \(\)"):
        losses.kl_divergence(mx.array(0.0), mx.array(1.0))


def test_messages_of_gaussian_nll():
    with pytest.raises(ValueError, match=r"variance must have shape .*got \(3,\)"):
        losses.gaussian_nll(X, Y, mx.ones(3))
    with pytest.raises(ValueError, match="eps must be positive and finite, got 0"):
        losses.gaussian_nll(X, Y, X, eps=0)
    with pytest.raises(TypeError, match="variance must be an MLX array, got str"):
        losses.gaussian_nll(X, Y, "1.0")
    with pytest.raises(ValueError, match="variance must be at least 0"):
        losses.gaussian_nll(X, Y, -1.0)
    with pytest.raises(ValueError, match="targets must have the shape of predictions"):
        losses.gaussian_nll(X, Y[0], X)


def test_messages_of_cosine_embedding():
    with pytest.raises(ValueError, match=r"targets must have shape \(2,\).*\(2, 2\)"):
        losses.cosine_embedding(X, Y, X)
    with pytest.raises(ValueError, match=r"margin must be in \[-1, 1\], got 2"):
        losses.cosine_embedding(X, Y, SIGNS, margin=2)
    with pytest.raises(ValueError, match="second must have the shape of first"):
        losses.cosine_embedding(X, Y[:1], SIGNS)
    with pytest.raises(ValueError, match=r"first must have shape \(..., D\), got \(\)"):
        losses.cosine_embedding(mx.array(1.0), mx.array(1.0), mx.array(1))


def test_messages_of_triplet_margin():
    with pytest.raises(ValueError, match="margin must be positive and finite, got 0"):
        losses.triplet_margin(X, X, Y, margin=0)
    with pytest.raises(ValueError, match="eps must be positive and finite, got 0"):
        losses.triplet_margin(X, X, Y, eps=0)
    with pytest.raises(ValueError, match="negative must have the shape of anchor"):
        losses.triplet_margin(X, X, Y[:1])
    with pytest.raises(TypeError, match="positive must be of a float dtype"):
        losses.triplet_margin(X, X.astype(mx.int32), Y)


def test_messages_of_margin_ranking():
    with pytest.raises(ValueError, match="second must have the shape of first"):
        losses.margin_ranking(X, X[:1], X)
    with pytest.raises(ValueError, match="targets must have the shape of first"):
        losses.margin_ranking(X, Y, SIGNS)


def test_messages_of_multi_margin():
    with pytest.raises(ValueError, match="p must be 1 or 2, got 3"):
        losses.multi_margin(X, mx.array([0, 1]), p=3)
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\)"):
        losses.multi_margin(X, mx.array([0]))
