"""Export a function of trees to an ONNX file."""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.interop.onnx.model import serialized
from lucid_fn.interop.onnx.trace import TracesDiffer, join, trace
from lucid_fn.io import atomic_write, check_path
from lucid_fn.tracing import may_start
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import check_function, name_of, parameter_names
from lucid_fn.transforms.export_arguments import described, resized
from lucid_fn.transforms.export_graph import (
    constants_of,
    flat_function,
    tracing,
    without_rules,
)
from lucid_fn.transforms.exported import Description, batch_size, to_json
from lucid_fn.types import Array

_MIN_OPSET = 18  # the first in which all reductions take their axes as an input


def export(
    fn: Callable[..., Any],
    path: str | os.PathLike[str],
    *example_args: Any,
    batch_argnums: int | Sequence[int] = (),
    opset: int = _MIN_OPSET,
) -> None:
    """Write a function, with the arrays that it captures, to an ONNX file.

    The graph is the one that `lf.export` writes: MLX operations in the plain
    formulations of `ops`, each translated to one or a few ONNX operators. Inputs and
    outputs are the leaves of the trees, in the order of `tree.leaves`, named by their
    paths: `images`, `params.fc1.weight`, `logits`; a result that is a single array is
    named `result`. Arrays that `fn` captures become initializers. Layouts stay
    channels-last. Requires onnx: `pip install 'lucid-fn[onnx]'`.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arrays that it captures,
            such as params, are constants of the file.
        path: the file to write, usually with the suffix `.onnx`.
        example_args: arguments with the shapes and dtypes that the function will take.
            Numbers become arrays, as in `jit`.
        batch_argnums: positions of the arguments whose leaves have the batch on axis 0.
            The file accepts any batch size for them, as the dimension `N`.
        opset: version of ONNX's operators, at least 18. Later ones support bfloat16 in
            more operators, but older programs cannot read them.

    Raises:
        ImportError: if onnx is not installed.
        TypeError: if `fn` is not a function, a leaf of an argument or result is not an
            array, or `fn` needs the value of an array.
        ValueError: if ONNX lacks an operator for something that `fn` computes, if `fn`
            depends on the batch size other than through the sizes of arrays, or if the
            file would exceed 2 GiB.
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
    if not _MIN_OPSET <= opset <= newest:
        raise ValueError(
            f"export: opset must be from {_MIN_OPSET} to {newest}, the newest of the "
            f"installed onnx, got {opset}"
        )
    target = check_path("export", "path", path)
    arrays, description = described(fn, example_args, batch_argnums)
    captured = captures.find(fn, "export")
    mx.eval([capture.kept for capture in captured])
    flat, results = flat_function(fn, tree.flatten(example_args)[1])
    # On the CPU, MLX composes layer norm, attention etc. of simpler operations.
    with tracing(name, lambda: flat(arrays)), mx.stream(mx.cpu):
        constants_of(flat, arrays)
        traces = {
            count: trace(without_rules(flat), resized(arrays, description, count))
            for count in _counts(arrays, description)
        }
    try:
        graph = join(traces)
    except TracesDiffer as error:
        raise ValueError(
            f"export: `{name}` must depend on the number of examples only by the sizes "
            f"of arrays, got {error}; leave batch_argnums out, and export one file for "
            "each number of examples"
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
    """Batch sizes to trace: small and large, but not 1, which would broadcast."""
    if not description.batch_sizes:
        return [0]
    size = max(2, batch_size(arrays, description))
    return [size, size + 1, size + 1021]


def _names(fn: Callable[..., Any], captured: list[captures.Capture]) -> dict[int, str]:
    """Names of the captured arrays, by the address of their data."""
    values = [(capture.name, capture.read()) for capture in captured]
    if isinstance(fn, functools.partial):
        given = zip(parameter_names(fn.func), fn.args, strict=False)
        values += [*given, *fn.keywords.items()]
    names: dict[int, str] = {}
    for name, value in values:
        with contextlib.suppress(TypeError):  # a dict that is not a tree
            for path, leaf in zip(tree.paths(value), tree.leaves(value), strict=True):
                if isinstance(leaf, mx.array) and leaf.size:
                    place = captures.address_of(leaf)
                    names.setdefault(place, f"{name}.{path}".rstrip("."))
    return names
