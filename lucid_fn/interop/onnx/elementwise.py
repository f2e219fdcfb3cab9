"""Elementwise MLX primitives in ONNX: the table `ELEMENTWISE`."""

import mlx.core as mx
import numpy as np

from lucid_fn.interop.onnx.graph import Graph, Value
from lucid_fn.interop.onnx.node import Node, Operator, Unsupported


def _pointwise(operator: str) -> Operator:
    return lambda g, node: g.pointwise(operator, *node.inputs)


def _identity(g: Graph, node: Node) -> Value:
    return node.inputs[0]


def _as_type(g: Graph, node: Node) -> Value:
    return g.cast(node.inputs[0], node.dtype)


def _view(g: Graph, node: Node) -> Value:
    dtypes = node.inputs[0].dtype, node.dtype
    are_integers = all(mx.issubdtype(dtype, mx.integer) for dtype in dtypes)
    if not are_integers or dtypes[0].size != dtypes[1].size:
        raise Unsupported("a view of an array's bytes as another dtype")
    return _as_type(g, node)  # which keeps the bits of integers of equal size


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
    rest = g.pointwise("Mod", a, b)  # has the sign of b
    return g.pointwise("Div", g.pointwise("Sub", a, rest), b)


def _remainder(g: Graph, node: Node) -> Value:
    if mx.issubdtype(node.dtype, mx.floating):
        raise Unsupported("the remainder of a division of floats")
    return g.pointwise("Mod", *node.inputs)


def _bitwise(g: Graph, node: Node) -> Value:
    kind = node.arguments[0]
    if kind > 2:  # a shift; ONNX has it for unsigned integers
        direction = ("LEFT", "RIGHT")[kind - 3]
        return g.pointwise("BitShift", *node.inputs, direction=direction)
    prefix = "" if node.dtype == mx.bool_ else "Bitwise"
    return g.pointwise(prefix + ("And", "Or", "Xor")[kind], *node.inputs)


_POINTWISE = """
    Abs=Abs Add=Add ArcCos=Acos ArcCosh=Acosh ArcSin=Asin ArcSinh=Asinh ArcTan=Atan
    ArcTanh=Atanh Ceil=Ceil Cos=Cos Cosh=Cosh Divide=Div Erf=Erf Exp=Exp Floor=Floor
    Greater=Greater GreaterEqual=GreaterOrEqual Less=Less LessEqual=LessOrEqual
    LogicalAnd=And LogicalNot=Not LogicalOr=Or Maximum=Max Minimum=Min Multiply=Mul
    Negative=Neg Power=Pow Round=Round Select=Where Sigmoid=Sigmoid Sign=Sign Sin=Sin
    Sinh=Sinh Subtract=Sub Tan=Tan Tanh=Tanh
"""

ELEMENTWISE: dict[str, Operator] = {
    **{a: _pointwise(b) for a, b in (x.split("=") for x in _POINTWISE.split())},
    "AsType": _as_type,
    "BitwiseBinary": _bitwise,
    "Copy": _identity,
    "Equal": _equal,
    "Expm1": _expm1,
    "FloorDivide": _floor_divide,
    "Full": _identity,
    "Log": _log,
    "Log1p": _log1p,
    "LogAddExp": _log_add_exp,
    "NotEqual": _not_equal,
    "Remainder": _remainder,
    "Sqrt": _sqrt,
    "Square": _square,
    "StopGradient": _identity,
    "View": _view,
}
