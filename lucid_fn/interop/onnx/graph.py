"""The graph of an ONNX model under construction."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.interop.onnx.trace import Shape, Size
from lucid_fn.types import Array

_FEW = 64  # elements of a constant that may be there twice


class Value(NamedTuple):
    """An array of MLX's graph, as a tensor of the ONNX graph holds it.

    What is only transposed or broadcast is held as it was before. Most operators take
    it so: feature maps keep their channels first from one convolution to the next, and
    a bias has no other axes than its own.
    """

    name: str
    shape: Shape
    dtype: mx.Dtype
    held: Shape  # before it is broadcast to `shape`
    axes: tuple[int, ...]  # those of the array, in the tensor's order

    @property
    def is_full(self) -> bool:
        return self.held == self.shape


def held(name: str, shape: Shape, dtype: mx.Dtype) -> Value:
    """An array that a tensor holds as it is."""
    return Value(name, shape, dtype, shape, tuple(range(len(shape))))


def element_type(dtype: mx.Dtype) -> int:
    """ONNX's number for a dtype."""
    from onnx import TensorProto  # here and below, since few programs need it

    name = str(dtype).removeprefix("mlx.core.")
    name = {"float32": "float", "float64": "double"}.get(name, name)
    return getattr(TensorProto, name.upper())  # type: ignore[no-any-return]  # untyped


def numpy_dtype(dtype: mx.Dtype) -> np.dtype[Any]:
    """NumPy's dtype, of which onnx has one for bfloat16."""
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
    """The outputs of a node."""
    from onnx.reference import ReferenceEvaluator

    given = dict(zip(node.input, values, strict=True))
    with np.errstate(all="ignore"):
        return [np.asarray(y) for y in ReferenceEvaluator(node).run(None, given)]


class Graph:
    """Nodes and constants.

    Args:
        inputs: their names.
        outputs: their names.
        batch: the name of an input with the batch on axis 0, if there is one.
    """

    def __init__(
        self, inputs: Sequence[str], outputs: Sequence[str], batch: str | None
    ) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._inputs, self._batch = inputs, batch
        # What a tensor is made of, and what captured array a constant is made of.
        self._sources: dict[str, list[str]] = {x: [] for x in (*inputs, *outputs)}
        self._captured: dict[str, str] = {}
        self._shared: set[str] = set()  # constants that are used as they are, too
        self._made: dict[Any, list[str]] = {}  # names, by all that makes a tensor

    def _unused(self, name: str) -> str:
        names = (f"{name}_{i}" if i else name for i in range(len(self._sources) + 1))
        return next(name for name in names if name not in self._sources)

    # ---- constants ----

    def capture(
        self, array: Array, name: str | None = None, *, shared: bool = False
    ) -> Value:
        """A constant of MLX's graph.

        Args:
            array: its values.
            name: what its user calls it.
            shared: whether several operations take it, so that a transposed copy for
                one of them would be in the file besides.
        """
        is_bfloat16 = array.dtype == mx.bfloat16  # which NumPy lacks
        bits = np.array(array.view(mx.uint16) if is_bfloat16 else array)
        values = bits.view(numpy_dtype(array.dtype))
        stored = self.constant(values, name)
        if name is not None:
            self._captured[stored] = stored
        if shared and values.size > _FEW:
            self._shared.add(stored)
        return held(stored, array.shape, array.dtype)

    def constant(self, values: NDArray[Any], name: str | None = None) -> str:
        key: Any = None
        if name is None and values.size <= _FEW:
            key = values.dtype, values.shape, values.tobytes()
            if key in self._made:
                return self._made[key][0]
        stored = self._unused(name or "constant")
        self.constants[stored] = values
        self._sources[stored] = []
        if key is not None:
            self._made[key] = [stored]
        return stored

    def scalar(self, number: float, dtype: mx.Dtype) -> Value:
        return held(self.constant(np.array(number, numpy_dtype(dtype))), (), dtype)

    def ints(self, sizes: Sequence[int | Size]) -> str:
        """A vector of sizes, computed where they depend on the batch."""
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
        """The outputs of a node.

        They are computed if all that it takes is constant, unless that would make the
        file larger.
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
            outputs.append(self._unused(base))
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
        """Gives an array the name of an output."""
        self.nodes.append(_node("Identity", [self.whole(value)], [name], {}))

    def nearest(self, values: Sequence[Value]) -> str | None:
        """The captured array or input by which what is here was computed last."""
        names = [value.name for value in values]
        for name in names:  # which grows
            if name in self._captured or name in self._inputs:
                return self._captured.get(name, name)
            names += [x for x in self._sources[name] if x not in names]
        return None

    # ---- arrays ----

    def broadcast(self, value: Value, shape: Shape) -> Value:
        """The array in a larger shape, which no node makes as long as none needs it."""
        if len(shape) == len(value.shape):
            return value._replace(shape=shape)
        axes = tuple(range(len(shape)))
        return value._replace(name=self.plain(value), shape=shape, axes=axes)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """The array with its axes in this order, which the tensor gets when need be."""
        shape = tuple(value.shape[axis] for axis in axes)
        if not value.held:
            return value._replace(shape=shape)
        if len(value.held) < len(shape):
            sizes = (1,) * (len(shape) - len(value.held)) + value.held
            value = value._replace(name=self.reshape(value.name, sizes), held=sizes)
        places = tuple(list(axes).index(axis) for axis in value.axes)
        sizes = tuple(value.held[axis] for axis in axes)
        return value._replace(shape=shape, held=sizes, axes=places)

    def reshape(self, name: str, shape: Shape) -> str:
        """A tensor in another shape, of which one size may depend on the batch."""
        varying = [isinstance(size, Size) for size in shape]
        if sum(varying) == 1:
            shape = tuple(-1 if isinstance(size, Size) else size for size in shape)
        return self.add("Reshape", name, self.ints(shape))

    def ordered(self, value: Value, axes: tuple[int, ...]) -> str:
        """A tensor with the axes of the array in this order, and broadcast later."""
        if not value.held or value.axes == axes:
            return value.name
        name, lacking = value.name, len(axes) - len(value.held)
        if lacking:
            name = self.reshape(name, (1,) * lacking + value.held)
        order = [value.axes.index(axis) for axis in axes]
        return self.add("Transpose", name, perm=order)

    def plain(self, value: Value) -> str:
        """A tensor with the axes in their order, but maybe to be broadcast."""
        return self.ordered(value, tuple(range(len(value.shape))))

    def full(self, value: Value) -> Value:
        """The array, which is broadcast if it was still to be."""
        if value.is_full:
            return value
        name = self.add("Expand", self.plain(value), self.ints(value.shape))
        return held(name, value.shape, value.dtype)

    def whole(self, value: Value) -> str:
        """A tensor that is the array."""
        return self.plain(self.full(value))

    def pointwise(self, operator: str, *values: Value, **attributes: Any) -> Value:
        """An elementwise operator, with the axes in the order of the largest tensor."""
        shape = max((value.shape for value in values), key=len)
        plain = tuple(range(len(shape)))
        of_full_rank = [value for value in values if len(value.shape) == len(shape)]
        largest = max(of_full_rank, key=lambda x: (x.is_full, x.axes != plain))
        axes = largest.axes
        names = [self.ordered(value, axes) for value in values]
        rank = max(len(value.held) for value in values)
        sizes = [(1,) * (rank - len(value.held)) + value.held for value in values]
        columns = zip(*sizes, strict=True)
        joint = tuple(next((n for n in column if n != 1), 1) for column in columns)
        name = self.add(operator, *names, **attributes)
        return Value(name, shape, values[-1].dtype, joint, axes)
