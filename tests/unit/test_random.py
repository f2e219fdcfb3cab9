"""Keys: determinism, independence, and what a wrong key or shape is told."""

import itertools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import random
from lucid_fn.transforms import eval_shape, jit, vmap


def words(key: mx.array) -> tuple[int, ...]:
    return tuple(key.tolist())


def test_a_key_is_that_of_mlx_for_the_same_seed():
    for seed in (0, 7, 2**32 - 1, 2**40 + 3):
        assert words(random.key(seed)) == words(mx.random.key(seed))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_a_numpy_integer_is_a_seed(dtype):
    assert words(random.key(dtype(5))) == words(random.key(5))


def test_the_largest_seed_has_a_key():
    assert words(random.key(2**64 - 1)) == (2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_out_of_range_is_a_value_error(seed):
    with pytest.raises(ValueError, match=r"random.key: seed must be in \[0, 2\*\*64\)"):
        random.key(seed)


@pytest.mark.parametrize("seed", [1.5, "a", True, None, mx.array(3)])
def test_a_seed_that_is_no_integer_is_a_type_error(seed):
    with pytest.raises(TypeError, match=r"random.key: seed must be an integer, got"):
        random.key(seed)


def test_split_gives_rows_that_are_distinct_keys(key):
    rows = random.split(key, 50)
    assert rows.shape == (50, 2) and rows.dtype == mx.uint32
    assert len({words(row) for row in rows}) == 50


@pytest.mark.parametrize("num", [0, -1])
def test_split_into_no_keys_is_a_value_error(key, num):
    with pytest.raises(ValueError, match=r"random.split: num must be at least 1"):
        random.split(key, num)


@pytest.mark.parametrize("num", [2.5, True, "2", mx.array(2)])
def test_split_into_a_number_that_is_no_integer_is_a_type_error(key, num):
    with pytest.raises(TypeError, match=r"random.split: num must be an integer"):
        random.split(key, num)


def test_keys_of_split_and_fold_in_do_not_collide():
    seen: dict[tuple[int, ...], str] = {}
    for seed in (0, 1, 2, 12345):
        key = random.key(seed)
        named = {f"seed {seed}": key}
        named |= {f"{seed} split {i}": k for i, k in enumerate(random.split(key, 8))}
        for label in ["", "a", "b", "0", "1", "weight", "bias"]:
            named[f"{seed} label {label!r}"] = random.fold_in(key, label)
        for label in [*range(64), 2**31, 2**32 - 1]:
            named[f"{seed} label {label}"] = random.fold_in(key, label)
        for name, k in named.items():
            assert words(k) not in seen, f"{name} and {seen[words(k)]}"
            seen[words(k)] = name


def test_a_step_of_one_seed_is_no_step_of_another_seed():
    pairs = itertools.product(range(12), range(12))
    keys = {words(random.fold_in(random.key(seed), step)) for seed, step in pairs}
    assert len(keys) == 144


def test_the_order_of_nested_labels_matters(key):
    a = random.fold_in(random.fold_in(key, 1), 2)
    b = random.fold_in(random.fold_in(key, 2), 1)
    assert words(a) != words(b)


def test_draws_of_neighbouring_labels_are_not_correlated(key):
    draws = [random.normal(random.fold_in(key, i), (4000,)) for i in range(4)]
    for a, b in itertools.combinations(draws, 2):
        assert abs(mx.mean(a * b).item()) < 0.08  # 5 standard errors


@pytest.mark.parametrize(
    "label", [3, np.int64(3), mx.array(3), mx.array(3, mx.uint8), mx.array(3, mx.int64)]
)
def test_an_integer_label_counts_by_its_value(key, label):
    assert words(random.fold_in(key, label)) == words(random.fold_in(key, 3))


def test_a_traced_step_folds_in_as_an_eager_one(key):
    fold = jit(lambda key, step: random.fold_in(key, step))
    for step in (0, 1, 99):
        assert words(fold(key, step)) == words(random.fold_in(key, step))


def test_steps_fold_in_under_vmap(key):
    keys = vmap(lambda step: random.fold_in(key, step))(mx.arange(3))
    assert keys.tolist() == [random.fold_in(key, i).tolist() for i in range(3)]


def test_keys_fold_in_under_vmap(key):
    keys = random.split(key, 3)
    for label in ("a", 5):
        folded = vmap(lambda k, label=label: random.fold_in(k, label))(keys)
        assert folded.tolist() == [random.fold_in(k, label).tolist() for k in keys]


@pytest.mark.parametrize("label", [-1, 2**64])
def test_a_label_out_of_range_is_a_value_error(key, label):
    with pytest.raises(ValueError, match=r"random.fold_in: label must be in \[0, 2"):
        random.fold_in(key, label)


@pytest.mark.parametrize(
    "label", [1.0, True, None, b"a", mx.array(1.0), mx.array([1]), mx.array(True)]
)
def test_a_label_of_another_kind_is_a_type_error(key, label):
    with pytest.raises(TypeError, match=r"random.fold_in: label must be a str, an int"):
        random.fold_in(key, label)


DRAWS = {
    "normal": lambda key, **kw: random.normal(key, (3, 4), **kw),
    "uniform": lambda key, **kw: random.uniform(key, (3, 4), **kw),
    "truncated_normal": lambda key, **kw: random.truncated_normal(key, (3, 4), **kw),
    "gumbel": lambda key, **kw: random.gumbel(key, (3, 4), **kw),
    "bernoulli": lambda key: random.bernoulli(key, 0.5, (3, 4)),
    "randint": lambda key: random.randint(key, (3, 4), high=1000),
    "categorical": lambda key: random.categorical(key, mx.zeros((3, 4, 50))),
    "permutation": lambda key: random.permutation(key, 12),
}


@pytest.mark.parametrize("name", DRAWS)
def test_the_same_key_draws_the_same_and_another_key_does_not(name):
    draw = DRAWS[name]
    first, again, other = draw(random.key(1)), draw(random.key(1)), draw(random.key(2))
    assert mx.array_equal(first, again)
    assert not mx.array_equal(first, other)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_leave_the_hidden_generator_alone(name):
    mx.random.seed(0)
    before = mx.random.state[0].tolist()
    mx.eval(DRAWS[name](random.key(1)))
    assert mx.random.state[0].tolist() == before


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("bad", [0, None, (0, 1), mx.array([0, 1]), mx.zeros((2, 2))])
def test_what_is_no_key_is_named(name, bad):
    message = rf"random.{name}: key must be a key \(uint32, shape \(2,\)\), got"
    with pytest.raises(TypeError, match=message):
        DRAWS[name](bad)


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "gumbel"])
def test_draws_have_the_dtype_asked_for(key, name):
    for dtype in (mx.float16, mx.bfloat16, mx.float32):
        assert DRAWS[name](key, dtype=dtype).dtype == dtype


