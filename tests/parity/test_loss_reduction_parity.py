"""The mean and the sum of every loss against PyTorch: values and gradients."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import losses
from tests.parity.losses_side_by_side import (
    C,
    F,
    N,
    agree,
    double,
    generators,
    normal,
    signs,
    torch,
)

RNG = generators(0)
X, Y = normal(RNG, N, C), normal(RNG, N, C)
SIGNS, ROW_SIGNS = signs(RNG, N, C), signs(RNG, N)
P = RNG.uniform(0.05, 0.95, (N, C)).astype(np.float32)
SIMPLEX = RNG.dirichlet(np.ones(C), N).astype(np.float32)
LOG_P = np.log(RNG.dirichlet(np.ones(C), N)).astype(np.float32)
COUNTS = RNG.integers(0, 9, (N, C))
LABELS = np.array([0, -100, 3, 2, 2, 1])
WEIGHT = np.array([0.5, 1, 2, 4], np.float32)
DENSE_LABELS = np.abs(LABELS) % C
LENGTHS = np.array([5, 6, 7, 8, 8, 5]), np.array([0, 1, 2, 3, 3, 2])
SPEECH = normal(RNG, N, 8, C)
SPOKEN = RNG.integers(1, C, (N, 3))


def ctc(log_probs, reduction):
    return F.ctc_loss(
        log_probs.log_softmax(-1).transpose(0, 1),
        *map(torch.tensor, (SPOKEN, *LENGTHS)),
        reduction=reduction,
    )


def kl_divergence(x, targets, reduction):
    if reduction == "none":  # has the classes still
        return F.kl_div(x, targets, reduction="none").sum(-1)
    names = {"mean": "batchmean", "sum": "sum"}
    return F.kl_div(x, targets, reduction=names[reduction])


PAIRS = {
    "mse": (losses.mse, F.mse_loss, (X, Y)),
    "l1": (losses.l1, F.l1_loss, (X, Y)),
    "smooth_l1": (losses.smooth_l1, F.smooth_l1_loss, (X, Y)),
    "huber": (losses.huber, F.huber_loss, (X, Y)),
    "sigmoid_binary_cross_entropy": (
        losses.sigmoid_binary_cross_entropy,
        F.binary_cross_entropy_with_logits,
        (X, P),
    ),
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        F.binary_cross_entropy,
        (P, SIMPLEX),
    ),
    "gaussian_nll": (losses.gaussian_nll, F.gaussian_nll_loss, (X, Y, P)),
    "poisson_nll": (
        lambda x, **options: losses.poisson_nll(x, mx.array(COUNTS), **options),
        lambda x, **options: F.poisson_nll_loss(x, torch.tensor(COUNTS), **options),
        (X,),
    ),
    "kl_divergence": (
        losses.kl_divergence,
        kl_divergence,
        (LOG_P, SIMPLEX),
    ),
    "kl_divergence over positions": (
        losses.kl_divergence,
        kl_divergence,
        (LOG_P.reshape(2, 3, C), SIMPLEX.reshape(2, 3, C)),
    ),
    "hinge_embedding": (
        lambda x, **options: losses.hinge_embedding(x, mx.array(SIGNS), **options),
        lambda x, **options: F.hinge_embedding_loss(x, double(SIGNS), **options),
        (X,),
    ),
    "margin_ranking": (
        lambda x, y, **options: losses.margin_ranking(x, y, mx.array(SIGNS), **options),
        lambda x, y, **options: F.margin_ranking_loss(x, y, double(SIGNS), **options),
        (X, Y),
    ),
    "multi_margin": (
        lambda x, **options: losses.multi_margin(x, mx.array(DENSE_LABELS), **options),
        lambda x, **options: F.multi_margin_loss(
            x, torch.tensor(DENSE_LABELS), **options
        ),
        (X,),
    ),
    "cosine_embedding": (
        lambda x, y, **options: losses.cosine_embedding(
            x, y, mx.array(ROW_SIGNS), **options
        ),
        lambda x, y, **options: F.cosine_embedding_loss(
            x, y, double(ROW_SIGNS), **options
        ),
        (X, Y),
    ),
    "triplet_margin": (losses.triplet_margin, F.triplet_margin_loss, (X, Y, -X)),
    "softmax_cross_entropy": (
        lambda x, **options: losses.softmax_cross_entropy(
            x, mx.array(DENSE_LABELS), **options
        ),
        lambda x, **options: F.cross_entropy(x, torch.tensor(DENSE_LABELS), **options),
        (X,),
    ),
    "soft_target_cross_entropy": (
        losses.soft_target_cross_entropy,
        F.cross_entropy,
        (X, SIMPLEX),
    ),
    "ctc": (
        lambda x, **options: losses.ctc(
            x,
            mx.array(SPOKEN),
            logit_lengths=mx.array(LENGTHS[0]),
            label_lengths=mx.array(LENGTHS[1]),
            **options,
        ),
        ctc,
        (SPEECH,),
    ),
}


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", PAIRS)
def test_each_reduction_is_that_of_pytorch(name, reduction):
    ours, theirs, inputs = PAIRS[name]
    agree(
        lambda *a: ours(*a, reduction=reduction),
        lambda *a: theirs(*a, reduction=reduction),
        *inputs,
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_nll_with_weights_and_ignored_labels(reduction, weight, ignored):
    labels = np.where(LABELS == -100, ignored, LABELS)
    options = {"ignore_index": ignored, "reduction": reduction}
    ours = {"weight": None if weight is None else mx.array(weight), **options}
    theirs = {"weight": None if weight is None else double(weight), **options}
    agree(
        lambda x: losses.nll(x, mx.array(labels), **ours),
        lambda x: F.nll_loss(x, torch.tensor(labels), **theirs),
        LOG_P,
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["equal", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("labels", [LABELS, SIMPLEX], ids=["labels", "probabilities"])
def test_cross_entropy(reduction, weight, smoothing, labels):
    options = {"label_smoothing": smoothing, "reduction": reduction}
    ours = {"weight": None if weight is None else mx.array(weight), **options}
    theirs = {"weight": None if weight is None else double(weight), **options}
    targets = torch.tensor(labels)
    targets = targets.double() if targets.is_floating_point() else targets
    agree(
        lambda x: losses.cross_entropy(x, mx.array(labels), **ours),
        lambda x: F.cross_entropy(x, targets, **theirs),
        X,
    )


def test_nll_without_a_label_that_counts_is_nan_as_that_of_pytorch():
    x, labels = np.zeros((2, C), np.float32), np.full(2, -100)
    theirs = F.nll_loss(torch.tensor(x), torch.tensor(labels))
    ours = losses.nll(mx.array(x), mx.array(labels), reduction="mean")
    assert torch.isnan(theirs) and mx.isnan(ours).item()


@pytest.mark.parametrize("p", [1, 2])
def test_multi_margin_at_the_margin_has_no_slope(p):
    x, labels = np.array([[1.0, 0.0, 2.0]], np.float32), np.array([0])
    agree(
        lambda x: losses.multi_margin(x, mx.array(labels), p=p),
        lambda x: F.multi_margin_loss(x, torch.tensor(labels), p=p, reduction="none"),
        x,
    )


@pytest.mark.parametrize("name", ["mse", "l1"])
def test_the_mean_over_a_batch_of_images_has_all_its_digits(name):
    rng = generators(0)
    x, y = (rng.random((16, 224, 224, 3), np.float32) for _ in range(2))
    ours = getattr(losses, name)(mx.array(x), mx.array(y), reduction="mean")
    theirs = getattr(F, f"{name}_loss")(double(x), double(y))
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
