"""What `tests/fusion.py` leaves out: fused kernels, and nothing else."""

import io

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn.transforms import compilation
from tests.fusion import jitted, unfused

needs_the_switch = pytest.mark.skipif(
    compilation._mode_setter() is None, reason="needs MLX's switch of its passes"
)


def tent(x):
    return mx.abs(x) * 2 - x


def graph(y):
    """The operations that an array is still to be computed by."""
    file = io.StringIO()
    mx.export_to_dot(file, y)
    return file.getvalue()


@needs_the_switch
def test_a_function_is_compiled_without_fused_kernels_inside_the_block_only():
    x = mx.ones(3)
    with unfused():
        assert "Compiled" not in graph(compilation.compiled(lambda x: tent(x))(x))
    assert "Compiled" in graph(compilation.compiled(lambda x: tent(x))(x))


@needs_the_switch
def test_an_error_inside_the_block_ends_it_too():
    with pytest.raises(ValueError, match="wrong"), unfused():
        raise ValueError("wrong")
    assert "Compiled" in graph(compilation.compiled(lambda x: tent(x))(mx.ones(3)))


def test_a_function_is_traced_once_inside_the_block():
    traces = []

    @lf.jit
    def counted(x):
        traces.append(x)
        return tent(x)

    with unfused():
        assert [counted(mx.array(2.0)).item() for _ in range(3)] == [2.0] * 3
    assert len(traces) == 1


def test_jitted_gives_what_the_function_gives():
    x = mx.array([-1.0, 2.0])
    assert mx.array_equal(jitted(lf.vmap(lf.grad(tent)), x), mx.array([-3.0, 1.0]))
