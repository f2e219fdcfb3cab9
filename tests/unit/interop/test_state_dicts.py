import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import models, nn, random, tree
from lucid_fn.interop.torch import from_state_dict, to_state_dict
from tests.strategies import equal


@pytest.fixture
def model():
    return nn.serial(conv=nn.conv2d(3, 8, (3, 5)), bn=nn.batch_norm(8))


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    shapes = {
        "conv.weight": (8, 3, 3, 5),
        "conv.bias": (8,),
        "bn.weight": (8,),
        "bn.bias": (8,),
        "bn.running_mean": (8,),
        "bn.running_var": (8,),
    }
    arrays = {n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    return {**arrays, "bn.num_batches_tracked": np.array(7)}


def test_convolutions_move_their_channels_last(model, weights):
    params, _ = from_state_dict(model, weights)
    expected = weights["conv.weight"].transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(np.array(params["conv"]["weight"]), expected)


def test_statistics_go_into_the_state(model, weights):
    params, state = from_state_dict(model, weights)
    assert set(params["bn"]) == {"weight", "bias"}
    np.testing.assert_array_equal(
        np.array(state["bn"]["running_var"]), weights["bn.running_var"]
    )
    assert state["bn"]["num_batches_tracked"].dtype == mx.int32
    assert state["bn"]["num_batches_tracked"].item() == 7


def test_a_missing_count_of_batches_is_0(model, weights):
    del weights["bn.num_batches_tracked"]
    _, state = from_state_dict(model, weights)
    assert state["bn"]["num_batches_tracked"].item() == 0


def test_export_gives_numpy_arrays_and_int64_counts(model, weights):
    exported = to_state_dict(model, *from_state_dict(model, weights))
    assert exported.keys() == weights.keys()
    for name, array in weights.items():
        assert type(exported[name]) is np.ndarray
        assert exported[name].dtype == array.dtype, name
        np.testing.assert_array_equal(exported[name], array)


def test_exported_arrays_are_copies(model):
    params, state = model.init(random.key(0))
    exported = to_state_dict(model, params, state)
    exported["conv.bias"][:] = 5
    assert not mx.any(params["conv"]["bias"] == 5).item()


def test_everything_that_does_not_fit_is_listed_at_once(model, weights):
    del weights["conv.bias"]
    weights["fc.weight"] = np.zeros((2, 2), np.float32)
    weights["bn.bias"] = np.zeros(9, np.float32)
    weights["bn.weight"] = np.zeros(8, np.int32)
    with pytest.raises(ValueError, match="do not fit the model") as caught:
        from_state_dict(model, weights)
    assert str(caught.value).splitlines()[1:] == [
        "  bn.bias: must have shape (8,), got (9,)",
        "  bn.weight: must be floats, got mlx.core.int32",
        "  missing: conv.bias",
        "  unexpected: fc.weight",
    ]


def test_a_head_of_another_size_is_answered_with_how_to_keep_ones_own():
    def classifier(classes):
        return nn.serial(body=nn.linear(3, 4), head=nn.linear(4, classes))

    pretrained = to_state_dict(classifier(5), *classifier(5).init(random.key(0)))
    with pytest.raises(
        ValueError,
        match="to keep a head of your own, give strict=False and a key",
    ):
        from_state_dict(classifier(2), pretrained)
    with pytest.raises(ValueError, match="do not fit the model\n  bias: must have sha"):
        from_state_dict(nn.linear(4, 2), to_state_dict(*_of(nn.linear(4, 5))))


def _of(model):
    return model, *model.init(random.key(0))


def test_a_weight_that_was_transposed_already_is_named(model, weights):
    weights["conv.weight"] = weights["conv.weight"].transpose(0, 2, 3, 1)
    with pytest.raises(ValueError, match=r"\(8, 3, 3, 5\), got .*channels last alread"):
        from_state_dict(model, weights)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float_dtypes_are_kept(model, weights, dtype):
    cast = {
        name: array.astype(dtype) if array.dtype == np.float32 else array
        for name, array in weights.items()
    }
    exported = to_state_dict(model, *from_state_dict(model, cast))
    assert exported["conv.weight"].dtype == dtype


def test_bfloat16_is_kept_and_exported_as_float32(model, weights):
    cast = {n: mx.array(a).astype(mx.bfloat16) for n, a in weights.items()}
    cast["bn.num_batches_tracked"] = mx.array(3)
    params, state = from_state_dict(model, cast)
    assert params["conv"]["weight"].dtype == mx.bfloat16
    exported = to_state_dict(model, params, state)
    assert exported["conv.weight"].dtype == np.float32
    kept = to_state_dict(model, params, state, convert=lambda array: array)
    assert kept["conv.weight"].dtype == mx.bfloat16
    assert mx.array_equal(kept["conv.weight"], cast["conv.weight"])


def test_float64_becomes_float32(model, weights):
    weights["conv.weight"] = weights["conv.weight"].astype(np.float64)
    params, _ = from_state_dict(model, weights)
    assert params["conv"]["weight"].dtype == mx.float32


def test_arrays_of_the_other_byte_order_and_strided_ones_are_read(model, weights):
    expected, _ = from_state_dict(model, weights)
    weights["conv.bias"] = weights["conv.bias"].astype(">f4")
    weights["bn.bias"] = np.repeat(weights["bn.bias"], 2)[::2]
    assert equal(from_state_dict(model, weights)[0], expected)


def test_other_axes_can_be_given():
    model = nn.serial(
        up=nn.parametric(lambda key: {"weight": mx.zeros((2, 3, 4))}, lambda p, x: x)
    )
    weights = {"up.weight": np.arange(24, dtype=np.float32).reshape(4, 2, 3)}
    axes = {"up.weight": (2, 0, 1)}
    params, state = from_state_dict(model, weights, axes=axes)
    np.testing.assert_array_equal(
        np.array(params["up"]["weight"]), weights["up.weight"].transpose(1, 2, 0)
    )
    back = to_state_dict(model, params, state, axes=axes)
    np.testing.assert_array_equal(back["up.weight"], weights["up.weight"])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"up.weight": (0, 1)}, "axes must name arrays of the model, got 'up.weight'"),
        ({"conv.weight": (0, 1)}, "axes of conv.weight must be an order of its 4 axes"),
    ],
)
def test_wrong_axes_are_an_error(model, weights, axes, message):
    with pytest.raises(ValueError, match=message):
        from_state_dict(model, weights, axes=axes)


