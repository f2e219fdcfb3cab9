"""Nothing is asked of a GPU that MLX implements on CPUs only.

No GPU is needed: the graphs of what GPUs compute are listed, operation by operation.
Factorizations of matrices, and what needs float64, move to the CPU and back.
"""

import ast
import io
import re
from collections import Counter
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import losses, models, nn, optim, random, train, tree
from lucid_fn.ops import mlx_transforms
from tests.registry.activations import ACTIVATIONS
from tests.registry.case import over
from tests.registry.data import AUGMENTATIONS
from tests.registry.layers import LAYERS
from tests.registry.losses import LOSSES
from tests.registry.metrics import METRICS
from tests.registry.models import MODELS
from tests.registry.optimizers import OPTIMIZERS
from tests.registry.schedules import SCHEDULES

# What throws on Metal or CUDA (mlx/backend/metal/primitives.cpp, cuda/primitives.cpp).
CPU_ONLY = {"LUF", "QRF", "SVD", "Inverse", "Cholesky", "Eig", "Eigh"}
CPU_ONLY_DTYPES = {mx.float64}
# A scatter into numbers of 8 bytes is refused on GPUs (mlx/ops.cpp).
SCATTERS = {"Scatter", "ScatterAxis", "MaskedScatter"}
# A kernel of Metal has 31 buffers (mlx/backend/metal/compiled.cpp): inputs, outputs,
# strides, shape and the number of axes.
MOST_BUFFERS, BESIDE_ARRAYS = 31, 3

# These look at an array in another way, and compute nothing.
VIEWS = {"Broadcast", "ExpandDims", "Reshape", "Slice", "Squeeze", "Transpose"}
VIEWS |= {"Flatten", "Unflatten", "StopGradient", "CustomTransforms", "Contiguous"}


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))


def operations(fn, *args):
    """The names, and the dtypes of the results, of all operations in a graph."""
    leaves, structure = tree.flatten(args)
    found = []

    def flat(*arrays):
        with mlx_transforms.exporting(arrays[0]):
            return tree.leaves(fn(*tree.unflatten(structure, list(arrays))))

    def look(seen):
        if seen["type"] == "primitive":
            dtypes = [dtype for _, _, dtype in seen["outputs"]]
            found.append((seen["name"], dtypes))

    mx.export_function(look, flat, *leaves)
    return found


def compiled(fn, *args):
    """What `mx.compile` makes of a function, in the dot language."""
    leaves, structure = tree.flatten(args)
    mx.eval(leaves)

    def flat(arrays):
        return tree.leaves(fn(*tree.unflatten(structure, list(arrays))))

    names = {f"given{i}": leaf for i, leaf in enumerate(leaves)}
    written = io.StringIO()
    mx.export_to_dot(written, *mx.compile(flat)(leaves), **names)
    return written.getvalue()


def buffers(fn, *args):
    """How many buffers each kernel has that `mx.compile` makes of some operations."""
    graph = compiled(fn, *args)
    # Other arrays that nothing computes are constants, which are written into kernels.
    constants = set(re.findall(r'rank=source; "([A-Z]+)"', graph))
    read = {(x, kernel) for x, kernel in re.findall(r'"(\w+)" -> (\d+)', graph)}
    arrays = Counter(kernel for x, kernel in read if x not in constants)
    arrays.update(re.findall(r'(\d+) -> "', graph))
    for kernel in re.findall(r'\{ (\d+) \[label ="Compiled', graph):
        yield arrays[kernel] + BESIDE_ARRAYS


def check(fn, *args):
    found = operations(fn, *args)
    assert found
    for name, dtypes in found:
        assert name not in CPU_ONLY
        assert not CPU_ONLY_DTYPES.intersection(dtypes)
        assert name not in SCATTERS or all(dtype.size < 8 for dtype in dtypes)
    assert max(buffers(fn, *args), default=0) <= MOST_BUFFERS


def test_what_gpus_refuse_is_noticed():
    x = mx.eye(2)
    for fn in (
        lambda x: mx.linalg.inv(x, stream=mx.cpu),
        lambda x: x.astype(mx.float64) + 1,
        lambda x: mx.zeros(2, mx.int64).at[mx.array([0])].add(1) + x.astype(mx.int64),
    ):
        with pytest.raises(AssertionError):
            check(fn, x)


def test_a_kernel_of_too_many_buffers_is_noticed():
    """`mx.compile` stops at 24 inputs, but for those that wait higher up in a tree."""

    def pairwise(*arrays):
        while len(arrays) > 1:
            arrays = [a + b for a, b in zip(arrays[::2], arrays[1::2], strict=True)]
        return arrays[0]

    check(pairwise, *[mx.full((2, 3), i) for i in range(128)])
    with pytest.raises(AssertionError):
        check(pairwise, *[mx.full((2, 3), i) for i in range(256)])


