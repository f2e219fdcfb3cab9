import mlx.core as mx
import pytest

from lucid_fn import testing


def test_close_trees_pass_and_distant_ones_fail():
    a = {"w": mx.array([1.0, 2.0]), "h": mx.array([1.0], mx.bfloat16)}
    testing.assert_close(a, a)
    with pytest.raises(AssertionError, match="w"):
        testing.assert_close(a, {**a, "w": mx.array([1.0, 2.1])})


def test_structures_are_compared_with_shapes_and_dtypes():
    testing.assert_same_structure({"w": mx.zeros(2)}, {"w": mx.ones(2)})
    with pytest.raises(AssertionError, match=r"w: .*float32 \(2,\) is not .*\(3,\)"):
        testing.assert_same_structure({"w": mx.zeros(2)}, {"w": mx.ones(3)})
    with pytest.raises(AssertionError, match=r"dict\(w\) and dict\(v\)"):
        testing.assert_same_structure({"w": mx.zeros(2)}, {"v": mx.ones(2)})


def test_the_leaf_that_is_not_finite_is_named():
    testing.assert_finite({"w": mx.zeros(2)})
    with pytest.raises(AssertionError, match=r"not finite: b\.0"):
        testing.assert_finite({"a": mx.zeros(2), "b": [mx.array([float("nan")])]})


def test_a_function_that_changes_its_argument_is_not_pure():
    def impure(x):
        x[0] = 5.0
        return x

    with pytest.raises(AssertionError):
        testing.check_pure(impure, mx.zeros(3))


def test_a_function_with_a_memory_is_not_pure():
    calls = []

    def impure(x):
        calls.append(1)
        return x * len(calls)

    with pytest.raises(AssertionError):
        testing.check_pure(impure, mx.ones(3))


def test_a_right_gradient_passes_and_a_wrong_one_fails():
    testing.check_grads(lambda p: mx.sum(mx.sin(p["w"])), {"w": mx.arange(5.0)})

    @mx.custom_function
    def wrong(x):
        return mx.sum(x**2)

    @wrong.vjp
    def wrong_vjp(x, cotangent, output):
        return 3 * x * cotangent

    with pytest.raises(AssertionError, match="the gradient gives"):
        testing.check_grads(lambda p: wrong(p["w"]), {"w": mx.arange(1.0, 5.0)})


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("w", [mx.array(1.5), mx.array([1.0, 2.0])])
def test_half_a_gradient_is_found_with_any_seed(seed, w):
    def half(params):
        return mx.sum(mx.stop_gradient(params["w"]) * params["w"])

    with pytest.raises(AssertionError, match="the gradient gives"):
        testing.check_grads(half, {"w": w}, seed=seed)
