"""Finding a BLAS, giving it to MLX, and taking it away again if it is wrong."""

import ctypes
import math
from importlib.machinery import ModuleSpec

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.cpu.runtime import blas
from lucid_fn.cpu.runtime.errors import Unavailable
from lucid_fn.cpu.runtime.slots import mlx_slots, read

GEMM = ctypes.CFUNCTYPE(None, *13 * [ctypes.c_void_p])


class Fake:
    """A library whose matrix products leave the result as it is."""

    def __init__(self, *names: str) -> None:
        for name in names:
            setattr(self, name, GEMM(lambda *arguments: None))


def targets() -> dict[str, int]:
    slots = mlx_slots(frozenset(blas.GEMM + blas.LAPACK))
    return {slot.name: read(slot) for slot in slots}


@pytest.fixture
def kept():
    """Puts MLX's slots back after the test."""
    yield
    blas.redirect(blas.load(blas.scipy_openblas()))


def test_every_call_of_blas_and_lapack_is_redirected_but_of_eigenvalue_order(kept):
    library = blas.load(blas.scipy_openblas())
    count = blas.redirect(library)
    led = targets()
    expected = {
        name: ctypes.cast(library.function(name), ctypes.c_void_p).value for name in led
    }
    assert led == expected
    assert count == len(led) >= len(blas.GEMM)


def test_a_blas_that_multiplies_wrongly_is_taken_away_again(kept):
    before = targets()
    wrong = blas.Blas("wrong.so", Fake(*blas.GEMM, *blas.LAPACK), "")
    with pytest.raises(Unavailable, match=r"cblas_.gemm of wrong.so gives wrong"):
        blas.redirect(wrong)
    assert targets() == before


def test_a_refusal_half_way_puts_back_what_was_changed(kept, monkeypatch):
    before = targets()
    places = iter(range(100))

    def write(slot, target, write=blas.slots.write):
        if next(places) == 5:
            raise Unavailable("the kernel refuses")
        write(slot, target)

    monkeypatch.setattr(blas.slots, "write", write)
    replacement = Fake(*blas.GEMM, *blas.LAPACK)
    with pytest.raises(Unavailable, match="the kernel refuses"):
        blas.redirect(blas.Blas("other.so", replacement, ""))
    assert targets() == before


def test_a_blas_without_lapack_leaves_lapack_as_it_is(kept):
    library = blas.load(blas.scipy_openblas())
    names = (f"scipy_{name}" for name in blas.GEMM)
    products = Fake()
    for name in names:
        setattr(products, name, getattr(library.handle, name))
    assert blas.redirect(blas.Blas(library.path, products, "scipy_")) == 3


def test_a_blas_is_refused_where_mlx_does_not_call_one(monkeypatch):
    monkeypatch.setattr(blas.slots, "mlx_slots", lambda names: [])
    library = blas.load(blas.scipy_openblas())
    with pytest.raises(Unavailable, match="MLX's library does not call cblas_cgemm, "):
        blas.redirect(library)


def test_a_missing_file_is_refused():
    with pytest.raises(Unavailable, match=r"it cannot be loaded: .*absent\.so"):
        blas.load("/absent.so")


def test_a_library_that_is_no_blas_is_refused():
    with pytest.raises(Unavailable, match=r"libm\.so\.6 has no functions cblas_sgemm"):
        blas.load("libm.so.6")


def test_a_blas_with_64_bit_sizes_is_refused(monkeypatch):
    monkeypatch.setattr(blas, "configuration", lambda _: "OpenBLAS 0.3 USE64BITINT")
    with pytest.raises(Unavailable, match="64-bit sizes, where MLX passes 32-bit"):
        blas.load(blas.scipy_openblas())


def test_without_scipy_there_is_no_openblas(monkeypatch):
    monkeypatch.setattr(blas, "find_spec", lambda name: None)
    with pytest.raises(
        Unavailable, match="SciPy, whose OpenBLAS would be used, is not"
    ):
        blas.scipy_openblas()


def test_a_scipy_that_is_not_from_a_wheel_has_no_openblas(monkeypatch, tmp_path):
    spec = ModuleSpec("scipy", None, origin=str(tmp_path / "scipy" / "__init__.py"))
    monkeypatch.setattr(blas, "find_spec", lambda name: spec)
    with pytest.raises(Unavailable, match="the installed SciPy has no OpenBLAS of its"):
        blas.scipy_openblas()


def test_the_blas_in_mlxs_wheel_is_not_taken_for_an_optimised_one():
    assert blas.own_blas() is None


def test_an_optimised_blas_that_mlx_was_linked_with_is_recognised(monkeypatch):
    path = "/opt/lib/openblas-pthread/libblas.so.3"
    monkeypatch.setattr(blas.elf_images, "path_at", lambda address: path)
    assert blas.own_blas() == path


def test_openblas_describes_itself():
    text = blas.describe(blas.scipy_openblas())
    assert text.startswith("OpenBLAS ") and " with kernels for " in text


def test_a_blas_that_does_not_describe_itself_is_called_optimised():
    assert blas.describe("/absent.so") == "an optimised BLAS"


@pytest.mark.parametrize("variable", blas.THREAD_VARIABLES)
def test_the_users_number_of_threads_stays(variable, monkeypatch):
    library = blas.load(blas.scipy_openblas())
    before = blas.threads(library)
    monkeypatch.setenv(variable, "3")
    blas.set_threads(library, before + 1)
    assert blas.threads(library) == before


def test_the_number_of_threads_is_set(monkeypatch):
    for variable in blas.THREAD_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    library = blas.load(blas.scipy_openblas())
    before = blas.threads(library)
    blas.set_threads(library, before + 1)
    after = blas.threads(library)
    blas.set_threads(library, before)
    assert after == before + 1


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64, mx.complex64])
@pytest.mark.parametrize("shape", [(1, 7, 1), (1, 300, 90), (65, 129, 1), (33, 65, 17)])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_are_numpys_even_where_memory_holds_nan(dtype, shape, transposed):
    m, k, n = shape
    draw = np.random.default_rng(0).standard_normal
    a, b = draw((k, m) if transposed else (m, k)), draw((k, n))
    left, right = mx.array(a, dtype=dtype), mx.array(b, dtype=dtype)
    stale = [mx.full((m, n), math.nan, dtype=dtype) for _ in range(4)]
    mx.eval(left, right, stale)
    del stale  # the product's memory is most likely one of these
    product = np.array((left.T if transposed else left) @ right)
    expected = (a.T if transposed else a) @ b
    bound = k * np.finfo(product.dtype).eps * (np.abs(a).max() * np.abs(b).max())
    assert np.abs(product - expected).max() <= bound


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64])
def test_factorisations_multiply_to_what_they_factor(dtype):
    a = mx.random.normal((40, 40), key=mx.random.key(0)).astype(dtype)
    spd = a @ a.T + 40 * mx.eye(40, dtype=dtype)
    q, r = mx.linalg.qr(a, stream=mx.cpu)
    u, s, vt = mx.linalg.svd(a, stream=mx.cpu)
    w, v = mx.linalg.eigh(spd, stream=mx.cpu)
    lower = mx.linalg.cholesky(spd, stream=mx.cpu)
    inverse = mx.linalg.inv(spd, stream=mx.cpu)
    bound = 1e-3 if dtype == mx.float32 else 1e-11
    for product, expected in (
        (q @ r, a),
        ((u * s) @ vt, a),
        ((v * w) @ v.T, spd),
        (lower @ lower.T, spd),
        (inverse @ spd, mx.eye(40, dtype=dtype)),
    ):
        assert mx.max(mx.abs(product - expected)).item() < bound
