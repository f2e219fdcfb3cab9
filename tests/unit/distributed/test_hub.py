"""What rank 0 concludes of a group, from states and times that are given."""

import socket

import pytest

from lucid_fn.distributed.connection import Channel
from lucid_fn.distributed.hub import Hub, Member

TIMEOUT = 60.0


@pytest.fixture
def hub():
    """A hub of three ranks, all of them well at time 1000."""
    own, other = socket.socketpair()
    hub = Hub(3, TIMEOUT, own, other, token=1)
    for rank in range(3):
        hub.members[rank] = Member(f"process {rank}", None, 1000.0, 1000.0)
    yield hub
    own.close()
    other.close()


def waiting(hub, **steps):
    for rank, step in steps.items():
        status = {"step": step, "waits": "step"}
        hub.members[int(rank[1:])].update(status, 1000.0)


def test_all_is_well_while_all_give_signs_of_life(hub):
    waiting(hub, r0=5, r1=5, r2=4)
    assert hub._find_failure(1000.0 + TIMEOUT / 2) is None


def test_one_that_gives_no_sign_of_life_is_named(hub):
    for rank in (0, 2):
        hub.members[rank].last_heard = 1000.0 + TIMEOUT
    message = hub._find_failure(1001.0 + TIMEOUT)
    assert message.startswith("rank 1 (process 1) has given no sign of life for 60 s")


def test_one_that_makes_no_step_is_named(hub):
    waiting(hub, r0=5, r1=4, r2=5)
    for member in hub.members.values():
        member.last_heard = 1001.0 + TIMEOUT
    message = hub._find_failure(1001.0 + TIMEOUT)
    assert message == "rank 1 made no step for 60 s, and rank 0 waits in step"


def test_a_step_in_which_all_wait_is_named(hub):
    waiting(hub, r0=5, r1=5, r2=5)
    for member in hub.members.values():
        member.last_heard = 1001.0 + TIMEOUT
    assert hub._find_failure(1001.0 + TIMEOUT) == "no rank made a step for 60 s in step"


def test_nobody_is_late_where_nobody_waits(hub):
    for member in hub.members.values():
        member.last_heard = 1000.0 + 10 * TIMEOUT
    assert hub._find_failure(1000.0 + 10 * TIMEOUT) is None


def test_one_that_ended_by_itself_may_not_be_waited_for(hub):
    waiting(hub, r0=5, r1=4, r2=5)
    status = {"step": 4, "waits": None, "leaving": True}
    hub.members[1].update(status, 1000.0)
    assert hub._find_failure(1002.0) is None  # the others may be about to end as well
    message = "rank 1 (process 1) has ended, and rank 0 waits for it in step"
    assert hub._find_failure(1010.0) == message


def test_one_that_ended_after_all_steps_is_missed_by_nobody(hub):
    waiting(hub, r0=5, r1=5)
    status = {"step": 5, "waits": None, "leaving": True}
    hub.members[2].update(status, 1000.0)
    assert hub._find_failure(1000.0 + TIMEOUT / 2) is None


def test_one_that_never_appears_is_named(hub):
    del hub.members[2]
    hub.started = 1000.0
    assert hub._find_failure(1001.0) is None
    assert hub._find_failure(1001.0 + TIMEOUT) == "rank 2 did not appear within 60 s"


def test_a_hub_that_was_stopped_itself_asks_anew(hub):
    waiting(hub, r0=5, r1=4, r2=5)
    hub._reset_clocks(5000.0)
    assert hub._find_failure(5001.0) is None


def test_strangers_without_the_token_stay_outside(hub):
    channel = Channel(hub.server)
    hub.unidentified.append(channel)
    assert hub._register(channel, {"hello": 1, "token": 2, "where": ""}, 0.0) is None
    assert channel in hub.unidentified


def test_rank_0_is_answered_last(hub):
    """Connecting a backend, it may leave the hub's thread no time to answer others."""
    answered = []

    class Recorder:
        def __init__(self, rank):
            self.rank = rank

        def send(self, message):
            answered.append(self.rank)

    for rank in (0, 2, 1):  # in the order in which they say hello
        hub.members[rank] = Member("here", Recorder(rank), 0.0, 0.0)
        hub.members[rank].pending.append(("distributed.init", rank))
    hub._send_exchanged()
    assert sorted(answered) == [0, 1, 2]
    assert answered[-1] == 0
