"""Operations that MLX vectorizes wrongly are refused, and no others."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import random
from tests.assertions import assert_close

X = mx.arange(12, dtype=mx.int32).reshape(4, 3) % 5
SHARED = mx.array([1, 2, 3], mx.int32)


def assigned(x, value):
    y = x * 1
    y[1] = value
    return y


WRONG = {
    "and": (lambda x: x & SHARED, "computes a & b"),
    "and of a constant": (lambda x: x & 1, "computes a & b"),
    "or": (lambda x: SHARED | x, r"computes a \| b"),
    "xor": (lambda x: mx.bitwise_xor(x, SHARED), r"computes a \^ b"),
    "left shift": (lambda x: SHARED << x, "computes a << b"),
    "right shift": (lambda x: x >> SHARED, "computes a >> b"),
    "unequal": (lambda x: mx.not_equal(SHARED, x), "write a != b"),
    "assignment": (lambda x: assigned(x, 5), "write mx.where"),
    "maximum of a part": (lambda x: x.at[1].maximum(5), "assigns what all"),
    "dynamic update": (
        lambda x: mx.slice_update(x, SHARED[:1], mx.array([1]), [0]),
        "assigns what all",
    ),
    "divmod": (lambda x: mx.divmod(x, 2)[0], "write a // b and a % b"),
    "addmm": (
        lambda x: mx.addmm(x * 1.0, mx.ones((1, 2)), mx.ones((2, 3))),
        r"write a @ b \+ c",
    ),
}

RIGHT = {
    "both sides": lambda x: x & (x + 1),
    "spread": lambda x: x & mx.where(True, SHARED, x),
    "shift of a spread constant": lambda x: mx.where(True, 1, x) << x,
    "unequal, batch first": lambda x: x != SHARED,
    "assigned from the example": lambda x: assigned(x, x[0] + 1),
    "assigned to a shared array": lambda x: assigned(SHARED, x[0]),
    "shared sides only": lambda x: x + (SHARED & 1),
    "logical": lambda x: mx.logical_or(x > 2, SHARED > 2),
    "addmm of a batch": lambda x: mx.addmm(mx.ones(2), x * 1.0, mx.ones((3, 2))),
    "scattered": lambda x: x.at[mx.array([0, 2])].add(SHARED[:2]),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("wrap", [lf.vmap, lambda fn: lf.jit(lf.vmap(fn))])
def test_an_operation_with_a_wrong_rule_is_refused_with_another_to_write(case, wrap):
    fn, message = WRONG[case]
    with pytest.raises(ValueError, match=f"vmap: .*{message}"):
        wrap(fn)(X)


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("axis", [0, 1])
def test_an_operation_with_a_right_rule_equals_a_loop(case, axis):
    fn = RIGHT[case]
    x = X if axis == 0 else X.T
    expected = mx.stack([fn(row) for row in X])
    assert mx.array_equal(lf.vmap(fn, in_axes=axis)(x), expected)


def test_the_derivative_of_an_assignment_is_refused():
    def loss(x):
        return mx.sum(assigned(x, x[0] * x[2]) ** 2)

    x = X.astype(mx.float32)
    with pytest.raises(ValueError, match=r"vmap: `loss` .* differentiates such"):
        lf.vmap(lf.grad(loss))(x)
    with pytest.raises(ValueError, match="jacrev: `<lambda>` assigns"):
        lf.jacrev(lambda x: assigned(x, x[0] * x[2]) ** 2)(x[0])


def test_a_forward_jacobian_of_an_assignment_is_right():
    x = mx.array([2.0, 3.0, 5.0])
    expected = [[1, 0, 0], [5, 0, 2], [0, 0, 1]]
    found = lf.jacfwd(lambda x: assigned(x, x[0] * x[2]))(x)
    assert_close(found, mx.array(expected, mx.float32))


def test_the_rule_of_a_custom_derivative_is_looked_through_as_well():
    masked = lf.custom_vjp(lambda x: x * 2)
    masked.defvjp(
        lambda x: (x * 2, x.astype(mx.int32)),
        lambda x, g: (g * (x & 1).astype(g.dtype),),
    )
    with pytest.raises(ValueError, match="vmap: the rule of a custom derivative comp"):
        lf.grad(lambda x: mx.sum(lf.vmap(masked)(x)))(X.astype(mx.float32))


def test_a_batch_at_any_axis_goes_through_expanded_axes():
    x = mx.arange(24).reshape(2, 3, 4)
    for axis in (0, 1, 2):
        found = lf.vmap(lambda x: mx.expand_dims(x, (0, 2)), in_axes=axis)(x)
        rows = mx.moveaxis(x, axis, 0)
        assert mx.array_equal(found, rows[:, None, :, None])


def test_vectorizations_inside_one_another_are_looked_through():
    def pairs(row):
        return lf.vmap(lambda x: x & row)(X)

    with pytest.raises(ValueError, match="computes a & b"):
        lf.vmap(pairs)(X)


def test_labels_of_any_layout_give_the_keys_of_a_loop():
    key, labels = random.key(0), mx.arange(16)[::2]  # strided: MLX's shift misreads it
    found = lf.vmap(lambda label: random.fold_in(key, label))(labels)
    expected = [random.fold_in(key, label) for label in labels.tolist()]
    assert mx.array_equal(found, mx.stack(expected))
