"""Files of ONNX: names, sizes, and what cannot be one."""

import functools
import json
import sys

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import interop, models, nn, random
from tests.onnx_files import assert_computes, run

onnx = pytest.importorskip("onnx")

X = random.normal(random.key(0), (4, 6))
QUANTIZED = mx.quantize(mx.ones((32, 64)))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "function.onnx"


def made(layer):
    params, state = layer.init(random.key(0))
    return params, lambda params, x: layer.apply(params, state, x, train=False)[0]


def graph_of(path):
    return onnx.load(path).graph


def dimensions(value):
    sizes = value.type.tensor_type.shape.dim
    return [size.dim_param or size.dim_value for size in sizes]


def test_inputs_and_outputs_have_the_paths_in_the_trees(path):
    def both(inputs, scale):
        y = inputs["a"] * scale
        return {"sums": mx.sum(y, 1), "parts": [y, inputs["b"]]}

    args = {"a": X, "b": mx.arange(3)}, 2.0
    interop.onnx.export(both, path, *args)
    graph = graph_of(path)
    assert [x.name for x in graph.input] == ["inputs.a", "inputs.b", "scale"]
    assert [x.name for x in graph.output] == ["parts.0", "parts.1", "sums"]
    assert_computes(path, both, *args)


def test_a_result_without_a_path_of_its_own_is_named_result(path):
    interop.onnx.export(lambda x: 2 * x, path, X)
    assert [x.name for x in graph_of(path).output] == ["result"]
    interop.onnx.export(lambda x: (x, {"x": x}), path, X)
    assert [x.name for x in graph_of(path).output] == ["result.0", "result.1.x"]
    interop.onnx.export(lambda x: {"x": x, "y": x}, path, X)
    assert [x.name for x in graph_of(path).output] == ["result.x", "y"]


def test_captured_params_are_initializers_under_their_paths(path):
    params, apply = made(nn.compose(lambda x, fc: fc(x), fc=nn.linear(6, 3)))
    interop.onnx.export(lambda x: apply(params, x), path, X)
    held = {x.name: onnx.numpy_helper.to_array(x) for x in graph_of(path).initializer}
    np.testing.assert_array_equal(held["params.fc.bias"], params["fc"]["bias"])
    weight = held["params.fc.weight.Transpose"]
    np.testing.assert_array_equal(weight, np.array(params["fc"]["weight"]).T)


def test_arrays_of_a_partial_are_named_after_its_parameters(path):
    params, apply = made(nn.linear(6, 3))
    interop.onnx.export(functools.partial(apply, params), path, X)
    names = [x.name for x in graph_of(path).initializer]
    assert sorted(names) == ["params.bias", "params.weight.Transpose"]


def test_params_that_are_arguments_are_inputs(path):
    params, apply = made(nn.linear(6, 3))
    interop.onnx.export(apply, path, params, X, batch_argnums=1)
    names = [x.name for x in graph_of(path).input]
    assert names == ["params.bias", "params.weight", "x"]
    assert_computes(path, apply, params, X[:3])


def test_sizes_that_depend_on_the_batch_are_expressions(path):
    def sizes(x):
        return x, x.reshape(-1), mx.pad(x, ((1, 1), (0, 0))), mx.sum(x, 0)

    interop.onnx.export(sizes, path, X, batch_argnums=0)
    graph = graph_of(path)
    assert dimensions(graph.input[0]) == ["N", 6]
    found = [dimensions(x) for x in graph.output]
    assert found == [["N", 6], ["6*N"], ["N+2", 6], [6]]


def test_one_example_is_enough_to_export_for_many(path):
    params, apply = made(nn.linear(6, 3))

    def fn(x):
        return apply(params, x)

    interop.onnx.export(fn, path, X[:1], batch_argnums=0)
    for count in (1, 3):
        assert_computes(path, fn, X[:count])


def test_feature_maps_keep_their_channels_first(path):
    def block(channels):
        return nn.conv2d(channels, 4, 3, padding=1), nn.batch_norm(4), nn.relu

    params, apply = made(nn.serial(*block(3), *block(4), nn.max_pool2d(2)))
    interop.onnx.export(lambda x: apply(params, x), path, mx.zeros((2, 8, 8, 3)))
    operators = [node.op_type for node in graph_of(path).node]
    assert operators.count("Conv") == 2
    assert operators.count("Transpose") <= 2


