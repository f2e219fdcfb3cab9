"""What each of MLX's primitives is in ONNX: the table `OPERATORS`."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.interop.onnx.graph import Graph, Value, element_type, held
from lucid_fn.interop.onnx.trace import Shape, Size


class Node(NamedTuple):
    """A call of one of MLX's primitives."""

    name: str
    arguments: list[Any]
    inputs: list[Value]
    shapes: list[Shape]  # of the outputs
    dtype: mx.Dtype

    @property
    def shape(self) -> Shape:
        return self.shapes[0]


class Unsupported(Exception):
    """What ONNX has no operator for."""


# The outputs, by the names of tensors where these hold them as they are.
Result: TypeAlias = str | Value | list[str]
Operator: TypeAlias = Callable[[Graph, Node], Result]


def translate(g: Graph, node: Node) -> list[Value]:
    """The outputs of a primitive, for which the graph gets nodes."""
    if node.name not in OPERATORS:
        raise Unsupported(f"MLX's {node.name}")
    made = OPERATORS[node.name](g, node)
    if isinstance(made, Value):
        return [made._replace(dtype=node.dtype)]
    names = made if isinstance(made, list) else [made]
    pairs = zip(names, node.shapes, strict=True)
    return [held(name, shape, node.dtype) for name, shape in pairs]


# ---- elementwise ----


def _pointwise(operator: str) -> Operator:
    return lambda g, node: g.pointwise(operator, *node.inputs)


def _same(g: Graph, node: Node) -> Value:
    return node.inputs[0]


def _cast(g: Graph, value: Value, dtype: mx.Dtype) -> Value:
    if value.dtype == dtype:
        return value
    return g.pointwise("Cast", value, to=element_type(dtype))._replace(dtype=dtype)


def _as_type(g: Graph, node: Node) -> Value:
    return _cast(g, node.inputs[0], node.dtype)


def _view(g: Graph, node: Node) -> Value:
    dtypes = node.inputs[0].dtype, node.dtype
    are_integers = all(mx.issubdtype(dtype, mx.integer) for dtype in dtypes)
    if not are_integers or dtypes[0].size != dtypes[1].size:
        raise Unsupported("a view of an array's bytes as another dtype")
    return _as_type(g, node)  # of which the bits are the same


def _equal(g: Graph, node: Node) -> Value:
    if node.arguments[0]:
        raise Unsupported("a comparison in which NaN equals NaN")
    return g.pointwise("Equal", *node.inputs)


def _not_equal(g: Graph, node: Node) -> Value:
    return g.pointwise("Not", g.pointwise("Equal", *node.inputs))


def _square(g: Graph, node: Node) -> Value:
    return g.pointwise("Mul", *node.inputs * 2)


def _sqrt(g: Graph, node: Node) -> Value:
    root = g.pointwise("Sqrt", *node.inputs)
    return g.pointwise("Reciprocal", root) if node.arguments[0] else root


def _log(g: Graph, node: Node) -> Value:
    base = (2.0, 10.0, np.e)[node.arguments[0]]
    y = g.pointwise("Log", *node.inputs)
    return y if base == np.e else g.pointwise("Div", y, g.scalar(np.log(base), y.dtype))


def _expm1(g: Graph, node: Node) -> Value:
    return g.pointwise("Sub", g.pointwise("Exp", *node.inputs), g.scalar(1, node.dtype))


def _log1p(g: Graph, node: Node) -> Value:
    return g.pointwise("Log", g.pointwise("Add", *node.inputs, g.scalar(1, node.dtype)))


def _log_add_exp(g: Graph, node: Node) -> Value:
    """max(a, b) + log(1 + exp(-|a - b|))."""
    distance = g.pointwise("Abs", g.pointwise("Sub", *node.inputs))
    rest = g.pointwise("Softplus", g.pointwise("Neg", distance))
    return g.pointwise("Add", g.pointwise("Max", *node.inputs), rest)


def _floor_divide(g: Graph, node: Node) -> Value:
    a, b = node.inputs
    if mx.issubdtype(node.dtype, mx.floating):
        return g.pointwise("Floor", g.pointwise("Div", a, b))
    rest = g.pointwise("Mod", a, b)  # of the sign of b
    return g.pointwise("Div", g.pointwise("Sub", a, rest), b)


