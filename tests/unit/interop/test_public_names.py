import types

import pytest

from lucid_fn import data, interop, io


@pytest.mark.parametrize(
    "module", [data, interop.compare, interop.onnx, interop.torch, io]
)
def test_dir_shows_public_names_and_no_modules(module):
    assert sorted(dir(module)) == sorted(module.__all__)
    for name in module.__all__:
        assert not isinstance(getattr(module, name), types.ModuleType)


def test_dir_of_interop_shows_the_libraries():
    assert dir(interop) == ["compare", "huggingface", "onnx", "torch"]
