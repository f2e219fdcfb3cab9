"""The graph of an ONNX model under construction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.interop.onnx.trace import Shape, Size
from lucid_fn.types import Array

_SMALL = 64  # elements; constants up to this size are deduplicated, and may be copied


class Value(NamedTuple):
    """An array of MLX's graph, stored as a tensor of the ONNX graph.

    Transposes and broadcasts are lazy: the tensor stays as it is until an operator
    needs the array itself, which most do not. So feature maps stay channels-first from
    one convolution to the next, and a bias is not expanded.
    """

    name: str  # of the tensor
    shape: Shape
    dtype: mx.Dtype
    stored: Shape  # the array's shape before it is broadcast to `shape`
    axes: tuple[int, ...]  # the array's axes in the tensor's order

    @property
    def is_expanded(self) -> bool:
        return self.stored == self.shape


def whole_value(name: str, shape: Shape, dtype: mx.Dtype) -> Value:
    """An array that is stored without a pending transpose or broadcast."""
    return Value(name, shape, dtype, shape, tuple(range(len(shape))))


def element_type(dtype: mx.Dtype) -> int:
    """ONNX's number for a dtype."""
    from onnx import TensorProto  # optional dependency: imported where it is used

    name = str(dtype).removeprefix("mlx.core.")
    name = {"float32": "float", "float64": "double"}.get(name, name)
    return getattr(TensorProto, name.upper())  # type: ignore[no-any-return]  # untyped


def numpy_dtype(dtype: mx.Dtype) -> np.dtype[Any]:
    """The NumPy dtype; for bfloat16 it is the one that onnx defines."""
    from onnx.helper import tensor_dtype_to_np_dtype

    found: np.dtype[Any] = tensor_dtype_to_np_dtype(element_type(dtype))
    return found


def _node(
    operator: str,
    inputs: Sequence[str],
    outputs: list[str],
    attributes: dict[str, Any],
) -> Any:
    from onnx.helper import make_node

    return make_node(operator, inputs, outputs, outputs[0], **attributes)