def _remainder(g: Graph, node: Node) -> Value:
    if mx.issubdtype(node.dtype, mx.floating):
        raise Unsupported("the remainder of a division of floats")
    return g.pointwise("Mod", *node.inputs)


def _bitwise(g: Graph, node: Node) -> Value:
    kind = node.arguments[0]
    if kind > 2:  # a shift, which ONNX has of unsigned integers
        direction = ("LEFT", "RIGHT")[kind - 3]
        return g.pointwise("BitShift", *node.inputs, direction=direction)
    prefix = "" if node.dtype == mx.bool_ else "Bitwise"
    return g.pointwise(prefix + ("And", "Or", "Xor")[kind], *node.inputs)


# ---- shapes ----


def _like(node: Node, value: Value, name: str, dtype: mx.Dtype | None = None) -> Value:
    """The output, in a tensor with its axes in the order of `value`'s."""
    return Value(name, node.shape, dtype or node.dtype, node.shape, value.axes)


def _broadcast(g: Graph, node: Node) -> Value:
    return g.broadcast(node.inputs[0], node.shape)


def _transpose(g: Graph, node: Node) -> Value:
    return g.transpose(node.inputs[0], node.arguments[0])


def _shaped(operator: str) -> Operator:
    """A change of shape, which an array of one number broadcast needs no node for."""

    def shape(g: Graph, node: Node) -> Result:
        x = node.inputs[0]
        if not x.held:
            return g.broadcast(x, node.shape)
        if operator == "Reshape":
            return g.reshape(g.whole(x), node.shape)
        return g.add(operator, g.whole(x), g.ints(node.arguments[0]))

    return shape


def _slice(g: Graph, node: Node) -> Value:
    x = g.full(node.inputs[0])
    columns = zip(range(len(x.shape)), *node.arguments, x.shape, strict=True)
    cut = [(x.axes.index(i), *rest) for i, *rest, n in columns if rest != [0, n, 1]]
    if not cut:
        return x
    places, starts, ends, steps = map(g.ints, zip(*cut, strict=True))
    return _like(node, x, g.add("Slice", x.name, starts, ends, places, steps))


def _pad(g: Graph, node: Node) -> Value:
    x, fill = node.inputs
    axes, low, high = node.arguments
    if not any((*low, *high)):
        return x
    x = g.full(x)
    places = g.ints([x.axes.index(axis) for axis in axes])
    return _like(
        node, x, g.add("Pad", x.name, g.ints((*low, *high)), fill.name, places)
    )


def _concatenate(g: Graph, node: Node) -> Value:
    parts = [g.full(part) for part in node.inputs]
    axes = parts[0].axes
    names = [g.ordered(part, axes) for part in parts]
    place = axes.index(node.arguments[0])
    return _like(node, parts[0], g.add("Concat", *names, axis=place))


def _split(g: Graph, node: Node) -> list[str]:
    axis = node.arguments[1]
    sizes = g.ints([shape[axis] for shape in node.shapes])
    x = g.whole(node.inputs[0])
    return g.add_many("Split", len(node.shapes), x, sizes, axis=axis)


def _arange(g: Graph, node: Node) -> str:
    bounds = start, stop, step = node.arguments
    if not any(isinstance(x, Size) for x in bounds):
        return g.capture(mx.arange(start, stop, step, node.dtype)).name
    if start != 0 or step != 1:
        raise Unsupported("a range up to the number of examples that counts otherwise")
    first, last, one = (g.add("Squeeze", g.ints([n])) for n in (0, stop, 1))
    numbers = g.add("Range", first, last, one)
    return g.add("Cast", numbers, to=element_type(node.dtype))


# ---- indices ----


def _index(g: Graph, value: Value) -> str:
    return g.whole(_cast(g, value, mx.int64))


