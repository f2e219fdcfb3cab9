import json
import os
import pickle
import resource
import signal
import struct
import zipfile

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import models, nn, random, train
from lucid_fn.interop.torch import (
    from_state_dict,
    load_pt,
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


def test_float64_is_kept_in_files_and_becomes_float32_in_a_model(path):
    weights = {"weight": np.array([[0.1, 1e300]]), "bias": np.array([0.1])}
    save_safetensors(path, weights)
    loaded = load_safetensors(path)
    assert loaded["weight"].dtype == mx.float64
    np.testing.assert_array_equal(np.array(loaded["weight"]), weights["weight"])
    params, _ = from_state_dict(nn.linear(2, 1), loaded)
    assert params["bias"].dtype == mx.float32
    assert params["bias"].tolist() == [np.float32(0.1)]


def test_the_files_of_other_libraries_tensors_are_the_same(path):
    torch = pytest.importorskip("torch")
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    files = []
    for given in (
        mx.array(x).astype(mx.bfloat16).T,
        torch.from_numpy(x).to(torch.bfloat16).T,
        x.astype(ml_dtypes.bfloat16).T,
    ):
        save_safetensors(path, {"a": given})
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_names_of_files_may_have_any_bytes(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe.safetensors")
    save_safetensors(path, {"a": mx.ones(2)})
    assert load_safetensors(path)["a"].tolist() == [1, 1]
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="is damaged"):
        load_safetensors(str(path))


def test_a_full_disk_names_the_file_and_leaves_the_old_one(path):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(
            OSError, match=rf"^save_safetensors: cannot write {path}: File too large; "
        ):
            save_safetensors(path, {"a": np.zeros(1000, np.float32)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_safetensors(path)["a"].tolist() == [1, 1, 1]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("state_dict", [[mx.ones(1)], mx.ones(1), None])
def test_other_things_than_mappings_are_named(path, state_dict):
    with pytest.raises(TypeError, match=r"^save_safetensors: state_dict must be a map"):
        save_safetensors(path, state_dict)


def test_nested_params_are_named(path):
    with pytest.raises(TypeError, match=r"conv must be .* got dict; "):
        save_safetensors(path, {"conv": {"weight": mx.ones(1)}})


@pytest.mark.parametrize("path", [3, None, b"a.safetensors"])
def test_other_things_than_paths_are_named(path):
    with pytest.raises(TypeError, match=r"^load_safetensors: path must be a path, got"):
        load_safetensors(path)


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


def test_load_pt_names_a_safetensors_file(path):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match=r"got a safetensors file; read it with load_"):
        load_pt(path)


def test_readers_name_a_file_of_torch_save(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    for read in (load_safetensors, lambda path: train.load_params(path, like={})):
        with pytest.raises(ValueError, match=r"read it with interop\.torch\.load_pt"):
            read(path)


def test_load_params_names_how_weights_of_pytorch_are_read(path):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    with pytest.raises(ValueError, match=r"with interop\.torch\.load_safetensors and"):
        train.load_params(path, like={"a": mx.ones(3)})


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_file_cut_short_is_an_error(path, keep):
    save_safetensors(path, {"a": np.ones(3, np.float32)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged, cut short or not a safetensors"):
        load_safetensors(path)
