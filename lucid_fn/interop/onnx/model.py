"""Convert a traced graph to a checked and serialized ONNX model."""

from collections import Counter
from typing import Any

from lucid_fn.interop.onnx.graph import Graph, Value, element_type, whole_value
from lucid_fn.interop.onnx.node import Node, Unsupported
from lucid_fn.interop.onnx.operators import translate
from lucid_fn.interop.onnx.trace import ArrayInfo, Operation, Size, Trace
from lucid_fn.transforms import captures
from lucid_fn.transforms.exported import Description, as_metadata

_LIMIT = 2**31 - 2**20  # bytes of weights; protobuf's limit, with some room

_FIX = "write it with other operations, or leave it to the code that runs the file"
_FIXES = {
    "QuantizedMatmul": "capture the result of mx.dequantize as the weight",
    "RandomBits": "draw outside the function, and pass the random numbers",
}


def serialized(
    trace: Trace,
    description: Description,
    result_paths: list[str],
    names: dict[int, str],
    opset: int,
) -> bytes:
    """The bytes of an ONNX file.

    Args:
        trace: MLX's graph.
        description: describes the traced function.
        result_paths: the outputs' paths in the result.
        names: names of captured arrays, by the address of their data.
        opset: the version of ONNX's operators.
    """
    from onnx import checker, helper, shape_inference  # optional dependency

    inputs = [leaf.path for leaf in description.leaves]
    outputs = [
        path
        if path[:1].isalpha() and path not in inputs
        else f"result.{path}".rstrip(".")  # a single array has no path
        for path in result_paths
    ]
    graph = _graph(trace, description, outputs, names)
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            description.name,
            _infos(inputs, trace.inputs),
            _infos(outputs, trace.outputs),
            _initializers(graph, description.name),
        ),
        producer_name="lucid_fn",
        opset_imports=[helper.make_opsetid("", opset)],
    )
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)
    helper.set_model_props(model, {"lucid_fn": as_metadata(description)})
    try:
        checker.check_model(model, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise ValueError(
            f"export: opset {opset} of ONNX does not have all operators of "
            f"`{description.name}` for its dtypes; try a later opset, or float32: "
            f"{error}"
        ) from error
    return model.SerializeToString()  # type: ignore[no-any-return]  # untyped


def _graph(
    trace: Trace, description: Description, outputs: list[str], names: dict[int, str]
) -> Graph:
    """Translate all operations, in order."""
    leaves = description.leaves
    batch = next((leaf.path for leaf in leaves if leaf.batched), None)
    graph = Graph([leaf.path for leaf in leaves], outputs, batch)
    values: dict[str, Value] = {}
    for leaf, (name, shape, dtype) in zip(leaves, trace.inputs, strict=True):
        values[name] = whole_value(leaf.path, tuple(shape), dtype)
    uses = Counter(name for x in trace.operations for name, *_ in x.inputs)
    for name, array in trace.constants:
        given = names.get(captures.address_of(array))
        values[name] = graph.capture(array, given, shared=uses[name] > 1)
    for operation in trace.operations:
        made = _translated(graph, operation, values, description.name)
        for (name, *_), value in zip(operation.outputs, made, strict=True):
            values[name] = value
    for path, (name, *_) in zip(outputs, trace.outputs, strict=True):
        graph.output(values[name], path)
    return graph


def _translated(
    graph: Graph, operation: Operation, values: dict[str, Value], caller: str
) -> list[Value]:
    """Add the nodes for an operation, and return its outputs."""
    name, arguments, *_ = operation
    inputs = [values[name] for name, *_ in operation.inputs]
    shapes = [tuple(shape) for _, shape, _ in operation.outputs]
    dtype = operation.outputs[0][2]
    try:
        return translate(graph, Node(name, arguments, inputs, shapes, dtype))
    except Unsupported as error:
        near = graph.nearest(inputs)
        raise ValueError(
            f"export: ONNX has no operator for {error}, which `{caller}` computes"
            + (f" from `{near}`" if near else "")
            + f"; {_FIXES.get(name, _FIX)}"
        ) from None


def _initializers(graph: Graph, caller: str) -> list[Any]:
    """The constants that nodes use."""
    from onnx.numpy_helper import from_array

    used = {name for node in graph.nodes for name in node.input}
    constants = {name: x for name, x in graph.constants.items() if name in used}
    size = sum(x.nbytes for x in constants.values())
    if size > _LIMIT:
        raise ValueError(
            f"export: a file of ONNX must hold less than 2 GiB, got {size / 2**30:.2f} "
            f"GiB of arrays that `{caller}` captures; pass params as an argument, "
            "which keeps them out of the file"
        )
    return [from_array(x, name) for name, x in constants.items()]


def _infos(names: list[str], arrays: list[ArrayInfo]) -> list[Any]:
    """ONNX's descriptions of inputs or outputs."""
    from onnx.helper import make_tensor_value_info

    return [
        make_tensor_value_info(
            name, element_type(dtype), [_dimension(size) for size in shape]
        )
        for name, (_, shape, dtype) in zip(names, arrays, strict=True)
    ]


def _dimension(size: int | Size) -> int | str:
    """A size, as an expression such as `2*N+1` if it depends on the batch."""
    if not isinstance(size, Size):
        return size
    factor = "N" if size.slope == 1 else f"{size.slope}*N"
    return f"{factor}{size.offset:+}" if size.offset else factor
