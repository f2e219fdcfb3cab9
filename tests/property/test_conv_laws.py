"""What holds for every convolution, whatever formulation computes it."""

from collections.abc import Callable

import mlx.core as mx
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from lucid_fn.cpu import runtime
from lucid_fn.ops.conv import Geometry
from tests.convolutions import (
    WINOGRAD_BOUND,
    Case,
    case,
    cases,
    formulations,
    relative_error,
)

SECOND_ORDER_BOUND = 1e-4  # sums of products of sums, with a sine in between


def _three(case: Case, formulation) -> list[mx.array]:
    x, weight, g, geometry = case.x, case.weight, case.g, case.geometry
    return [
        formulation.forward(x, weight, geometry),
        formulation.input_grad(g, weight, geometry),
        formulation.weight_grad(x, g, geometry),
    ]


@given(st.one_of(cases(), cases(winograd=True), cases(groups=2), cases(groups=3)))
@settings(max_examples=40)
@pytest.mark.parametrize("packs", [False, True])
def test_all_formulations_agree_with_the_plain_one(packs, case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "packs_small_products", lambda: packs)
        _assert_formulations_agree(case)


def _assert_formulations_agree(case: Case) -> None:
    found = formulations(case.geometry)
    plain = _three(case, found["plain"][0])
    for name, (formulation, bound) in found.items():
        for ours, theirs in zip(_three(case, formulation), plain, strict=True):
            assert relative_error(ours, theirs) < bound, name


@given(cases())
@settings(max_examples=10)
def test_both_gradients_are_the_adjoints_of_the_convolution(case):
    # <conv(x, w), g> = <x, input_grad(g, w)> = <w, weight_grad(x, g)>
    y, dx, dw = _three(case, formulations(case.geometry)["gemm"][0])
    product = mx.sum(y * case.g)
    size = mx.sum(mx.abs(y * case.g)).item() or 1.0
    assert abs((mx.sum(case.x * dx) - product).item()) < 1e-5 * size
    assert abs((mx.sum(case.weight * dw) - product).item()) < 1e-5 * size


def test_the_gradient_of_a_dilated_weight_has_its_shape():
    sizes = Geometry((1, 1), (1, 1), (3, 1), ((2, 0), (0, 0)), (1, 2), groups=1)
    _assert_formulations_agree(case(sizes, 1, 1, 1, 0))


def _geometry(size, kernel, stride=1, padding=0, dilation=1, groups=1) -> Geometry:
    return Geometry(
        (size, size + 1),
        (kernel, kernel),
        (stride, stride),
        ((padding, padding), (padding, padding)),
        (dilation, dilation),
        groups,
    )


CHOSEN = {  # one a formulation, both gradients of it included
    "winograd": case(_geometry(9, 3, padding=1), 2, 16, 17),
    "gemm": case(_geometry(7, 3, stride=2, padding=1), 2, 16, 18),
    "pointwise": case(_geometry(4, 1), 2, 16, 16),
    "toeplitz": case(_geometry(12, 5), 2, 2, 3),
    "sharded": case(_geometry(25, 3, stride=2, padding=1), 2, 3, 20),
    "few outputs": case(_geometry(7, 3, stride=2), 2, 17, 2),
    "dilated": case(_geometry(9, 3, dilation=2), 2, 16, 16),
    "dilated and padded": case(_geometry(9, 3, padding=4, dilation=4), 2, 16, 17),
    "dilated with a stride": case(_geometry(9, 3, stride=2, dilation=2), 2, 16, 16),
    "grouped": case(_geometry(6, 3, padding=1, groups=2), 2, 4, 6),
    "depthwise": case(_geometry(6, 3, padding=1, groups=3), 2, 3, 6),
}


def _loss(case: Case) -> Callable[[mx.array, mx.array], mx.array]:
    def loss(x: mx.array, weight: mx.array) -> mx.array:
        return mx.sum(mx.sin(ops.conv2d(x, weight / 4, **case.options)))

    return loss


def _agree(found, expected, bound: float = WINOGRAD_BOUND) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(ours, theirs) < bound


@pytest.fixture(params=CHOSEN)
def chosen(request) -> Case:
    return CHOSEN[request.param]


def test_a_gradient_of_gradients_is_that_of_the_plain_formulation(chosen):
    def penalty(x: mx.array, weight: mx.array) -> mx.array:
        dx, dw = mx.grad(_loss(chosen), argnums=(0, 1))(x, weight)
        return mx.sum(dx * mx.cos(x)) + mx.sum(mx.square(dw))

    second = mx.grad(penalty, argnums=(0, 1))
    with ops.plain():
        expected = second(chosen.x, chosen.weight)
    _agree(second(chosen.x, chosen.weight), expected, SECOND_ORDER_BOUND)


def test_a_directional_derivative_is_linear_in_both_arguments(chosen):
    x, weight = chosen.x, chosen.weight
    conv = lambda x, weight: ops.conv2d(x, weight, **chosen.options)  # noqa: E731
    (found,) = mx.jvp(conv, [x, weight], [x + 1, 2 * weight])[1]
    expected = conv(x + 1, weight) + conv(x, 2 * weight)
    assert relative_error(found, expected) < WINOGRAD_BOUND


def test_forward_over_reverse_is_reverse_over_reverse(chosen):
    slope = lambda x: mx.grad(_loss(chosen))(x, chosen.weight)  # noqa: E731
    direction = mx.cos(chosen.x)
    (found,) = mx.jvp(slope, [chosen.x], [direction])[1]
    expected = mx.grad(lambda x: mx.sum(slope(x) * direction))(chosen.x)
    assert relative_error(found, expected) < WINOGRAD_BOUND


def test_mapped_gradients_are_those_of_each_example(chosen):
    slopes = mx.grad(_loss(chosen), argnums=(0, 1))
    one = lambda x: slopes(x[None], chosen.weight)  # noqa: E731
    found = mx.vmap(one)(chosen.x)
    each = [one(example) for example in chosen.x]
    _agree(found, [mx.stack(parts) for parts in zip(*each, strict=True)])


def test_mapped_weights_are_a_loop_over_weights(chosen):
    slopes = mx.grad(_loss(chosen), argnums=(0, 1))
    weights = mx.stack([chosen.weight, chosen.weight + 1])
    found = mx.vmap(slopes, in_axes=(None, 0))(chosen.x, weights)
    each = [slopes(chosen.x, weight) for weight in weights]
    _agree(found, [mx.stack(parts) for parts in zip(*each, strict=True)])


def test_a_gradient_through_a_map_is_a_sum_of_gradients(chosen):
    loss = _loss(chosen)
    mapped = lambda w: mx.sum(mx.vmap(lambda x: loss(x[None], w))(chosen.x))  # noqa: E731
    expected = mx.grad(loss, argnums=1)(chosen.x, chosen.weight)
    assert relative_error(mx.grad(mapped)(chosen.weight), expected) < WINOGRAD_BOUND
