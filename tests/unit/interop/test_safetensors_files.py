import json
import struct

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import models, random
from lucid_fn.interop.torch import (
    from_state_dict,
    load_safetensors,
    save_safetensors,
    to_state_dict,
)
from tests.strategies import equal


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_a_model_comes_back_from_its_file(path):
    model = models.lenet5()
    params, state = model.init(random.key(0))
    save_safetensors(path, to_state_dict(model, params, state))
    assert equal(from_state_dict(model, load_safetensors(path)), (params, state))


def test_the_file_is_in_pytorchs_layout_and_says_so(path):
    model = models.lenet5()
    save_safetensors(path, to_state_dict(model, *model.init(random.key(0))))
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    assert header["__metadata__"]["format"] == "pt"
    assert header["conv2.weight"]["shape"] == [16, 6, 5, 5]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32, mx.int64])
def test_dtypes_are_kept(path, dtype):
    array = mx.arange(5).astype(dtype)
    save_safetensors(path, {"a": array})
    loaded = load_safetensors(path)["a"]
    assert loaded.dtype == dtype
    assert mx.array_equal(loaded, array)


def test_the_file_may_change_after_it_was_read(path):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    loaded = load_safetensors(path)
    save_safetensors(path, {"a": np.zeros(3, np.float32)})
    assert loaded["a"].tolist() == [1, 1, 1]


def test_another_suffix_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, got .*\.pt"):
        save_safetensors(tmp_path / "model.pt", {})


def test_a_failed_write_leaves_the_old_file(path):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    with pytest.raises(TypeError, match="save_safetensors: b must be a NumPy array"):
        save_safetensors(path, {"a": np.zeros(3, np.float32), "b": "text"})
    assert load_safetensors(path)["a"].tolist() == [1, 1, 1]


def test_a_file_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError, match="load_safetensors: there is no file"):
        load_safetensors(path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="create it first"):
        save_safetensors(tmp_path / "no" / "a.safetensors", {})


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_file_cut_short_is_an_error(path, keep):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged, cut short or not a safetensors"):
        load_safetensors(path)
