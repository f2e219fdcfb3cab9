"""Compiled functions whose operations run one by one, for laws of traces.

On CPUs MLX has g++ compile each fused kernel that it has not met on this machine, 0.2 s
a kernel. A law that compiles something for each layer or each optimizer needs hundreds,
most of them for itself alone. Where the law is about what `jit` makes of a function,
and not about the kernels, it says so with `unfused`: MLX traces the function and merges
its equal operations as ever, and leaves out the last pass, which fuses. Kernels are
tested by the laws that compiled is eager, of layers, losses, metrics and optimizers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import lucid_fn as lf
from lucid_fn.transforms import compilation

NO_FUSE, ENABLED = 2, 3  # of MLX's enum CompileMode


@contextmanager
def unfused() -> Iterator[None]:
    """Inside the block, functions are compiled without fused kernels."""
    set_mode = compilation._mode_setter()
    if set_mode is None or "MLX_DISABLE_COMPILE" in os.environ:
        yield  # slower, where MLX does not show how
        return
    set_mode(NO_FUSE)
    try:
        yield
    finally:
        set_mode(ENABLED)


def jitted(fn, *args):
    """`lf.jit(fn)(*args)`, unfused, of a function that MLX can fuse.

    MLX may lose an array as it fuses, which is an error at once. So the function is
    fused as well; as nobody evaluates these results, g++ compiles no kernel of them.
    """
    compilation.compiled(fn)(*args)
    with unfused():
        return lf.jit(fn)(*args)
