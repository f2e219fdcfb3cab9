"""Weights of PyTorch models: `state_dict`s, `.safetensors` and `.pt` files.

Names are those of PyTorch. The layout differs, since channels are last here:

- the kernel of a convolution, a `weight` of three to five axes (or the `weight_v` of
  `nn.weight_norm`), is `(out, in, ...)` in PyTorch and `(out, ..., in)` here;
- in models with convolutions, the weight and bias of a norm over a whole feature map
  are `(C, H, W)` in PyTorch and `(H, W, C)` here. A norm is recognized by a bias of its
  weight's shape, or by an initial weight of ones;
- the singular vectors of `nn.spectral_norm` are in the order of their kernel;
- the columns of a `linear` right after a flattened feature map are `(C, H, W)` in
  PyTorch and `(H, W, C)` here, and so are the features of a norm in between;
- everything else is the same: other linears, embeddings, norms, biases, and arrays of
  other names than `weight`.

Which linears follow a flatten is found by differentiating the model, not by names or
sizes: see `lucid_fn.interop.flattening`. This needs an input that the model accepts;
square images of common sizes are tried. Pass `input_shape` for another one, or
`flattened` to declare the layers. If it cannot be decided, that is an error.

A weight that is channels-last already is detected by its shape, unless its shape is
the same in both layouts: a kernel as large as its number of channels, such as
`(8, 3, 3, 3)`.

PyTorch is not needed.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, overload

import mlx.core as mx

from lucid_fn import nn, random, tree
from lucid_fn.call_errors import guide
from lucid_fn.checks import check_bool, check_type, shapes_only
from lucid_fn.interop.arrays import describe, to_mlx, to_numpy
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
_MODEL_FIRST = "it comes before the weights"
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
    """Convert the `state_dict` of a PyTorch model to params and state.

    Args:
        model: a layer, whose params and state must match the arrays.
        state_dict: arrays in PyTorch's layout by name: NumPy's, MLX's or tensors.
            If `num_batches_tracked` is absent, it is 0.
        strict: whether all arrays must be present and fit. If false, a layer is loaded
            if all of its arrays are present and fit, and the others, such as a head of
            another size, are initialized by `model.init(key)`.
        key: key for the layers that are not loaded, with `strict=False`.
        rename: maps PyTorch's names to ours: a mapping of names or prefixes, such as
            `{"classifier.0": "fc1"}`, or a function; `None` as a new name drops the
            array. Names that are not in a mapping are kept. `{"module": ""}` removes a
            prefix.
        input_shape: shape of one example, without the batch axis, `(H, W, C)`; by
            default a shape that the model accepts is searched for.
        flattened: the shape `(H, W, C)` of the feature map, by the path of each layer
            that takes a flattened map or whose output becomes one; by default these
            layers are found automatically.
        axes: our axes in PyTorch's order, such as `{"up.weight": (3, 0, 1, 2)}`, by
            the path of each array whose layout is neither a convolution's nor the same
            in PyTorch.

    Returns:
        `(params, state)`, in the dtypes of the given arrays: float16 stays float16,
        float64 becomes float32, and counts become int32. With `strict=False`
        `(params, state, report)`, where the report is a `train.LoadReport`.

    Raises:
        ValueError: if names are missing or unexpected, or shapes differ from the
            model's, with a list of all of them; if it cannot be decided what follows a
            flatten; with `strict=False`, if no layer fits or `key` is absent.
        TypeError: if a value is not an array, or not of floats where params are.

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
    check_type(caller, "model", model, nn.Layer, "a Layer", fix=_MODEL_FIRST)
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"{caller}: state_dict must be a mapping of names to arrays, got "
            f"{describe(state_dict)}; {_how_to_read(state_dict)}"
        )
    arrays = {
        name: to_mlx(caller, name, value)
        for name, value in renamed(caller, state_dict, rename).items()
    }
    if strict:
        with lazily(), shapes_only():  # only the shapes are used
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
    # Names and shapes do not depend on a flatten, so they are checked first.
    plain = layouts(
        caller, model, params, state, input_shape=None, flattened={}, axes=axes
    )
    hint = prefix_hint(arrays, leaves) if rename is None else None
    if strict:
        hint = hint or _other_sizes(leaves, arrays, plain)
        _check_arrays(caller, leaves, arrays, plain, hint)

    def fits(path: str) -> bool:
        return not _misfits(leaves[path], arrays[path], plain[path])

    report = match(leaves, arrays, fits, caller=caller, hint=hint or "")
    taken = set(report.taken)
    found = layouts(
        caller,
        model,
        params,
        state,
        input_shape=input_shape,
        flattened=flattened,
        axes=axes,
    )

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
    """Convert params and state to a PyTorch `state_dict`, inverting `from_state_dict`.

    For `load_state_dict` pass `convert=torch.from_dlpack`, or convert the result with
    `{name: torch.from_numpy(array) for name, array in ...}`.

    Args:
        model: the layer that `params` and `state` belong to.
        params: its params.
        state: its state.
        rename: maps our names to PyTorch's, as in `from_state_dict`.
        input_shape: as in `from_state_dict`.
        flattened: as in `from_state_dict`.
        axes: as in `from_state_dict`.
        convert: function of an MLX array, which it may own, to the value to return; by
            default to a NumPy array, with bfloat16 as float32, since NumPy lacks it.

    Returns:
        Arrays by name, in PyTorch's layout. Counts are int64.

    Raises:
        ValueError: if params and state are not the model's, or it cannot be decided
            what follows a flatten.

    Example:
        >>> from lucid_fn import interop, nn, random
        >>> model = nn.serial(conv=nn.conv2d(3, 8, 5))
        >>> weights = interop.torch.to_state_dict(model, *model.init(random.key(0)))
        >>> weights["conv.weight"].shape
        (8, 3, 5, 5)
    """
    caller = "to_state_dict"
    check_type(caller, "model", model, nn.Layer, "a Layer", fix=_MODEL_FIRST)
    with lazily(), shapes_only():
        template = model.init(random.key(0))
    leaves = leaves_of(params, state)
    _check_params(caller, leaves_of(*template), leaves)
    found = layouts(
        caller,
        model,
        *template,
        input_shape=input_shape,
        flattened=flattened,
        axes=axes,
    )
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


