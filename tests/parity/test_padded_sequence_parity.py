"""Padded batches of sequences against PyTorch's packed sequences."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, tree

torch = pytest.importorskip("torch")
from torch.nn.utils.rnn import (  # noqa: E402  # needs torch
    pack_padded_sequence,
    pad_packed_sequence,
)

from tests.parity.layouts import (  # noqa: E402  # needs torch
    assert_close,
    grads_of,
    params_of,
    to_mlx,
)

N, L, D, H = 4, 6, 3, 5
LENGTHS = [3, 6, 1, 4]
MODULES = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
FORMS = {
    "plain": {},
    "two layers, both ways": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False},
}
CASES = [(name, form) for name in MODULES for form in FORMS.values()]
CASES += [
    ("lstm", {"proj_size": 2}),
    ("lstm", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]


def flat(x):
    return to_mlx(x, moved=False)


def prepared(name, form):
    """Our layer, their module, an input whose padding is NaN, a carry, output grads."""
    generator = torch.Generator().manual_seed(0)
    module = MODULES[name](D, H, batch_first=True, **form)
    for parameter in module.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, L, D)).astype(np.float32)
    for row, length in zip(x, LENGTHS, strict=True):
        row[length:] = np.nan
    ways = 2 if form.get("bidirectional") else 1
    depth, out = form.get("num_layers", 1) * ways, form.get("proj_size", H)
    sizes = [out, H][: 2 if name == "lstm" else 1]
    carry = [rng.normal(size=(N, depth, s)).astype(np.float32) for s in sizes]
    grads = [rng.normal(size=a.shape).astype(np.float32) for a in carry]
    grads.insert(0, rng.normal(size=(N, L, ways * out)).astype(np.float32))
    return getattr(nn, name)(D, H, **form), module, x, carry, grads


def run_theirs(module, x, carry, grads):
    """Outputs and gradients of the packed sequences, with the batch axis first."""
    x = torch.tensor(x, requires_grad=True)
    starts = [torch.tensor(a, requires_grad=True) for a in carry]
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    moved = [a.transpose(0, 1).contiguous() for a in starts]
    y, end = module(packed, tuple(moved) if len(moved) == 2 else moved[0])
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=L)
    ends = [a.transpose(0, 1) for a in (end if len(moved) == 2 else [end])]
    torch.autograd.backward([y, *ends], [torch.tensor(g) for g in grads])
    grads = grads_of(module, moved=False), flat(x.grad), [flat(a.grad) for a in starts]
    return [flat(y), *map(flat, ends)], grads


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
@pytest.mark.parametrize(("name", "form"), CASES)
def test_padded_batches_are_packed_sequences(name, form, formulation, monkeypatch):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    layer, module, x, carry, grads = prepared(name, form)

    def outputs(params, x, carry):
        carry = nn.LSTMCarry(*carry) if name == "lstm" else carry[0]
        inputs = nn.RecurrentInputs(x, carry, mx.array(LENGTHS))
        y, _ = layer.apply(params, {}, inputs, train=True)
        return tree.leaves(y)

    def loss(params, x, carry):
        ours = outputs(params, x, carry)
        return sum(mx.sum(y * mx.array(g)) for y, g in zip(ours, grads, strict=True))

    args = params_of(module, moved=False), mx.array(x), [mx.array(a) for a in carry]
    their_outputs, their_grads = run_theirs(module, x, carry, grads)
    for ours, theirs in zip(outputs(*args), their_outputs, strict=True):
        assert_close(ours, theirs)
    ours = lf.grad(loss, argnums=(0, 1, 2))(*args)
    assert_close(ours[0], their_grads[0])
    assert_close(ours[1], their_grads[1])
    assert_close(dict(enumerate(ours[2])), dict(enumerate(their_grads[2])))


def test_a_projected_lstm_has_pytorchs_params():
    form = {"proj_size": 2, "num_layers": 2, "bidirectional": True}
    params, _ = nn.lstm(3, 16, **form).init(lf.random.key(0))
    theirs = torch.nn.LSTM(3, 16, **form)
    shapes = {name: leaf.shape for name, leaf in params.items()}
    assert shapes == {n: tuple(p.shape) for n, p in theirs.named_parameters()}


@pytest.mark.parametrize("name", MODULES)
def test_second_derivatives_of_padded_batches_are_those_of_plain(name):
    layer, module, x, _, _ = prepared(name, {})
    params = params_of(module, moved=False)
    x = mx.array(np.nan_to_num(x))

    def loss(x):
        inputs = nn.RecurrentInputs(x, None, mx.array(LENGTHS))
        (y, _), _ = layer.apply(params, {}, inputs, train=True)
        return mx.sum(mx.sin(y))

    tuned = lf.hvp(loss, (x,), (x,))
    with ops.plain():
        plain = lf.hvp(loss, (x,), (x,))
    assert_close(tree.leaves(tuned)[0], tree.leaves(plain)[0])
