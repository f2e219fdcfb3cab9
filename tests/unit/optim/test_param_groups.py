"""Groups of params with settings of their own."""

import mlx.core as mx

from lucid_fn import optim, tree

PARAMS = {
    "conv": {"weight": mx.ones((2, 2)), "bias": mx.ones(2)},
    "fc": {"weight": mx.ones((2, 2)), "bias": mx.ones(2)},
}


def values(updates):
    return {
        path: x.reshape(-1)[0].item() for path, x in tree.named_leaves(updates).items()
    }


def test_each_group_has_its_own_learning_rate():
    optimizer = optim.partition(
        {"conv": optim.sgd(1.0), "fc": optim.sgd(2.0)}, lambda path: path.split(".")[0]
    )
    opt_state = optimizer.init(PARAMS)
    fc = optim.set_learning_rate(opt_state.groups["fc"], 3.0)
    assert optim.learning_rate(opt_state.groups["fc"]).item() == 2
    opt_state = opt_state._replace(groups={**opt_state.groups, "fc": fc})
    updates, _ = optimizer.update(PARAMS, opt_state, PARAMS)
    assert values(updates) == {
        "conv.bias": -1,
        "conv.weight": -1,
        "fc.bias": -3,
        "fc.weight": -3,
    }


def test_weight_decay_for_weights_only():
    decay = optim.masked(
        optim.add_decayed_weights(0.5), lambda path: path.endswith("weight")
    )
    updates, _ = decay.update(tree.zeros_like(PARAMS), decay.init(PARAMS), PARAMS)
    assert values(updates) == {
        "conv.bias": 0,
        "conv.weight": 0.5,
        "fc.bias": 0,
        "fc.weight": 0.5,
    }


def test_frozen_params_have_no_state():
    optimizer = optim.partition(
        {"body": optim.freeze(), "head": optim.adam(0.1)},
        lambda path: "body" if path.startswith("conv") else "head",
    )
    opt_state = optimizer.init(PARAMS)
    assert not any("conv" in path for path in tree.paths(opt_state))
    updates, _ = optimizer.update(PARAMS, opt_state, PARAMS)
    assert values(updates)["conv.weight"] == 0
    assert values(updates)["fc.weight"] < 0


def test_names_of_the_state_tell_group_and_param():
    optimizer = optim.partition({"all": optim.adam(0.1)}, lambda path: "all")
    assert "groups.all.1.mu.conv.weight" in tree.paths(optimizer.init(PARAMS))


def test_a_group_without_params_is_no_mistake():
    optimizer = optim.partition(
        {"a": optim.sgd(1.0), "b": optim.adam(0.1)}, lambda path: "a"
    )
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    assert set(values(updates).values()) == {-1}


def test_a_global_norm_under_a_mask_is_that_of_the_chosen():
    clip = optim.masked(optim.clip_by_global_norm(100.0), lambda path: "fc.b" in path)
    _, opt_state = clip.update(PARAMS, clip.init(PARAMS), PARAMS)
    assert abs(optim.gradient_norm(opt_state).item() - 2**0.5) < 1e-6


def test_the_order_of_the_keys_does_not_matter():
    optimizer = optim.partition(
        {"c": optim.sgd(1.0), "f": optim.sgd(2.0)}, lambda path: path[0]
    )
    reordered = {name: PARAMS[name] for name in ("fc", "conv")}
    updates, _ = optimizer.update(reordered, optimizer.init(PARAMS), PARAMS)
    assert list(updates) == ["fc", "conv"]
    assert values(updates)["fc.bias"] == -2