def _gather(g: Graph, node: Node) -> str:
    """`x[i, j]`: the axes of the indices, then those of `x`."""
    x, *indices = node.inputs
    axes, sizes = node.arguments
    if any(n != (1 if i in axes else x.shape[i]) for i, n in enumerate(sizes)):
        raise Unsupported("a gather of parts of rows")
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    table = g.whole(g.transpose(x, [*axes, *rest]))
    places = [_index(g, index) for index in indices]
    if len(places) == 1:
        return g.reshape(g.add("Gather", table, places[0], axis=0), node.shape)
    columns = [g.add("Unsqueeze", place, g.ints([-1])) for place in places]
    rows = g.add("GatherND", table, g.add("Concat", *columns, axis=-1))
    return g.reshape(rows, node.shape)


def _gather_axis(g: Graph, node: Node) -> str:
    x, index = node.inputs
    axis = node.arguments[0]
    return g.add("GatherElements", g.whole(x), _index(g, index), axis=axis)


def _scatter_axis(g: Graph, node: Node) -> str:
    (x, index, y), (kind, axis) = node.inputs, node.arguments
    given = g.whole(x), _index(g, index), g.whole(y)
    reduction = ("add", "none")[kind]
    return g.add("ScatterElements", *given, axis=axis, reduction=reduction)


def _slice_update(g: Graph, node: Node) -> Value:
    """`x[start:end:step] = y`, where y is spread over x and selected by a mask."""
    (x, y), (kind, starts, _, steps) = node.inputs, node.arguments
    if kind != 4:
        raise Unsupported("an update of a slice other than by new values")
    spread, mask = g.whole(y), np.array(True)
    for axis, (total, size) in enumerate(zip(x.shape, y.shape, strict=True)):
        if size == total and steps[axis] == 1:
            continue
        if isinstance(total, Size) or isinstance(size, Size):
            raise Unsupported("an update of some of the examples")
        places, rests = np.divmod(np.arange(total) - starts[axis], steps[axis])
        inside = (rests == 0) & (places >= 0) & (places < size)
        places = g.constant(np.clip(places, 0, size - 1))
        spread = g.add("Gather", spread, places, axis=axis)
        mask = mask & inside.reshape(-1, *[1] * (len(x.shape) - axis - 1))
    known = g.broadcast(held(g.constant(mask), mask.shape, mx.bool_), x.shape)
    return g.pointwise("Where", known, held(spread, x.shape, x.dtype), x)


# ---- reductions and sorts ----

_REDUCTIONS = ("Min", "Max", "Sum", "Prod", "Min", "Max")  # the first two of bools


def _reduce(g: Graph, node: Node) -> Value:
    kind, axes = node.arguments
    x = _cast(g, g.full(node.inputs[0]), mx.int32 if kind < 2 else node.dtype)
    places = g.ints([x.axes.index(axis) for axis in axes])
    name = g.add(f"Reduce{_REDUCTIONS[kind]}", x.name, places, keepdims=1)
    return _cast(g, _like(node, x, name, x.dtype), node.dtype)


def _log_sum_exp(g: Graph, node: Node) -> str:
    return g.add("ReduceLogSumExp", g.whole(node.inputs[0]), g.ints([-1]), keepdims=1)


def _softmax(g: Graph, node: Node) -> str:
    return g.add("Softmax", g.whole(node.inputs[0]), axis=-1)


def _arg_reduce(g: Graph, node: Node) -> Value:
    (kind, axis), x = node.arguments, g.full(node.inputs[0])
    operator = ("ArgMin", "ArgMax")[kind]
    name = g.add(operator, x.name, axis=x.axes.index(axis), keepdims=1)
    return _cast(g, _like(node, x, name, mx.int64), node.dtype)


def _scan(g: Graph, node: Node) -> str:
    kind, axis, reverse, inclusive = node.arguments
    if kind != 2:
        raise Unsupported("a cumulative operation other than the sum")
    given = g.whole(node.inputs[0]), g.constant(np.array(axis))
    return g.add("CumSum", *given, exclusive=int(not inclusive), reverse=int(reverse))


def _sorted(output: int) -> Operator:
    """The values of a sort, or their indices; a partition is sorted, too."""

    def sort(g: Graph, node: Node) -> Value:
        x, axis = node.inputs[0], node.arguments[-1]
        given = g.whole(x), g.ints([x.shape[axis]])
        name = g.add_many("TopK", 2, *given, axis=axis, largest=0)[output]
        y = held(name, node.shape, (x.dtype, mx.int64)[output])
        return _cast(g, y, node.dtype)

    return sort


