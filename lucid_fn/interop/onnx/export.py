"""A function, traced by MLX, as a model of ONNX."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx

import lucid_fn
from lucid_fn import tree
from lucid_fn.evaluation import may_start
from lucid_fn.interop.onnx.trace import (
    Described,
    Different,
    Operation,
    Size,
    Trace,
    join,
    trace,
)
from lucid_fn.io import atomic_write, check_path
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import check_function, name_of
from lucid_fn.transforms.export import (
    constants_of,
    described,
    flat_function,
    resized,
    tracing,
    without_rules,
)
from lucid_fn.transforms.exported import (
    Description,
    as_metadata,
    batch_size,
    from_json,
    to_json,
)
from lucid_fn.types import Array

if TYPE_CHECKING:
    from lucid_fn.interop.onnx.graph import Graph, Value

_OLDEST = 18  # since which operators take the axes that they reduce as an input
_LIMIT = 2**31 - 2**20  # bytes in a file, less what describes them


def export(
    fn: Callable[..., Any],
    path: str | os.PathLike[str],
    *example_args: Any,
    batch_argnums: int | Sequence[int] = (),
    opset: int = _OLDEST,
) -> None:
    """docstring"""
    onnx = _load()
    check_function("export", fn)
    name = name_of(fn)
    if not may_start():
        raise ValueError(
            f"export: `{name}` must be exported outside of grad, vmap and jit"
        )
    newest = onnx.defs.onnx_opset_version()
    if not _OLDEST <= opset <= newest:
        raise ValueError(
            f"export: opset must be from {_OLDEST} to {newest}, the newest one of onnx "
            f"{onnx.__version__}, got {opset}"
        )
    target = check_path("export", "path", path)
    arrays, description = described(fn, example_args, batch_argnums)
    captured = captures.find(fn, "export")
    mx.eval([capture.kept for capture in captured])
    flat, results = flat_function(fn, tree.flatten(example_args)[1])
    # On a CPU MLX takes layer norm, attention and so on apart.
    with tracing(name, lambda: flat(arrays)), mx.stream(mx.cpu):
        constants_of(flat, arrays)
        traces = {
            count: trace(without_rules(flat), resized(arrays, description, count))
            for count in _counts(arrays, description)
        }
    description = description._replace(result=to_json(results[-1]))
    try:
        joined = join(traces)
    except Different as error:
        few, more = list(traces)[:2]
        raise ValueError(
            f"export: `{name}` must depend on the number of examples by the sizes of "
            f"arrays only, got {error} for {few} and {more} examples; leave "
            "batch_argnums out, and export each number of examples to a file"
        ) from None
    model = _model(joined, description, _names(captured), opset)
    with atomic_write(target, caller="export") as file:
        file.write(model)


def _load() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "export: needs the package onnx; install it with pip install "
            "'lucid-fn[onnx]'"
        ) from error
    return onnx


def _counts(arrays: list[Array], description: Description) -> list[int]:
    """Numbers of examples to trace; one example would be broadcast."""
    if not description.batch_sizes:
        return [0]
    size = max(2, batch_size(arrays, description))
    return [size, size + 1, size + 1021]


def _names(captured: list[captures.Capture]) -> dict[int, str]:
    """The names of captured arrays, by where their values are."""
    names: dict[int, str] = {}
    for capture in captured:
        for path, leaf in tree.named_leaves({capture.name: capture.read()}).items():
            if isinstance(leaf, mx.array) and leaf.size:
                names.setdefault(captures.place_of(leaf), path)
    return names


def _model(
    joined: Trace, description: Description, names: dict[int, str], opset: int
) -> bytes:
    """The checked file."""
    import onnx

    from lucid_fn.interop.onnx.graph import Graph, element_type, held

    leaves = description.leaves
    inputs = [leaf.path for leaf in leaves]
    graph = Graph(inputs, next((leaf.path for leaf in leaves if leaf.batched), None))
    values: dict[str, Value] = {}
    for path, (name, shape, dtype) in zip(inputs, joined.inputs, strict=True):
        values[name] = held(path, tuple(shape), dtype)
    for name, array in joined.constants:
        values[name] = graph.capture(array, names.get(captures.place_of(array)))
    for operation in joined.operations:
        made = _translated(graph, operation, values, description.name)
        values |= dict(zip((name for name, *_ in operation.outputs), made, strict=True))
    outputs = _result_paths(description, len(joined.outputs))
    for path, (name, *_) in zip(outputs, joined.outputs, strict=True):
        graph.output(values[name], path)

    def infos(paths: list[str], arrays: list[Described]) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(
                path, element_type(dtype), [_dimension(size) for size in shape]
            )
            for path, (_, shape, dtype) in zip(paths, arrays, strict=True)
        ]

    used = {name for node in graph.nodes for name in node.input}
    constants = {name: x for name, x in graph.constants.items() if name in used}
    size = sum(values.nbytes for values in constants.values())
    if size > _LIMIT:
        raise ValueError(
            f"export: a file of ONNX holds 2 GiB at most, got {size / 2**30:.1f} GiB "
            f"that `{description.name}` captures; pass params as an argument, so that "
            "they stay outside of the file"
        )
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            description.name,
            infos(inputs, joined.inputs),
            infos(outputs, joined.outputs),
            [onnx.numpy_helper.from_array(x, name) for name, x in constants.items()],
        ),
        producer_name="lucid_fn",
        producer_version=lucid_fn.__version__,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    onnx.helper.set_model_props(model, {"lucid_fn": as_metadata(description)})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(
            f"export: opset {opset} of ONNX has not all that `{description.name}` "
            f"computes, or not for its dtypes; try a later opset. {error}"
        ) from error
    return model.SerializeToString()


def _translated(
    graph: "Graph", operation: Operation, values: "dict[str, Value]", caller: str
) -> "list[Value]":
    """The outputs of an operation, whose nodes the graph gets."""
    from lucid_fn.interop.onnx.operators import Node, Unsupported, translate

    inputs = [values[name] for name, *_ in operation.inputs]
    shapes = [tuple(shape) for _, shape, _ in operation.outputs]
    dtype = operation.outputs[0][2]
    try:
        return translate(
            Node(graph, operation.name, operation.arguments, inputs, shapes, dtype)
        )
    except Unsupported as error:
        near = graph.nearest(inputs)
        raise ValueError(
            f"export: ONNX has no operator for {error}, which `{caller}` computes"
            + (f" from `{near}`" if near else "")
            + f"; {_FIXES.get(operation.name, _FIX)}"
        ) from None


_FIX = "leave that to the code that runs the file, or write it with other operations"
_FIXES = {
    "QuantizedMatmul": "export the params as they were before nn.quantize",
    "RandomBits": "draw outside of the function, and pass what is drawn",
}


def _result_paths(description: Description, count: int) -> list[str]:
    """The names of the outputs: paths in the result, other than those of inputs."""
    taken = {leaf.path for leaf in description.leaves}
    structure = from_json(description.result, {})
    paths = tree.paths(tree.unflatten(structure, [0] * count))
    return [
        path
        if path[:1].isalpha() and path not in taken
        else f"result.{path}".rstrip(".")
        for path in paths
    ]


def _dimension(size: int | Size) -> int | str:
    """A size as ONNX has it: a name where it depends on the batch."""
    if isinstance(size, int):
        return size
    factor = "N" if size.slope == 1 else f"{size.slope}N"
    return f"{factor}{size.offset:+}" if size.offset else factor
