"""MLX's primitives in ONNX: the table `OPERATORS`."""

import mlx.core as mx
import numpy as np

from lucid_fn.interop.onnx.elementwise import ELEMENTWISE
from lucid_fn.interop.onnx.graph import Graph, Value, element_type, whole_value
from lucid_fn.interop.onnx.node import Node, Operator, Result, Unsupported
from lucid_fn.interop.onnx.trace import Size


def translate(g: Graph, node: Node) -> list[Value]:
    """Add the nodes for a primitive, and return its outputs."""
    if node.name not in OPERATORS:
        raise Unsupported(f"MLX's {node.name}")
    made = OPERATORS[node.name](g, node)
    if isinstance(made, Value):
        return [made._replace(dtype=node.dtype)]
    names = made if isinstance(made, list) else [made]
    pairs = zip(names, node.shapes, strict=True)
    return [whole_value(name, shape, node.dtype) for name, shape in pairs]


# ---- shapes ----


def _like(node: Node, value: Value, name: str, dtype: mx.Dtype | None = None) -> Value:
    """The node's output, in a tensor with the axis order of `value`."""
    return Value(name, node.shape, dtype or node.dtype, node.shape, value.axes)


def _broadcast(g: Graph, node: Node) -> Value:
    return g.broadcast(node.inputs[0], node.shape)


def _transpose(g: Graph, node: Node) -> Value:
    return g.transpose(node.inputs[0], node.arguments[0])


def _shaped(operator: str) -> Operator:
    """A change of shape; a broadcast scalar needs no node for it."""

    def shape(g: Graph, node: Node) -> Result:
        x = node.inputs[0]
        if not x.stored:
            return g.broadcast(x, node.shape)
        if operator == "Reshape":
            return g.reshape(g.materialize(x), node.shape)
        return g.add(operator, g.materialize(x), g.ints(node.arguments[0]))

    return shape


def _slice(g: Graph, node: Node) -> Value:
    x = g.expand(node.inputs[0])
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
    x = g.expand(x)
    places = g.ints([x.axes.index(axis) for axis in axes])
    return _like(
        node, x, g.add("Pad", x.name, g.ints((*low, *high)), fill.name, places)
    )


def _concatenate(g: Graph, node: Node) -> Value:
    parts = [g.expand(part) for part in node.inputs]
    axes = parts[0].axes
    names = [g.ordered(part, axes) for part in parts]
    place = axes.index(node.arguments[0])
    return _like(node, parts[0], g.add("Concat", *names, axis=place))


def _split(g: Graph, node: Node) -> list[str]:
    axis = node.arguments[1]
    sizes = g.ints([shape[axis] for shape in node.shapes])
    x = g.materialize(node.inputs[0])
    return g.add_many("Split", len(node.shapes), x, sizes, axis=axis)


def _arange(g: Graph, node: Node) -> str:
    bounds = start, stop, step = node.arguments
    if not any(isinstance(x, Size) for x in bounds):
        return g.capture(mx.arange(start, stop, step, node.dtype)).name
    if start != 0 or step != 1:
        raise Unsupported("a range over the batch that does not count 0, 1, 2, ...")
    first, last, one = (g.add("Squeeze", g.ints([n])) for n in (0, stop, 1))
    numbers = g.add("Range", first, last, one)
    return g.add("Cast", numbers, to=element_type(node.dtype))


# ---- indices ----


def _index(g: Graph, value: Value) -> str:
    return g.materialize(g.cast(value, mx.int64))


def _gather(g: Graph, node: Node) -> str:
    """`x[i, j]`: the axes of the indices, then the remaining axes of `x`."""
    x, *indices = node.inputs
    axes, sizes = node.arguments
    if any(n != (1 if i in axes else x.shape[i]) for i, n in enumerate(sizes)):
        raise Unsupported("a gather of parts of rows")
    rest = [axis for axis in range(len(x.shape)) if axis not in axes]
    table = g.materialize(g.transpose(x, [*axes, *rest]))
    places = [_index(g, index) for index in indices]
    if len(places) == 1:
        return g.reshape(g.add("Gather", table, places[0], axis=0), node.shape)
    columns = [g.add("Unsqueeze", place, g.ints([-1])) for place in places]
    rows = g.add("GatherND", table, g.add("Concat", *columns, axis=-1))
    return g.reshape(rows, node.shape)


def _gather_axis(g: Graph, node: Node) -> str:
    x, index = node.inputs
    axis = node.arguments[0]
    return g.add("GatherElements", g.materialize(x), _index(g, index), axis=axis)


def _scatter_axis(g: Graph, node: Node) -> str:
    (x, index, y), (kind, axis) = node.inputs, node.arguments
    given = g.materialize(x), _index(g, index), g.materialize(y)
    reduction = ("add", "none")[kind]
    return g.add("ScatterElements", *given, axis=axis, reduction=reduction)


def _slice_update(g: Graph, node: Node) -> Value:
    """`x[start:end:step] = y`: spread y over x by gathers, then select by a mask."""
    (x, y), (kind, starts, _, steps) = node.inputs, node.arguments
    if kind != 4:
        raise Unsupported("an update of a slice by anything but new values")
    spread, mask = g.materialize(y), np.array(True)
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
    known = g.broadcast(whole_value(g.constant(mask), mask.shape, mx.bool_), x.shape)
    return g.pointwise("Where", known, whole_value(spread, x.shape, x.dtype), x)


