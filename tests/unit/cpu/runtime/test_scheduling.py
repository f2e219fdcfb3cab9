"""Threads that compute keep their cores; what the user chose stays."""

import os

import pytest

from lucid_fn.cpu.runtime import scheduling, startup
from lucid_fn.cpu.runtime.errors import Unavailable

POLICY = """
import os, threading
os.sched_setscheduler(0, os.{policy}, os.sched_param(0))  # not what this test runs in
import lucid_fn
policies = [os.sched_getscheduler(0)]
thread = threading.Thread(target=lambda: policies.append(os.sched_getscheduler(0)))
thread.start(); thread.join()
print(policies)
"""


def refuse(*_):
    raise PermissionError(1, "Operation not permitted")


def test_the_importing_thread_and_those_it_starts_are_batch_jobs(run):
    assert run(POLICY.format(policy="SCHED_OTHER")) == str([os.SCHED_BATCH] * 2)


@pytest.mark.parametrize(
    ("policy", "variable"), [("SCHED_OTHER", "none"), ("SCHED_IDLE", "")]
)
def test_a_policy_that_was_chosen_stays(run, policy, variable):
    output = run(POLICY.format(policy=policy), LUCID_FN_SCHEDULING=variable)
    assert output == str([getattr(os, policy)] * 2)


def test_a_kernel_that_refuses_is_noted_without_a_warning(monkeypatch, recwarn):
    monkeypatch.setattr(scheduling.os, "sched_getscheduler", lambda _: os.SCHED_OTHER)
    monkeypatch.setattr(scheduling.os, "sched_setscheduler", refuse)
    with pytest.raises(Unavailable, match="the kernel refuses the policy: Operation"):
        scheduling.use_batch_policy()
    status = startup._schedule(startup.Status())
    assert not status.scheduling and "refuses" in status.notes[0]
    assert not recwarn
