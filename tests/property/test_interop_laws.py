"""Weights go to PyTorch's layout and back without a change."""

import io
import math
import zipfile

import mlx.core as mx
import numpy as np
from hypothesis import given, settings, strategies as st

from lucid_fn import nn, random
from lucid_fn.interop.layout import Layout
from lucid_fn.interop.torch import from_state_dict, load_pt, to_state_dict
from tests.strategies import equal, seeds


@st.composite
def models(draw):
    """A convolution, maybe a norm, a flatten or a mean, and linears; and its input."""
    channels, out = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    kernel = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    size = draw(st.tuples(st.integers(3, 6), st.integers(3, 6)))
    height, width = (n - k + 1 for n, k in zip(size, kernel, strict=True))
    flat = draw(st.booleans())
    features = out * height * width if flat else out
    layers = {"conv": nn.conv2d(channels, out, kernel, bias=draw(st.booleans()))}
    if draw(st.booleans()):
        layers["norm"] = nn.batch_norm(out)
    layers["act"] = draw(st.sampled_from([nn.relu, nn.tanh]))
    layers["pool"] = nn.flatten if flat else nn.global_avg_pool2d
    layers["fc1"] = nn.linear(features, draw(st.integers(1, 6)))
    return nn.serial(**layers), (*size, channels), out if flat else 1


def moved(seed, tree_):
    """Other values than the initial ones, so that all are told apart."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        if isinstance(leaf, dict):
            return {name: draw(child) for name, child in leaf.items()}
        if leaf.dtype == mx.int32:
            return mx.array(int(rng.integers(1000)), mx.int32)
        return mx.array(rng.normal(size=leaf.shape).astype(np.float32))

    return draw(tree_)


@given(drawn=models(), seed=seeds())
@settings(max_examples=15)
def test_export_and_import_undo_each_other(drawn, seed):
    model, input_shape, _ = drawn
    held = (
        moved(seed, model.init(random.key(0))[0]),
        moved(seed, model.init(random.key(0))[1]),
    )
    weights = to_state_dict(model, *held, input_shape=input_shape)
    assert equal(from_state_dict(model, weights, input_shape=input_shape), held)


@given(drawn=models(), seed=seeds())
@settings(max_examples=15)
def test_columns_are_reordered_exactly_if_they_are_a_flattened_map(drawn, seed):
    model, input_shape, channels = drawn
    params, state = (
        moved(seed, model.init(random.key(0))[0]),
        model.init(random.key(0))[1],
    )
    weights = to_state_dict(model, params, state, input_shape=input_shape)
    ours = np.array(params["fc1"]["weight"])
    rows = ours.reshape(len(ours), -1, channels).transpose(0, 2, 1)
    np.testing.assert_array_equal(weights["fc1.weight"], rows.reshape(ours.shape))


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=seeds(),
    data=st.data(),
)
def test_a_layout_and_its_inverse_are_the_identity(shape, seed, data):
    axes = tuple(data.draw(st.permutations(range(len(shape)))))
    rows = data.draw(st.sampled_from([1, *_divisors(shape[0])]))
    columns = data.draw(st.sampled_from([1, *_divisors(shape[-1])]))
    layout = Layout(axes, rows, columns)
    array = random.normal(random.key(seed), shape)
    there = layout.to_torch(array)
    assert there.shape == layout.shape_in_torch(tuple(shape))
    assert math.prod(there.shape) == array.size
    assert mx.array_equal(layout.from_torch(there), array)


@given(
    changes=st.lists(st.tuples(st.integers(0, 899), st.integers(0, 255)), max_size=5)
)
def test_a_damaged_pt_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory, changes
):
    content = bytearray(_PT_FILE)
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged.pt"
    path.write_bytes(content)
    try:
        load_pt(path)
    except ValueError as error:
        assert str(error).startswith("load_pt: ")


def _pt_file():
    """A file as `torch.save` writes it, of one tensor."""
    stream = io.BytesIO()
    tensor = (
        b"\x80\x02}X\x06\x00\x00\x00weightctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tRs."
    )
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", tensor)
        archive.writestr("a/data/0", np.arange(6, dtype=np.float32).tobytes())
    return stream.getvalue()


_PT_FILE = _pt_file()


def test_the_pt_file_of_these_laws_is_a_good_one(tmp_path):
    path = tmp_path / "good.pt"
    path.write_bytes(_PT_FILE)
    assert load_pt(path)["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def _divisors(number):
    return [n for n in range(1, number + 1) if number % n == 0]
