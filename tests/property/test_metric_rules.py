"""Rules that every metric of a batch keeps."""

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

import lucid_fn as lf
from tests.registry.case import over
from tests.registry.metrics import METRICS


def drawn(case, seed=0):
    return case.make(), case.inputs(np.random.default_rng(seed))


@over(METRICS)
def test_the_order_of_the_rows_does_not_matter(case):
    metric, inputs = drawn(case)
    order = mx.array(np.random.default_rng(1).permutation(len(inputs[0])))
    assert_allclose(metric(*[x[order] for x in inputs]), metric(*inputs), rtol=1e-6)


@over(METRICS)
def test_a_compiled_metric_is_the_metric(case):
    metric, inputs = drawn(case)
    assert_allclose(lf.jit(metric)(*inputs), metric(*inputs), rtol=1e-6)


@over(METRICS)
def test_a_mapped_metric_is_that_of_each(case):
    metric, first = drawn(case)
    _, second = drawn(case, 1)
    pairs = [mx.stack(pair) for pair in zip(first, second, strict=True)]
    found = lf.vmap(metric)(*pairs)
    for i, inputs in enumerate((first, second)):
        assert_allclose(found[i], metric(*inputs), rtol=1e-6)


@over(METRICS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_counted_and_summed_in_float32(case, dtype):
    """60,000 rows: more than float16 can count, and than bfloat16 tells apart."""
    metric, inputs = drawn(case)
    rows = [mx.repeat(x, 5000, axis=0) for x in inputs]
    half = [x.astype(dtype) if mx.issubdtype(x.dtype, mx.floating) else x for x in rows]
    exact = [x.astype(mx.float32) if x.dtype == dtype else x for x in half]
    found = metric(*half)
    assert found.dtype in (mx.float32, mx.int32, mx.int64)
    assert_allclose(found, metric(*exact), rtol=1e-4)