# ---- products ----


def _factor(g: Graph, value: Value) -> str:
    """A matrix, or several of which no more than their number is broadcast later."""
    is_whole = len(value.held) > 1 and value.held[-2:] == value.shape[-2:]
    return g.plain(value) if is_whole else g.whole(value)


def _matmul(g: Graph, node: Node) -> str:
    return g.add("MatMul", *[_factor(g, x) for x in node.inputs])


def _addmm(g: Graph, node: Node) -> Value:
    """alpha a b + beta c."""
    a, b, c = node.inputs
    name = g.add("MatMul", _factor(g, a), _factor(g, b))
    scales = (g.scalar(x, node.dtype) for x in node.arguments)
    terms = zip((held(name, node.shape, node.dtype), c), scales, strict=True)
    return g.pointwise("Add", *[g.pointwise("Mul", *term) for term in terms])


def _convolution(g: Graph, node: Node) -> Value:
    """With channels first in ONNX."""
    strides, low, high, dilation, input_dilation, groups, flip = node.arguments
    x, weight = map(g.full, node.inputs)
    spatial = range(1, len(node.shape) - 1)
    first = (0, len(node.shape) - 1, *spatial)
    for axis, gap in zip(spatial, input_dilation, strict=True):
        x = _dilated(g, x, axis, gap) if gap > 1 else x
    kernel = g.ordered(weight, first)
    if flip:
        back, ends = (g.ints([n] * len(spatial)) for n in (-1, -(2**31)))
        places = g.ints([axis + 1 for axis in spatial])
        kernel = g.add("Slice", kernel, back, ends, places, back)
    pads = [*low, *high]
    options = {"strides": strides, "pads": pads, "dilations": dilation, "group": groups}
    name = g.add("Conv", g.ordered(x, first), kernel, **options)
    return Value(name, node.shape, node.dtype, node.shape, first)


def _dilated(g: Graph, x: Value, axis: int, gap: int) -> Value:
    """An array with `gap - 1` zeros between its neighbors on an axis."""
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if isinstance(size, Size):
        raise Unsupported("zeros between examples")
    place, zero = g.ints([axis + 1]), g.scalar(0, x.dtype).name
    columns = g.add("Unsqueeze", g.whole(x), place)
    padded = g.add("Pad", columns, g.ints([0, gap - 1]), zero, place)
    rows = g.reshape(padded, (*before, size * gap, *after))
    end = (size - 1) * gap + 1
    y = g.add("Slice", rows, *[g.ints([n]) for n in (0, end, axis)])
    return held(y, (*before, end, *after), x.dtype)


_POINTWISE = """
    Abs=Abs Add=Add ArcCos=Acos ArcCosh=Acosh ArcSin=Asin ArcSinh=Asinh ArcTan=Atan
    ArcTanh=Atanh Ceil=Ceil Cos=Cos Cosh=Cosh Divide=Div Erf=Erf Exp=Exp Floor=Floor
    Greater=Greater GreaterEqual=GreaterOrEqual Less=Less LessEqual=LessOrEqual
    LogicalAnd=And LogicalNot=Not LogicalOr=Or Maximum=Max Minimum=Min Multiply=Mul
    Negative=Neg Power=Pow Round=Round Select=Where Sigmoid=Sigmoid Sign=Sign Sin=Sin
    Sinh=Sinh Subtract=Sub Tan=Tan Tanh=Tanh
"""

OPERATORS: dict[str, Operator] = {
    **{a: _pointwise(b) for a, b in (x.split("=") for x in _POINTWISE.split())},
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
    "ExpandDims": _shaped("Unsqueeze"),
    "Expm1": _expm1,
    "Flatten": _shaped("Reshape"),
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
    "Reshape": _shaped("Reshape"),
    "Scan": _scan,
    "ScatterAxis": _scatter_axis,
    "Slice": _slice,
    "SliceUpdate": _slice_update,
    "Softmax": _softmax,
    "Sort": _sorted(0),
    "Split": _split,
    "Sqrt": _sqrt,
    "Square": _square,
    "Squeeze": _shaped("Squeeze"),
    "StopGradient": _same,
    "Transpose": _transpose,
    "Unflatten": _shaped("Reshape"),
    "View": _view,
}
