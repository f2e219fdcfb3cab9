"""Every other loss that PyTorch has: values and gradients, for drawn arguments."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.testing import assert_allclose

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
    signs,
    torch,
)

margins = st.floats(0.05, 2)


@EXAMPLES
@given(seed=seeds, weighted=st.booleans(), scale=st.sampled_from([0.0, 1.0, 40.0]))
def test_sigmoid_binary_cross_entropy(seed, weighted, scale):
    rng = generators(seed)
    weight = rng.uniform(0.1, 5, C).astype(np.float32)
    agree(
        lambda x, t: losses.sigmoid_binary_cross_entropy(
            x, t, pos_weight=mx.array(weight) if weighted else None
        ),
        lambda x, t: F.binary_cross_entropy_with_logits(
            x,
            t,
            pos_weight=double(weight) if weighted else None,
            reduction="none",
        ),
        scale * normal(rng, N, C),
        rng.random((N, C), np.float32),
    )


@EXAMPLES
@given(seed=seeds, corner=st.sampled_from([None, 0.0, 1.0]))
def test_binary_cross_entropy_corners_included(seed, corner):
    rng = generators(seed)
    p = rng.uniform(0.01, 0.99, (N, C)).astype(np.float32)
    targets = rng.integers(0, 2, (N, C)).astype(np.float32)
    p = p if corner is None else np.full_like(p, corner)
    agree(
        lambda x: losses.binary_cross_entropy(x, mx.array(targets)),
        lambda x: F.binary_cross_entropy(x, double(targets), reduction="none"),
        p,
    )


@EXAMPLES
@given(seed=seeds)
def test_binary_cross_entropy_has_a_gradient_in_its_targets(seed):
    rng = generators(seed)
    agree(
        losses.binary_cross_entropy,
        lambda x, t: F.binary_cross_entropy(x, t, reduction="none"),
        rng.uniform(0.01, 0.99, (N, C)).astype(np.float32),
        rng.random((N, C), np.float32),
    )


@pytest.mark.parametrize("name", ["mse", "l1"])
@EXAMPLES
@given(seed=seeds)
def test_mse_and_l1(name, seed):
    rng = generators(seed)
    x, y = normal(rng, N, C), normal(rng, N, C)
    y[0] = x[0]  # where the derivative of l1 jumps
    theirs = getattr(F, f"{name}_loss")
    ours = getattr(losses, name)
    agree(ours, lambda a, b: theirs(a, b, reduction="none"), x, y)


@EXAMPLES
@given(seed=seeds, width=st.floats(0.01, 3))
def test_smooth_l1_and_huber(seed, width):
    rng = generators(seed)
    x, y = normal(rng, N, C), normal(rng, N, C)
    agree(
        lambda a, b: losses.smooth_l1(a, b, beta=width),
        lambda a, b: F.smooth_l1_loss(a, b, beta=width, reduction="none"),
        x,
        y,
    )
    agree(
        lambda a, b: losses.huber(a, b, delta=width),
        lambda a, b: F.huber_loss(a, b, delta=width, reduction="none"),
        x,
        y,
    )


def test_smooth_l1_of_beta_zero():
    rng = generators(0)
    agree(
        lambda a, b: losses.smooth_l1(a, b, beta=0.0),
        lambda a, b: F.smooth_l1_loss(a, b, beta=0.0, reduction="none"),
        normal(rng, N, C),
        normal(rng, N, C),
    )


@EXAMPLES
@given(seed=seeds)
def test_kl_divergence_with_its_batchmean(seed):
    rng = generators(seed)
    targets = rng.dirichlet(np.ones(C), N).astype(np.float32)
    log_predictions = np.log(rng.dirichlet(np.ones(C), N)).astype(np.float32)
    agree(
        lambda x, t: mx.mean(losses.kl_divergence(x, t)),
        lambda x, t: F.kl_div(x, t, reduction="batchmean"),
        log_predictions,
        targets,
    )


@EXAMPLES
@given(seed=seeds)
def test_kl_divergence_with_logarithms_as_targets(seed):
    rng = generators(seed)
    agree(
        lambda x, t: mx.mean(losses.kl_divergence(x, t, log_targets=True)),
        lambda x, t: F.kl_div(x, t, reduction="batchmean", log_target=True),
        np.log(rng.dirichlet(np.ones(C), N)).astype(np.float32),
        np.log(rng.dirichlet(np.ones(C), N)).astype(np.float32),
    )


@EXAMPLES
@given(
    seed=seeds,
    full=st.booleans(),
    eps=st.sampled_from([1e-6, 0.3]),
    shape=st.sampled_from([(N,), (N, 1), (1, C), (N, C)]),
)
def test_gaussian_nll(seed, full, eps, shape):
    rng = generators(seed)
    agree(
        lambda x, y, v: losses.gaussian_nll(x, y, v, full=full, eps=eps),
        lambda x, y, v: F.gaussian_nll_loss(
            x, y, v, full=full, eps=eps, reduction="none"
        ),
        normal(rng, N, C),
        normal(rng, N, C),
        rng.uniform(0.1, 2, shape).astype(np.float32),
    )


@EXAMPLES
@given(seed=seeds, full=st.booleans())
def test_poisson_nll(seed, full):
    rng = generators(seed)
    counts = rng.integers(0, 9, (N, C))
    agree(
        lambda x: losses.poisson_nll(x, mx.array(counts), full=full),
        lambda x: F.poisson_nll_loss(
            x, torch.tensor(counts), full=full, reduction="none"
        ),
        normal(rng, N, C),
        atol=1e-5,  # 2 ulp of terms up to 40, which may cancel
    )


@EXAMPLES
@given(seed=seeds, margin=margins)
def test_hinge_embedding(seed, margin):
    rng = generators(seed)
    y = signs(rng, N)
    agree(
        lambda x: losses.hinge_embedding(x, mx.array(y), margin=margin),
        lambda x: F.hinge_embedding_loss(x, double(y), margin=margin, reduction="none"),
        normal(rng, N),
    )


@EXAMPLES
@given(seed=seeds, margin=st.sampled_from([0.0, 0.1, 1.0]))
def test_margin_ranking_ties_included(seed, margin):
    rng = generators(seed)
    y = signs(rng, N)
    first, second = normal(rng, N), normal(rng, N)
    second[:3] = first[:3]
    agree(
        lambda a, b: losses.margin_ranking(a, b, mx.array(y), margin=margin),
        lambda a, b: F.margin_ranking_loss(
            a, b, double(y), margin=margin, reduction="none"
        ),
        first,
        second,
    )


@EXAMPLES
@given(seed=seeds, margin=margins, p=st.sampled_from([1, 2]))
def test_multi_margin(seed, margin, p):
    rng = generators(seed)
    labels = rng.integers(0, C, N)
    agree(
        lambda x: losses.multi_margin(x, mx.array(labels), margin=margin, p=p),
        lambda x: F.multi_margin_loss(
            x, torch.tensor(labels), margin=margin, p=p, reduction="none"
        ),
        normal(rng, N, C),
    )


@EXAMPLES
@given(seed=seeds, margin=st.sampled_from([-0.5, 0.0, 0.3]))
def test_cosine_embedding_zero_vectors_included(seed, margin):
    rng = generators(seed)
    y = signs(rng, N)
    first, second = normal(rng, N, C), normal(rng, N, C)
    first[0] = 0
    agree(
        lambda a, b: losses.cosine_embedding(a, b, mx.array(y), margin=margin),
        lambda a, b: F.cosine_embedding_loss(
            a, b, double(y), margin=margin, reduction="none"
        ),
        first,
        second,
    )


@EXAMPLES
@given(seed=seeds, margin=margins, p=st.sampled_from([1, 2, 3.5]), swap=st.booleans())
def test_triplet_margin_equal_vectors_included(seed, margin, p, swap):
    rng = generators(seed)
    anchor, positive, negative = (normal(rng, N, C) for _ in range(3))
    if not swap:  # else two equal distances compete, and rounding decides
        positive[0] = anchor[0]
    agree(
        lambda *a: losses.triplet_margin(*a, margin=margin, p=p, swap=swap),
        lambda *a: F.triplet_margin_loss(
            *a, margin=margin, p=p, swap=swap, reduction="none"
        ),
        anchor,
        positive,
        negative,
        rtol=1e-5,
        atol=1e-5,
    )


@given(
    seed=seeds,
    frames=st.integers(1, 12),
    longest=st.integers(0, 5),
    blank=st.integers(0, C - 1),
)
def test_ctc_and_its_gradient_in_the_logits(seed, frames, longest, blank):
    rng = generators(seed)
    classes = [c for c in range(C) if c != blank]
    labels = rng.choice(classes, (N, longest))
    lengths = rng.integers(1, frames + 1, N), rng.integers(0, longest + 1, N)

    def ours(x):
        return losses.ctc(
            x,
            mx.array(labels),
            logit_lengths=mx.array(lengths[0]),
            label_lengths=mx.array(lengths[1]),
            blank=blank,
            zero_infinity=True,
        )

    def theirs(x):
        return F.ctc_loss(
            x.log_softmax(-1).transpose(0, 1),
            torch.tensor(labels),
            torch.tensor(lengths[0]),
            torch.tensor(lengths[1]),
            blank=blank,
            reduction="none",
            zero_infinity=True,
        )

    agree(ours, theirs, normal(rng, N, frames, C), rtol=3e-6, atol=3e-6)


def test_ctc_is_infinite_where_pytorch_is():
    labels = np.array([[1, 1, 2], [1, 2, 3]])  # repeats need a blank: four frames
    x = torch.zeros(3, 2, C).log_softmax(-1)
    lengths = torch.tensor([3, 3])
    theirs = F.ctc_loss(x, torch.tensor(labels), lengths, lengths, reduction="none")
    ours = losses.ctc(
        mx.zeros((2, 3, C)),
        mx.array(labels),
        logit_lengths=mx.array([3, 3]),
        label_lengths=mx.array([3, 3]),
    )
    assert_allclose(ours, theirs)
    assert mx.isinf(ours).tolist() == [True, False]


@EXAMPLES
@given(
    seed=seeds, alpha=st.none() | st.floats(0, 1), gamma=st.sampled_from([0, 0.5, 2, 5])
)
def test_focal_against_its_equation_in_pytorch(seed, alpha, gamma):
    rng = generators(seed)
    targets = rng.integers(0, 2, (N, C)).astype(np.float32)

    def theirs(x):
        t = double(targets)
        p = torch.sigmoid(x)
        p_t = p * t + (1 - p) * (1 - t)
        loss = F.binary_cross_entropy_with_logits(x, t, reduction="none")
        loss = loss * (1 - p_t) ** gamma
        return loss if alpha is None else (alpha * t + (1 - alpha) * (1 - t)) * loss

    agree(
        lambda x: losses.focal(x, mx.array(targets), alpha=alpha, gamma=gamma),
        theirs,
        2 * normal(rng, N, C),
        rtol=1e-5,
        atol=1e-6,
    )


@EXAMPLES
@given(
    seed=seeds,
    alpha=st.floats(0.1, 1),
    beta=st.floats(0.1, 1),
    gamma=st.sampled_from([1, 4 / 3, 3]),
)
def test_focal_tversky_against_its_equation_in_pytorch(seed, alpha, beta, gamma):
    rng = generators(seed)
    targets = rng.integers(0, 2, (N, 5, C)).astype(np.float32)

    def theirs(x):
        p, t = torch.sigmoid(x), double(targets)
        hit, missed, false = (v.sum(1) for v in (p * t, (1 - p) * t, p * (1 - t)))
        index = (hit + 1) / (hit + alpha * missed + beta * false + 1)
        return (1 - index) ** (1 / gamma)

    def ours(x):
        return losses.focal_tversky(
            mx.sigmoid(x), mx.array(targets), alpha=alpha, beta=beta, gamma=gamma
        )

    agree(ours, theirs, normal(rng, N, 5, C), rtol=1e-4, atol=1e-5)