@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal", "gumbel"])
@pytest.mark.parametrize("dtype", [mx.int32, "float32", np.float32])
def test_a_dtype_that_is_no_float_is_a_type_error(key, name, dtype):
    with pytest.raises(TypeError, match=f"random.{name}: dtype must be a float dtype"):
        DRAWS[name](key, dtype=dtype)


SHAPED = {
    "normal": lambda key, shape: random.normal(key, shape),
    "uniform": lambda key, shape: random.uniform(key, shape),
    "truncated_normal": lambda key, shape: random.truncated_normal(key, shape),
    "gumbel": lambda key, shape: random.gumbel(key, shape),
    "bernoulli": lambda key, shape: random.bernoulli(key, 0.5, shape),
    "randint": lambda key, shape: random.randint(key, shape, high=5),
}


@pytest.mark.parametrize("name", SHAPED)
def test_a_shape_may_be_a_list_and_hold_numpy_integers(key, name):
    assert SHAPED[name](key, [2, np.int64(3)]).shape == (2, 3)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("shape", [3, (2.0,), "ab", (True,), mx.array([2, 3])])
def test_a_shape_that_is_no_tuple_of_integers_is_a_type_error(key, name, shape):
    message = rf"random.{name}: shape must be a tuple of integers, .* \(3,\)"
    with pytest.raises(TypeError, match=message):
        SHAPED[name](key, shape)