def test_transposed_convolutions_have_their_channels_moved_too():
    model = nn.serial(up=nn.conv_transpose2d(3, 5, 2))
    weights = {"up.weight": np.ones((3, 5, 2, 2)), "up.bias": np.ones(5)}
    params, _ = from_state_dict(model, weights)
    assert params["up"]["weight"].shape == (3, 2, 2, 5)


def test_params_of_another_model_are_an_error(model):
    params, state = model.init(random.key(0))
    del params["conv"]["bias"]
    params["bn"]["bias"] = mx.zeros(3)
    params["fc"] = {"weight": mx.zeros(3)}
    with pytest.raises(ValueError, match="must be those of the model") as caught:
        to_state_dict(model, params, state)
    assert str(caught.value).splitlines()[1:] == [
        "  bn.bias: must have shape (8,), got (3,)",
        "  missing: conv.bias",
        "  unexpected: fc.weight",
    ]


def test_long_reports_are_cut():
    with pytest.raises(ValueError, match=r"\.\.\. and 72 more"):
        from_state_dict(models.resnet18(), {})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, w: from_state_dict(w, m), "model must be a Layer, got dict"),
        (lambda m, w: from_state_dict(m, m.init), "state_dict must be a mapping"),
        (
            lambda m, w: from_state_dict(m, "weights.pt"),
            r"got str; read a file with load_pt\(path\) or load_safetensors\(path\)",
        ),
        (
            lambda m, w: from_state_dict(m, {"state_dict": w}),
            "state_dict must be a NumPy array.*got dict; is the state_dict inside",
        ),
        (
            lambda m, w: from_state_dict(m, w | {"bn.bias": [1.0]}),
            "bn.bias must be a NumPy array, an MLX array or a tensor, got list",
        ),
        (
            lambda m, w: from_state_dict(m, w | {"bn.bias": np.array(["a"])}),
            "bn.bias must have a dtype that MLX can hold, got <U1",
        ),
    ],
)
def test_wrong_kinds_are_named(model, weights, call, message):
    with pytest.raises(TypeError, match=message):
        call(model, weights)


def test_tensors_are_taken_and_made(model, weights):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
    tensors["bn.bias"] = torch.nn.Parameter(tensors["bn.bias"])
    params, state = from_state_dict(model, tensors)
    assert equal((params, state), from_state_dict(model, weights))
    back = to_state_dict(model, params, state, convert=torch.from_dlpack)
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor), name


def test_tensors_without_numbers_that_numpy_has_are_named(model, weights):
    torch = pytest.importorskip("torch")
    bias = torch.ones(8)
    for tensor in (
        bias.to_sparse(),
        bias.to("meta"),
        bias.to(torch.float8_e4m3fn),
    ):
        with pytest.raises(
            TypeError, match=r"^from_state_dict: bn.bias must be a dense"
        ):
            from_state_dict(model, weights | {"bn.bias": tensor})


def test_views_that_are_negated_when_they_are_read_are_taken(model, weights):
    torch = pytest.importorskip("torch")
    bias = torch.arange(8.0)
    params, _ = from_state_dict(model, weights | {"bn.bias": torch._neg_view(bias)})
    assert params["bn"]["bias"].tolist() == (-bias).tolist()


def test_bfloat16_tensors_are_taken_and_made_bit_for_bit():
    torch = pytest.importorskip("torch")
    model = nn.serial(fc=nn.linear(3, 2, bias=False))
    weight = torch.randn(2, 3).to(torch.bfloat16)
    params, state = from_state_dict(model, {"fc.weight": weight})
    assert params["fc"]["weight"].dtype == mx.bfloat16
    back = to_state_dict(model, params, state, convert=torch.from_dlpack)
    assert torch.equal(back["fc.weight"], weight)


def test_a_tensor_made_of_params_can_be_changed_in_place():
    torch = pytest.importorskip("torch")
    model = nn.serial(fc=nn.linear(3, 2))
    params, state = model.init(random.key(0))
    before = np.array(params["fc"]["weight"])
    made = to_state_dict(model, params, state, convert=torch.from_dlpack)
    made["fc.weight"].zero_()
    np.testing.assert_array_equal(np.array(params["fc"]["weight"]), before)


def test_params_are_not_changed(model):
    params, state = model.init(random.key(0))
    copy = tree.map(lambda x: mx.array(np.array(x)), (params, state))
    to_state_dict(model, params, state)
    assert equal((params, state), copy)
