"""Safetensors files, as PyTorch's libraries exchange them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_fn.interop.arrays import to_mlx
from lucid_fn.train.files import write_atomically
from lucid_fn.types import Array


def load_safetensors(path: str | Path) -> dict[str, Array]:
    """The arrays of a `.safetensors` file by name, as they are in it.

    Give them to `from_state_dict`: the file of a PyTorch model has PyTorch's layout.

    Args:
        path: the file.

    Returns:
        MLX arrays by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, cut short or of another kind, or has a
            dtype that MLX has not, such as float64.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import interop
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> interop.torch.save_safetensors(path, {"fc.bias": mx.zeros(2)})
        >>> interop.torch.load_safetensors(path)
        {'fc.bias': array([0, 0], dtype=float32)}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_safetensors: there is no file {path}")
    try:
        arrays: Any = mx.load(str(path), format="safetensors")
        # Read now: a later read would find what the file has become by then.
        mx.eval(arrays)
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"load_safetensors: {path} is damaged, cut short or not a safetensors "
            f"file: {error}"
        ) from error
    loaded: dict[str, Array] = arrays
    return loaded


def save_safetensors(path: str | Path, state_dict: Mapping[str, Any]) -> None:
    """Writes arrays by name to a `.safetensors` file, as they are.

    Give it what `to_state_dict` returns. The file is the old one or the new one, never
    half.

    Args:
        path: ends in `.safetensors`; its folder exists.
        state_dict: NumPy arrays, MLX arrays or tensors by name.

    Raises:
        ValueError: if `path` ends otherwise.
        TypeError: if something is not an array.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import interop
        >>> path = tempfile.mkdtemp() + "/model.safetensors"
        >>> interop.torch.save_safetensors(path, {"fc.weight": mx.ones((2, 3))})
        >>> interop.torch.load_safetensors(path)["fc.weight"].shape
        (2, 3)
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"save_safetensors: path must end in .safetensors, got {path}")
    arrays = {
        name: to_mlx("save_safetensors", name, value)
        for name, value in state_dict.items()
    }
    # The entry by which the readers of PyTorch's libraries know the file as theirs.
    header = {"format": "pt"}
    write_atomically(path, lambda file: mx.save_safetensors(str(file), arrays, header))
