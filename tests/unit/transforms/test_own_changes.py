"""Changes that a derivative does not read, or that its function makes itself."""

import collections
import functools

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from tests.unit.transforms.derivatives import CALLS, ONE, gradient_after


class Logger:
    def __init__(self):
        self.lines, self.count, self.last = [], 0, None

    def log(self, line):
        self.count += 1
        self.last = line
        self.lines.append(line)


class Model:
    """A model with caches, counters and logs."""

    def __init__(self):
        self.scale = mx.array(2.0)
        self.logger = Logger()
        self.tables, self.table, self.calls, self.activation = {}, None, 0, None
        self.steps = 0

    @functools.lru_cache  # noqa: B019  # a cache that can be seen through no attribute
    def cached(self, n):
        return mx.arange(n).sum() + 1

    def plain(self, x):
        return x * self.scale

    def counting(self, x):
        self.calls += 1
        return x * self.scale

    def logging(self, x):
        self.logger.log(x.shape)
        return x * self.scale

    def saving(self, x):
        self.activation = x * self.scale
        return x * self.scale

    def lazy(self, x):
        if self.table is None:
            self.table = np.array([2.0])
        return x * mx.array(self.table)[0]

    def tabled(self, x):
        for n in (1, 2 + len(self.tables)):
            if n not in self.tables:
                self.tables[n] = np.full(n, 2.0, np.float32)
        return x * mx.array(self.tables[1])[0]

    def caching(self, x):
        return x * self.scale * self.cached(1)


OWN = [
    Model.plain,
    Model.counting,
    Model.logging,
    Model.saving,
    Model.lazy,
    Model.tabled,
    Model.caching,
]


@pytest.mark.parametrize("method", OWN)
@pytest.mark.parametrize("name", [*CALLS, "vjp"])
def test_caches_counters_and_logs_of_the_function_are_no_change(name, method):
    model = Model()
    run = functools.partial(method, model)

    def loss(x):
        y = CALLS[name](run, x)
        model.steps += 1
        return y + 0 * run(x)

    if name == "vjp":
        found = gradient_after(lambda: run(ONE), run)
    else:
        found = lf.grad(loss)(ONE).item()
    assert found == (1 if name.startswith("custom") else 2)


counts = {"calls": 0, "scale": 2.0}
by_shape = collections.Counter()
met = set()
log: list = []
total = 0


def counts_in_a_dict(x):
    counts["calls"] += 1
    return x * counts["scale"]


def counts_by_shape(x):
    by_shape[x.shape] += 1
    return x * 2


def notes_what_it_meets(x):
    if (x.shape, len(met)) not in met:
        met.add((x.shape, len(met)))
    log.append(x.shape)
    return x * 2


def counts_in_a_global(x):
    global total
    total += 1
    return x * 2


COUNTING = [counts_in_a_dict, counts_by_shape, notes_what_it_meets, counts_in_a_global]


@pytest.mark.parametrize("fn", COUNTING)
def test_counters_and_logs_in_globals_are_no_change(fn):
    assert gradient_after(lambda: fn(ONE), fn) == 2


def test_another_item_of_a_dict_with_a_counter_is_a_change():
    change = lambda: counts.update(scale=5.0)  # noqa: E731
    with pytest.raises(ValueError, match=r"`counts\['scale'\]` has changed"):
        gradient_after(change, counts_in_a_dict)
    counts["scale"] = 2.0


def test_a_setting_with_the_name_of_a_counter_is_not_taken_for_one():
    class Record:
        n = 0

    setting, log = Record(), Record()

    def body(_, x):
        log.n += 1
        return x * setting.n

    found = []
    for n in (2, 5, 5, 2):
        setting.n = n
        found.append(lf.fori_loop(0, 2, body, ONE).item())
    assert found == [4, 25, 25, 4]
    assert log.n == 3  # the third loop uses the compiled body of the second


class Callable(dict):
    """A container with methods, as modules of `mlx.nn` are."""

    scale = 2.0

    def __call__(self, x):
        return x * self.scale * self["weight"]


@pytest.mark.parametrize("change", ["attribute", "item"])
def test_loops_and_derivatives_notice_changes_in_containers_with_methods(change):
    model = Callable(weight=1.0)

    def run(x):
        return lf.fori_loop(0, 1, lambda _, x: model(x), x)

    def set_to(value):
        if change == "attribute":
            model.scale = value
        else:
            model["weight"] = value / 2

    found = []
    for scale in (2.0, 6.0):
        set_to(scale)
        found.append(run(ONE).item())
    assert found == [2, 6]


def test_an_attribute_of_a_container_that_has_changed_is_an_error():
    model = Callable(weight=1.0)
    with pytest.raises(ValueError, match=r"`\w+\.scale` has changed since"):
        gradient_after(lambda: setattr(model, "scale", 5.0), lambda x: model(x))


# ---- every way to count, to note and to cache ----


class Notes:
    """What a function may keep for itself."""

    def __init__(self):
        self.n, self.name, self.shapes, self.shape = 0, "", (), None
        self.all_shapes, self.total = [], {"n": 0}
        self.by_shape = {(): 0}
        self.by_default = collections.defaultdict(int)
        self.numbers, self.log = [0], [(2,)]
        self.recent = collections.deque([(1,), (2,)], maxlen=2)


WAYS = [
    "notes.n += 1",
    "notes.n = notes.n + 1",
    "setattr(notes, 'n', notes.n + 1)",
    "notes.name += 'a'",
    "notes.shapes = (*notes.shapes, x.shape)",
    "notes.shape = x.shape",
    "notes.all_shapes = [*notes.all_shapes, x.shape]",
    "notes.total['n'] += 1",
    "notes.total['n'] = notes.total['n'] + 1",
    "notes.total.update(n=notes.total['n'] + 1)",
    "notes.total |= {'n': notes.total['n'] + 1}",
    "notes.by_shape[x.shape] += 1",
    "notes.by_default[x.shape] += 1",
    "notes.numbers[0] = notes.numbers[0] + 1",
    "notes.log.insert(0, x.shape)",
    "notes.recent.append(x.shape)",
    "notes.recent.appendleft(x.shape)",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", [*CALLS, "vjp", "jacrev"])
def test_a_function_may_count_note_and_cache_in_every_way(name, way):
    names = {"notes": Notes()}
    exec(f"def f(x):\n    {way}\n    return x * 2", names)
    f = names["f"]
    for _ in range(2):
        if name == "vjp":
            assert gradient_after(lambda: f(ONE), f) == 2
        elif name == "jacrev":
            assert lf.jacrev(f)(ONE).item() == 2
        else:
            slope = lf.grad(lambda x: CALLS[name](f, x))(ONE).item()
            assert slope == (1 if name.startswith("custom") else 2)


@pytest.mark.parametrize("way", ["log.n += 1", "log.items.append(1)"])
@pytest.mark.parametrize("name", CALLS)
def test_what_others_change_is_not_taken_for_a_counter_of_the_same_name(name, way):
    class Setting:
        def __init__(self):
            self.n, self.items = 2, [2]

    names = {"setting": Setting(), "log": Setting()}
    exec(f"def f(x):\n    {way}\n    return x * setting.n * len(setting.items)", names)

    def loss(x):
        y = CALLS[name](names["f"], x)
        names["setting"].n = 3
        names["setting"].items.append(1)
        return y

    with pytest.raises(ValueError, match=r"`setting\.\w+` has changed since"):
        lf.grad(loss)(ONE)
