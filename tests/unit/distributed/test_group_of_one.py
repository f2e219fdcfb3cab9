"""Without a launcher, every collective is the identity and nothing is started."""

import threading
from itertools import chain

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import data, distributed, losses, nn, optim, random, train, tree
from lucid_fn.distributed import Group

X = {"a": mx.array([1.0, 2.0]), "b": mx.array(3, mx.int32)}
ALONE = [None, Group(0, 1)]


@pytest.fixture(params=ALONE, ids=["none", "one"])
def group(request):
    return request.param


def test_a_process_that_was_not_launched_is_a_group_of_one():
    assert distributed.init() == Group(0, 1)
    assert distributed.init(backend="ring", timeout=1.0).size == 1
    assert not any(
        thread.name.startswith("lucid_fn ") for thread in threading.enumerate()
    )


@pytest.mark.parametrize("name", ["all_sum", "broadcast"])
def test_what_all_have_is_what_one_gives(group, name):
    assert getattr(distributed, name)(X, group) is X


def test_all_gather_adds_an_axis(group):
    gathered = distributed.all_gather(X, group)
    assert tree.map(lambda x: x.shape, gathered) == {"a": (1, 2), "b": (1,)}


def test_the_mean_of_one_is_itself_and_a_barrier_waits_for_nobody(group):
    assert distributed.all_mean({"a": X["a"]}, group)["a"] is X["a"]
    assert distributed.barrier(group) is None


def test_derivatives_are_those_of_the_identity(group):
    def square(x):
        return (distributed.all_sum(x, group) ** 2).sum()

    assert lf.grad(square)(X["a"]).tolist() == [2.0, 4.0]


def test_a_step_with_a_group_of_one_is_the_step_without(group):
    layer = nn.serial(nn.linear(3, 4), nn.batch_norm(4, group=group), nn.dropout(0.5))
    results = []
    for given in ({}, {"group": group}):
        step = train.make_step(layer, optim.sgd(0.1), losses.mse, **given)
        ts = train.init(layer, optim.sgd(0.1), random.key(0))
        ts, metrics = step(ts, mx.ones((2, 3)), mx.zeros((2, 4)))
        results.append((ts, metrics))
    assert tree.equal(*results).item()


@pytest.mark.parametrize(
    "call",
    [
        lambda: nn.batch_norm(3, group=2),
        lambda: optim.average_gradients(2),
        lambda: train.make_step(nn.linear(1, 1), optim.sgd(0.1), losses.mse, group=2),
        lambda: train.make_eval_step(nn.linear(1, 1), losses.mse, group=2),
    ],
)
def test_a_group_of_the_wrong_type_is_an_error(call):
    with pytest.raises(TypeError, match=r"group must be a Group, as distributed.init"):
        call()


def test_leaves_that_are_no_arrays_are_errors(group):
    with pytest.raises(TypeError, match="all_sum: a must be an array, got float"):
        distributed.all_sum({"a": 1.0}, group)
    with pytest.raises(TypeError, match="all_mean: b must be a float array, got"):
        distributed.all_mean(X, group)


def test_a_root_that_is_no_rank_is_an_error(group):
    with pytest.raises(ValueError, match="broadcast: root must be"):
        distributed.broadcast(X, group, root=1)


def test_arguments_of_init_are_checked():
    with pytest.raises(ValueError, match="backend must be 'ring', 'nccl', 'jaccl' or"):
        distributed.init(backend="gloo")
    with pytest.raises(ValueError, match="timeout must be"):
        distributed.init(timeout=0)


def test_average_gradients_refuses_a_dtype_that_is_no_float():
    with pytest.raises(TypeError, match="dtype must be a float dtype such as"):
        optim.average_gradients(None, dtype=mx.int32)


# ---- shards of batches ----


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [12, 13, 17, 22])
def test_the_shards_of_a_batch_are_the_batch_of_one_process(rows, size):
    x = mx.arange(rows)
    whole = [batch.tolist() for batch in data.batches(x, 5, seed=1)]
    shards = [data.batches(x, 5, seed=1, shard=(rank, size)) for rank in range(size)]
    assert len({len(shard) for shard in shards}) == 1
    parts = [[batch.tolist() for batch in shard] for shard in shards]
    joined = [list(chain(*batch)) for batch in zip(*parts, strict=True)]
    assert [*chain(*joined)] == [*chain(*whole)]  # all rows once, in the same order
    assert all(batch for shard in parts for batch in shard)
    if rows % 5 >= size or rows % 5 == 0:
        assert joined == whole


def test_a_loader_is_divided_as_batches_are():
    source = list(range(13))
    for rank in range(3):
        shard = (rank, 3)
        ours = [x.tolist() for x in data.loader(source, 6, seed=1, shard=shard)]
        arrays = mx.arange(13)
        assert ours == [
            x.tolist() for x in data.batches(arrays, 6, seed=1, shard=shard)
        ]


def noisy(item, rng):
    return item + rng.standard_normal()


def test_a_transform_draws_other_numbers_on_each_rank():
    source = [0.0] * 8
    drawn = [
        [x.tolist() for x in data.loader(source, 8, seed=1, transform=noisy, shard=s)]
        for s in ((0, 2), (1, 2))
    ]
    assert len({*chain(*drawn[0], *drawn[1])}) == 8


@pytest.mark.parametrize(
    "shard, error, words",
    [
        (2, TypeError, r"shard must be a pair \(rank, size\)"),
        ((0, 6), ValueError, "at most as many ranks as a batch has rows, 5, got 6"),
        ((2, 2), ValueError, "the rank of shard must be"),
        ((0, 0), ValueError, "the size of shard must be"),
        ((0.0, 2), TypeError, "the rank of shard must be an integer"),
    ],
)
def test_a_wrong_shard_is_an_error(shard, error, words):
    with pytest.raises(error, match=words):
        data.batches(mx.arange(12), 5, shard=shard)