# ---- reductions and sorts ----

_REDUCTIONS = ("Min", "Max", "Sum", "Prod", "Min", "Max")  # the first two: all, any


def _reduce(g: Graph, node: Node) -> Value:
    kind, axes = node.arguments
    x = g.cast(g.expand(node.inputs[0]), mx.int32 if kind < 2 else node.dtype)
    places = g.ints([x.axes.index(axis) for axis in axes])
    name = g.add(f"Reduce{_REDUCTIONS[kind]}", x.name, places, keepdims=1)
    return g.cast(_like(node, x, name, x.dtype), node.dtype)


def _log_sum_exp(g: Graph, node: Node) -> str:
    return g.add(
        "ReduceLogSumExp", g.materialize(node.inputs[0]), g.ints([-1]), keepdims=1
    )


def _softmax(g: Graph, node: Node) -> str:
    return g.add("Softmax", g.materialize(node.inputs[0]), axis=-1)


def _arg_reduce(g: Graph, node: Node) -> Value:
    (kind, axis), x = node.arguments, g.expand(node.inputs[0])
    operator = ("ArgMin", "ArgMax")[kind]
    name = g.add(operator, x.name, axis=x.axes.index(axis), keepdims=1)
    return g.cast(_like(node, x, name, mx.int64), node.dtype)


def _scan(g: Graph, node: Node) -> str:
    kind, axis, reverse, inclusive = node.arguments
    if kind != 2:
        raise Unsupported("a cumulative operation other than the sum")
    given = g.materialize(node.inputs[0]), g.constant(np.array(axis))
    return g.add("CumSum", *given, exclusive=int(not inclusive), reverse=int(reverse))


def _sorted(output: int) -> Operator:
    """The values of a sort (0) or their indices (1); partitions are sorted too."""

    def sort(g: Graph, node: Node) -> Value:
        x, axis = node.inputs[0], node.arguments[-1]
        given = g.materialize(x), g.ints([x.shape[axis]])
        name = g.add_many("TopK", 2, *given, axis=axis, largest=0)[output]
        y = whole_value(name, node.shape, (x.dtype, mx.int64)[output])
        return g.cast(y, node.dtype)

    return sort


# ---- products ----


def _factor(g: Graph, value: Value) -> str:
    """A tensor for `MatMul`, which broadcasts batch axes but not matrices."""
    is_whole = len(value.stored) > 1 and value.stored[-2:] == value.shape[-2:]
    return g.untransposed(value) if is_whole else g.materialize(value)


def _matmul(g: Graph, node: Node) -> str:
    return g.add("MatMul", *[_factor(g, x) for x in node.inputs])


def _addmm(g: Graph, node: Node) -> Value:
    """alpha a @ b + beta c."""
    a, b, c = node.inputs
    name = g.add("MatMul", _factor(g, a), _factor(g, b))
    scales = (g.scalar(x, node.dtype) for x in node.arguments)
    terms = zip((whole_value(name, node.shape, node.dtype), c), scales, strict=True)
    return g.pointwise("Add", *[g.pointwise("Mul", *term) for term in terms])


def _convolution(g: Graph, node: Node) -> Value:
    """A convolution, channels-first in ONNX."""
    strides, low, high, dilation, input_dilation, groups, flip = node.arguments
    x, weight = map(g.expand, node.inputs)
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
    """Insert `gap - 1` zeros between neighbors on an axis."""
    before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if isinstance(size, Size):
        raise Unsupported("zeros between examples")
    place, zero = g.ints([axis + 1]), g.scalar(0, x.dtype).name
    columns = g.add("Unsqueeze", g.materialize(x), place)
    padded = g.add("Pad", columns, g.ints([0, gap - 1]), zero, place)
    rows = g.reshape(padded, (*before, size * gap, *after))
    end = (size - 1) * gap + 1
    y = g.add("Slice", rows, *[g.ints([n]) for n in (0, end, axis)])
    return whole_value(y, (*before, end, *after), x.dtype)


OPERATORS: dict[str, Operator] = {
    **ELEMENTWISE,
    "AddMM": _addmm,
    "Arange": _arange,
    "ArgPartition": _sorted(1),
    "ArgReduce": _arg_reduce,
    "ArgSort": _sorted(1),
    "Broadcast": _broadcast,
    "Concatenate": _concatenate,
    "Convolution": _convolution,
    "ExpandDims": _shaped("Unsqueeze"),
    "Flatten": _shaped("Reshape"),
    "Gather": _gather,
    "GatherAxis": _gather_axis,
    "LogSumExp": _log_sum_exp,
    "Matmul": _matmul,
    "Pad": _pad,
    "Partition": _sorted(0),
    "Reduce": _reduce,
    "Reshape": _shaped("Reshape"),
    "Scan": _scan,
    "ScatterAxis": _scatter_axis,
    "Slice": _slice,
    "SliceUpdate": _slice_update,
    "Softmax": _softmax,
    "Sort": _sorted(0),
    "Split": _split,
    "Squeeze": _shaped("Squeeze"),
    "Transpose": _transpose,
    "Unflatten": _shaped("Reshape"),
}
