"""Dividing the optimizer's state, rank by rank in one process.

`tests/e2e/test_sharded_groups.py` does it with processes.
"""

import functools
import sys

import mlx.core as mx
import pytest

from lucid_fn import optim, random, tree
from lucid_fn.distributed import Group
from lucid_fn.optim.zero_redundancy import assign
from tests.registry.case import over
from tests.registry.optimizers import OPTIMIZERS, PARTS

MODULE = sys.modules[assign.__module__]  # a function of the package has its name
RANKS = [Group(rank, 3) for rank in range(3)]
TOGETHER = ("prodigy", "lbfgs", "scale_by_lbfgs")  # numbers of all params together
SHAPES = {
    "conv": {"weight": (3, 2, 1, 2)},
    "fc": {"weight": (130, 129), "bias": (2,), "scale": (), "unused": (0, 3)},
}


def draw(seed):
    key = random.key(seed)

    def normal(path, shape):
        dtype = mx.bfloat16 if path == "fc.bias" else mx.float32
        return random.normal(random.fold_in(key, path), shape).astype(dtype)

    return {
        top: {name: normal(f"{top}.{name}", shape) for name, shape in inner.items()}
        for top, inner in SHAPES.items()
    }


@pytest.fixture
def all_ranks(monkeypatch):
    """From a function of the group, in which ranks gather, to the results of all.

    It runs twice on each rank: to find what the rank gives, and with what all give.
    """

    def run(fn):
        given = {group: [] for group in RANKS}

        def give(x, group):
            given[group].append(x)
            return mx.zeros((len(RANKS), *x.shape), x.dtype)

        monkeypatch.setattr(MODULE, "all_gather", give)
        for group in RANKS:
            fn(group)
        turns = {group: iter(zip(*given.values(), strict=True)) for group in RANKS}
        take = lambda x, group: mx.stack(list(next(turns[group])))  # noqa: E731
        monkeypatch.setattr(MODULE, "all_gather", take)
        return [fn(group) for group in RANKS]

    return run


@over([case for case in OPTIMIZERS + PARTS if case.name not in TOGETHER])
def test_updates_and_states_are_those_of_the_optimizer(case, all_ranks):
    optimizer, params = case.make(), draw(0)
    divided = {group: optim.zero_redundancy(optimizer, group) for group in RANKS}
    states = {group: divided[group].init(params) for group in RANKS}
    whole = optimizer.init(params)

    def step(grads, states, params, group):
        return divided[group].update(grads, states[group], params)

    for seed in (1, 2):
        grads = draw(seed)
        results = all_ranks(functools.partial(step, grads, states, params))
        updates, whole = optimizer.update(grads, whole, params)
        states = {g: new for g, (_, new) in zip(RANKS, results, strict=True)}
        for found, part in results:
            assert tree.equal(found, updates).item()
            assert tree.equal(optim.shard_state(whole, like=part), part).item()
        params = optim.apply_updates(params, updates)
    held = sum(tree.nbytes(part) for part in states.values())
    assert held <= tree.nbytes(whole) + 2 * 100  # what all have is scalars and keys


@pytest.mark.parametrize("name", TOGETHER)
def test_numbers_of_all_params_together_are_refused(name):
    case = next(case for case in OPTIMIZERS + PARTS if case.name == name)
    words = "optimizer must keep a separate state for each param, got one with a"
    with pytest.raises(ValueError, match=words):
        optim.zero_redundancy(case.make(), RANKS[0]).init(draw(0))


def test_a_vector_of_all_params_in_a_users_optimizer_is_refused():
    def init(params):
        return {"all": mx.concatenate([x.reshape(-1) for x in tree.leaves(params)])}

    optimizer = optim.GradientTransformation(init, lambda g, s, p: (g, s))
    params = {"a": mx.zeros(2), "b": mx.zeros(3)}
    with pytest.raises(ValueError, match=r"for each param, got all of shape \(5,\)"):
        optim.zero_redundancy(optimizer, RANKS[0]).init(params)


def test_what_reads_the_state_of_another_rank_finds_nan(all_ranks):
    """A user's optimizer that adds up its whole state cannot be wrong in silence."""

    def update(grads, opt_state, params):
        total = sum(x.sum() for x in tree.leaves(opt_state))
        return tree.map(lambda g: g * total, grads), opt_state

    optimizer = optim.GradientTransformation(tree.zeros_like, update)
    params = {"a": mx.ones(2), "b": mx.ones(3)}

    def step(group):
        divided = optim.zero_redundancy(optimizer, group)
        return divided.update(params, divided.init(params), params)[0]

    assert mx.isnan(all_ranks(step)[0]["a"]).all().item()


def test_the_largest_params_are_assigned_first_to_the_rank_with_least():
    params = {
        name: mx.zeros(n) for name, n in zip("abcde", [2, 9, 4, 4, 1], strict=True)
    }
    ranks = assign(params, 2)
    assert ranks == {"b": 0, "c": 1, "d": 1, "a": 1, "e": 0}


def test_more_ranks_than_params_leave_some_with_nothing(all_ranks):
    params = {"w": mx.ones(4)}

    def step(group):
        divided = optim.zero_redundancy(optim.adam(0.1), group)
        return divided.update(params, divided.init(params), params)

    adam = optim.adam(0.1)
    expected, _ = adam.update(params, adam.init(params), params)
    results = all_ranks(step)
    assert all(tree.equal(updates, expected).item() for updates, _ in results)
    assert [tree.nbytes(state) for _, state in results] == [40, 8, 8]


@pytest.mark.parametrize("group", [None, Group(0, 1)])
def test_without_others_the_optimizer_is_returned_as_it_is(group):
    params = {"w": mx.ones(2)}
    whole = optim.adam(0.1).init(params)
    same = optim.zero_redundancy(optim.adam(0.1), group).init(params)
    assert tree.equal(same, whole).item()
    assert optim.unshard_state(whole, group) is whole


def test_a_learning_rate_is_read_and_set_in_a_part():
    state = optim.zero_redundancy(optim.adam(0.1), RANKS[1]).init(draw(0))
    state = optim.set_learning_rate(state, 0.5)
    assert optim.learning_rate(state).item() == 0.5


def test_a_whole_state_of_another_model_is_refused():
    like = optim.zero_redundancy(optim.adam(0.1), RANKS[0]).init(draw(0))
    other = optim.adam(0.1).init({"w": mx.ones(2)})
    with pytest.raises(ValueError, match="shard_state: the arrays do not fit"):
        optim.shard_state(other, like=like)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: optim.zero_redundancy(optim.adam(0.1), 2), "group must be a Group"),
        (lambda: optim.zero_redundancy(optim.adam, None), "optimizer must be a Gradi"),
        (lambda: optim.unshard_state((), 2), "group must be a Group"),
    ],
)
def test_arguments_of_the_wrong_type_are_errors(call, words):
    with pytest.raises(TypeError, match=words):
        call()


@pytest.mark.parametrize("group", RANKS)
def test_a_state_that_is_divided_already_is_refused_on_all_ranks(group):
    inner = optim.zero_redundancy(optim.adam(0.1), group)
    twice = optim.zero_redundancy(optim.chain(inner, optim.trace(0.9)), group)
    with pytest.raises(ValueError, match="must not contain a zero_redundancy"):
        twice.init(draw(0))
