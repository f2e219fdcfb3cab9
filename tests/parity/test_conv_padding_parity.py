"""Convolutions with named paddings and modes of padding against PyTorch."""

import mlx.core as mx
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import nn, ops

torch = pytest.importorskip("torch")

from tests.parity.layouts import assert_close, to_mlx, to_torch  # noqa: E402
from tests.parity.test_layer_parity import check, drawn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

SHAPES = {1: (2, 7, 4), 2: (2, 6, 5, 4), 3: (1, 5, 4, 6, 4)}
MODES = st.sampled_from(["zeros", "reflect", "replicate", "circular"])


@pytest.mark.parametrize("dims", SHAPES)
@settings(max_examples=12)
@given(data=st.data())
def test_a_padding_of_any_mode_is_pytorchs(dims, data):
    named = data.draw(st.sampled_from(["same", "valid", None]))
    sizes = st.tuples(*[st.integers(1, 3)] * dims)
    options = {
        "kernel_size": data.draw(sizes),
        "stride": 1 if named == "same" else data.draw(sizes),
        "dilation": data.draw(st.integers(1, 2)) if named == "same" else 1,
        "padding": named or data.draw(sizes),
        "padding_mode": data.draw(MODES),
    }
    torch.manual_seed(0)
    theirs = getattr(torch.nn, f"Conv{dims}d")(4, 2, **options)
    check(getattr(nn, f"conv{dims}d")(4, 2, **options), theirs, drawn(SHAPES[dims]))


@given(kernel=st.tuples(*[st.integers(1, 4)] * 2), dilation=st.integers(1, 2))
@settings(max_examples=10)
def test_the_same_padding_of_the_function_is_pytorchs(kernel, dilation):
    x, weight = drawn((2, 6, 5, 3)), drawn((2, *kernel, 3))
    options = {"padding": "same", "dilation": dilation}
    theirs = torch.nn.functional.conv2d(to_torch(x), to_torch(weight), **options)
    assert_close(ops.conv2d(mx.array(x), mx.array(weight), **options), to_mlx(theirs))
