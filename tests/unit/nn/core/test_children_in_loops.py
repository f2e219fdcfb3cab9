"""Children of `nn.compose` that its `forward` calls inside of a loop."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random

X = mx.arange(8.0).reshape(2, 4)

LOOPS: dict[str, Callable[[Any, Any], Any]] = {
    "scan": lambda a, x: lf.scan(lambda h, _: (a(h), None), x, length=2)[0],
    "fori_loop": lambda a, x: lf.fori_loop(0, 2, lambda i, h: a(h), x),
    "map": lambda a, x: lf.map(a, mx.stack([x, x]))[0],
    "while_loop": lambda a, x: lf.while_loop(
        lambda c: c[0] < 2, lambda c: (c[0] + 1, a(c[1])), (0, x)
    )[1],
    "cond": lambda a, x: lf.jit(lambda x: lf.cond(mx.sum(x) > 0, a, mx.sin, x))(x),
    "vmap": lambda a, x: lf.vmap(a)(mx.stack([x, x]))[0],
}
CHILDREN = {
    "draws random numbers": nn.dropout(0.5),
    "changes its state": nn.batch_norm(4),
}


@pytest.mark.parametrize("fault", CHILDREN)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_child_that_draws_or_has_a_state_is_refused(loop: str, fault: str) -> None:
    layer = nn.compose(lambda x, a: LOOPS[loop](a, x), a=CHILDREN[fault])
    params, state = layer.init(random.key(0))
    with pytest.raises(ValueError, match=f"'a' is called inside of {loop}.*{fault}"):
        layer.apply(params, state, X, train=True, key=random.key(1))


@pytest.mark.parametrize("fault", CHILDREN)
def test_it_is_refused_where_jit_is_disabled_too(fault: str) -> None:
    layer = nn.compose(lambda x, a: LOOPS["scan"](a, x), a=CHILDREN[fault])
    params, state = layer.init(random.key(0))
    with lf.disable_jit(), pytest.raises(ValueError, match=fault):
        layer.apply(params, state, X, train=True, key=random.key(1))


@pytest.mark.parametrize("child", [nn.linear(4, 4), *CHILDREN.values()])
@pytest.mark.parametrize("loop", LOOPS)
def test_a_child_that_does_neither_is_called_in_loops(
    loop: str, child: nn.Layer
) -> None:
    layer = nn.compose(lambda x, a: LOOPS[loop](a, x), a=child)
    params, state = layer.init(random.key(0))
    train = not state and bool(params)  # as only the linear layer can
    y, _ = layer.apply(params, state, X, train=train, key=random.key(1))
    p, s = params.get("a", {}), state.get("a", {})

    def alone(x: Any) -> Any:
        return child.apply(p, s, x, train=train, key=random.key(1))[0]

    assert mx.allclose(y, LOOPS[loop](alone, X), atol=1e-6).item()


def test_a_whole_layer_inside_of_a_loop_may_draw_with_the_key_of_its_turn() -> None:
    layer = nn.compose(lambda x, a: a(x), a=nn.dropout(0.5))

    def turn(key: Any) -> Any:
        return layer.apply({}, {}, X, train=True, key=key)[0]

    keys = random.split(random.key(0), 3)
    assert lf.map(turn, keys).tolist() == [turn(key).tolist() for key in keys]


def test_a_condition_that_can_be_read_lets_a_child_keep_its_state() -> None:
    layer = nn.compose(
        lambda x, a: lf.cond(mx.array(True), a, mx.sin, x), a=nn.batch_norm(4)
    )
    params, state = layer.init(random.key(0))
    after = layer.apply(params, state, X, train=True)[1]
    assert after["a"]["running_mean"].tolist() != [0, 0, 0, 0]