def test_what_is_constant_is_computed_at_once(path):
    constants = mx.arange(1, 7)
    interop.onnx.export(lambda x: x * mx.sqrt(constants + 1), path, X)
    assert [node.op_type for node in graph_of(path).node] == ["Mul", "Identity"]


def test_weights_that_are_used_twice_are_held_once(path):
    table = random.normal(random.key(1), (20, 6))
    interop.onnx.export(lambda i: table[i] @ table.T, path, mx.array([1, 2]))
    (held,) = [x for x in graph_of(path).initializer if len(x.dims) == 2]
    assert held.name == "table"


def test_a_file_is_valid_for_each_opset(path):
    params, apply = made(nn.transformer_encoder_layer(6, 2, dim_feedforward=8))
    for opset in (18, onnx.defs.onnx_opset_version()):
        interop.onnx.export(lambda x: apply(params, x), path, X[None], opset=opset)
        assert onnx.load(path).opset_import[0].version == opset
        onnx.checker.check_model(path, full_check=True)


def test_a_file_says_what_it_was_made_from(path):
    interop.onnx.export(lambda x: x + 1, path, X)
    (entry,) = onnx.load(path).metadata_props
    assert json.loads(entry.value)["parameters"] == ["x"]


def test_bfloat16_keeps_its_values(path):
    weight = mx.array([1.5, -2.25]).astype(mx.bfloat16)
    interop.onnx.export(lambda x: x * weight, path, mx.zeros((3, 2), mx.bfloat16))
    (stored,) = graph_of(path).initializer
    assert stored.name == "weight"
    assert onnx.numpy_helper.to_array(stored).astype(float).tolist() == [1.5, -2.25]


def test_captured_arrays_may_be_anywhere(path):
    held = {1: mx.ones(6), "a": mx.array([2.0])}  # no tree, since keys have no order
    view = mx.arange(12.0).reshape(6, 2).T[0]
    interop.onnx.export(lambda x: x * held[1] + held["a"] * view, path, X)
    (got,) = run(path, X).values()
    np.testing.assert_allclose(got, X + 4 * np.arange(6), rtol=1e-6)


def test_a_cache_is_an_argument_and_a_result(path):
    gpt = models.gpt(9, 8, num_layers=2, num_heads=2, d_model=8, cache=(2, 8))
    params, state = gpt.init(random.key(0))

    def step(state, tokens):
        return gpt.apply(params, state, tokens, train=False)

    first, second = mx.array([[3], [5]]), mx.array([[1], [4]])
    interop.onnx.export(step, path, state, first)
    assert_computes(path, step, state, first)
    assert_computes(path, step, step(state, first)[1], second)


def test_a_quantized_layer_has_its_weight_in_floats(path):
    layer = nn.linear(64, 32)
    params = nn.quantize(layer, layer.init(random.key(0))[0])

    def predict(x):
        return layer.apply(params, {}, x, train=False)[0]

    x = random.normal(random.key(1), (3, 64))
    interop.onnx.export(predict, path, x)
    operators = [node.op_type for node in graph_of(path).node]
    assert operators == ["MatMul", "Add", "Identity"]
    assert_computes(path, predict, x)


# ---- errors ----


def test_the_error_of_an_operation_names_it_and_the_weight_before(path):
    params, apply = made(nn.compose(lambda x, fc: fc(x), fc=nn.linear(6, 3)))

    def spectrum(x):
        return mx.abs(mx.fft.fft(apply(params, x)))

    message = r"for MLX's FFT, which `spectrum` computes from `params\.fc\.bias`; write"
    with pytest.raises(ValueError, match=message):
        interop.onnx.export(spectrum, path, X)


def draws(x):
    return x + random.normal(random.key(0), x.shape)


def updates_some_examples(x):
    y = mx.array(x)
    y[:2] = 0
    return y


