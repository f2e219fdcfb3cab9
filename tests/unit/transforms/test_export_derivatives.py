"""Derivatives in exported functions are those of the plain formulations."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, nn, ops, random, tree
from tests.assertions import assert_close

X = mx.array([0.3, -1.2, 0.7, 2.0])
W = mx.array([[0.5, -0.2, 0.1, 0.3], [0.2, 0.4, -0.6, 0.1], [1.0, 0.3, 0.2, -0.4]])

reversal = lf.custom_vjp(mx.sin)
reversal.defvjp(lambda x: (mx.sin(x), x), lambda x, g: (-g * mx.cos(x),))

steep = lf.custom_jvp(lambda x: mx.logaddexp(x, mx.array(0.0)))
steep.defjvp(lambda p, t: (steep(p[0]), 3 * t[0] * mx.sigmoid(p[0])))


def scalar(x):
    hidden = ops.gelu(ops.linear(x, W))
    return mx.sum(ops.softmax(hidden * reversal(hidden)) ** 2) + mx.sum(steep(hidden))


def vector(x):
    return ops.tanh(ops.linear(x, W)) * ops.silu(x[:3])


def ones_like(x):
    return mx.ones(x.shape)


DERIVATIVES = {
    "grad": lf.grad(scalar),
    "value_and_grad": lf.value_and_grad(scalar),
    "aux": lf.grad(lambda x: (scalar(x), {"vector": vector(x)}), has_aux=True),
    "vjp": lambda x: lf.vjp(vector, x)[1](mx.ones(3)),
    "jvp": lambda x: lf.jvp(vector, (x,), (x,)),
    "jacrev": lf.jacrev(vector),
    "jacfwd": lf.jacfwd(vector),
    "hessian": lf.hessian(scalar),
    "hvp": lambda x: lf.hvp(scalar, (x,), (x,)),
    "grad of grad": lf.grad(lambda x: mx.sum(lf.grad(scalar)(x) ** 2)),
    "third": lf.grad(
        lambda x: mx.sum(
            lf.grad(lambda x: mx.sum(lf.grad(lambda x: mx.sum(ops.gelu(x)))(x)))(x)
        )
    ),
    "vmap of grad": lambda x: lf.vmap(lf.grad(scalar))(mx.stack([x, 2 * x])),
    "grad of vmap": lf.grad(lambda x: mx.sum(lf.vmap(scalar)(mx.stack([x, 2 * x])))),
    "of no argument": lambda x: x + lf.grad(scalar)(mx.ones(4)),
    "constant": lf.grad(lambda x: mx.sum(x * ones_like(x))),
    "through jit": lf.jit(lf.grad(lf.jit(scalar))),
    "checkpoint": lf.grad(lf.checkpoint(scalar)),
    "unmapped": lambda x: lf.vmap(lambda y: y * mx.sum(ops.tanh(x)))(x),
    "unmapped params": lf.grad(
        lambda x: mx.sum(lf.vmap(lambda y: y * ops.tanh(x))(mx.ones(2)) ** 2)
    ),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_an_exported_derivative_is_the_plain_one(tmp_path, name):
    fn = DERIVATIVES[name]
    with ops.plain():
        expected = fn(X)
    lf.export(fn, tmp_path / "fn.mlxfn", X)
    got = lf.load_exported(tmp_path / "fn.mlxfn")(X)
    assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_gradients_of_several_models_at_once_are_exported(tmp_path, key):
    model = nn.serial(nn.conv2d(2, 4, 3), nn.batch_norm(4), nn.relu, nn.flatten)
    layer = nn.serial(model, nn.linear(64, 5))
    keys, x = random.split(key, 3), random.normal(key, (2, 6, 6, 2))
    params, state = lf.vmap(layer.init)(keys)

    def loss(params, state, x):
        logits, _ = layer.apply(params, state, x, train=True)
        return losses.cross_entropy(logits, mx.array([1, 3]))

    grads = lf.vmap(lf.grad(loss), in_axes=(0, 0, None))
    with ops.plain():
        expected = grads(params, state, x)
    lf.export(grads, tmp_path / "fn.mlxfn", params, state, x)
    got = lf.load_exported(tmp_path / "fn.mlxfn")(params, state, x)
    assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_operations_that_no_derivative_needs_are_not_in_the_file(tmp_path):
    """The loss alone is differentiated, not what is returned besides."""

    def size(fn):
        lf.export(fn, tmp_path / "fn.mlxfn", X)
        return (tmp_path / "fn.mlxfn").stat().st_size

    def with_aux(x):
        return mx.sum(ops.tanh(x)), ops.softmax(ops.gelu(x))

    both = size(lambda x: (lf.grad(lambda x: mx.sum(ops.tanh(x)))(x), with_aux(x)[1]))
    assert size(lf.grad(with_aux, has_aux=True)) <= both + 500


def test_a_trees_gradients_have_its_structure(tmp_path):
    params = {"b": X[:3], "w": W}
    grad = lf.grad(lambda p, x: mx.sum(ops.tanh(ops.linear(x, p["w"], p["b"]))))
    lf.export(grad, tmp_path / "fn.mlxfn", params, X)
    got = lf.load_exported(tmp_path / "fn.mlxfn")(params, X)
    assert tree.paths(got) == ["b", "w"]


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: lf.cond(x.sum() < 9, lambda x: mx.sin(x).sum(), lambda x: x.sum(), x),
        lambda x: lf.scan(
            lambda c, _: (mx.sin(c) * x, None), x, None, length=4, checkpoint_every=2
        )[0].sum(),
    ],
    ids=["cond", "scan with checkpoint_every"],
)
def test_derivatives_of_control_flow_are_exported(fn, tmp_path):
    x = mx.array([0.5, 1.0, 2.0])
    lf.export(lf.grad(fn), tmp_path / "grad.mlxfn", x)
    got = lf.load_exported(tmp_path / "grad.mlxfn")(x)
    assert mx.allclose(got, lf.grad(fn)(x), rtol=1e-5)
