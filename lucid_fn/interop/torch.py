"""Weights of PyTorch models: `state_dict`s, `.safetensors` and `.pt` files.

Names are the same here and there. What differs is the layout, since channels are last
here, and each array is changed by what its layer is:

- the kernel of a convolution, a `weight` of three to five axes (or the `weight_v` of
  `nn.weight_norm`), is `(out, in, ...)` in PyTorch and `(out, ..., in)` here;
- the weight and bias of a norm are the same, except in models with convolutions, where
  those of a norm over a whole feature map are `(C, H, W)` in PyTorch and `(H, W, C)`
  here. A norm is recognized by a bias of its weight's shape, or by an initial weight of
  ones;
- the singular vectors of a kernel under `nn.spectral_norm` are in its order;
- the columns of a `linear` right after a flatten of a feature map are `(C, H, W)` in
  PyTorch and `(H, W, C)` here, and so are the features of a norm in between;
- all else is the same: other linears, embeddings, norms, biases, and whatever has
  another name than `weight`.

Which linears follow a flatten is found by differentiating the model, not by names or
sizes: see `lucid_fn.interop.flattening`. It needs an input that the model takes, and
tries square images of usual sizes; `input_shape` gives another, and `flattened` says it
without any experiment. What cannot be told is an error.

A weight that has been transposed twice is caught by its shape, but where the shape
cannot tell: a kernel as large as its channels are many, such as `(8, 3, 3, 3)`.

Nothing here imports PyTorch.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import mlx.core as mx

from lucid_fn import nn, random, tree
from lucid_fn.call_errors import guide
from lucid_fn.checks import check_bool, check_type, shapes_only
from lucid_fn.interop.arrays import described, to_mlx, to_numpy
from lucid_fn.interop.layout import Layout, layouts
from lucid_fn.interop.probing import leaves_of
from lucid_fn.interop.pt_files import load_pt
from lucid_fn.interop.renaming import Rename, prefix_hint, renamed
from lucid_fn.interop.safetensors_files import (
    load_safetensors as load_safetensors,
    save_safetensors as save_safetensors,
)
from lucid_fn.io import Opaque
from lucid_fn.tracing import lazily, started
from lucid_fn.train.partial_loading import LoadReport, match
from lucid_fn.types import Array, Key, Params, State

_COUNT = "num_batches_tracked"
_ORDER = "it comes before the weights"
_SHOWN = 30


@overload
def from_state_dict(
    model: nn.Layer,
    state_dict: Mapping[str, Any],
    *,
    strict: Literal[True] = True,
    key: Key | None = None,
    rename: Rename | None = None,
    input_shape: tuple[int, ...] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
    axes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Params, State]: ...


@overload
def from_state_dict(
    model: nn.Layer,
    state_dict: Mapping[str, Any],
    *,
    strict: Literal[False],
    key: Key,
    rename: Rename | None = None,
    input_shape: tuple[int, ...] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
    axes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Params, State, LoadReport]: ...


def from_state_dict(
    model: nn.Layer,
    state_dict: Mapping[str, Any],
    *,
    strict: bool = True,
    key: Key | None = None,
    rename: Rename | None = None,
    input_shape: tuple[int, ...] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
    axes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Params, State] | tuple[Params, State, LoadReport]:
    """The params and the state of a model with the weights of a PyTorch model.

    Args:
        model: a layer; its names and shapes say what there must be.
        state_dict: arrays in PyTorch's layout by name: NumPy's, MLX's or tensors.
            `num_batches_tracked` may be absent, and is 0 then.
        strict: whether all arrays must be there and fit. Otherwise each layer whose
            arrays all are there and fit is loaded, and the others are those of
            `model.init(key)`: a head of another size, for example.
        key: for the layers that are not loaded, with `strict=False`.
        rename: from PyTorch's names to ours: a mapping of names or of their first
            parts, `{"classifier.0": "fc1"}`, or a function; `None` as a result leaves
            an array out. Names that are not in a mapping are kept. `{"module": ""}`
            removes a prefix.
        input_shape: shape of one example, without the batch axis, `(H, W, C)`; by
            default one is found that the model takes.
        flattened: by the path of each layer that takes a flattened feature map, or
            whose output becomes one, the map's shape `(H, W, C)`; by default this is
            found out.
        axes: by the path of an array that is neither a convolution's nor the same in
            PyTorch, our axes in PyTorch's order: `{"up.weight": (3, 0, 1, 2)}`.

    Returns:
        `(params, state)`, in the dtypes of the given arrays: float16 stays float16.
        float64 becomes float32, and counts int32. With `strict=False`
        `(params, state, report)`, where the report is a `train.LoadReport`.

    Raises:
        ValueError: if names are missing or unexpected, or a shape is not the model's;
            all are listed. If it cannot be told what follows a flatten. With
            `strict=False`, if no layer fits, or there is no key.
        TypeError: if something is not an array, or not of floats where params are.

    Example:
        >>> import numpy as np
        >>> from lucid_fn import interop, nn
        >>> model = nn.serial(conv=nn.conv2d(3, 8, 5))
        >>> weights = {"conv.weight": np.ones((8, 3, 5, 5)), "conv.bias": np.ones(8)}
        >>> params, state = interop.torch.from_state_dict(model, weights)
        >>> params["conv"]["weight"].shape
        (8, 5, 5, 3)
    """
    caller = "from_state_dict"
    check_bool(caller, strict=strict)
    check_type(caller, "model", model, nn.Layer, "a Layer", fix=_ORDER)
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{caller}: state_dict must be a mapping of names to arrays, got "
            f"{described(state_dict)}; {_how_to_read(state_dict)}"
        )
    arrays = {
        name: to_mlx(caller, name, value)
        for name, value in renamed(caller, state_dict, rename).items()
    }
    if strict:
        with lazily(), shapes_only():  # of which only the shapes are used
            params, state = model.init(random.key(0))
    elif key is None:
        raise ValueError(
            f"{caller}: strict=False needs a key, got None; the layers that are not "
            "loaded are initialized with key=random.key(0), for example"
        )
    else:
        params, state = model.init(key)
    leaves = leaves_of(params, state)
    counts = {path for path in leaves if path.rpartition(".")[2] == _COUNT}
    arrays = {path: mx.array(0) for path in counts} | arrays
    # Names and axes do not depend on what follows a flatten, so they are checked first.
    plain = _layouts(caller, model, params, state, None, {}, axes)
    hint = prefix_hint(arrays, leaves) if rename is None else None
    if strict:
        hint = hint or _other_sizes(leaves, arrays, plain)
        _check(caller, leaves, arrays, plain, hint)

    def fits(path: str) -> bool:
        return not _misfits(leaves[path], arrays[path], plain[path])

    report = match(leaves, arrays, fits, caller=caller, hint=hint or "")
    taken = set(report.taken)
    found = _layouts(caller, model, params, state, input_shape, flattened, axes)

    def convert(path: str, leaf: Array) -> Array:
        if path not in taken:
            return leaf
        array = found[path].from_torch(arrays[path])
        if mx.issubdtype(leaf.dtype, mx.integer):
            return array.astype(leaf.dtype)
        return mx.contiguous(array)

    made = tree.map_with_path(convert, params), tree.map_with_path(convert, state)
    return started(made if strict else (*made, report))


def to_state_dict(
    model: nn.Layer,
    params: Params,
    state: State,
    *,
    rename: Rename | None = None,
    input_shape: tuple[int, ...] | None = None,
    flattened: Mapping[str, tuple[int, ...]] | None = None,
    axes: Mapping[str, tuple[int, ...]] | None = None,
    convert: Callable[[Array], Any] | None = None,
) -> dict[str, Any]:
    """A model's params and state as PyTorch keeps them; undoes `from_state_dict`.

    For `load_state_dict` make tensors of them: `{name: torch.from_numpy(array) for
    name, array in ...}`, or give `convert=torch.from_dlpack`.

    Args:
        model: the layer that `params` and `state` belong to.
        params: its params.
        state: its state.
        rename: from our names to PyTorch's, as in `from_state_dict`.
        input_shape: as in `from_state_dict`.
        flattened: as in `from_state_dict`.
        axes: as in `from_state_dict`.
        convert: makes what is returned of an MLX array that nothing else uses; by
            default a NumPy array, where bfloat16 is float32, since NumPy has none.

    Returns:
        Arrays by name, in PyTorch's layout. Counts are int64.

    Raises:
        ValueError: if params and state are not the model's, or it cannot be told what
            follows a flatten.

    Example:
        >>> from lucid_fn import interop, nn, random
        >>> model = nn.serial(conv=nn.conv2d(3, 8, 5))
        >>> weights = interop.torch.to_state_dict(model, *model.init(random.key(0)))
        >>> weights["conv.weight"].shape
        (8, 3, 5, 5)
    """
    caller = "to_state_dict"
    check_type(caller, "model", model, nn.Layer, "a Layer", fix=_ORDER)
    with lazily(), shapes_only():
        template = model.init(random.key(0))
    leaves = leaves_of(params, state)
    _check_own(caller, leaves_of(*template), leaves)
    found = _layouts(caller, model, *template, input_shape, flattened, axes)
    make = convert or to_numpy
    return {
        name: make(_exported(leaves[path], found[path]))
        for name, path in renamed(caller, {p: p for p in leaves}, rename).items()
    }


def _exported(leaf: Array, layout: Layout) -> Array:
    if mx.issubdtype(leaf.dtype, mx.integer):
        return leaf.astype(mx.int64)
    # A copy: PyTorch changes arrays in place, and would change ours.
    return mx.contiguous(layout.to_torch(leaf) * mx.array(1, leaf.dtype))


def _how_to_read(given: Any) -> str:
    if isinstance(given, str | os.PathLike):
        return "read a file with load_pt(path) or load_safetensors(path)"
    return "for a model write model.state_dict()"


def _layouts(
    caller: str,
    model: nn.Layer,
    params: Params,
    state: State,
    input_shape: tuple[int, ...] | None,
    flattened: Mapping[str, tuple[int, ...]] | None,
    axes: Mapping[str, tuple[int, ...]] | None,
) -> dict[str, Layout]:
    return layouts(
        caller,
        model,
        params,
        state,
        input_shape=input_shape,
        flattened=flattened,
        axes=axes,
    )


def _check(
    caller: str,
    leaves: Mapping[str, Array],
    arrays: Mapping[str, Array],
    layout: Mapping[str, Layout],
    hint: str | None,
) -> None:
    """Raises one error for everything that does not fit."""
    problems = [f"missing: {path}" for path in leaves if path not in arrays]
    problems += [f"unexpected: {path}" for path in arrays if path not in leaves]
    for path in leaves.keys() & arrays.keys():
        misfits = _misfits(leaves[path], arrays[path], layout[path])
        problems += [f"{path}: must {misfit}" for misfit in misfits]
    what = "the arrays do not fit the model" + (f"; {hint}" if hint else "")
    _report(caller, what, problems)


def _misfits(ours: Array, given: Array, layout: Layout) -> list[str]:
    """What is wrong with an array that is given for one of ours."""
    found = []
    expected = layout.shape_in_torch(ours.shape)
    if given.shape != expected:
        fix = ""
        if given.shape == ours.shape:
            fix = "; it has channels last already, give it as PyTorch has it"
        found.append(f"have shape {expected}, got {given.shape}{fix}")
    kind = mx.floating if mx.issubdtype(ours.dtype, mx.floating) else mx.integer
    if not mx.issubdtype(given.dtype, kind):
        word = "floats" if kind == mx.floating else "integers"
        found.append(f"be {word}, got {given.dtype}")
    return found


def _other_sizes(
    leaves: Mapping[str, Array],
    arrays: Mapping[str, Array],
    layout: Mapping[str, Layout],
) -> str | None:
    """What to do if the names are the model's, and one layer has another size."""
    if leaves.keys() != arrays.keys():
        return None
    differ = {
        path.rpartition(".")[0]
        for path, leaf in leaves.items()
        if arrays[path].ndim == leaf.ndim
        and arrays[path].shape
        not in (layout[path].shape_in_torch(leaf.shape), leaf.shape)
    }
    if len(differ) != 1 or "" in differ:  # "" is a model of one layer
        return None
    (name,) = differ
    return f"to keep a {name} of your own, give strict=False and a key"


def _check_own(
    caller: str, template: Mapping[str, Array], leaves: Mapping[str, Array]
) -> None:
    problems = [f"missing: {path}" for path in template if path not in leaves]
    problems += [f"unexpected: {path}" for path in leaves if path not in template]
    problems += [
        f"{path}: must have shape {template[path].shape}, got {leaves[path].shape}"
        for path in template.keys() & leaves.keys()
        if template[path].shape != leaves[path].shape
    ]
    _report(caller, "params and state must be those of the model", problems)


def _report(caller: str, what: str, problems: list[str]) -> None:
    if not problems:
        return
    shown = sorted(problems)[:_SHOWN]
    if len(problems) > _SHOWN:
        shown.append(f"... and {len(problems) - _SHOWN} more")
    raise ValueError(f"{caller}: {what}\n  " + "\n  ".join(shown))


__all__ = [
    "Opaque",
    "from_state_dict",
    "load_pt",
    "load_safetensors",
    "save_safetensors",
    "to_state_dict",
]

guide(globals(), "interop.torch")
