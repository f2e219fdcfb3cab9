"""Small runs of `fit`, and comparisons of their results."""

import mlx.core as mx

from lucid_fn import data, train, tree


def batches_of(task, size=20):
    return lambda epoch: data.batches((task.x, task.labels), size, seed=(0, epoch))


def fit(task, ts=None, **settings):
    """Three epochs of three batches, the last of which is smaller."""
    settings = {"epochs": 3, "show": False, **settings}
    return train.fit(ts or task.start(), task.step, batches_of(task), **settings)


def evaluation(task):
    return {
        "evaluate": task.evaluate,
        "test_batches": data.batches((task.x, task.labels), 30),
    }


def equal(a, b) -> bool:
    pairs = zip(tree.leaves(a), tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and mx.array_equal(x, y).item() for x, y in pairs)


def same(history, expected):
    """Whether two records agree in all but the time."""

    def numbers(record):
        return {k: v for k, v in record.items() if not k.endswith("_seconds")}

    return history.batch_losses == expected.batch_losses and list(
        map(numbers, history.epochs)
    ) == list(map(numbers, expected.epochs))
