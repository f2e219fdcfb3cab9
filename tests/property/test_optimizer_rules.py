"""Rules that every optimizer keeps: precision, counters, errors, maps over leaves."""

import inspect

import mlx.core as mx
import pytest

from lucid_fn import optim, random, schedules, tree
from lucid_fn.optim import leaves
from lucid_fn.testing import optimizer_laws as laws
from tests.registry.case import over
from tests.registry.optimizers import OPTIMIZERS, PARTS

ALL = OPTIMIZERS + PARTS


def draw(seed, *dtypes):
    """A tree like that of a small network, of normal numbers, in turn of the dtypes."""
    keys = random.split(random.key(seed), 3)
    shapes = {"conv.weight": (3, 2, 1, 2), "fc.weight": (2, 3), "fc.bias": (2,)}
    values = {"conv": {}, "fc": {}}
    for i, (path, shape) in enumerate(shapes.items()):
        layer, name = path.split(".")
        dtype = dtypes[i % len(dtypes)]
        values[layer][name] = random.normal(keys[i], shape).astype(dtype)
    return values


def after(optimizer, params, count=2):
    """The updates and the state of the last of some steps."""
    opt_state = optimizer.init(params)
    for i in range(count):
        drawn = draw(i + 1, mx.float32)
        grads = tree.map(lambda p, g: g.astype(p.dtype), params, drawn)
        updates, opt_state = optimizer.update(grads, opt_state, params)
    return updates, opt_state


@pytest.mark.parametrize("package", [optim, schedules])
def test_dir_shows_public_names_and_no_modules(package):
    assert dir(package) == sorted(package.__all__)
    assert not [n for n in dir(package) if inspect.ismodule(getattr(package, n))]


# ---- precision ----


@over(ALL, law="float32 state")
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_the_state_of_16_bit_params_is_float32(case, dtype):
    subject = laws.Subject(case.make(), draw(0, dtype))
    laws.moments_of_16_bits_are_float32(subject, dtype)


@over(ALL)
def test_the_state_of_float64_params_has_no_float32(case):
    _, opt_state = after(case.make(), draw(0, mx.float64))
    for path, x in tree.named_leaves(opt_state).items():
        assert x.dtype != mx.float32, path


@over(ALL)
def test_params_of_several_dtypes_keep_them(case):
    params = draw(0, mx.float32, mx.float64, mx.bfloat16)
    optimizer = case.make()
    begun = optimizer.init(params)
    updates, opt_state = after(optimizer, params)
    assert [x.dtype for x in tree.leaves(updates)] == [
        x.dtype for x in tree.leaves(params)
    ]
    assert [x.dtype for x in tree.leaves(opt_state)] == [
        x.dtype for x in tree.leaves(begun)
    ]


COUNTERS = ("step", "skipped", "skipped_in_a_row", "averaged")


@over(ALL, law="saturation")
def test_counters_stay_at_the_largest_number_of_int32(case):
    optimizer, params = case.make(), draw(0, mx.float32)
    opt_state = optimizer.init(params)
    names = [
        path
        for path, x in tree.named_leaves(opt_state).items()
        if path.split(".")[-1] in COUNTERS and x.dtype == mx.int32
    ]
    last = mx.array(2**31 - 1, mx.int32)
    flat = {**tree.named_leaves(opt_state), **dict.fromkeys(names, last)}
    opt_state = tree.restore(opt_state, flat)
    for i in range(2):
        updates, opt_state = optimizer.update(draw(i, mx.float32), opt_state, params)
        assert tree.all_finite(updates).item()
    found = tree.named_leaves(opt_state)
    assert all(found[name].item() in (0, 1, 2**31 - 1) for name in names)


# ---- errors ----

OF_PARTS = {
    "accumulate",
    "apply_if_finite",
    "chain",
    "dynamic_loss_scale",
    "inject",
    "lookahead",
    "masked",
    "partition",
    "schedule_free",
}


@over(ALL)
def test_a_wrong_state_is_refused_by_the_name_of_the_function(case):
    optimizer, params = case.make(), draw(0, mx.float32)
    others = ({"w": params}, None, optim.chain(*[optim.swa()] * 5).init(params))
    for wrong in others:
        with pytest.raises(TypeError, match=f"^{case.function}: opt_state must be "):
            optimizer.update(params, wrong, params)


@over(ALL)
def test_an_update_without_params_is_refused_by_name(case):
    optimizer, params = case.make(), draw(0, mx.float32)
    with pytest.raises(TypeError, match=f"^{case.function}: update needs the params"):
        optimizer.update(params, optimizer.init(params))


@over(ALL)
def test_empty_leaves_and_trees_are_updated_to_such(case):
    for shapes in [((0, 3), (3,)), ((3, 0), (0,)), ((2, 0, 3), ())]:
        weight, bias = map(mx.ones, shapes)
        params = {"fc": {"weight": weight, "bias": bias}}
        optimizer = case.make()
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        assert updates["fc"]["weight"].shape == shapes[0]
        assert tree.all_finite(updates).item()
    assert optimizer.update({}, optimizer.init({}), {})[0] == {}


@over(ALL, law="another model")
def test_gradients_of_another_structure_are_refused_by_name(case):
    optimizer, params = case.make(), draw(0, mx.float32)
    grads = {**params, "fc": {"weight": params["fc"]["weight"]}}
    # Some do not look at all of them, and others leave it to a part of the user's.
    of_parts = optim.__all__ if case.function in OF_PARTS else []
    names = "|".join([case.function, "apply_updates", *of_parts])
    with pytest.raises(ValueError, match=rf"^({names})\b.*: structures differ"):
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        optim.apply_updates(params, updates)


# ---- large leaves on streams ----


@over(ALL, law="leaves.map")
def test_leaves_are_computed_on_their_streams(case, monkeypatch):
    """A plain `tree.map` computes all leaves on one core."""
    plain = []

    def watch(original):
        def mapped(fn, *trees, **kwargs):
            result = original(fn, *trees, **kwargs)
            computed = any(isinstance(x, mx.array) for x in tree.leaves(result))
            if computed and not fn.__qualname__.startswith(leaves._on_streams.__name__):
                plain.append(fn.__qualname__)
            return result

        return mapped

    optimizer, params = case.make(), draw(0, mx.float32)
    opt_state = optimizer.init(params)
    for name in ("map", "map_with_path"):
        monkeypatch.setattr(tree, name, watch(getattr(tree, name)))
    optimizer.update(draw(1, mx.float32), opt_state, params)
    assert plain == []
