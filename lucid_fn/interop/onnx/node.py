"""The interface of the functions that translate MLX's primitives to ONNX."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.interop.onnx.graph import Graph, Value
from lucid_fn.interop.onnx.trace import Shape


class Node(NamedTuple):
    """A call of an MLX primitive."""

    name: str
    arguments: list[Any]
    inputs: list[Value]
    shapes: list[Shape]  # of the outputs
    dtype: mx.Dtype

    @property
    def shape(self) -> Shape:
        return self.shapes[0]


class Unsupported(Exception):
    """An operation for which ONNX has no operator."""


# The outputs, as values or by the names of tensors that equal them.
Result: TypeAlias = str | Value | list[str]
Operator: TypeAlias = Callable[[Graph, Node], Result]
