"""Cells, and `scan` over sequences."""

import mlx.core as mx
import pytest

from lucid_fn import nn, random, tree

CELLS = {
    nn.rnn_cell: nn.rnn,
    nn.gru_cell: nn.gru,
    nn.lstm_cell: nn.lstm,
}


@pytest.mark.parametrize("make", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_scanned_cell_is_the_layer(make, bias, key):
    params, _ = make(3, 4, bias=bias).init(key)
    x = random.normal(key, (2, 5, 3))
    (y, carry), _ = nn.scan(make(3, 4, bias=bias)).apply(params, {}, x, train=False)
    renamed = {f"{name}_l0": leaf for name, leaf in params.items()}
    (expected, end), _ = CELLS[make](3, 4, bias=bias).apply(renamed, {}, x, train=False)
    assert mx.allclose(y, expected, atol=1e-6)
    for a, b in zip(tree.leaves(carry), tree.leaves(end), strict=True):
        assert mx.allclose(a, b[:, 0], atol=1e-6)


@pytest.mark.parametrize("make", CELLS)
def test_other_inputs_of_cells_are_errors(make, key):
    cell = make(3, 4)
    held = cell.init(key)
    for shape in [(3,), (2, 4), (2, 5, 3)]:
        with pytest.raises(
            ValueError, match=rf"{make.__name__}: x must have shape \(N, 3\), got"
        ):
            cell.apply(*held, mx.ones(shape), train=False)


def test_a_carry_of_a_cell_has_its_shape(key):
    cell = nn.gru_cell(3, 4)
    wrong = nn.SequenceAndCarry(mx.ones((2, 3)), mx.zeros((2, 5)))
    with pytest.raises(
        ValueError, match=r"gru_cell: carry must have shape \(2, 4\), got \(2, 5\)"
    ):
        cell.apply(*cell.init(key), wrong, train=False)


def total(inputs):
    return nn.SequenceAndCarry(*[inputs.carry + inputs.sequence] * 2)


def test_scan_goes_backwards():
    x = nn.SequenceAndCarry(mx.array([[1.0, 2.0, 4.0]]), mx.array([0.5]))
    (y, carry), _ = nn.scan(nn.lift(total), reverse=True).apply({}, {}, x, train=False)
    assert y.tolist() == [[7.5, 6.5, 4.5]]
    assert carry.tolist() == [7.5]


def test_state_moves_at_each_step_and_keys_differ(key):
    def forward(inputs, norm, drop):
        y = drop(norm(inputs.sequence))
        return nn.SequenceAndCarry(y, inputs.carry)

    cell = nn.compose(forward, norm=nn.batch_norm(4), drop=nn.dropout(0.5))
    params, state = cell.init(key)
    x = nn.SequenceAndCarry(mx.ones((8, 3, 4)) * mx.arange(8.0)[:, None, None], None)
    (y, _), state = nn.scan(cell).apply(params, state, x, train=True, key=key)
    assert state["norm"]["num_batches_tracked"].item() == 3
    assert not mx.array_equal(y[:, 0] == 0, y[:, 1] == 0)


def test_a_carry_may_be_any_tree():
    def step(inputs):
        last, number = inputs.carry["last"], inputs.carry["number"]
        y = inputs.sequence - last
        return nn.SequenceAndCarry(y, {"last": inputs.sequence, "number": number + 1})

    start = {"last": mx.zeros((1,)), "number": mx.array(0)}
    x = nn.SequenceAndCarry(mx.array([[1.0, 3.0, 6.0]]), start)
    (y, carry), _ = nn.scan(nn.lift(step)).apply({}, {}, x, train=False)
    assert y.tolist() == [[1.0, 2.0, 3.0]]
    assert carry["number"].item() == 3


def test_what_scan_does_not_take():
    with pytest.raises(TypeError, match="scan: cell must be a layer, got function"):
        nn.scan(total)
    with pytest.raises(ValueError, match=r"scan: x must have shape \(N, L, \.\.\.\)"):
        nn.scan(nn.lift(total)).apply({}, {}, mx.ones((2, 0, 3)), train=False)
    with pytest.raises(
        TypeError, match=r"cell must return nn.SequenceAndCarry\(y, carry\), got"
    ):
        nn.scan(nn.lift(nn.relu)).apply({}, {}, mx.ones((2, 3)), train=False)