def _computed(node: Any, values: list[NDArray[Any]]) -> list[NDArray[Any]]:
    """Evaluate a node with ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator

    given = dict(zip(node.input, values, strict=True))
    with np.errstate(all="ignore"):
        return [np.asarray(y) for y in ReferenceEvaluator(node).run(None, given)]


class Graph:
    """The nodes and constants of an ONNX graph.

    Args:
        inputs: names of the inputs.
        outputs: names of the outputs.
        batch: name of an input with the batch on axis 0, if there is one.
    """

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], batch: str | None
    ) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._inputs, self._batch = inputs, batch
        # The tensors that a tensor is made from; the captured array of a constant.
        self._sources: dict[str, list[str]] = {x: [] for x in (*inputs, *outputs)}
        self._captured: dict[str, str] = {}
        self._shared: set[str] = set()  # constants with several users
        self._made: dict[Any, list[str]] = {}  # existing tensors, for reuse

    def _unique(self, name: str) -> str:
        names = (f"{name}_{i}" if i else name for i in range(len(self._sources) + 1))
        return next(name for name in names if name not in self._sources)

    # ---- constants ----

    def capture(
        self, array: Array, name: str | None = None, *, shared: bool = False
    ) -> Value:
        """Add a constant of MLX's graph.

        Args:
            array: its values.
            name: its name in the user's code.
            shared: whether several operations use it. If so it is not folded into a
                transposed copy, which would be stored in addition.
        """
        is_bfloat16 = array.dtype == mx.bfloat16  # which NumPy lacks
        bits = np.array(array.view(mx.uint16) if is_bfloat16 else array)
        values = bits.view(numpy_dtype(array.dtype))
        stored = self.constant(values, name)
        if name is not None:
            self._captured[stored] = stored
        if shared and values.size > _SMALL:
            self._shared.add(stored)
        return whole_value(stored, array.shape, array.dtype)

    def constant(self, values: NDArray[Any], name: str | None = None) -> str:
        key: Any = None
        if name is None and values.size <= _SMALL:
            key = values.dtype, values.shape, values.tobytes()
            if key in self._made:
                return self._made[key][0]
        stored = self._unique(name or "constant")
        self.constants[stored] = values
        self._sources[stored] = []
        if key is not None:
            self._made[key] = [stored]
        return stored

    def scalar(self, number: float, dtype: mx.Dtype) -> Value:
        return whole_value(
            self.constant(np.array(number, numpy_dtype(dtype))), (), dtype
        )

    def ints(self, sizes: Sequence[int | Size]) -> str:
        """A vector of sizes, computed in the graph if they depend on the batch."""
        pairs = [x if isinstance(x, Size) else Size(0, x) for x in sizes]
        slopes, offsets = np.array(pairs, np.int64).reshape(-1, 2).T
        if self._batch is None or not slopes.any():
            return self.constant(offsets)
        vector = self.add("Shape", self._batch, start=0, end=1)
        if len(slopes) > 1 or slopes[0] != 1:
            vector = self.add("Mul", vector, self.constant(slopes))
        if offsets.any():
            vector = self.add("Add", vector, self.constant(offsets))
        return vector

    # ---- nodes ----

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(
        self, operator: str, count: int, *inputs: str, **attributes: Any
    ) -> list[str]:
        """Add a node and return its outputs.

        A node with constant inputs is folded, unless that makes the file larger.
        """
        key = operator, inputs, repr(attributes)
        if key in self._made:
            return self._made[key]
        is_copy = operator == "Transpose" and inputs[0] in self._shared
        are_constant = all(x in self.constants for x in inputs)
        folded = are_constant and operator != "Expand" and not is_copy
        origin = next((self._captured[x] for x in inputs if x in self._captured), None)
        base = f"{origin}.{operator}" if folded and origin else operator
        outputs: list[str] = []
        for _ in range(count):
            outputs.append(self._unique(base))
            self._sources[outputs[-1]] = list(inputs)
        node = _node(operator, inputs, outputs, attributes)
        if folded:
            values = _computed(node, [self.constants[name] for name in inputs])
            self.constants.update(zip(outputs, values, strict=True))
            self._captured.update(dict.fromkeys(outputs, origin) if origin else {})
        else:
            self.nodes.append(node)
        self._made[key] = outputs
        return outputs

    def output(self, value: Value, name: str) -> None:
        """Name an array as an output of the graph."""
        self.nodes.append(_node("Identity", [self.materialize(value)], [name], {}))

    def nearest(self, values: Sequence[Value]) -> str | None:
        """The closest captured array or input on which the values depend."""
        names = [value.name for value in values]
        for name in names:  # breadth first: the list grows
            if name in self._captured or name in self._inputs:
                return self._captured.get(name, name)
            names += [x for x in self._sources[name] if x not in names]
        return None

    # ---- arrays ----

    def broadcast(self, value: Value, shape: Shape) -> Value:
        """Broadcast an array to a larger shape, lazily."""
        if len(shape) == len(value.shape):
            return value._replace(shape=shape)
        axes = tuple(range(len(shape)))
        return value._replace(name=self.untransposed(value), shape=shape, axes=axes)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Permute the axes of an array, lazily."""
        shape = tuple(value.shape[axis] for axis in axes)
        if not value.stored:
            return value._replace(shape=shape)
        if len(value.stored) < len(shape):
            sizes = (1,) * (len(shape) - len(value.stored)) + value.stored
            value = value._replace(name=self.reshape(value.name, sizes), stored=sizes)
        places = tuple(list(axes).index(axis) for axis in value.axes)
        sizes = tuple(value.stored[axis] for axis in axes)
        return value._replace(shape=shape, stored=sizes, axes=places)

    def reshape(self, name: str, shape: Shape) -> str:
        """Reshape a tensor; sizes may depend on the batch."""
        varying = [isinstance(size, Size) for size in shape]
        if sum(varying) == 1:
            shape = tuple(-1 if isinstance(size, Size) else size for size in shape)
        return self.add("Reshape", name, self.ints(shape))

    def ordered(self, value: Value, axes: tuple[int, ...]) -> str:
        """A tensor with the array's axes in this order, not expanded."""
        if not value.stored or value.axes == axes:
            return value.name
        name, lacking = value.name, len(axes) - len(value.stored)
        if lacking:
            name = self.reshape(name, (1,) * lacking + value.stored)
        order = [value.axes.index(axis) for axis in axes]
        return self.add("Transpose", name, perm=order)

    def untransposed(self, value: Value) -> str:
        """A tensor with the array's axes in their own order, not expanded."""
        return self.ordered(value, tuple(range(len(value.shape))))

    def expand(self, value: Value) -> Value:
        """Execute a pending broadcast."""
        if value.is_expanded:
            return value
        name = self.add("Expand", self.untransposed(value), self.ints(value.shape))
        return whole_value(name, value.shape, value.dtype)

    def materialize(self, value: Value) -> str:
        """A tensor that equals the array, with nothing pending."""
        return self.untransposed(self.expand(value))

    def cast(self, value: Value, dtype: mx.Dtype) -> Value:
        """Convert an array to another dtype."""
        if value.dtype == dtype:
            return value
        to = element_type(dtype)
        return self.pointwise("Cast", value, to=to)._replace(dtype=dtype)

    def pointwise(self, operator: str, *values: Value, **attributes: Any) -> Value:
        """An elementwise operator, computed in the axis order of the largest tensor."""
        shape = max((value.shape for value in values), key=len)
        plain = tuple(range(len(shape)))
        of_full_rank = [value for value in values if len(value.shape) == len(shape)]
        largest = max(of_full_rank, key=lambda x: (x.is_expanded, x.axes != plain))
        axes = largest.axes
        names = [self.ordered(value, axes) for value in values]
        rank = max(len(value.stored) for value in values)
        sizes = [(1,) * (rank - len(value.stored)) + value.stored for value in values]
        columns = zip(*sizes, strict=True)
        joint = tuple(next((n for n in column if n != 1), 1) for column in columns)
        name = self.add(operator, *names, **attributes)
        return Value(name, shape, values[-1].dtype, joint, axes)
