"""What each of MLX's primitives is in ONNX."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.interop.onnx.graph import Graph, Value, element_type, held
from lucid_fn.interop.onnx.trace import Shape, Size


class Node(NamedTuple):
    """One of MLX's primitives, and the graph that gets its operators."""

    graph: Graph
    name: str
    arguments: list[Any]
    inputs: list[Value]
    shapes: list[Shape]  # of the outputs
    dtype: mx.Dtype

    @property
    def shape(self) -> Shape:
        return self.shapes[0]


class Unsupported(Exception):
    """What ONNX lacks: an operation of MLX, in words."""


# The outputs, a tensor's name where it is held as it is.
Result: TypeAlias = str | Value | list[str]
Operator: TypeAlias = Callable[[Node], Result]


def translate(node: Node) -> list[Value]:
    """The outputs of an operation, whose operators the graph gets."""
    if node.name not in OPERATORS:
        raise Unsupported(f"MLX's {node.name}")
    made = OPERATORS[node.name](node)
    if isinstance(made, Value):
        return [made._replace(dtype=node.dtype)]
    names = made if isinstance(made, list) else [made]
    pairs = zip(names, node.shapes, strict=True)
    return [held(name, shape, node.dtype) for name, shape in pairs]


# ---- elementwise ----

_POINTWISE = {
    "Abs": "Abs",
    "Add": "Add",
    "ArcCos": "Acos",
    "ArcCosh": "Acosh",
    "ArcSin": "Asin",
    "ArcSinh": "Asinh",
    "ArcTan": "Atan",
    "ArcTanh": "Atanh",
    "Ceil": "Ceil",
    "Cos": "Cos",
    "Cosh": "Cosh",
    "Divide": "Div",
    "Erf": "Erf",
    "Exp": "Exp",
    "Floor": "Floor",
    "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less",
    "LessEqual": "LessOrEqual",
    "LogicalAnd": "And",
    "LogicalNot": "Not",
    "LogicalOr": "Or",
    "Maximum": "Max",
    "Minimum": "Min",
    "Multiply": "Mul",
    "Negative": "Neg",
    "Power": "Pow",
    "Round": "Round",
    "Select": "Where",
    "Sigmoid": "Sigmoid",
    "Sign": "Sign",
    "Sin": "Sin",
    "Sinh": "Sinh",
    "Subtract": "Sub",
    "Tan": "Tan",
    "Tanh": "Tanh",
}


def _pointwise(operator: str) -> Operator:
    return lambda node: node.graph.pointwise(operator, *node.inputs)


def _same(node: Node) -> Value:
    return node.inputs[0]


def _cast(node: Node, value: Value, dtype: mx.Dtype) -> Value:
    if value.dtype == dtype:
        return value
    cast = node.graph.pointwise("Cast", value, to=element_type(dtype))
    return cast._replace(dtype=dtype)


def _as_type(node: Node) -> Value:
    return _cast(node, node.inputs[0], node.dtype)


def _view(node: Node) -> Value:
    (x,) = node.inputs
    if not all(
        mx.issubdtype(dtype, mx.integer) and dtype.size == x.dtype.size
        for dtype in (x.dtype, node.dtype)
    ):
        raise Unsupported("a view of an array's bytes as another dtype")
    return _cast(node, x, node.dtype)  # which takes the bits that fit


def _equal(node: Node) -> Value:
    if node.arguments[0]:
        raise Unsupported("an equality of NaNs")
    return node.graph.pointwise("Equal", *node.inputs)


def _not_equal(node: Node) -> Value:
    return node.graph.pointwise("Not", node.graph.pointwise("Equal", *node.inputs))


def _square(node: Node) -> Value:
    return node.graph.pointwise("Mul", *node.inputs * 2)


def _sqrt(node: Node) -> Value:
    root = node.graph.pointwise("Sqrt", *node.inputs)
    is_reciprocal = node.arguments[0]
    return node.graph.pointwise("Reciprocal", root) if is_reciprocal else root


def _log(node: Node) -> Value:
    base = (2.0, 10.0, None)[node.arguments[0]]
    log = node.graph.pointwise("Log", *node.inputs)
    if base is None:
        return log
    return node.graph.pointwise(
        "Div", log, node.graph.scalar(float(np.log(base)), node.dtype)
    )


def _expm1(node: Node) -> Value:
    power = node.graph.pointwise("Exp", *node.inputs)
    return node.graph.pointwise("Sub", power, node.graph.scalar(1, node.dtype))


def _log1p(node: Node) -> Value:
    (x,) = node.inputs
    y = node.graph.pointwise("Add", x, node.graph.scalar(1, node.dtype))
    return node.graph.pointwise("Log", y)


