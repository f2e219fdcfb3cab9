"""Batches of items that a data set makes one by one, here and in worker processes."""

import os
import re
import signal
import subprocess
import sys
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, losses, nn, optim, random, train, tree


class Squares:
    """Made when they are asked for; the others fail as they are told to."""

    def __init__(self, size=7, bad=None, how="raise"):
        self.size, self.bad, self.how = size, bad, how

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == self.bad:
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyError(f"no picture {index}")
        return np.full((2, 3), index, np.uint8), index * index


class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def fail(item):
    raise Unpicklable(1, 2)


def noisy(item, rng):
    image, label = item
    return image + rng.normal(size=image.shape), label


def collected(batches):
    return [tree.map(lambda leaf: np.array(leaf).tolist(), batch) for batch in batches]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            lambda x, y: x,
            r"take item, as in transform\(item\), got <lambda>\(x, y\): .*'y'",
        ),
        (lambda: 1, "too many positional arguments; a pair is one item"),
        (lambda x, y, rng: x, r"take item and rng, as in transform\(item, rng=rng\)"),
    ],
)
def test_a_transform_takes_one_item(transform, message):
    with pytest.raises(TypeError, match=f"^loader: transform must .*{message}"):
        data.loader(Squares(), 2, seed=0, transform=transform)


def test_a_data_set_of_ones_own_needs_no_base_class():
    with pytest.raises(
        TypeError, match=r"Mine needs no base class; data\.loader takes"
    ):
        type("Mine", (data.Dataset,), {})


def test_num_workers_is_told_to_be_workers():
    with pytest.raises(TypeError, match="'num_workers' is called workers here"):
        data.loader(Squares(), 2, num_workers=2)


def test_a_loader_as_the_batches_of_fit_is_told_of_its_method_epoch():
    model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
    ts = train.init(model, optimizer, random.key(0))
    step = train.make_step(model, optimizer, losses.cross_entropy)
    with pytest.raises(TypeError, match=r"got Loader; .* fit\(ts, step, loader\.epoch"):
        train.fit(ts, step, data.loader(Squares(), 2), epochs=1)


@pytest.mark.parametrize("seed", [None, 3, (3, 1)])
@pytest.mark.parametrize("drop_last", [False, True])
def test_the_order_is_that_of_batches(seed, drop_last):
    source = Squares()
    images = np.stack([source[i][0] for i in range(7)])
    labels = np.array([source[i][1] for i in range(7)], np.int32)
    options = {"seed": seed, "drop_last": drop_last}
    ours = data.loader(source, 3, **options)
    theirs = data.batches((images, labels), 3, **options)
    assert len(ours) == len(theirs)
    assert collected(ours) == collected(theirs) == collected(ours)


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_make_what_is_made_here(workers):
    options = {"seed": 5, "transform": noisy}
    here = data.loader(Squares(), 2, **options)
    with data.loader(Squares(), 2, workers=workers, **options) as there:
        for epoch in range(2):
            assert collected(there.epoch(epoch)) == collected(here.epoch(epoch))
        assert collected(there.skip(3)) == collected(here)[3:]


def test_an_epoch_has_an_order_and_draws_of_its_own():
    loader = data.loader(Squares(), 7, seed=1, transform=noisy)
    (first,), (second,) = collected(loader.epoch(0)), collected(loader.epoch(1))
    assert sorted(first[1]) == sorted(second[1]) and first[1] != second[1]
    assert first[0] != second[0]
    again = data.loader(Squares(), 7, seed=(1, 1), transform=noisy)
    assert collected(again) == [second]


def test_an_iteration_that_ends_early_leaves_the_workers_ready():
    with data.loader(Squares(), 2, workers=2) as loader:
        for _ in range(3):
            next(iter(loader))
        assert len(collected(loader)) == 4


def test_two_iterations_at_once_are_an_error():
    with data.loader(Squares(), 2, workers=1) as loader:
        first = iter(loader)
        next(first)
        next(iter(loader))
        with pytest.raises(RuntimeError, match="make a loader for each"):
            next(first)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_source_names_the_item(workers):
    loader = data.loader(Squares(bad=4), 2, workers=workers)
    with loader, pytest.raises(KeyError, match="no picture 4") as caught:
        list(loader)
    assert "in item 4" in caught.value.__notes__


def stop(item):
    raise StopIteration


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_raises_stop_iteration_does_not_end_the_batches(workers):
    loader = data.loader(Squares(), 2, workers=workers, transform=stop)
    with loader, pytest.raises(RuntimeError, match="item 0 raised StopIteration"):
        list(loader)


def test_an_error_that_cannot_be_sent_is_told_as_text():
    loader = data.loader(Squares(), 2, workers=1, transform=fail)
    with loader, pytest.raises(RuntimeError, match=r"(?s)worker 0 failed.*Unpicklable"):
        list(loader)


def test_a_worker_that_is_killed_is_an_error_and_not_a_hang():
    loader = data.loader(Squares(bad=4, how="kill"), 2, workers=2)
    with pytest.raises(RuntimeError, match="worker 0 ended with exit code -9 before"):
        list(loader)
    assert not loader._workers