@pytest.mark.parametrize("name", SHAPED)
def test_a_negative_size_is_a_value_error(key, name):
    with pytest.raises(ValueError, match=f"random.{name}: shape must .* at least 0"):
        SHAPED[name](key, (2, -1))


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("shape", [(2**31,), (2**21,) * 3, (2**31 - 1,) * 3])
def test_a_shape_beyond_mlx_is_a_value_error(key, name, shape):
    with pytest.raises(
        ValueError, match=rf"random.{name}: shape must .* below 2\*\*31"
    ):
        SHAPED[name](key, shape)


@pytest.mark.parametrize("name", sorted(SHAPED.keys() - {"randint"}))
def test_a_shape_that_memory_does_not_hold_is_an_error_of_ours(key, name):
    shape = (2**20, 2**20)  # 4 TB
    with pytest.raises(MemoryError, match=rf"random.{name}: shape must .* fit"):
        SHAPED[name](key, shape)
    assert eval_shape(lambda key: SHAPED[name](key, shape), key).shape == shape


def test_an_array_of_integers_has_fewer_than_as_many_keys_as_mlx_makes(key):
    with pytest.raises(
        ValueError, match=r"randint: shape must have fewer than 2\*\*31"
    ):
        eval_shape(lambda key: random.randint(key, (2**16, 2**16), high=5), key)
    with pytest.raises(ValueError, match=r"split: num must be below 2\*\*31"):
        random.split(key, 2**31)


@pytest.mark.parametrize("low", [1.0, mx.ones((1000,), mx.bfloat16)])
def test_the_upper_bound_is_never_drawn(key, low):
    # One bfloat16 number lies in the range; draws near its end are rounded to the end.
    x = random.uniform(key, (1000,), mx.bfloat16, low=low, high=1.0078125)
    assert x.dtype == mx.bfloat16
    assert mx.all(x == 1.0).item()


def test_a_bound_that_is_nan_gives_nan(key):
    assert mx.isnan(random.uniform(key, (9,), low=mx.array(float("nan")))).all().item()


def test_bounds_may_be_arrays_that_broadcast_to_the_shape(key):
    low = mx.array([0.0, 10.0])
    x = random.uniform(key, (500, 2), low=low, high=low + 1)
    assert mx.all((x >= low) & (x < low + 1))


@pytest.mark.parametrize(
    "draw",
    [
        lambda key, p: random.uniform(key, low=p),
        lambda key, p: random.truncated_normal(key, (3, 1), high=p),
        lambda key, p: random.bernoulli(key, p),
        lambda key, p: random.randint(key, high=p.astype(mx.int32)),
    ],
)
def test_bounds_that_do_not_fit_the_shape_are_a_value_error(key, draw):
    with pytest.raises(ValueError, match=r"random.\w+: \w+ of shape \(3, 2\) does not"):
        draw(key, mx.ones((3, 2)))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda k: random.uniform(k, low=1, high=0), "low must be at most high"),
        (lambda k: random.truncated_normal(k, low=2, high=-2), "low must be less"),
        (lambda k: random.randint(k, high=0), "low must be less than high"),
        (lambda k: random.bernoulli(k, 1.5), r"probability must be in \[0, 1\]"),
        (lambda k: random.bernoulli(k, float("nan")), r"probability must be in"),
        (lambda k: random.categorical(k, mx.zeros((2, 3)), axis=2), "axis must be in"),
        (lambda k: random.categorical(k, mx.array(0.0)), "axis must be in"),
        (lambda k: random.permutation(k, mx.zeros((2, 3)), axis=2), "axis must be in"),
        (lambda k: random.permutation(k, -1), "x must be at least 0"),
    ],
)
def test_values_out_of_range_are_a_value_error(key, draw, words):
    with pytest.raises(ValueError, match=rf"random.\w+: {words}"):
        draw(key)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda k: random.randint(k, high=2.5), "high must be an integer"),
        (lambda k: random.randint(k, high=3, dtype=mx.float32), "dtype must be an int"),
        (lambda k: random.uniform(k, low="a"), "low must be a number or an array"),
        (lambda k: random.categorical(k, [0.0, 1.0]), "logits must be an array"),
        (lambda k: random.permutation(k, 2.5), "x must be an integer or an array"),
        (lambda k: random.permutation(k, [1, 2]), "x must be an integer or an array"),
    ],
)
def test_values_of_another_kind_are_a_type_error(key, draw, words):
    with pytest.raises(TypeError, match=rf"random.\w+: {words}"):
        draw(key)


