"""The trial product tells a right function from a wrong one."""

import ctypes

import pytest

from lucid_fn.runtime import blas
from lucid_fn.runtime.gemm import multiplies

GEMM = ctypes.CFUNCTYPE(None, *13 * [ctypes.c_void_p])


@pytest.fixture(scope="module")
def library() -> blas.Blas:
    return blas.load(blas.scipy_openblas())


def address(function) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value


@pytest.mark.parametrize("name", blas.GEMM)
def test_the_product_of_each_type_is_right(library, name):
    assert multiplies(name, address(library.function(name)))


def test_a_function_that_does_nothing_is_wrong():
    assert not multiplies("cblas_sgemm", address(GEMM(lambda *arguments: None)))


@pytest.mark.parametrize(
    ("name", "other"),
    [("cblas_sgemm", "cblas_dgemm"), ("cblas_dgemm", "cblas_sgemm")],
)
def test_the_product_of_another_type_is_wrong(library, name, other):
    assert not multiplies(name, address(library.function(other)))
