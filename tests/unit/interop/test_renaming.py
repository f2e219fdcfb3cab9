import numpy as np
import pytest

from lucid_fn import nn, random
from lucid_fn.interop.torch import from_state_dict, to_state_dict
from tests.strategies import equal


@pytest.fixture
def model():
    return nn.serial(fc1=nn.linear(3, 4), fc2=nn.linear(4, 2))


@pytest.fixture
def weights(model):
    exported = to_state_dict(model, *model.init(random.key(0)))
    return {
        name.replace("fc1", "net.0").replace("fc2", "net.2"): array
        for name, array in exported.items()
    }


def test_a_mapping_renames_by_the_first_parts(model, weights):
    params, _ = from_state_dict(model, weights, rename={"net.0": "fc1", "net.2": "fc2"})
    np.testing.assert_array_equal(
        np.array(params["fc2"]["weight"]), weights["net.2.weight"]
    )


def test_the_longest_beginning_wins(model, weights):
    weights["net.2.b"] = weights.pop("net.2.bias")
    rename = {"net.0": "fc1", "net.2": "fc2", "net.2.b": "fc2.bias"}
    params, _ = from_state_dict(model, weights, rename=rename)
    assert params["fc2"]["bias"].shape == (2,)


def test_a_function_renames_and_none_leaves_out(model, weights):
    weights["head.weight"] = np.zeros(3, np.float32)

    def rename(name):
        if name.startswith("head"):
            return None
        return name.replace("net.0", "fc1").replace("net.2", "fc2")

    params, _ = from_state_dict(model, weights, rename=rename)
    assert list(params) == ["fc1", "fc2"]


def test_export_renames_the_other_way(model, weights):
    params, state = model.init(random.key(0))
    exported = to_state_dict(
        model, params, state, rename={"fc1": "net.0", "fc2": "net.2"}
    )
    assert exported.keys() == weights.keys()


def test_parts_are_renamed_whole(model, weights):
    weights["net.20.weight"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"unexpected: net\.20\.weight"):
        from_state_dict(model, weights, rename={"net.0": "fc1", "net.2": "fc2"})


@pytest.mark.parametrize("prefix", ["module", "_orig_mod", "module._orig_mod", "a.b.c"])
@pytest.mark.parametrize("dot", ["", "."])
def test_a_prefix_is_taken_away_with_its_dot_and_put_back(model, prefix, dot):
    params, state = model.init(random.key(0))
    plain = to_state_dict(model, params, state)
    wrapped = to_state_dict(model, params, state, rename={"": f"{prefix}{dot}"})
    assert list(wrapped) == [f"{prefix}.{name}" for name in plain]
    found, _ = from_state_dict(model, wrapped, rename={f"{prefix}{dot}": ""})
    assert equal(found, params)


@pytest.mark.parametrize("prefix", ["module", "module._orig_mod", "model.backbone"])
def test_a_prefix_that_all_names_share_is_suggested(model, prefix):
    params, state = model.init(random.key(0))
    weights = to_state_dict(model, params, state, rename={"": prefix})
    weights["loss.weight"] = np.ones(2)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        from_state_dict(model, weights)
    assert f"; pass rename={{'{prefix}': ''}}\n" in str(caught.value)


def test_a_prefix_that_the_model_has_is_suggested(model):
    wrapped = nn.serial(body=nn.serial(net=model))
    weights = to_state_dict(model, *model.init(random.key(0)))
    with pytest.raises(ValueError, match=r"model; pass rename=\{'': 'body\.net'\}\n"):
        from_state_dict(wrapped, weights)
    from_state_dict(wrapped, weights, rename={"": "body.net"})


def test_no_prefix_is_suggested_where_none_would_help(model, weights):
    for given in ({}, weights):
        with pytest.raises(ValueError, match=r"do not fit the model\n"):
            from_state_dict(model, given)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"net.0.weight": ""}, "must leave something of each name, got '' for net.0.w"),
        (
            {"net.1": "fc1"},
            "rename must map names that are there, got 'net.1'; there ar",
        ),
        ({"net.0": "fc", "net.2": "fc"}, "got fc.bias for net.0.bias and net.2.bias"),
    ],
)
def test_a_wrong_mapping_is_an_error(model, weights, rename, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict(model, weights, rename=rename)


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({0: "fc1"}, "rename must map names, got 0"),
        (["fc1"], "rename must be a mapping of names or a function, got list"),
        (lambda name: 3, "rename must give a name or None, got 3 for net.0"),
    ],
)
def test_another_kind_of_renaming_is_an_error(model, weights, rename, message):
    with pytest.raises(TypeError, match=message):
        from_state_dict(model, weights, rename=rename)
