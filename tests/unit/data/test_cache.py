"""The cache of `load_cifar10`: used when it is intact, else made again."""

import contextlib
import json

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data import cache as cache_module, cifar


def write_source(folder, seed):
    rng = np.random.default_rng(seed)
    for name in ("data_batch_1", "test_batch"):
        rows = rng.integers(10, size=(3, 3073), dtype=np.uint8)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    write_source(folder, 0)
    return folder


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "a" / "cache"


@pytest.fixture
def reads(monkeypatch):
    """A list that grows by one for each time the source is decoded."""
    calls = []

    def counted(layout, source):
        calls.append(source)
        return original(layout, source)

    original = cifar._read
    monkeypatch.setattr(cifar, "_read", counted)
    return calls


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert x.dtype == y.dtype


def test_the_second_load_is_the_first_without_decoding(source, cache, reads):
    expected = data.load_cifar10(source)
    assert_equal(data.load_cifar10(source, cache=cache), expected)
    assert_equal(data.load_cifar10(source, cache=cache), expected)
    assert len(reads) == 2  # without a cache, and to make it


def test_without_a_cache_nothing_is_written(source, tmp_path):
    data.load_cifar10(source)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "data_batch_1.bin", "test_batch.bin"
    ]  # fmt: skip


def is_mapped(array):
    return isinstance(array, np.memmap) or is_mapped(array.base)


def test_cached_arrays_are_mapped_and_read_only(source, cache):
    for array in data.load_cifar10(source, cache=cache):
        assert type(array) is np.ndarray and is_mapped(array)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_metadata_describe_arrays_files_and_sources(source, cache):
    data.load_cifar10(source, cache=cache)
    metadata = json.loads((cache / "metadata.json").read_text())
    assert metadata["format"] == 2
    assert metadata["sources"].keys() == {"data_batch_1.bin", "test_batch.bin"}
    assert metadata["files"].keys() == {f"{n}.npy" for n in data.Dataset._fields}
    assert metadata["arrays"]["train_images"] == {
        "shape": [3, 32, 32, 3], "dtype": "uint8"
    }  # fmt: skip


def test_nothing_but_the_cache_is_left_in_its_folder(source, cache):
    data.load_cifar10(source, cache=cache)
    names = {f"{n}.npy" for n in data.Dataset._fields} | {"metadata.json"}
    assert {path.name for path in cache.iterdir()} == names


def test_a_changed_source_is_decoded_again(source, cache, reads):
    data.load_cifar10(source, cache=cache)
    write_source(source, 1)  # files of the same names and sizes
    expected = data.load_cifar10(source)
    assert_equal(data.load_cifar10(source, cache=cache), expected)
    assert len(reads) == 3


@pytest.mark.parametrize("name", [*data.Dataset._fields, "metadata"])
@pytest.mark.parametrize("damage", ["absent", "cut", "changed", "empty"])
def test_a_damaged_cache_is_made_again(source, cache, reads, name, damage):
    expected = data.load_cifar10(source, cache=cache)
    path = cache / (f"{name}.json" if name == "metadata" else f"{name}.npy")
    content = bytearray(path.read_bytes())
    path.unlink()  # the arrays of the first load stay mapped to the old file
    if damage == "changed":
        content[len(content) // 2] ^= 1
    elif damage == "cut":
        del content[-7:]
    elif damage == "empty":
        content.clear()
    if damage != "absent":
        path.write_bytes(content)
    assert_equal(data.load_cifar10(source, cache=cache), expected)
    assert len(reads) == 2
    data.load_cifar10(source, cache=cache)
    assert len(reads) == 2  # the new one is intact


@pytest.mark.parametrize(
    "metadata", ["[]", "null", '{"format": 1}', "{" * 9, "[" * 10**5, " " * 10**7]
)
def test_metadata_of_another_kind_are_made_again(source, cache, reads, metadata):
    data.load_cifar10(source, cache=cache)
    (cache / "metadata.json").write_text(metadata)
    data.load_cifar10(source, cache=cache)
    assert len(reads) == 2


def test_a_cache_in_another_format_is_made_again(source, cache, reads, monkeypatch):
    data.load_cifar10(source, cache=cache)
    monkeypatch.setattr(cache_module, "FORMAT", 3)
    data.load_cifar10(source, cache=cache)
    assert len(reads) == 2


def test_an_interrupted_write_leaves_no_cache(source, cache, reads, monkeypatch):
    def full_disk(file, array, **_):
        file.write(b"half")
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            data.load_cifar10(source, cache=cache)
    assert not list(cache.iterdir())
    data.load_cifar10(source, cache=cache)
    assert len(reads) == 2


def test_a_file_as_cache_is_an_error(source):
    with pytest.raises(FileExistsError, match=r"^load_cifar10: .*test_batch\.bin"):
        data.load_cifar10(source, cache=source / "test_batch.bin")


def _filled(value):
    images = np.full((2, 4, 4, 3), value, np.uint8)
    labels = np.full((2,), value, np.int32)
    return data.Dataset(images, labels, images, labels)


def test_arrays_of_another_process_are_not_taken_for_its_own(tmp_path, monkeypatch):
    ours, theirs = {"a": {"size": 1, "crc32": 1}}, {"b": {"size": 2, "crc32": 2}}
    write = cache_module.atomic_write

    @contextlib.contextmanager
    def overtaken(path, *, caller):
        with write(path, caller=caller) as file:
            yield file
        if path.stem == "test_labels":  # the last array
            monkeypatch.setattr(cache_module, "atomic_write", write)
            cache_module.write_cache(tmp_path, _filled(2), theirs, "test")

    monkeypatch.setattr(cache_module, "atomic_write", overtaken)
    cache_module.write_cache(tmp_path, _filled(1), ours, "test")
    assert cache_module.read_cache(tmp_path, ours, "test") is None
    assert cache_module.read_cache(tmp_path, theirs, "test") is None


def test_files_that_are_replaced_while_they_are_read_are_not_returned(
    tmp_path, monkeypatch
):
    sources = {"a": {"size": 1, "crc32": 1}}
    cache_module.write_cache(tmp_path, _filled(1), sources, "test")
    read = cache_module.fingerprints

    def replaced(paths, caller):
        monkeypatch.setattr(cache_module, "fingerprints", read)
        cache_module.write_cache(tmp_path, _filled(1), sources, "test")
        return read(paths, caller)

    monkeypatch.setattr(cache_module, "fingerprints", replaced)
    assert cache_module.read_cache(tmp_path, sources, "test") is None
    assert cache_module.read_cache(tmp_path, sources, "test") is not None
