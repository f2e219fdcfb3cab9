"""State dicts of which only some layers fit: strict=False."""

import numpy as np
import pytest

from lucid_fn import nn, random, tree
from lucid_fn.interop.torch import from_state_dict, to_state_dict


def model(classes, **more):
    return nn.serial(
        conv=nn.conv2d(3, 4, 3), bn=nn.batch_norm(4), fc=nn.linear(4, classes), **more
    )


@pytest.fixture
def weights(key):
    theirs = model(1000)
    return to_state_dict(theirs, *theirs.init(random.fold_in(key, "theirs")))


def test_a_head_of_another_size_is_the_models_own(key, weights):
    ours = model(10)
    params, state, report = from_state_dict(ours, weights, strict=False, key=key)
    kept, _ = ours.init(key)
    assert tree.equal(params["fc"], kept["fc"])
    assert np.array_equal(
        np.moveaxis(np.array(params["conv"]["weight"]), -1, 1), weights["conv.weight"]
    )
    assert report.missing == report.unexpected == ("fc.bias", "fc.weight")
    assert "bn.running_mean" in report.taken and len(report.taken) == 7
    assert state["bn"]["num_batches_tracked"].item() == 0


def test_no_layer_is_loaded_by_half(key, weights):
    del weights["bn.running_var"]
    weights["conv.bias"] = weights["conv.bias"][:3]
    weights["extra"] = np.zeros(3)
    _, _, report = from_state_dict(model(1000), weights, strict=False, key=key)
    assert report.taken == ("fc.bias", "fc.weight")
    assert {"bn.weight", "conv.weight", "extra"} <= set(report.unexpected)


def test_what_fits_altogether_is_all_taken(key, weights):
    strict = from_state_dict(model(1000), weights)
    params, state, report = from_state_dict(model(1000), weights, strict=False, key=key)
    assert tree.equal((params, state), strict)
    assert report.missing == report.unexpected == ()


def test_without_a_key_or_a_layer_that_fits_it_is_an_error(key, weights):
    with pytest.raises(ValueError, match="strict=False needs a key, got None"):
        from_state_dict(model(10), weights, strict=False)
    prefixed = {f"module.{name}": array for name, array in weights.items()}
    with pytest.raises(
        ValueError, match=r"no layer matches; .*; pass rename=.'module'"
    ):
        from_state_dict(model(10), prefixed, strict=False, key=key)
    other = nn.serial(other=nn.linear(2, 2))
    with pytest.raises(ValueError, match="from_state_dict: no layer matches"):
        from_state_dict(other, weights, strict=False, key=key)