def with_gradients(model, x):
    params, state = model.init(random.key(0))

    def step(params, state, x, key):
        def loss(params):
            y, new_state = model.apply(params, state, x, train=True, key=key)
            floats = [y for y in tree.leaves(y) if mx.issubdtype(y.dtype, mx.floating)]
            return sum(map(mx.sum, floats)), (y, new_state)

        if not tree.leaves(params):
            return loss(params)
        return lf.value_and_grad(loss, has_aux=True)(params)

    return step, params, state, x, random.key(1)


@over(LAYERS)
def test_layers_and_their_gradients(case):
    check(*with_gradients(case.make(), *case.inputs(np.random.default_rng(0))))


# Others are made of the same layers, of many of them.
SMALL = {"lenet5", "gpt", "bert", "vit", "unet"}


@over([case for case in MODELS if case.name in SMALL])
def test_models_and_their_gradients(case):
    check(*with_gradients(case.make(), *case.inputs(np.random.default_rng(0))))


@over(LOSSES)
def test_losses_and_their_gradients(case):
    predictions, *others = case.inputs(np.random.default_rng(0))

    def step(predictions, *others):
        return lf.grad(lambda x: mx.sum(case.make()(x, *others)))(predictions)

    check(step, predictions, *others)


@pytest.mark.parametrize("fn", ACTIVATIONS, ids=lambda fn: fn.__name__)
def test_activations_and_their_gradients(fn):
    check(lf.value_and_grad(lambda x: mx.sum(fn(x))), mx.ones((3, 4)))


@over(OPTIMIZERS)
def test_updates_of_optimizers(case):
    optimizer = case.make()
    params = {"weight": mx.ones((3, 4)), "other": mx.ones((4, 2))}
    check(optimizer.update, params, optimizer.init(params), params)


def test_a_training_step_of_many_leaves():
    model = nn.serial(*[nn.linear(3, 3) for _ in range(30)])
    clipped = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-3))
    optimizer = optim.apply_if_finite(optim.dynamic_loss_scale(clipped))
    loss = losses.softmax_cross_entropy
    ts = train.init(model, optimizer, random.key(0))
    with lf.disable_jit():
        step = train.make_step(model, optimizer, loss)
        check(step, ts, mx.ones((4, 3)), mx.array([0, 1, 2, 0]))


def test_a_training_step_of_lenet_is_few_operations():
    model, optimizer = models.lenet5(), optim.adamw(1e-3)
    ts = train.init(model, optimizer, random.key(0))
    with lf.disable_jit():
        step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
        graph = compiled(step, ts, mx.zeros((64, 28, 28, 1)), mx.zeros(64, mx.int32))
    found = re.findall(r'\[label ="(\w+)"', graph)
    assert sum(name not in VIEWS for name in found) <= 75  # 59 with mlx.nn


@over(METRICS)
def test_metrics(case):
    check(case.make(), *case.inputs(np.random.default_rng(0)))


@over(SCHEDULES)
def test_schedules(case):
    check(case.make(), mx.array(3))


@over(AUGMENTATIONS)
def test_augmentations(case):
    check(case.make(), random.key(0), *case.inputs(np.random.default_rng(0)))


DRAWS = {
    "bernoulli": (0.5, (3,)),
    "beta": (2.0, 3.0, (3,)),
    "categorical": (mx.zeros((2, 3)),),
    "choice": (5, (3,)),
    "dirichlet": (mx.ones(3),),
    "exponential": ((3,),),
    "fold_in": ("name",),
    "gamma": (2.0, (3,)),
    "gumbel": ((3,),),
    "laplace": ((3,),),
    "normal": ((3,),),
    "permutation": (5,),
    "poisson": (3.0, (3,)),
    "randint": ((3,),),
    "split": (3,),
    "truncated_normal": ((3,),),
    "uniform": ((3,),),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name):
    options = {"high": mx.array(9)} if name == "randint" else {}
    draw = getattr(random, name)
    check(lambda key: draw(key, *DRAWS[name], **options), random.key(0))


def test_all_draws_are_tried():
    on_the_cpu = {"multivariate_normal"}
    assert DRAWS.keys() | on_the_cpu | {"key"} == set(random.__all__)


def test_factorizations_are_asked_of_the_cpu():
    """`ops.linalg` moves there as a whole; elsewhere each call says so."""
    root = Path(lf.__file__).parent
    for path in root.rglob("*.py"):
        if root / "cpu" in path.parents or path == root / "ops" / "linalg.py":
            continue
        code = path.read_text()
        if "mx.linalg." not in code:
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and "mx.linalg." in ast.unparse(node.func):
                assert "stream=mx.cpu" in ast.unparse(node), (path, node.lineno)
