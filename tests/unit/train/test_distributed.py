"""What the ranks of a group wait for, tested in one process."""

import mlx.core as mx

from lucid_fn import nn, optim, random, train
from lucid_fn.distributed import Group
from lucid_fn.train import distributed


def test_ranks_wait_for_each_other_after_computing_their_states(monkeypatch):
    waited = []
    monkeypatch.setattr(distributed, "exchange", lambda *given: waited.append(given))
    ts = train.init(nn.linear(2, 2), optim.adam(0.1), random.key(0))
    distributed.wait_for_all(ts._replace(step=mx.array(1)), Group(0, 2))
    assert [group.size for group, *_ in waited] == [2]


def test_a_single_process_does_not_wait(monkeypatch):
    monkeypatch.setattr(distributed, "exchange", None)
    ts = train.init(nn.linear(2, 2), optim.adam(0.1), random.key(0))
    distributed.wait_for_all(ts, None)