def test_the_workers_end_with_the_loader():
    loader = data.loader(Squares(), 2, workers=2)
    next(iter(loader))
    processes = loader._workers[0]._processes
    assert all(process.is_alive() for process in processes)
    del loader
    assert not any(process.is_alive() for process in processes)


def test_what_cannot_be_pickled_is_told():
    loader = data.loader(Squares(), 2, workers=1, transform=lambda item: item)
    with pytest.raises(TypeError, match=r"pickled for the workers.*or give workers=0"):
        list(loader)


def test_what_a_notebook_or_a_prompt_defines_is_told():
    code = """
from lucid_fn import data

def transform(item):
    return item

print(len(list(data.loader([1, 2, 3], 2, workers=1))))
list(data.loader([1, 2, 3], 2, workers=1, transform=transform))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "2\n"
    message = "loader: source and transform must be defined in a module .* a notebook"
    assert re.search(f"TypeError: {message}", run.stderr)


class Pair(NamedTuple):
    image: object
    more: dict


@pytest.mark.parametrize(
    "item, dtypes",
    [
        ((1, True, 0.5), (mx.int32, mx.bool_, mx.float32)),
        ((2**40, np.float64(1), np.int8(1)), (mx.int64, mx.float32, mx.int8)),
        (([1, 2, 3], [[0.5]], mx.ones(2)), (mx.int32, mx.float32, mx.float32)),
    ],
)
def test_numbers_and_lists_of_them_become_arrays(item, dtypes):
    (batch,) = data.loader([item, item], 2)
    assert tuple(leaf.dtype for leaf in batch) == dtypes
    assert all(leaf.shape[0] == 2 for leaf in batch)


def test_items_may_be_dicts_and_named_tuples():
    source = [Pair(np.ones(2), {"label": i}) for i in range(2)]
    (batch,) = data.loader(source, 2)
    assert isinstance(batch, Pair)
    assert batch.more["label"].tolist() == [0, 1]


@pytest.mark.parametrize(
    "items, error, message",
    [
        ([("cat", 0)], TypeError, r"item 0, 0, must be an array or a number, got str"),
        ([{"a": None}], TypeError, "item 0, a, must be an array or .* got NoneType"),
        ([([1, [2]], 0)], TypeError, "item 0, 0, must be an array or a number, got l"),
        ([[np.ones(2), 1]], TypeError, "got list .*; give a tuple"),
        (
            [np.ones(2), np.ones(3)],
            ValueError,
            r"\(2,\) in item 0 and \(3,\) in item 1",
        ),
        ([(1, 2), {"a": 1}], ValueError, "equal structures, got .* in item 1"),
    ],
)
def test_items_that_cannot_be_stacked_are_told(items, error, message):
    with pytest.raises(error, match=message):
        list(data.loader(items, 2))


@pytest.mark.parametrize(
    "given, error, message",
    [
        ((iter([1]), 2), TypeError, "source must have __len__, got list_iterator"),
        (([], 2), ValueError, "source must have at least one item, got none"),
        (({"train": [1], "test": [2]}, 2), TypeError, "got dict of 'train', 'test'; g"),
        (((np.ones(3), np.ones(3)), 2), TypeError, "one data set, .* to data.batches"),
        (([1], 0), ValueError, "loader: batch_size must be at least 1, got 0"),
        (([1], 2, 0, True), TypeError, "loader"),
    ],
)
def test_wrong_arguments_are_told(given, error, message):
    with pytest.raises(error, match=message):
        data.loader(*given)


def test_a_transform_that_draws_needs_a_seed():
    with pytest.raises(ValueError, match="loader: seed must be given for a transform"):
        data.loader(Squares(), 2, transform=noisy)


def test_fit_takes_its_epochs_and_resumes_within_one():
    model, optimizer = nn.serial(nn.flatten, nn.linear(6, 2)), optim.sgd(0.01)
    step = train.make_step(
        model, optimizer, lambda y, label: losses.cross_entropy(y, label % 2)
    )
    made = []

    class Recorded(Squares):
        def __getitem__(self, index):
            made.append(index)
            image, label = super().__getitem__(index)
            return image.astype(np.float32), label

    loader = data.loader(Recorded(), 2, seed=0)

    def run(ts, **options):
        return train.fit(ts, step, loader.epoch, epochs=1, show=False, **options)[0]

    start = train.init(model, optimizer, random.key(0))
    whole = run(start)
    half = run(start, max_steps=2)
    made.clear()
    resumed = run(half)
    assert tree.equal(resumed, whole)
    assert len(made) == 3  # of seven items: the last two batches


def test_a_tensor_that_requires_a_gradient_is_told_with_its_item():
    torch = pytest.importorskip("torch")
    items = [torch.ones(2, requires_grad=True)]
    with pytest.raises(TypeError, match=r"item 0 must be an array .* got Tensor"):
        list(data.loader(items, 1))


def test_data_sets_of_pytorch_work_as_they_are():
    torch = pytest.importorskip("torch")
    images, labels = torch.arange(8.0).reshape(4, 2), torch.tensor([0, 1, 0, 1])
    source = torch.utils.data.TensorDataset(images, labels)
    (batch,) = data.loader(source, 4)
    np.testing.assert_array_equal(np.array(batch[0]), images.numpy())
    assert batch[1].tolist() == [0, 1, 0, 1]
