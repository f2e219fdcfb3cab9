"""Counting cores by affinity, topology and quota."""

import os

import pytest

from lucid_fn.cpu.runtime import cores, physical_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine of four cores with two hardware threads each, without a quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores, "CPUS", str(tmp_path / "cpu"))
    monkeypatch.setattr(cores, "CGROUP", str(tmp_path / "cgroup"))
    for cpu in range(8):
        folder = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        folder.joinpath("thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
    (tmp_path / "cgroup" / "cpu").mkdir(parents=True)
    return tmp_path


def test_two_hardware_threads_of_a_core_count_once(machine):
    assert physical_cores() == 4


def test_cores_that_the_process_may_not_run_on_do_not_count(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 4, 5})
    assert physical_cores() == 2


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4)],
)
def test_a_containers_quota_is_rounded_up(machine, quota, expected):
    machine.joinpath("cgroup", "cpu.max").write_text(f"{quota}\n")
    assert physical_cores() == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 4)])
def test_a_quota_of_the_first_kind_of_control_groups_counts(machine, quota, expected):
    folder = machine / "cgroup" / "cpu"
    folder.joinpath("cpu.cfs_quota_us").write_text(f"{quota}\n")
    folder.joinpath("cpu.cfs_period_us").write_text("100000\n")
    assert physical_cores() == expected


def test_each_cpu_is_a_core_where_the_kernel_does_not_tell(machine, monkeypatch):
    monkeypatch.setattr(cores, "CPUS", str(machine / "absent"))
    assert physical_cores() == 8
