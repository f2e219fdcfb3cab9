"""Which formulation of an operation runs: the tuned one or MLX's own.

Every operation of `lucid_fn.ops` that has a tuned formulation keeps MLX's plain one
beside it, as its reference. The tuned ones are for CPUs, where MLX's kernels are
loops; on a GPU MLX's own kernels are the fast ones.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import mlx.core as mx

_VARIABLE = "LUCID_FN_OPS"
_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain() -> Iterator[None]:
    """Forces the plain MLX formulation of every operation called inside the block.

    To compare results or to find out whether a formulation is to blame. The
    environment setting `LUCID_FN_OPS=plain` does the same for the whole process.

    The choice is made when an operation is *called*, which under `mx.compile` is when
    the function is traced: entering the block around a function that is already
    compiled changes nothing, compile it inside the block instead.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x, weight = mx.ones((1, 4, 4, 1)), mx.ones((1, 3, 3, 1))
        >>> with ops.plain():
        ...     y = ops.conv2d(x, weight)
        >>> y.squeeze().tolist()
        [[9.0, 9.0], [9.0, 9.0]]
    """
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def tuned() -> bool:
    """Whether tuned formulations are in use: on a CPU, and not inside `plain`."""
    return mx.default_device() == mx.cpu and not (_plain.get() or _plain_everywhere())


def _plain_everywhere() -> bool:
    setting = os.environ.get(_VARIABLE, "")
    if setting not in ("", "plain", "tuned"):
        raise ValueError(
            f"ops: {_VARIABLE} must be 'plain' or 'tuned', got {setting!r}; "
            "unset it for the tuned formulations"
        )
    return setting == "plain"
