"""Every layer and model becomes a file of ONNX that computes the same."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import interop, random, tree
from tests.onnx_files import assert_computes
from tests.registry.case import over
from tests.registry.layer_case import COUNT
from tests.registry.layers import LAYERS
from tests.registry.models import MODELS

# What they are made of is in cifar_resnet18 and max_pool2d.
DEEP = ("resnet18", "resnet34", "resnet50")


def more(x):
    """Another number of examples."""
    return tree.map(lambda leaf: mx.concatenate([leaf, leaf[:1], leaf]), x)


def in_eval_mode(case):
    """A layer's function of its input, and an input."""
    layer = case.make()
    params, state = layer.init(random.key(0))
    # Biases and scales that are not zeros and ones, as they are in the beginning.
    leaves, structure = tree.flatten(params)
    keys = random.split(random.key(1), max(len(leaves), 1))
    params = tree.unflatten(
        structure,
        [
            leaf + 0.01 * random.normal(k, leaf.shape)
            for leaf, k in zip(leaves, keys, strict=False)
        ],
    )
    (x,) = case.inputs(np.random.default_rng(0))
    return lambda x: layer.apply(params, state, x, train=False)[0], x


@over(LAYERS, COUNT)
def test_onnxruntime_computes_a_layer_for_any_number_of_examples(case, tmp_path):
    fn, x = in_eval_mode(case)
    path = tmp_path / "layer.onnx"
    interop.onnx.export(fn, path, x, batch_argnums=0)
    assert_computes(path, fn, more(x))


@pytest.mark.parametrize(
    "case", [c for c in LAYERS if COUNT in c.exempt], ids=lambda case: case.name
)
def test_onnxruntime_computes_a_layer_for_the_exported_number_of_examples(
    case, tmp_path
):
    fn, x = in_eval_mode(case)
    path = tmp_path / "layer.onnx"
    interop.onnx.export(fn, path, x)
    assert_computes(path, fn, x)
    with pytest.raises(ValueError, match=r"only by the sizes of arrays|must have"):
        interop.onnx.export(fn, path, x, batch_argnums=0)


@over([case for case in MODELS if case.name not in DEEP])
def test_onnxruntime_computes_a_model_for_any_number_of_examples(case, tmp_path):
    fn, x = in_eval_mode(case)
    path = tmp_path / "model.onnx"
    interop.onnx.export(fn, path, x, batch_argnums=0)
    assert_computes(path, fn, more(x))
