"""Gradients averaged over the processes of a group."""

import mlx.core as mx

from lucid_fn.checks import check_count
from lucid_fn.distributed.averaging import BUCKET_BYTES, average
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.optim.base import GradientTransformation, stateless
from lucid_fn.types import Params, Tree


def average_gradients(
    group: Group | None,
    *,
    bucket_bytes: int = BUCKET_BYTES,
    dtype: mx.Dtype | None = None,
) -> GradientTransformation:
    """Averages the gradients over all processes: data parallelism.

    `g = sum(g) / size`. It comes first in a chain, so that clipping sees the gradient
    of the whole batch. `train.make_step(group=)` already does this, weighted by the
    number of examples of each process; use this one in a training step of your own.

    Args:
        group: as `distributed.init` returns it; `None` is a group of one, which leaves
            the gradients unchanged.
        bucket_bytes: maximum size of the buckets of leaves that are summed together,
            positive.
        dtype: dtype in which gradients are sent and added, such as `mx.bfloat16` to
            halve the traffic; `None` for their own, except float32 for float16.

    Raises:
        TypeError: if `group` or `dtype` is of the wrong type.
        ValueError: if `bucket_bytes` is not positive; on update, if the gradients of
            the ranks differ in their names, shapes or dtypes.

    Source: Li et al., 2020, "PyTorch Distributed", https://arxiv.org/abs/2006.15704,
    section 3.2.3, for the buckets.

    Example:
        >>> from lucid_fn import distributed, optim
        >>> group = distributed.init()
        >>> optimizer = optim.chain(
        ...     optim.average_gradients(group),
        ...     optim.clip_by_global_norm(1.0),
        ...     optim.adamw(1e-3),
        ... )
    """
    caller = "average_gradients"
    check_group(caller, group)
    bucket_bytes = check_count(caller, "bucket_bytes", bucket_bytes)
    if dtype is not None and not (
        isinstance(dtype, mx.Dtype) and mx.issubdtype(dtype, mx.floating)
    ):
        raise TypeError(
            f"{caller}: dtype must be a float dtype such as mx.bfloat16, got {dtype!r}"
        )

    def update(grads: Tree, params: Params) -> Tree:
        return average(grads, group, bucket_bytes=bucket_bytes, dtype=dtype)

    return stateless(update, caller=caller)
