"""Draws have the distributions they claim, also at the edges of their parameters."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import jit, random, vmap
from tests.fusion import jitted

stats = pytest.importorskip("scipy.stats")
N = 20_000
INF = math.inf
CONTINUOUS = {
    "normal": (random.normal, stats.norm()),
    "uniform": (random.uniform, stats.uniform()),
    "uniform of the whole range": (
        lambda k, s: random.uniform(k, s, low=-3e38, high=3e38) / 3e38,
        stats.uniform(-1, 2),
    ),
    "gumbel": (random.gumbel, stats.gumbel_r()),
    "exponential": (random.exponential, stats.expon()),
    "laplace": (random.laplace, stats.laplace()),
    **{
        f"gamma {a}": (lambda k, s, a=a: random.gamma(k, a, s), stats.gamma(a))
        for a in (0.1, 0.5, 1.0, 2.5, 100.0, 1e6)
    },
    **{
        f"beta {a} {b}": (
            lambda k, s, a=a, b=b: random.beta(k, a, b, s),
            stats.beta(a, b),
        )
        for a, b in ((1.0, 1.0), (0.5, 0.5), (2.0, 5.0), (50.0, 3.0))
    },
    **{
        f"truncated normal {low} {high}": (
            lambda k, s, low=low, high=high: random.truncated_normal(
                k, s, low=low, high=high
            ),
            stats.truncnorm(low, high),
        )
        for low, high in (
            *((-2.0, 2.0), (0.0, 1.0), (-3.0, INF), (-INF, INF), (5.0, 100.0)),
            *((6.0, INF), (-100.0, -5.0), (-INF, -8.0), (2.0, 2.5), (3.0, 3.001)),
            *((1.9, 50.0), (2.0, 3.0), (20.0, 21.0), (-30.0, -29.9)),
        )
    },
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_pass_the_test_of_kolmogorov_and_smirnov(name):
    draw, distribution = CONTINUOUS[name]
    x = np.array(draw(random.key(1), (N,)), np.float64)
    assert np.isfinite(x).all()
    assert stats.kstest(x, distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("low", [5.0, 6.0, 30.0, 1000.0, 1e6])
def test_a_far_tail_has_its_mean_on_both_sides(low):
    # The mean excess over a is 1/a - 2/a^3 + 10/a^5 - ...; at 1e6 float32 has no room.
    x = np.array(random.truncated_normal(random.key(0), (N,), low=low, high=INF))
    y = np.array(random.truncated_normal(random.key(0), (N,), low=-INF, high=-low))
    assert (x == -y).all() and (x >= low).all()
    if low < 1e4:
        excess = np.mean(x.astype(np.float64) - low)
        expected = 1 / low - 2 / low**3 + 10 / low**5
        assert excess == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    "bounds", [(5.0, 100.0), (-9.0, -4.0), (-1.0, 7.0), (0.5, INF), (-INF, INF)]
)
def test_bounds_in_arrays_give_the_draws_of_numbers(bounds):
    low, high = bounds
    numbers = random.truncated_normal(random.key(0), (1000,), low=low, high=high)
    arrays = random.truncated_normal(
        random.key(0), (1000,), low=mx.array(low), high=mx.full((1000,), high)
    )
    assert mx.array_equal(numbers, arrays)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_has_the_tails_of_the_distribution(dtype):
    x = random.gumbel(random.key(0), (N,), dtype)
    single = random.gumbel(random.key(0), (N,))
    assert mx.array_equal(x, single.astype(dtype))
    y = random.truncated_normal(random.key(0), (N,), dtype, low=4.0, high=9.0)
    assert y.dtype == dtype and mx.all((y >= 4) & (y <= 9))


def counts_fit(x, distribution):
    """The chi-squared test, over the values that are expected often enough."""
    x = np.array(x)
    low, high = (int(distribution.ppf(q)) for q in (1e-3, 1 - 1e-3))
    values = np.arange(low, high + 1)
    seen = [(x < low).sum(), *[(x == v).sum() for v in values], (x > high).sum()]
    probabilities = [
        distribution.cdf(low - 1),
        *distribution.pmf(values),
        distribution.sf(high),
    ]
    expected = len(x) * np.array(probabilities)
    often = expected > 5
    squares = (np.array(seen)[often] - expected[often]) ** 2 / expected[often]
    return stats.chi2(often.sum()).sf(squares.sum()) > 1e-3


@pytest.mark.parametrize("rate", [0.1, 3.0, 9.9, 10.0, 50.0, 300.0])
def test_counts_are_those_of_a_poisson_distribution(rate):
    x = random.poisson(random.key(2), rate, (N,))
    assert counts_fit(x, stats.poisson(rate))
    assert mx.array_equal(x, random.poisson(random.key(2), mx.array(rate), (N,)))


@pytest.mark.parametrize("rate", [1e4, 1e8])
def test_large_rates_have_their_mean_and_variance(rate):
    x = np.array(random.poisson(random.key(0), rate, (N,)), np.float64)
    assert x.mean() == pytest.approx(rate, abs=4 * math.sqrt(rate / N))
    assert x.var() == pytest.approx(rate, rel=5 * math.sqrt(2 / N))


def test_rates_that_have_no_distribution_give_minus_one():
    rates = mx.array([-1.0, math.nan, 0.0, 1e12])
    got = random.poisson(random.key(0), rates).tolist()
    assert got == [-1, -1, 0, 2**31 - 1]


@pytest.mark.parametrize(
    "alpha", [[1.0, 2.0, 3.0], [0.01, 0.01, 0.02], [1e3, 1.0, 1.0]]
)
def test_dirichlet_draws_have_the_mean_and_add_up(alpha):
    x = np.array(random.dirichlet(random.key(0), mx.array(alpha), (N,)))
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x.sum(axis=-1), 1, rtol=1e-5)
    np.testing.assert_allclose(x.mean(axis=0), np.array(alpha) / sum(alpha), atol=0.015)


P = [0.1, 0.0, 0.2, 0.7]


@pytest.mark.parametrize("replace", [True, False])
def test_items_are_chosen_with_their_probabilities(replace):
    keys = random.split(random.key(0), N)
    x = vmap(lambda k: random.choice(k, 4, (2,), replace, mx.array(P)))(keys)
    shares = np.bincount(np.array(x[:, 0]), minlength=4) / N
    np.testing.assert_allclose(shares, P, atol=0.015)
    assert shares[1] == 0
    assert (mx.sum(x[:, 0] == x[:, 1]).item() > 0) is replace


def test_choice_draws_all_of_many_items():
    n = 2**25 + 3
    places = random.choice(random.key(0), n, (4000,), p=mx.ones((n,), mx.float16))
    counts, _ = np.histogram(np.array(places), 4, (0, n))
    assert np.all(np.abs(counts - 1000) < 150), counts
    assert len(np.unique(np.array(places))) > 3990


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_choice_draws_the_only_item_with_a_probability(n):
    for place in range(n):
        p = mx.arange(n) == place
        assert random.choice(random.key(0), n, (4,), p=p).tolist() == [place] * 4


def test_choice_maps_over_probabilities():
    p = mx.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    drawn = vmap(lambda p: random.choice(random.key(0), 3, (2,), p=p))(p)
    assert drawn.tolist() == [[0, 0], [2, 2]]


def test_choice_takes_slices_of_an_array_in_the_place_of_the_axis():
    x = mx.arange(24).reshape(2, 3, 4)
    y = random.choice(random.key(0), x, (5, 6), axis=1)
    assert y.shape == (2, 5, 6, 4)
    shuffled = random.choice(random.key(0), x, (3,), replace=False, axis=1)
    assert sorted(shuffled[0, :, 0].tolist()) == [0, 4, 8]
    assert random.choice(random.key(0), 0, (0,)).tolist() == []


def test_normal_vectors_have_their_mean_and_covariance():
    mean, cov = mx.array([1.0, -2.0]), mx.array([[2.0, 0.5], [0.5, 1.0]])
    x = np.array(random.multivariate_normal(random.key(0), mean, cov, (N,)))
    np.testing.assert_allclose(x.mean(axis=0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), cov, atol=0.08)


def test_a_singular_covariance_is_one_and_an_indefinite_one_is_nan():
    flat = random.multivariate_normal(random.key(0), mx.zeros(2), mx.ones((2, 2)))
    assert mx.allclose(flat[0], flat[1], atol=1e-5)
    wrong = mx.array([[1.0, 2.0], [2.0, 1.0]])
    x = random.multivariate_normal(random.key(0), mx.zeros(2), wrong)
    assert mx.all(mx.isnan(x))


PARAMETRIC = {
    "exponential": lambda k: random.exponential(k, (3,)),
    "laplace": lambda k: random.laplace(k, (3,)),
    "gamma": lambda k: random.gamma(k, 0.5, (3,)),
    "beta": lambda k: random.beta(k, 1.0, mx.array([2.0, 3.0])),
    "dirichlet": lambda k: random.dirichlet(k, mx.ones(3), (2,)),
    "poisson": lambda k: random.poisson(k, mx.array([3.0, 30.0])),
    "choice": lambda k: random.choice(k, 5, (2,), p=mx.ones(5)),
    "choice without replacement": lambda k: random.choice(k, 5, (2,), False),
    "multivariate normal": lambda k: random.multivariate_normal(
        k, mx.zeros(2), mx.eye(2)
    ),
    "truncated normal": lambda k: random.truncated_normal(
        k, (3,), low=mx.array([-2.0, 3.0, -9.0]), high=mx.array([2.0, 7.0, -8.0])
    ),
    "integers": lambda k: random.randint(k, (3,), high=5),
    "fold_in": lambda k: random.fold_in(k, mx.array(2**40 + 1, mx.int64)),
}


@pytest.mark.parametrize("name", PARAMETRIC)
def test_draws_are_the_same_compiled_vectorized_and_in_a_loop(name):
    draw, keys = PARAMETRIC[name], random.split(random.key(0), 3)
    loop = mx.stack([draw(key) for key in keys])
    assert mx.allclose(jit(draw)(keys[0]), loop[0])
    assert mx.allclose(vmap(draw)(keys), loop)
    assert mx.allclose(jitted(vmap(draw), keys), loop)


KEY = random.key(0)
KEY_FIXED = {
    "uniform, low": lambda a: random.uniform(KEY, (9,), low=a, high=200.0),
    "uniform, high": lambda a: random.uniform(KEY, (9,), low=0.0, high=a),
    "truncated normal, low": lambda a: random.truncated_normal(KEY, (9,), low=a),
    "truncated normal, high": lambda a: random.truncated_normal(KEY, (9,), high=-a),
    "bernoulli": lambda a: random.bernoulli(KEY, a / 100, (9,)),
    "gamma": lambda a: random.gamma(KEY, a, (9,)),
    "beta": lambda a: random.beta(KEY, 1.0, a, (9,)),
    "poisson": lambda a: random.poisson(KEY, a, (9,)),
    "integers": lambda a: random.randint(KEY, (9,), high=a.astype(mx.int32)),
    "dirichlet": lambda a: random.dirichlet(KEY, mx.stack([a, ONE]), (9,)),
}


@pytest.mark.parametrize("name", KEY_FIXED)
def test_draws_map_over_parameters_with_one_key(name):
    draw, a = KEY_FIXED[name], mx.array([1.0, 1.5, 12.0, 100.0])
    want = mx.stack([draw(x) for x in a])
    assert mx.allclose(vmap(draw)(a), want, rtol=1e-5, equal_nan=True)


def test_draws_map_over_keys_with_bounds_in_arrays():
    low, keys = mx.array([0.0, 1.0, 2.0]), random.split(KEY, 4)
    draw = lambda key: random.uniform(key, (3,), low=low, high=low + 1)  # noqa: E731
    assert mx.allclose(vmap(draw)(keys), mx.stack([draw(key) for key in keys]))


NAN = math.nan
ONE = mx.array(1.0)
NANS = {
    "gamma": lambda k, x: random.gamma(k, x),
    "beta": lambda k, x: random.beta(k, x, 1.0),
    "dirichlet": lambda k, x: random.dirichlet(k, mx.stack([x, ONE])),
    "truncated normal": lambda k, x: random.truncated_normal(k, low=x, high=x - 1),
    "uniform": lambda k, x: random.uniform(k, low=x, high=x - 1),
}


@pytest.mark.parametrize("name", NANS)
@pytest.mark.parametrize("value", [-1.0, NAN])
def test_parameters_that_cannot_be_checked_give_nan(name, value):
    assert mx.any(mx.isnan(NANS[name](random.key(0), mx.array(value))))


OUT_OF_RANGE = {
    "gamma: a must be positive": lambda: random.gamma(KEY, 0.0),
    "gamma: a must be positive and": lambda: random.gamma(KEY, NAN),
    "beta: b must be positive": lambda: random.beta(KEY, 1.0, -1.0),
    "beta: the parameters must broadcast": lambda: random.beta(
        KEY, mx.ones(2), mx.ones(3)
    ),
    "poisson: lam must be finite and at least 0": lambda: random.poisson(KEY, -1),
    "dirichlet: alpha must have at least 1 axes": lambda: random.dirichlet(KEY, ONE),
    "choice: a must hold at least one": lambda: random.choice(KEY, 0, (1,)),
    "choice: a must hold as many items": lambda: random.choice(KEY, 2, (3,), False),
    "choice: p must have one": lambda: random.choice(KEY, 2, p=mx.ones(3)),
    "multivariate_normal: cov must have shape": lambda: random.multivariate_normal(
        KEY, mx.ones(2), mx.ones((2, 3))
    ),
    "uniform: low must be finite": lambda: random.uniform(KEY, low=-INF),
    "uniform: high must be finite in float16": lambda: random.uniform(
        KEY, (), mx.float16, high=1e5
    ),
    "truncated_normal: low must be a number": lambda: random.truncated_normal(
        KEY, low=NAN
    ),
    "randint: low must be less": lambda: random.randint(
        KEY, low=np.int64(5), high=np.int64(3)
    ),
    "categorical: logits must have at least one": lambda: random.categorical(
        KEY, mx.zeros((2, 0))
    ),
    "permutation: x must be": lambda: random.permutation(KEY, 2**31),
}


@pytest.mark.parametrize("words", OUT_OF_RANGE)
def test_numbers_out_of_range_are_value_errors(words):
    with pytest.raises(ValueError, match=f"^random.{words}"):
        OUT_OF_RANGE[words]()


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, int, float])
def test_numbers_of_numpy_are_parameters(kind):
    assert random.uniform(KEY, low=kind(0), high=kind(2)).dtype == mx.float32
    assert random.bernoulli(KEY, kind(1)).item() is True
    assert random.gamma(KEY, kind(2)).shape == ()


def test_integers_between_arrays_in_the_wrong_order_are_the_lower_bound():
    low, high = mx.array([5, -3, 7]), mx.array([3, -9, 8])
    assert random.randint(KEY, (3,), low=low, high=high).tolist() == [5, -3, 7]


def test_labels_beyond_32_bits_have_keys_of_their_own():
    labels = [3, 2**32 + 3, 2**40, 2**63, 2**64 - 1]
    keys = {tuple(random.fold_in(KEY, label).tolist()) for label in labels}
    assert len(keys) == len(labels)
    for label in labels[:3]:
        array = mx.array(label, mx.int64)
        assert mx.array_equal(random.fold_in(KEY, array), random.fold_in(KEY, label))
    minus = [random.fold_in(KEY, mx.array(-1, d)) for d in (mx.int8, mx.int64)]
    assert mx.array_equal(*minus)


SCORES = mx.array([0.0, 1.0, 2.0, 0.5])
MAPPED = {
    "categorical": lambda k, x: random.categorical(k, x * SCORES),
    "categorical, a row": lambda k, x: random.categorical(k, x * SCORES[None]),
    "categorical, a column": lambda k, x: random.categorical(
        k, x * SCORES[:, None], axis=0
    ),
    "categorical, rows": lambda k, x: random.categorical(k, x * mx.stack([SCORES] * 3)),
    "gamma": lambda k, x: random.gamma(k, x, (4,)),
    "poisson": lambda k, x: random.poisson(k, 20 * x, (4,)),
    "uniform": lambda k, x: random.uniform(k, (4,), low=-3e38 * x, high=3e38),
}


@pytest.mark.parametrize("name", MAPPED)
def test_draws_are_mapped_over_a_parameter_alone(name):
    key, values = random.key(0), mx.array([1.0, 0.7, 5.0])
    found = vmap(MAPPED[name], (None, 0))(key, values)
    expected = mx.stack([MAPPED[name](key, value) for value in values])
    assert mx.allclose(found, expected, equal_nan=True)