def _check_arrays(
    caller: str,
    leaves: Mapping[str, Array],
    arrays: Mapping[str, Array],
    layout: Mapping[str, Layout],
    hint: str | None,
) -> None:
    """Raise one error that lists everything that does not fit."""
    problems = [f"missing: {path}" for path in leaves if path not in arrays]
    problems += [f"unexpected: {path}" for path in arrays if path not in leaves]
    for path in leaves.keys() & arrays.keys():
        misfits = _misfits(leaves[path], arrays[path], layout[path])
        problems += [f"{path}: must {misfit}" for misfit in misfits]
    what = "the arrays do not fit the model" + (f"; {hint}" if hint else "")
    _raise_problems(caller, what, problems)


def _misfits(ours: Array, given: Array, layout: Layout) -> list[str]:
    """The reasons why a given array does not fit one of ours."""
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
    """A hint for the case that all names match and one layer has another size."""
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


def _check_params(
    caller: str, template: Mapping[str, Array], leaves: Mapping[str, Array]
) -> None:
    problems = [f"missing: {path}" for path in template if path not in leaves]
    problems += [f"unexpected: {path}" for path in leaves if path not in template]
    problems += [
        f"{path}: must have shape {template[path].shape}, got {leaves[path].shape}"
        for path in template.keys() & leaves.keys()
        if template[path].shape != leaves[path].shape
    ]
    _raise_problems(caller, "params and state must be those of the model", problems)


def _raise_problems(caller: str, what: str, problems: list[str]) -> None:
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
