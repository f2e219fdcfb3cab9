"""Safetensors files of weights, as used with Hugging Face and PyTorch."""

import os
from collections.abc import Mapping
from typing import Any

from lucid_fn import safetensors
from lucid_fn.call_errors import explains_calls
from lucid_fn.checks import check_type
from lucid_fn.interop.arrays import to_storable
from lucid_fn.io import check_path
from lucid_fn.types import Array


@explains_calls
def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Load the arrays of a `.safetensors` file by name, unchanged.

    The file of a PyTorch model has PyTorch's layout, which `from_state_dict` converts.
    The header is validated before any array is made.

    Args:
        path: the file.

    Returns:
        MLX arrays by name, in the file's dtypes. float64 stays float64, which MLX
        supports on CPUs only.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        ValueError: if the file is damaged, truncated or in another format, or has a
            dtype that MLX does not support, such as float8. The message names the file,
            the array and what is wrong.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import interop
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> interop.torch.save_safetensors(path, {"fc.bias": mx.zeros(2)})
        >>> interop.torch.load_safetensors(path)
        {'fc.bias': array([0, 0], dtype=float32)}
    """
    caller = "load_safetensors"
    arrays, _ = safetensors.read(check_path(caller, "path", path), caller=caller)
    return arrays


@explains_calls
def save_safetensors(
    path: str | os.PathLike[str], state_dict: Mapping[str, Any]
) -> None:
    """Save arrays by name to a `.safetensors` file, unchanged.

    For PyTorch, pass the result of `to_state_dict`. The write is atomic, and dtypes are
    kept, float64 included.

    Args:
        path: must end in `.safetensors`; the folder must exist.
        state_dict: NumPy arrays, MLX arrays or tensors by name.

    Raises:
        ValueError: if `path` has another suffix, or a name cannot be written.
        TypeError: if a value is not an array, or has a dtype that the format lacks.
        FileNotFoundError: if the folder does not exist.
        OSError: if the file cannot be written, as on a full disk; the message names it.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import interop
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> interop.torch.save_safetensors(path, {"fc.weight": mx.ones((2, 3))})
        >>> interop.torch.load_safetensors(path)["fc.weight"].shape
        (2, 3)
    """
    caller = "save_safetensors"
    path = check_path(caller, "path", path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{caller}: path must end in .safetensors, got {path}")
    words = "a mapping of names to arrays"
    fix = "params are nested: pass the result of to_state_dict"
    check_type(caller, "state_dict", state_dict, Mapping, words, fix=fix)
    tensors = {
        name: to_storable(caller, str(name), value)
        for name, value in state_dict.items()
    }
    # Libraries for PyTorch require this entry.
    safetensors.write(path, tensors, {"format": "pt"}, caller=caller)