def _log_add_exp(node: Node) -> Value:
    """max(a, b) + log(1 + exp(-|a - b|))."""
    distance = node.graph.pointwise("Abs", node.graph.pointwise("Sub", *node.inputs))
    rest = node.graph.pointwise("Softplus", node.graph.pointwise("Neg", distance))
    return node.graph.pointwise("Add", node.graph.pointwise("Max", *node.inputs), rest)


def _floor_divide(node: Node) -> Value:
    a, b = node.inputs
    if mx.issubdtype(node.dtype, mx.floating):
        return node.graph.pointwise("Floor", node.graph.pointwise("Div", a, b))
    rest = node.graph.pointwise("Mod", a, b)  # of the sign of b
    return node.graph.pointwise("Div", node.graph.pointwise("Sub", a, rest), b)


def _remainder(node: Node) -> Value:
    if mx.issubdtype(node.dtype, mx.floating):
        raise Unsupported("the remainder of a division of floats")
    return node.graph.pointwise("Mod", *node.inputs)


def _bitwise(node: Node) -> Value:
    name = ("And", "Or", "Xor", None, None)[node.arguments[0]]
    if name is None:
        raise Unsupported("a shift of bits")
    prefix = "" if node.dtype == mx.bool_ else "Bitwise"
    return node.graph.pointwise(prefix + name, *node.inputs)


# ---- shapes ----


def _broadcast(node: Node) -> Value:
    return node.graph.broadcast(node.inputs[0], node.shape)


def _transpose(node: Node) -> Value:
    return node.graph.transpose(node.inputs[0], node.arguments[0])


def _reshape(node: Node) -> str:
    return node.graph.reshape(node.graph.whole(node.inputs[0]), node.shape)


def _expand_dims(node: Node) -> str:
    axes = node.graph.ints(node.arguments[0])
    return node.graph.add("Unsqueeze", node.graph.whole(node.inputs[0]), axes)


def _squeeze(node: Node) -> str:
    axes = node.graph.ints(node.arguments[0])
    return node.graph.add("Squeeze", node.graph.whole(node.inputs[0]), axes)


def _as_before(node: Node, value: Value, name: str) -> Value:
    """What a node computes from an array, with its axes in the same order."""
    return Value(name, node.shape, node.dtype, node.shape, value.axes)


def _slice(node: Node) -> Value:
    x = node.graph.full(node.inputs[0])
    bounds = zip(itertools.count(), *node.arguments, x.shape)
    cut = [(x.axes.index(i), *rest) for i, *rest, n in bounds if rest != [0, n, 1]]
    if not cut:
        return x
    places, starts, ends, steps = map(node.graph.ints, zip(*cut, strict=True))
    name = node.graph.add("Slice", x.name, starts, ends, places, steps)
    return _as_before(node, x, name)


def _pad(node: Node) -> Value:
    x, fill = node.inputs
    axes, low, high = node.arguments
    if not any((*low, *high)):
        return x
    x = node.graph.full(x)
    places = node.graph.ints([x.axes.index(axis) for axis in axes])
    sizes = node.graph.ints((*low, *high))
    name = node.graph.add("Pad", x.name, sizes, fill.name, places)
    return _as_before(node, x, name)


def _concatenate(node: Node) -> Value:
    first = node.graph.full(node.inputs[0])
    parts = [node.graph.full(part) for part in node.inputs]
    names = [node.graph.ordered(part, first.axes) for part in parts]
    place = first.axes.index(node.arguments[0])
    return _as_before(node, first, node.graph.add("Concat", *names, axis=place))


def _split(node: Node) -> list[str]:
    axis = node.arguments[1]
    sizes = node.graph.ints([shape[axis] for shape in node.shapes])
    x = node.graph.whole(node.inputs[0])
    return node.graph.add_many("Split", len(node.shapes), x, sizes, axis=axis)


def _arange(node: Node) -> str:
    start, stop, step = node.arguments
    if not isinstance(stop, Size):
        # In MLX, since its numbers are rounded in its own way.
        return node.graph.capture(mx.arange(start, stop, step, node.dtype), None).name
    bounds = [node.graph.ints([int(x)]) for x in (start, step)]
    first, change = (node.graph.reshape(x, ()) for x in bounds)
    last = node.graph.add("Squeeze", node.graph.ints([stop]))
    numbers = node.graph.add("Range", first, last, change)
    return node.graph.add("Cast", numbers, to=element_type(node.dtype))


# ---- indices ----


def _index(node: Node, value: Value) -> str:
    return node.graph.whole(_cast(node, value, mx.int64))


