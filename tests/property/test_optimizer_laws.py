"""Laws of the optimizers: of all in the registry, and of some alone."""

import functools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import optim, random, transforms, tree
from lucid_fn.testing import optimizer_laws as laws
from tests import assertions
from tests.registry.case import over
from tests.registry.optimizers import OPTIMIZERS, PARTS
from tests.strategies import equal, seeds

ALL = OPTIMIZERS + PARTS
few = settings(max_examples=3)


def draw(seed, dtype=mx.float32):
    """A tree like that of a small network, of normal numbers."""
    shapes = {
        "conv": {"weight": (3, 2, 1, 2)},
        "fc": {"weight": (2, 3), "bias": (2,), "scale": ()},
    }
    key = random.key(seed)

    def normal(path, shape):
        return random.normal(random.fold_in(key, path), shape).astype(dtype)

    leaves = {p: normal(p, s) for p, s in _shapes(shapes).items()}
    return {
        top: {name: leaves[f"{top}.{name}"] for name in names}
        for top, names in shapes.items()
    }


def subject(case, seed=0):
    return laws.Subject(case.make(), draw(seed))


def _shapes(shapes):
    return {f"{a}.{b}": s for a, inner in shapes.items() for b, s in inner.items()}


def steps(optimizer, params, grads, opt_state=None):
    """The params and the state after an update for each gradient."""
    opt_state = optimizer.init(params) if opt_state is None else opt_state
    for g in grads:
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
    return params, opt_state


def kinds(values):
    """Everything about a tree but its numbers."""
    return {p: (x.shape, x.dtype) for p, x in tree.named_leaves(values).items()}


assert_close = functools.partial(assertions.assert_close, rtol=1e-5, atol=1e-6)


# ---- of all ----


@over(ALL)
@pytest.mark.parametrize("dtype", laws.DTYPES)
def test_updates_and_states_keep_structures_shapes_and_dtypes(case, dtype):
    laws.structures_shapes_and_dtypes_stay(subject(case), dtype)


@over(ALL)
def test_a_state_shares_no_array_with_itself_nor_with_the_params(case):
    laws.the_state_shares_no_array(subject(case))
    params = draw(0)
    opt_state = case.make().init(params)
    capturing = transforms.jit(lambda params: (params, opt_state))
    assert equal(capturing(params), (params, opt_state))


