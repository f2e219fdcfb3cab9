"""A function of trees as a file of ONNX."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.interop.onnx.model import serialized
from lucid_fn.interop.onnx.trace import Different, join, trace
from lucid_fn.io import atomic_write, check_path
from lucid_fn.tracing import may_start
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import check_function, name_of, parameter_names
from lucid_fn.transforms.export import described, resized
from lucid_fn.transforms.export_graph import (
    constants_of,
    flat_function,
    tracing,
    without_rules,
)
from lucid_fn.transforms.exported import Description, batch_size, to_json
from lucid_fn.types import Array

_OLDEST = 18  # since which all reductions take their axes as an input


def export(
    fn: Callable[..., Any],
    path: str | os.PathLike[str],
    *example_args: Any,
    batch_argnums: int | Sequence[int] = (),
    opset: int = _OLDEST,
) -> None:
    """Writes a function, with all that it captures, to a file of ONNX.

    The graph is the one that `lf.export` writes: of MLX's operations in the plain
    formulations of `ops`, each of which becomes one operator of ONNX or a few. Inputs
    and outputs are the leaves of the trees, in the order of `tree.leaves`, under their
    paths: `images`, `params.fc1.weight`, `logits`; a result that is a single array is
    `result`. Arrays that `fn` captures are initializers. Layouts stay MLX's, with
    channels last. Needs the package onnx: `pip install 'lucid-fn[onnx]'`.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arrays that it captures,
            such as params, are constants of the file.
        path: the file to write, usually with the suffix `.onnx`.
        example_args: arguments of the shapes and dtypes that the function will take.
            Numbers become arrays, as in `jit`.
        batch_argnums: the positions of arguments whose leaves have the batch on axis 0,
            of which the file then takes any number of examples, the dimension `N`.
        opset: the version of ONNX's operators, at least 18. Later ones take bfloat16
            in more operators, and are unknown to older programs.

    Raises:
        ImportError: if onnx is not installed.
        TypeError: if `fn` is not a function, a leaf of an argument or result is not an
            array, or `fn` needs the value of an array.
        ValueError: if `fn` computes what ONNX has no operator for, or depends on the
            number of examples otherwise than by the sizes of arrays, or if the file
            would have more than 2 GiB.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import interop, models, random
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "lenet.onnx"
        >>> model = models.lenet5()
        >>> params, state = model.init(random.key(0))
        >>> def predict(images):
        ...     return model.apply(params, state, images, train=False)[0]
        >>> images = mx.zeros((8, 28, 28, 1))
        >>> interop.onnx.export(  # doctest: +SKIP
        ...     predict, path, images, batch_argnums=0
        ... )
    """
    newest = _newest_opset()
    check_function("export", fn, fix="write export(fn, path, *example_args)")
    name = name_of(fn)
    if not may_start():
        raise ValueError(
            f"export: `{name}` must be exported outside of grad, vmap and jit"
        )
    if not _OLDEST <= opset <= newest:
        raise ValueError(
            f"export: opset must be from {_OLDEST} to {newest}, the newest one of the "
            f"installed onnx, got {opset}"
        )
    target = check_path("export", "path", path)
    arrays, description = described(fn, example_args, batch_argnums)
    captured = captures.find(fn, "export")
    mx.eval([capture.kept for capture in captured])
    flat, results = flat_function(fn, tree.flatten(example_args)[1])
    # On a CPU, where MLX composes layer norm, attention and so on of other operations.
    with tracing(name, lambda: flat(arrays)), mx.stream(mx.cpu):
        constants_of(flat, arrays)
        traces = {
            count: trace(without_rules(flat), resized(arrays, description, count))
            for count in _counts(arrays, description)
        }
    try:
        graph = join(traces)
    except Different as error:
        raise ValueError(
            f"export: `{name}` must depend on the number of examples by the sizes of "
            f"arrays only, got {error}; leave batch_argnums out, and export each "
            "number of examples to a file"
        ) from None

    if not graph.outputs:
        raise ValueError(f"export: `{name}` must return at least one array, got none")
    description = description._replace(result=to_json(results[-1]))
    paths = tree.paths(tree.unflatten(results[-1], [0] * len(graph.outputs)))
    content = serialized(graph, description, paths, _names(fn, captured), opset)
    with atomic_write(target, caller="export") as file:
        file.write(content)


def _newest_opset() -> int:
    try:
        from onnx.defs import onnx_opset_version
    except ImportError as error:
        raise ImportError(
            "interop.onnx needs onnx: pip install 'lucid-fn[onnx]'"
        ) from error
    return int(onnx_opset_version())


def _counts(arrays: list[Array], description: Description) -> list[int]:
    """Numbers of examples to trace: few and many, but not one, which is broadcast."""
    if not description.batch_sizes:
        return [0]
    size = max(2, batch_size(arrays, description))
    return [size, size + 1, size + 1021]


def _names(fn: Callable[..., Any], captured: list[captures.Capture]) -> dict[int, str]:
    """The names of captured arrays, by where their values are."""
    values = [(capture.name, capture.read()) for capture in captured]
    if isinstance(fn, functools.partial):
        given = zip(parameter_names(fn.func), fn.args, strict=False)
        values += [*given, *fn.keywords.items()]
    names: dict[int, str] = {}
    for name, value in values:
        with contextlib.suppress(TypeError):  # a dict that is not a tree
            for path, leaf in zip(tree.paths(value), tree.leaves(value), strict=True):
                if isinstance(leaf, mx.array) and leaf.size:
                    place = captures.place_of(leaf)
                    names.setdefault(place, f"{name}.{path}".rstrip("."))
    return names