def _gather(node: Node) -> str:
    """`x[i, j]`: the axes of the indices, then those of the slices."""
    graph, (x, *indices) = node.graph, node.inputs
    axes, sizes = node.arguments
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    if any(sizes[axis] != x.shape[axis] for axis in rest) or any(
        sizes[axis] != 1 for axis in axes
    ):
        raise Unsupported("a gather of parts of slices")
    table = graph.whole(graph.transpose(x, [*axes, *rest]))
    places = [_index(node, index) for index in indices]
    if len(places) == 1:
        return graph.reshape(graph.add("Gather", table, places[0], axis=0), node.shape)
    last = graph.ints([-1])
    places = [graph.add("Unsqueeze", place, last) for place in places]
    stacked = graph.add("Concat", *places, axis=-1)
    return graph.reshape(graph.add("GatherND", table, stacked), node.shape)


def _gather_axis(node: Node) -> str:
    x, index = node.inputs
    return node.graph.add(
        "GatherElements",
        node.graph.whole(x),
        _index(node, index),
        axis=node.arguments[0],
    )


def _scatter_axis(node: Node) -> str:
    kind, axis = node.arguments
    x, index, updates = node.inputs
    return node.graph.add(
        "ScatterElements",
        node.graph.whole(x),
        _index(node, index),
        node.graph.whole(updates),
        axis=axis,
        reduction=("add", "none")[kind],
    )


def _slice_update(node: Node) -> Value:
    """`x[start:end:step] = y`, where y is spread out and selected by a mask."""
    graph, (x, y) = node.graph, node.inputs
    kind, starts, _, steps = node.arguments
    if kind != 4:
        raise Unsupported("an update of a slice by more than its new values")
    spread, inside = graph.whole(y), np.array(True)
    for axis, (total, size) in enumerate(zip(x.shape, y.shape, strict=True)):
        if size == total and steps[axis] == 1:
            continue
        if isinstance(total, Size) or isinstance(size, Size):
            raise Unsupported("an update of some of the examples")
        places, rests = np.divmod(np.arange(total) - starts[axis], steps[axis])
        here = (rests == 0) & (places >= 0) & (places < size)
        places = graph.constant(np.clip(places, 0, size - 1))
        spread = graph.add("Gather", spread, places, axis=axis)
        inside = inside & here.reshape(-1, *[1] * (len(x.shape) - axis - 1))
    mask = held(graph.constant(inside), inside.shape, mx.bool_)
    return graph.pointwise("Where", mask, held(spread, x.shape, x.dtype), x)


# ---- reductions and sorts ----

_REDUCTIONS = ("Min", "Max", "Sum", "Prod", "Min", "Max")  # the first two of bools


def _reduce(node: Node) -> Value:
    kind, axes = node.arguments
    graph, x = node.graph, node.graph.full(node.inputs[0])
    x = _cast(node, x, mx.int32 if kind < 2 else node.dtype)
    places = graph.ints([x.axes.index(axis) for axis in axes])
    name = graph.add(f"Reduce{_REDUCTIONS[kind]}", x.name, places, keepdims=1)
    y = _as_before(node, x, name)
    return _cast(node, y._replace(dtype=x.dtype), node.dtype)


def _log_sum_exp(node: Node) -> str:
    x = node.graph.whole(node.inputs[0])
    return node.graph.add("ReduceLogSumExp", x, node.graph.ints([-1]), keepdims=1)


def _arg_reduce(node: Node) -> Value:
    kind, axis = node.arguments
    x = node.graph.full(node.inputs[0])
    name = node.graph.add(
        ("ArgMin", "ArgMax")[kind], x.name, axis=x.axes.index(axis), keepdims=1
    )
    y = _as_before(node, x, name)
    return _cast(node, y._replace(dtype=mx.int64), node.dtype)


def _cumulative(node: Node) -> str:
    kind, axis, reverse, inclusive = node.arguments
    if kind != 2:
        raise Unsupported("a cumulative operation other than the sum")
    return node.graph.add(
        "CumSum",
        node.graph.whole(node.inputs[0]),
        node.graph.constant(np.array(axis)),
        exclusive=int(not inclusive),
        reverse=int(reverse),
    )


def _sorted(output: int) -> Operator:
    """The values of a sort, or their indices; a partition is sorted, too."""

    def sort(node: Node) -> Value:
        axis = node.arguments[-1]
        (x,) = node.inputs
        count = node.graph.ints([x.shape[axis]])
        name = node.graph.add_many(
            "TopK", 2, node.graph.whole(x), count, axis=axis, largest=0
        )[output]
        y = held(name, node.shape, (x.dtype, mx.int64)[output])
        return _cast(node, y, node.dtype)

    return sort


def _softmax(node: Node) -> str:
    return node.graph.add("Softmax", node.graph.whole(node.inputs[0]), axis=-1)