@over(ALL, law="zero gradient")
def test_a_zero_gradient_on_a_new_state_is_a_zero_update(case):
    optimizer, params = case.make(), draw(0)
    zeros = tree.zeros_like(params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    assert equal(tree.map(mx.abs, updates), zeros)


@over(ALL)
@few
@given(seed=seeds())
def test_an_update_is_a_function_of_its_arguments_and_leaves_them_alone(case, seed):
    laws.an_update_is_pure(subject(case, seed))


@over(ALL)
@few
@given(seed=seeds())
def test_a_state_survives_its_names(case, seed):
    laws.a_state_survives_its_names(subject(case, seed))


@over(ALL)
def test_a_stack_of_optimizers_under_vmap_is_each_alone(case):
    laws.a_stack_under_vmap_is_each_alone(subject(case))


@over(ALL)
def test_an_update_is_mapped_over_one_argument_alone(case):
    optimizer = case.make()
    runs = []
    for seed, count in ((0, 1), (1, 3)):
        params, opt_state = steps(optimizer, draw(seed), [draw(seed + 10)] * count)
        runs.append({"grads": draw(seed), "opt_state": opt_state, "params": params})
    for name in ("grads", "params"):  # norms of 0 have rules of their own
        runs[1][name]["fc"]["weight"] = mx.zeros((2, 3))
    for mapped in (name for name in runs[0] if tree.leaves(runs[0][name])):
        both = tree.map(lambda a, b: mx.stack([a, b]), *(run[mapped] for run in runs))
        axes = tuple(0 if name == mapped else None for name in runs[0])
        for shared in runs:
            found = transforms.vmap(optimizer.update, axes)(
                *(shared | {mapped: both}).values()
            )
            for i, run in enumerate(runs):
                alone = optimizer.update(*(shared | {mapped: run[mapped]}).values())
                assert_close(tree.map(lambda x, i=i: x[i], found), alone)


# ---- of the optimizers: runs that are compiled once, and shared ----


def parabola(params):
    """Curvatures from 0.2 to 2; the minimum is at 0.5."""
    curvature = mx.array([0.1, 1.0])
    return sum(mx.sum(curvature * mx.square(x - 0.5)) for x in tree.leaves(params))


def rosenbrock(params):
    """Three of Rosenbrock's valleys, scaled to the rates of the registry."""
    points = mx.concatenate([params["weight"], params["bias"][None]])
    x, y = points[:, 0], points[:, 1]
    return mx.sum(mx.square(1 - x) + 100 * mx.square(y - x * x)) / 500


# Compiled apart from the optimizers, whose kernels then are the same for both.
SLOPES = {
    loss: transforms.jit(transforms.grad(loss)) for loss in (parabola, rosenbrock)
}
START = {"weight": mx.array([[-1.2, 1.0], [0.0, 0.5]]), "bias": mx.array([-1.0, 2.0])}


@functools.cache
def descend(case, loss, count):
    """The loss after steps at a rate that falls to 0, traced once; and the state."""
    rate = case.make.__defaults__[0]
    optimizer = case.make(lambda step: rate * (1 - step / count))

    @functools.partial(transforms.jit, max_traces=1)
    def step(params, opt_state, grads):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state

    params, opt_state = START, optimizer.init(START)
    for _ in range(count):
        params, opt_state = step(params, opt_state, SLOPES[loss](params))
    if isinstance(opt_state, optim.ScheduleFreeState):
        params = optim.schedule_free_params(opt_state, params)
    return loss(params).item(), opt_state


@over(OPTIMIZERS)
def test_a_parabola_is_descended_in_one_trace_of_100_steps_with_a_schedule(case):
    loss, _ = descend(case, parabola, 100)
    assert loss < 0.01 * parabola(START).item()


@over(OPTIMIZERS)
def test_rosenbrocks_valley_is_found_in_300_steps(case):
    loss, _ = descend(case, rosenbrock, 300)
    assert loss < 0.1 * rosenbrock(START).item()


@over(OPTIMIZERS, law="one rate")
def test_the_learning_rate_of_a_schedule_can_be_read(case):
    count = 100
    _, opt_state = descend(case, parabola, count)
    rate = case.make.__defaults__[0]
    updates = count // 2 if case.name == "accumulate" else count
    last = rate * (1 - (updates - 1) / count)
    if case.name == "adafactor":
        last = min(last, count**-0.5)
    if case.name == "adagrad with decay":
        last /= 1 + 1e-3 * (count - 1)
    if case.name == "asgd":
        last /= (1 + 1e-4 * last * (count - 1)) ** 0.75
    assert optim.learning_rate(opt_state).item() == pytest.approx(last, rel=1e-5)


@over(OPTIMIZERS)
def test_compiled_is_eager(case):
    _, compiled = descend(case, parabola, 100)
    rate = case.make.__defaults__[0]
    optimizer = case.make(lambda step: rate * (1 - step / 100))
    params, opt_state = START, optimizer.init(START)
    for _ in range(100):
        params, opt_state = steps(
            optimizer, params, [SLOPES[parabola](params)], opt_state
        )
    assert kinds(compiled) == kinds(opt_state)
    assert_close(compiled, opt_state, rtol=1e-2, atol=1e-3)


# ---- of chains ----

three = st.lists(st.sampled_from(PARTS), min_size=3, max_size=3)


@given(seed=seeds())
def test_the_empty_chain_is_the_identity(seed):
    grads = draw(seed)
    assert equal(optim.chain().update(grads, (), draw(seed ^ 1)), (grads, ()))


@given(parts=three, seed=seeds())
def test_chains_are_associative(parts, seed):
    last = ("param_ema", "swa")  # anything else behind them is an error
    a, b, c = (
        case.make() for case in sorted(parts, key=lambda case: case.name in last)
    )
    params, grads = draw(seed), [draw(seed ^ 1), draw(seed ^ 2)]
    left, _ = steps(optim.chain(optim.chain(a, b), c), params, grads)
    right, _ = steps(optim.chain(a, optim.chain(b, c)), params, grads)
    flat, _ = steps(optim.chain(a, b, c), params, grads)
    assert equal(left, right)
    assert equal(left, flat)


# ---- of wrappers ----


@given(seed=seeds(), count=st.integers(1, 4))
def test_accumulating_equals_the_mean_of_the_micro_batches(seed, count):
    params, grads = draw(seed), [draw(seed ^ i) for i in range(1, 2 * count + 1)]
    means = [
        tree.map(lambda *g: sum(g) / count, *grads[i : i + count]) for i in (0, count)
    ]
    optimizer = optim.sgd(0.1, momentum=0.9)
    accumulated, _ = steps(optim.accumulate(optimizer, steps=count), params, grads)
    assert_close(accumulated, steps(optimizer, params, means)[0])


@given(seed=seeds())
def test_wrappers_of_nothing_to_do_are_the_optimizer(seed):
    optimizer = optim.adam(0.1)
    params, grads = draw(seed), [draw(seed ^ i) for i in (1, 2, 3)]
    plain, _ = steps(optimizer, params, grads)
    for wrapped in (
        optim.apply_if_finite(optimizer),
        optim.masked(optimizer, lambda path: True),
        optim.partition({"all": optimizer}, lambda path: "all"),
        optim.accumulate(optimizer, steps=1),
        optim.chain(optimizer, optim.param_ema(0.9)),
        optim.chain(optimizer, optim.swa()),
    ):
        assert equal(steps(wrapped, params, grads)[0], plain)


@given(seed=seeds())
def test_masking_all_or_freezing_changes_nothing(seed):
    params, grads = draw(seed), draw(seed ^ 1)
    masked = optim.masked(optim.adam(0.1), lambda path: False)
    assert equal(masked.update(grads, masked.init(params), params)[0], grads)
    frozen = optim.chain(optim.adam(0.1), optim.freeze())
    assert equal(steps(frozen, params, [grads])[0], params)


@given(seed=seeds(), start=st.integers(0, 3), period=st.integers(1, 3))
def test_swa_is_the_mean_of_the_chosen_params(seed, start, period):
    optimizer = optim.chain(optim.sgd(0.1), optim.swa(start=start, period=period))
    params, opt_state = draw(seed), optimizer.init(draw(seed))
    chosen = []
    for i in range(7):
        params, opt_state = steps(optimizer, params, [draw(seed ^ (i + 1))], opt_state)
        if i >= start and (i - start) % period == 0:
            chosen.append(params)
        mean = tree.map(lambda *p: sum(p) / len(p), *chosen) if chosen else params
        assert_close(optim.averaged_params(opt_state), mean)


@given(seed=seeds(), b1=st.floats(0, 0.99), eps=st.floats(1e-8, 1e-3))
def test_injected_numbers_are_those_given(seed, b1, eps):
    params, grads = draw(seed), [draw(seed ^ i) for i in (1, 2, 3)]
    injected = optim.inject(optim.adam, 0.1, b1=b1, eps=lambda step: eps + 0.0 * step)
    plain = optim.adam(0.1, b1=b1, eps=eps)
    assert_close(
        steps(injected, params, grads)[0], steps(plain, params, grads)[0], rtol=1e-4
    )


# ---- of some alone ----


@given(seed=seeds(), scale=st.sampled_from([1e-3, 0.5, 2.0, 1e3]))
def test_adam_is_invariant_to_the_scale_of_the_gradient_as_eps_vanishes(seed, scale):
    params, grads = draw(seed), [draw(seed ^ 1), draw(seed ^ 2)]
    scaled = [tree.map(lambda g: scale * g, g) for g in grads]
    for make in (optim.adam, optim.nadam, optim.adamax):
        optimizer = make(0.1, eps=1e-30)
        plain, _ = steps(optimizer, params, grads)
        assert_close(steps(optimizer, params, scaled)[0], plain, rtol=1e-4, atol=1e-5)


@given(seed=seeds(), max_norm=st.floats(1e-3, 10))
def test_clipping_bounds_the_norm_and_keeps_the_direction(seed, max_norm):
    grads = draw(seed)
    clip = optim.clip_by_global_norm(max_norm)
    clipped, opt_state = clip.update(grads, clip.init(grads), grads)
    norm = tree.global_norm(grads).item()
    assert optim.gradient_norm(opt_state).item() == pytest.approx(norm, rel=1e-5)
    assert tree.global_norm(clipped).item() <= max_norm * (1 + 1e-5)
    factor = min(1, max_norm / (norm + 1e-6))
    assert_close(clipped, tree.map(lambda g: factor * g, grads))


@given(seed=seeds())
def test_zero_nans_changes_nans_alone(seed):
    grads = draw(seed)
    hurt = {**grads, "conv": {"weight": grads["conv"]["weight"] * mx.array(mx.nan)}}
    hurt["fc"] = {**grads["fc"], "scale": mx.array(mx.inf)}
    healed, _ = optim.zero_nans().update(hurt, (), grads)
    assert equal(healed["conv"], tree.zeros_like(grads["conv"]))
    assert equal(healed["fc"], hurt["fc"])


@given(seed=seeds())
def test_centralized_gradients_have_mean_zero_and_stay(seed):
    once, _ = optim.centralize().update(draw(seed), (), draw(seed))
    for weight in (once["conv"]["weight"], once["fc"]["weight"]):
        assert mx.max(mx.abs(mx.mean(weight.reshape(weight.shape[0], -1), -1))) < 1e-6
    twice, _ = optim.centralize().update(once, (), once)
    assert_close(twice, once)


@given(seed=seeds(), rows=st.integers(1, 6), columns=st.integers(1, 6))
def test_orthogonalize_makes_singular_values_alike(seed, rows, columns):
    matrix = random.normal(random.key(seed), (rows, columns))
    singular = np.linalg.svd(np.array(matrix), compute_uv=False)
    well = singular > 0.05 * singular[0]  # five iterations lift these to the others
    made = np.linalg.svd(np.array(optim.orthogonalize(matrix)), compute_uv=False)
    assert np.all((made[well] > 0.6) & (made[well] < 1.25))


@given(seed=seeds(), rate=st.floats(1e-4, 1))
def test_a_learning_rate_that_was_set_is_used(seed, rate):
    params, grads = draw(seed), draw(seed ^ 1)
    optimizer = optim.adam(0.5)
    opt_state = optim.set_learning_rate(optimizer.init(params), rate)
    changed, _ = steps(optimizer, params, [grads], opt_state)
    assert equal(changed, steps(optim.adam(rate), params, [grads])[0])


@over(ALL, law="another model")
def test_gradients_of_another_model_are_told_even_where_they_would_broadcast(case):
    params = draw(0)
    grads = tree.map(lambda p: p[:1] if p.ndim else p, draw(1))
    optimizer = case.make()
    with pytest.raises(ValueError, match=r"must be of one model|must have the shape"):
        steps(optimizer, params, [grads])
