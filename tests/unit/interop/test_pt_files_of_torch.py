"""Files that PyTorch itself wrote."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.interop.torch import Opaque, load_pt

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "content.pth"


def test_what_torch_saves_is_read(path):
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "model": torch.nn.BatchNorm2d(3).state_dict(),
        "transposed": base.t(),
        "row": base[2],
        "bf16": base.to(torch.bfloat16),
        "parameter": torch.nn.Parameter(base[:, ::2]),
        "flag": torch.tensor(True),
        "size": base.shape,
    }
    torch.save(content, path)
    loaded = load_pt(path)
    assert loaded["size"] == (4, 6)
    assert loaded["model"]["num_batches_tracked"].item() == 0
    np.testing.assert_array_equal(np.array(loaded["transposed"]), base.t().numpy())
    np.testing.assert_array_equal(np.array(loaded["row"]), base[2].numpy())
    np.testing.assert_array_equal(np.array(loaded["parameter"]), base[:, ::2].numpy())
    assert loaded["bf16"].dtype == mx.bfloat16
    np.testing.assert_array_equal(
        np.array(loaded["bf16"].astype(mx.float32)), base.numpy()
    )
    assert loaded["flag"].item() is True


def test_what_views_and_attributes_of_torch_mean_is_read(path):
    x, z = torch.arange(3.0), torch.tensor([1 + 2j, 3 - 1j])
    tagged = torch.nn.Parameter(x.clone())
    tagged.tag = "a tag"
    content = {
        "negative": torch._neg_view(x),
        "conjugate": z.conj(),
        "both": torch._neg_view(z.conj()),
        "imaginary": z.clone().conj().imag.clone(),
        "complex128": z.to(torch.complex128),
        "uint16": torch.tensor([65535, 1], dtype=torch.uint16),
        "uint32": torch.tensor([2**32 - 1, 1], dtype=torch.uint32),
        "uint64": torch.tensor([2**64 - 1, 1], dtype=torch.uint64),
        "tagged": tagged,
        "buffer": torch.nn.Buffer(x.clone()),
        "too large for float32": torch.tensor([1e300, -1.0], dtype=torch.float64),
    }
    lazy = torch.zeros(4, dtype=torch.complex64)
    content |= {"imaginary of a conjugate": (lazy + 1j).conj().imag}
    torch.save(content, path)
    loaded = load_pt(path)
    for name, tensor in content.items():
        expected = tensor.detach().resolve_conj().resolve_neg().numpy()
        found = np.array(loaded[name])
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(found, expected.astype(found.dtype))


def test_objects_of_torch_become_placeholders(path):
    content = {
        "dtype": torch.float32,
        "device": torch.device("cpu"),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(2, device="meta"),
        "storage": torch.arange(3.0).untyped_storage(),
        "loss": torch.nn.CrossEntropyLoss(),
    }
    torch.save({"w": torch.arange(3.0), **content}, path)
    loaded = load_pt(path)
    assert loaded["w"].tolist() == [0, 1, 2]
    assert all(isinstance(loaded[name], Opaque) for name in content)
    assert loaded["dtype"].name == "torch.float32"


def test_dtypes_that_mlx_has_not_are_refused_by_name(path):
    torch.save({"w": torch.ones(2).to(torch.float8_e4m3fn)}, path)
    with pytest.raises(
        ValueError, match=r"a tensor of torch\.float8_e4m3fn, a dtype th"
    ):
        load_pt(path)
