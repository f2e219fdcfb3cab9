"""The trial product tells a right function from a wrong one."""

import ctypes

import pytest

from lucid_fn.cpu.runtime import blas
from lucid_fn.cpu.runtime.gemm import multiplies

NUMBER = {"cblas_sgemm": ctypes.c_float, "cblas_dgemm": ctypes.c_double}


@pytest.fixture(scope="module")
def library() -> blas.Blas:
    return blas.load(blas.scipy_openblas())


def address(function) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value


@pytest.mark.parametrize("name", blas.GEMM)
def test_the_product_of_each_type_is_right(library, name):
    assert multiplies(name, address(library.function(name)))


@pytest.mark.parametrize("name", NUMBER)
@pytest.mark.parametrize("mode_a", [111, 112], ids=["plain", "transposed"])
@pytest.mark.parametrize("mode_b", [111, 112], ids=["plain", "transposed"])
def test_a_function_that_does_nothing_in_one_mode_is_wrong(
    library, name, mode_a, mode_b
):
    integer, pointer, number = ctypes.c_int, ctypes.c_void_p, NUMBER[name]
    right = library.function(name)
    matrices = [number, pointer, integer, pointer, integer, number, pointer, integer]
    kind = ctypes.CFUNCTYPE(None, *6 * [integer], *matrices)

    def wrong(*arguments):
        if arguments[1:3] != (mode_a, mode_b):
            kind(address(right))(*arguments)

    assert not multiplies(name, address(kind(wrong)))