def test_a_permutation_holds_every_slice_once(key):
    x = mx.arange(12).reshape(3, 4)
    rows, columns = random.permutation(key, x), random.permutation(key, x, axis=1)
    assert sorted(rows.tolist()) == x.tolist()
    assert sorted(columns.T.tolist()) == x.T.tolist()


def test_draws_have_the_moments_of_their_distributions(key):
    n = (20_000,)
    normal, uniform = random.normal(key, n), random.uniform(key, n, low=-1)
    assert abs(mx.mean(normal).item()) < 0.03 and abs(mx.var(normal).item() - 1) < 0.05
    assert abs(mx.mean(uniform).item()) < 0.02
    assert abs(mx.var(uniform).item() - 1 / 3) < 0.02
    assert abs(mx.mean(random.bernoulli(key, 0.3, n)).item() - 0.3) < 0.02
    assert abs(mx.mean(random.gumbel(key, n)).item() - 0.5772) < 0.05
    truncated = random.truncated_normal(key, n)
    assert mx.max(mx.abs(truncated)).item() <= 2
    assert abs(mx.var(truncated).item() - 0.774) < 0.03


def test_categorical_draws_with_the_softmax_of_the_logits(key):
    p = mx.array([0.1, 0.2, 0.7])
    draws = random.categorical(key, mx.broadcast_to(mx.log(p), (20_000, 3)))
    counts = mx.array([mx.mean(draws == i).item() for i in range(3)])
    assert mx.max(mx.abs(counts - p)).item() < 0.02


INTEGERS = [mx.int8, mx.uint8, mx.int16, mx.uint16]
INTEGERS += [mx.int32, mx.uint32, mx.int64, mx.uint64]


@given(st.sampled_from(INTEGERS), st.data())
def test_integers_are_within_their_bounds_whatever_these_are(dtype, data):
    limits = mx.iinfo(dtype)
    low = data.draw(st.integers(limits.min, limits.max - 1))
    high = data.draw(st.integers(low + 1, limits.max))
    x = random.randint(random.key(0), (50,), low=low, high=high, dtype=dtype)
    assert x.dtype == dtype
    assert all(low <= value < high for value in x.tolist())


@pytest.mark.parametrize(("low", "dtype"), [(10**9, mx.int32), (10**12, mx.int64)])
def test_large_integers_are_all_drawn(low, dtype):
    x = random.randint(random.key(0), (1000,), low=low, high=low + 10, dtype=dtype)
    assert set(x.tolist()) == set(range(low, low + 10))


def test_integers_of_a_large_range_are_odd_as_often_as_even():
    x = random.randint(random.key(0), (100_000,), high=2**30)
    assert (x % 2).mean().item() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("bounds", "dtype"),
    [({"high": 2**40}, mx.int32), ({"low": -1, "high": 3}, mx.uint8)],
)
def test_a_bound_beyond_the_dtype_is_an_error(bounds, dtype):
    with pytest.raises(ValueError, match=r"random.randint: .* must be within"):
        random.randint(random.key(0), **bounds, dtype=dtype)
