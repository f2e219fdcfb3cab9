"""What the ranks of a group wait for, tested in one process."""

import mlx.core as mx
import pytest

from lucid_fn import nn, optim, random, train
from lucid_fn.distributed import Group, agreement
from lucid_fn.train import distributed, resuming


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


def test_ranks_with_slices_of_a_model_do_not_start_at_different_steps(monkeypatch):
    def one_step_ahead(group, what, lines):
        return [lines, ["the step 4", *lines[1:]]]

    ts = train.init(nn.linear(2, 2), optim.sgd(0.1), random.key(0))
    start = resuming.find_start(
        ts, lambda epoch: [], epochs=1, start_epoch=0, max_steps=None, checkpoint=None
    )
    monkeypatch.setattr(agreement, "exchange", one_step_ahead)
    message = r"checkpoints of the ranks.* got .*the step 0 on rank 0 and the step 4"
    with pytest.raises(ValueError, match=message):
        distributed.broadcast_start(start, None, Group(0, 2), has_checkpoint=False)
