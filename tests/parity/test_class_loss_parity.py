"""Losses of one class out of several against PyTorch: values and gradients."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import losses
from tests.parity.losses_side_by_side import (
    EXAMPLES,
    C,
    F,
    N,
    agree,
    double,
    generators,
    normal,
    seeds,
    torch,
)


def labels_with(rng, ignored, n=N):
    labels = rng.integers(0, C, n)
    return np.where(rng.random(n) < 0.3, ignored, labels)


@given(
    seed=seeds,
    smoothing=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    weighted=st.booleans(),
    ignored=st.sampled_from([-100, -1, 2]),
)
def test_cross_entropy_of_labels(seed, smoothing, weighted, ignored):
    rng = generators(seed)
    labels = labels_with(rng, ignored)
    weight = rng.uniform(0.1, 3, C).astype(np.float32)
    options = {"label_smoothing": smoothing, "ignore_index": ignored}

    def ours(x):
        chosen = mx.array(weight) if weighted else None
        return losses.cross_entropy(x, mx.array(labels), weight=chosen, **options)

    def theirs(x):
        chosen = double(weight) if weighted else None
        return F.cross_entropy(x, torch.tensor(labels), weight=chosen, **options)

    agree(ours, theirs, 3 * normal(rng, N, C))


@given(seed=seeds, smoothing=st.floats(0, 1), weighted=st.booleans())
def test_cross_entropy_of_probabilities(seed, smoothing, weighted):
    rng = generators(seed)
    targets = rng.dirichlet(np.ones(C), N).astype(np.float32)
    weight = rng.uniform(0.1, 3, C).astype(np.float32) if weighted else np.ones(C, "f")

    def ours(x, t):
        chosen = mx.array(weight) if weighted else None
        return losses.cross_entropy(x, t, weight=chosen, label_smoothing=smoothing)

    def theirs(x, t):
        chosen = double(weight) if weighted else None
        return F.cross_entropy(x, t, weight=chosen, label_smoothing=smoothing)

    agree(ours, theirs, 3 * normal(rng, N, C), targets)


@EXAMPLES
@given(seed=seeds, smoothing=st.sampled_from([0.0, 0.2]))
def test_cross_entropy_over_positions_has_the_classes_last(seed, smoothing):
    rng = generators(seed)
    labels = labels_with(rng, -100, (2, 3, 5))

    def theirs(x):
        return F.cross_entropy(
            x.permute(0, 3, 1, 2), torch.tensor(labels), label_smoothing=smoothing
        )

    agree(
        lambda x: losses.cross_entropy(x, mx.array(labels), label_smoothing=smoothing),
        theirs,
        normal(rng, 2, 3, 5, C),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_without_a_label_is_nan(smoothing):
    x, labels = np.zeros((2, C), np.float32), np.full(2, -100)
    theirs = F.cross_entropy(torch.tensor(x), torch.tensor(labels))
    ours = losses.cross_entropy(
        mx.array(x), mx.array(labels), label_smoothing=smoothing
    )
    assert torch.isnan(theirs) and mx.isnan(ours).item()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 1e4])
def test_cross_entropy_of_logits_of_any_size(scale):
    rng = generators(0)
    labels = rng.integers(0, C, N)
    agree(
        lambda x: losses.softmax_cross_entropy(x, mx.array(labels)),
        lambda x: F.cross_entropy(x, torch.tensor(labels), reduction="none"),
        scale * normal(rng, N, C),
    )


@EXAMPLES
@given(seed=seeds)
def test_nll(seed):
    rng = generators(seed)
    labels = rng.integers(0, C, N)
    agree(
        lambda x: losses.nll(x, mx.array(labels)),
        lambda x: F.nll_loss(x, torch.tensor(labels), reduction="none"),
        normal(rng, N, C),
    )


@EXAMPLES
@given(seed=seeds)
def test_soft_target_cross_entropy(seed):
    rng = generators(seed)
    agree(
        losses.soft_target_cross_entropy,
        lambda x, t: F.cross_entropy(x, t, reduction="none"),
        normal(rng, N, C),
        rng.dirichlet(np.ones(C), N).astype(np.float32),
    )