WITHOUT_OPERATOR = {
    "RandomBits.*; draw outside": draws,
    "FFT, which .* from `x`; write it with other": lambda x: mx.abs(mx.fft.fft(x)),
    "the remainder of a division of floats": lambda x: x % 0.3,
    "an update of some of the examples": updates_some_examples,
    "an update of a slice by anything but": lambda x: x.at[:, 1].add(1.0),
    "a cumulative operation other": lambda x: mx.cumprod(x, 1),
    "a view of an array's bytes": lambda x: x.view(mx.int32),
    "a comparison in which NaN": lambda x: mx.array_equal(x, 2 * x, equal_nan=True),
    "QuantizedMatmul.*; capture the result of mx.dequantize": (
        lambda x: mx.quantized_matmul(mx.zeros((2, 64)), *QUANTIZED)
    ),
    "a range over the batch": lambda x: mx.arange(0, 2 * len(x), 2),
}


@pytest.mark.parametrize("message", WITHOUT_OPERATOR)
def test_what_has_no_operator_is_an_error(path, message):
    with pytest.raises(ValueError, match=f"ONNX has no operator for .*{message}"):
        interop.onnx.export(WITHOUT_OPERATOR[message], path, X, batch_argnums=0)


DEPENDENT = {
    r"5 parts of the graph for 4 examples and 6 parts of the graph for 5": (
        lambda x: sum(x[i] for i in range(len(x)))
    ),
    r"the constant 0\.25 for 4 examples and the constant 0\.2": lambda x: mx.mean(x, 0),
    r"'Multiply' for 4 examples and 'Add' for 1025": (
        lambda x: x + 2 if len(x) > 100 else x * 2
    ),
    r"the constant \[0, 1, 2, 3\] for 4": lambda x: (
        x + mx.array([*range(len(x))])[:, None]
    ),
}


@pytest.mark.parametrize("got", DEPENDENT)
def test_values_that_depend_on_the_number_of_examples_are_an_error(path, got):
    message = f"number of examples only by the sizes of arrays, got {got}.*; leave"
    with pytest.raises(ValueError, match=message):
        interop.onnx.export(DEPENDENT[got], path, X, batch_argnums=0)


def test_an_operator_that_an_opset_lacks_is_an_error(path):
    params, apply = made(nn.conv2d(3, 4, 3))
    half = {name: x.astype(mx.bfloat16) for name, x in params.items()}
    x = mx.zeros((2, 5, 5, 3), mx.bfloat16)
    with pytest.raises(ValueError, match=r"opset 18 .* try a later opset, .*bfloat16"):
        interop.onnx.export(lambda x: apply(half, x), path, x)
    interop.onnx.export(lambda x: apply(half, x), path, x, opset=22)


def test_too_many_weights_are_an_error(path, monkeypatch):
    monkeypatch.setattr("lucid_fn.interop.onnx.model._LIMIT", 100)
    params, apply = made(nn.linear(6, 6))
    with pytest.raises(ValueError, match=r"less than 2 GiB, got .* as an argument"):
        interop.onnx.export(lambda x: apply(params, x), path, X)


def test_a_refused_export_leaves_the_old_file(path):
    path.write_text("old")
    with pytest.raises(ValueError, match="no operator"):
        interop.onnx.export(draws, path, X)
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_missing_package_is_an_error_that_says_how_to_install_it(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnx.defs", None)
    with pytest.raises(ImportError, match=r"pip install 'lucid-fn\[onnx\]'"):
        interop.onnx.export(lambda x: x, path, X)


@pytest.mark.parametrize("opset", [17, 99])
def test_an_unknown_opset_is_an_error(path, opset):
    with pytest.raises(ValueError, match=f"opset must be from 18 to .*, got {opset}"):
        interop.onnx.export(lambda x: x, path, X, opset=opset)


def test_no_result_is_an_error(path):
    with pytest.raises(ValueError, match="must return at least one array, got none"):
        interop.onnx.export(lambda x: None, path, X)


def test_a_value_that_is_read_is_an_error(path):
    with pytest.raises(TypeError, match="needs the value of an array"):
        interop.onnx.export(lambda x: x * mx.sum(x).item(), path, X)


def test_names_of_torch_are_explained(path):
    with pytest.raises(TypeError, match="opset"):
        interop.onnx.export(lambda x: x, path, X, opset_version=18)
