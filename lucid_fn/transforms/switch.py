"""Whether functions of `jit` are compiled."""

import os
from contextvars import ContextVar

_VARIABLE = "LUCID_FN_JIT"


def _setting() -> bool:
    setting = os.environ.get(_VARIABLE, "")
    if setting not in ("", "none"):
        raise ValueError(
            f"jit: {_VARIABLE} must be 'none', which compiles nothing, got "
            f"{setting!r}; unset it to compile"
        )
    return not setting


_BY_DEFAULT: bool = _setting()

# Changed inside the block of `disable_jit` only, and for its own thread only.
compiling: ContextVar[bool] = ContextVar("compiling", default=_BY_DEFAULT)
