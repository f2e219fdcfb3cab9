"""Every loss, with arguments for a batch of 4: `make()(*inputs(rng))`."""

from functools import partial

import mlx.core as mx
import numpy as np

from lucid_fn import losses
from tests.registry.case import Case

N, C = 4, 3


def normal(rng, *shape):
    return mx.array(rng.normal(size=shape).astype(np.float32))


def uniform(rng, *shape):
    return mx.array(rng.uniform(0.05, 0.95, shape).astype(np.float32))


def integers(rng, high, *shape):
    return mx.array(rng.integers(0, high, shape))


def rows(rng):
    return normal(rng, N, C), integers(rng, C, N)


def values(rng):
    return normal(rng, N, C), normal(rng, N, C)


def bits(rng):
    return normal(rng, N, C), integers(rng, 2, N, C)


def signs(rng):
    return normal(rng, N, C), 2 * integers(rng, 2, N, C) - 1


def chances(rng):
    return uniform(rng, N, C), integers(rng, 2, N, C)


def simplex(rng):
    return normal(rng, N, C), mx.softmax(normal(rng, N, C), axis=-1)


def log_simplex(rng):
    x, targets = simplex(rng)
    return x - mx.logsumexp(x, axis=-1, keepdims=True), targets


def log_rows(rng):
    x, labels = rows(rng)
    return x - mx.logsumexp(x, axis=-1, keepdims=True), labels


def gaussian(rng):
    return *values(rng), uniform(rng, N, C)


def two_log_simplexes(rng):
    return log_simplex(rng)[0], log_simplex(rng)[0]


def counts(rng):
    return normal(rng, N, C), integers(rng, 9, N, C)


def two_vectors(rng):
    return normal(rng, N, C), normal(rng, N, C), 2 * integers(rng, 2, N) - 1


def two_scores(rng):
    return *values(rng), 2 * integers(rng, 2, N, C) - 1


def three_vectors(rng):
    return normal(rng, N, C), normal(rng, N, C), normal(rng, N, C)


def speech(rng):
    """Logits, labels, and the lengths of both: all sequences can be aligned."""
    labels, lengths = integers(rng, C - 1, N, 3) + 1, integers(rng, 2, N)
    return normal(rng, N, 8, C), labels, 7 + lengths, 2 + lengths


def ctc(logits, labels, logit_lengths, label_lengths, **options):
    lengths = {"logit_lengths": logit_lengths, "label_lengths": label_lengths}
    return losses.ctc(logits, labels, **lengths, **options)


def weighted_nll(log_probs, labels, **options):
    return losses.nll(log_probs, labels, weight=mx.array([0.5, 1.0, 2.0]), **options)


# Laws that a loss may be exempt from.
NEGATIVE = frozenset({"nonnegative"})
# They compute in float32 what comes as float64: no difference quotient is so precise.
SINGLE = frozenset({"difference quotient"})
# Their targets are labels, integers that are never NaN.
LABELS = frozenset({"nan targets"})
# They return float32 for half precision.
WIDE = frozenset({"dtype"})

# Their inputs are probabilities, which are not multiplied.
BOUNDED = frozenset({"scaled inputs"})
# Exponentials of 150 are no numbers of half precision.
INFINITE = frozenset({"finite in half precision"})
# It needs examples.
SOME = frozenset({"no examples"})

LOSSES = [
    Case(
        "softmax_cross_entropy",
        lambda: losses.softmax_cross_entropy,
        rows,
        SINGLE | LABELS,
    ),
    Case(
        "soft_target_cross_entropy",
        lambda: losses.soft_target_cross_entropy,
        simplex,
        SINGLE,
    ),
    Case(
        "cross_entropy",
        lambda: partial(losses.cross_entropy, reduction="none", label_smoothing=0.1),
        rows,
        SINGLE | WIDE | LABELS,
    ),
    Case("nll", lambda: losses.nll, log_rows, LABELS),
    Case("nll of weighted classes", lambda: weighted_nll, log_rows, LABELS),
    Case(
        "sigmoid_binary_cross_entropy",
        lambda: losses.sigmoid_binary_cross_entropy,
        bits,
    ),
    Case("binary_cross_entropy", lambda: losses.binary_cross_entropy, chances, BOUNDED),
    Case("focal", lambda: losses.focal, bits, ranges={"alpha": "in [0, 1]"}),
    Case("focal of gamma 1/2", lambda: partial(losses.focal, gamma=0.5), bits),
    Case("dice", lambda: losses.dice, chances, BOUNDED),
    Case(
        "focal_tversky",
        lambda: losses.focal_tversky,
        chances,
        BOUNDED,
        {
            "alpha": "at least 0 and finite",
            "beta": "at least 0 and finite",
            "gamma": "at least 1 and finite",
        },
    ),
    Case("mse", lambda: losses.mse, values),
    Case("l1", lambda: losses.l1, values),
    Case(
        "smooth_l1",
        lambda: partial(losses.smooth_l1, beta=0.5),
        values,
        ranges={"beta": "at least 0 and finite"},
    ),
    Case("huber", lambda: partial(losses.huber, delta=0.5), values),
    Case("log_cosh", lambda: losses.log_cosh, values),
    Case("kl_divergence", lambda: losses.kl_divergence, log_simplex),
    Case(
        "kl_divergence-log",
        lambda: partial(losses.kl_divergence, log_targets=True),
        two_log_simplexes,
    ),
    Case("gaussian_nll", lambda: losses.gaussian_nll, gaussian, NEGATIVE),
    Case("poisson_nll", lambda: losses.poisson_nll, counts, NEGATIVE | INFINITE),
    Case("hinge", lambda: losses.hinge, signs),
    Case("hinge_embedding", lambda: losses.hinge_embedding, signs, NEGATIVE),
    Case("margin_ranking", lambda: losses.margin_ranking, two_scores),
    Case(
        "multi_margin",
        lambda: partial(losses.multi_margin, p=2),
        rows,
        LABELS,
        {"p": "at least 1"},
    ),
    Case(
        "cosine_embedding",
        lambda: losses.cosine_embedding,
        two_vectors,
        ranges={"margin": "in [-1, 1]"},
    ),
    Case(
        "triplet_margin",
        lambda: losses.triplet_margin,
        three_vectors,
        ranges={"margin": "positive and finite", "p": "positive"},
    ),
    Case("ctc", lambda: ctc, speech, SINGLE | WIDE | LABELS | SOME),
]