# ---- products ----


def _factor(node: Node, value: Value) -> str:
    """A matrix, or several of which only their number may still be broadcast."""
    is_whole = len(value.held) > 1 and value.held[-2:] == value.shape[-2:]
    return node.graph.plain(value) if is_whole else node.graph.whole(value)


def _matmul(node: Node) -> str:
    return node.graph.add("MatMul", *[_factor(node, x) for x in node.inputs])


def _addmm(node: Node) -> Value:
    """alpha a b + beta c."""
    alpha, beta = node.arguments
    a, b, c = node.inputs
    product = held(_matmul(node._replace(inputs=[a, b])), node.shape, node.dtype)
    if alpha != 1:
        scale = node.graph.scalar(alpha, node.dtype)
        product = node.graph.pointwise("Mul", product, scale)
    if beta != 1:
        c = node.graph.pointwise("Mul", c, node.graph.scalar(beta, node.dtype))
    return node.graph.pointwise("Add", product, c)


def _convolution(node: Node) -> Value:
    """With channels first in ONNX."""
    strides, low, high, dilation, input_dilation, groups, flip = node.arguments
    graph, (x, weight) = node.graph, node.inputs
    rank = len(node.shape)
    first = (0, rank - 1, *range(1, rank - 1))
    kernel = graph.ordered(graph.full(weight), first)
    if flip:
        axes, back = range(2, rank), [-1] * (rank - 2)
        ends = graph.ints([-(2**31)] * (rank - 2))
        kernel = graph.add(
            "Slice", kernel, graph.ints(back), ends, graph.ints(axes), graph.ints(back)
        )
    maps = graph.ordered(graph.full(x), first)
    shape = tuple(x.shape[axis] for axis in first)
    for axis, gap in enumerate(input_dilation, 2):
        if gap > 1:
            maps, shape = _dilated(node, maps, shape, axis, gap)
    name = graph.add(
        "Conv",
        maps,
        kernel,
        strides=strides,
        pads=[*low, *high],
        dilations=dilation,
        group=groups,
    )
    return Value(name, node.shape, node.dtype, node.shape, first)


def _dilated(
    node: Node, x: str, shape: Shape, axis: int, gap: int
) -> tuple[str, Shape]:
    """A tensor with `gap - 1` zeros between its neighbours on an axis."""
    graph, size = node.graph, shape[axis]
    if isinstance(size, Size):
        raise Unsupported("zeros between examples")
    column = graph.add("Unsqueeze", x, graph.ints([axis + 1]))
    zero = graph.scalar(0, node.dtype).name
    pads, place = graph.ints([0, gap - 1]), graph.ints([axis + 1])
    rows = graph.add("Pad", column, pads, zero, place)
    long = (*shape[:axis], size * gap, *shape[axis + 1 :])
    end = size * gap - gap + 1
    cut = [graph.ints([n]) for n in (0, end, axis)]
    y = graph.add("Slice", graph.reshape(rows, long), *cut)
    return y, (*shape[:axis], end, *shape[axis + 1 :])


OPERATORS: dict[str, Operator] = {
    **{name: _pointwise(operator) for name, operator in _POINTWISE.items()},
    "AddMM": _addmm,
    "Arange": _arange,
    "ArgPartition": _sorted(1),
    "ArgReduce": _arg_reduce,
    "ArgSort": _sorted(1),
    "AsType": _as_type,
    "BitwiseBinary": _bitwise,
    "Broadcast": _broadcast,
    "Concatenate": _concatenate,
    "Convolution": _convolution,
    "Copy": _same,
    "Equal": _equal,
    "ExpandDims": _expand_dims,
    "Expm1": _expm1,
    "Flatten": _reshape,
    "FloorDivide": _floor_divide,
    "Full": _same,
    "Gather": _gather,
    "GatherAxis": _gather_axis,
    "Log": _log,
    "Log1p": _log1p,
    "LogAddExp": _log_add_exp,
    "LogSumExp": _log_sum_exp,
    "Matmul": _matmul,
    "NotEqual": _not_equal,
    "Pad": _pad,
    "Partition": _sorted(0),
    "Reduce": _reduce,
    "Remainder": _remainder,
    "Reshape": _reshape,
    "Scan": _cumulative,
    "ScatterAxis": _scatter_axis,
    "Slice": _slice,
    "SliceUpdate": _slice_update,
    "Softmax": _softmax,
    "Sort": _sorted(0),
    "Split": _split,
    "Sqrt": _sqrt,
    "Square": _square,
    "Squeeze": _squeeze,
    "StopGradient": _same,
    "Transpose": _transpose,
    "Unflatten": _reshape,
    "View": _view,
}
