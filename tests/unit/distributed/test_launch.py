"""The launcher: what its processes get, print and return. They load no library."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

from lucid_fn.__main__ import main
from lucid_fn.distributed import launch
from lucid_fn.distributed.launch import Host, read_hosts, remote_script

LAUNCH = [sys.executable, "-m", "lucid_fn", "launch"]


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def launched(tmp_path, capsys):
    """Runs the lines of a script in several processes."""

    def run(code, *options, arguments=()):
        script = tmp_path / "script.py"
        head = "import os, signal, sys, time\nrank = int(os.environ['MLX_RANK'])\n"
        script.write_text(head + textwrap.dedent(code))
        try:
            code = main(["launch", *options, str(script), *arguments])
        except SystemExit as error:  # of argparse
            code = error.code
        return Done(code, *capsys.readouterr())

    return run


def test_each_line_has_the_rank_in_front(launched):
    done = launched("print('out', sys.argv[1]); print('err', file=sys.stderr)",
                    "-n", "2", arguments=["--flag"])  # fmt: skip
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["[0] out --flag", "[1] out --flag"]
    assert sorted(done.stderr.splitlines()) == ["[0] err", "[1] err"]


def test_the_interpreter_is_the_one_in_use(launched):
    done = launched("print(sys.executable)")
    assert done.stdout == f"[0] {sys.executable}\n"


def test_the_ring_has_a_port_for_each_rank_and_the_cores_are_shared(launched):
    done = launched(
        """
        import json
        ring = json.load(open(os.environ['MLX_HOSTFILE']))
        threads = os.environ['OMP_NUM_THREADS'], os.environ['LUCID_FN_STREAMS']
        print(json.dumps([ring, threads]))
        """,
        *("-n", "3"),
    )
    found = [json.loads(line[4:]) for line in done.stdout.splitlines()]
    ring, threads = found[0]
    ports = [host[0].removeprefix("127.0.0.1:") for host in ring]
    assert found == [[ring, threads]] * 3
    assert len({*ports}) == 3 and all(0 < int(port) < 1 << 16 for port in ports)
    assert 1 <= int(threads[0]) <= max(os.cpu_count() // 3, 1)


def test_one_that_fails_ends_all_and_its_code_is_returned(launched):
    done = launched("if rank == 1: sys.exit(7)\ntime.sleep(600)", "-n", "3")
    assert done.returncode == 7
    assert "lucid_fn launch: rank 1 ended with exit code 7" in done.stderr


def test_one_that_is_killed_is_named_and_not_those_that_fail_of_it(launched):
    code = """
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(75)  # as the watchdogs of the others
    """
    done = launched(code, "-n", "3")
    assert done.returncode == 128 + signal.SIGKILL
    assert "rank 1 was ended by SIGKILL" in done.stderr


def test_one_that_is_deaf_to_sigterm_is_killed(launched, monkeypatch):
    monkeypatch.setattr(launch, "_GRACE", 0.5)
    code = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if rank == 0:
        sys.exit(3)
    time.sleep(600)
    """
    assert launched(code, "-n", "2").returncode == 3


def test_all_are_started_again_as_often_as_asked(launched, tmp_path):
    code = f"""
    file = {str(tmp_path)!r} + f'/{{rank}}'
    open(file, 'a').write('x')
    tries = len(open(file).read())
    sys.exit(4 if rank == 1 and tries < 3 else 0)
    """
    done = launched(code, "-n", "2", "--restart", "2")
    assert done.returncode == 0
    assert "starts all processes again (1 of 2 restarts left)" in done.stderr
    assert (tmp_path / "1").read_text() == "xxx"
    assert launched(code.replace("< 3", "< 9"), "-n", "2").returncode == 4


def test_processes_that_did_not_connect_are_started_again(launched, tmp_path):
    code = f"""
    file = {str(tmp_path)!r} + f'/{{rank}}'
    open(file, 'a').write('x')
    sys.exit(69 if rank == 0 and len(open(file).read()) < 3 else 0)
    """
    done = launched(code, "-n", "2")
    assert done.returncode == 0
    assert done.stderr.count("starts all processes again, which did not connect") == 2


def test_ctrl_c_reaches_all_and_does_not_restart(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nprint('ready')\ntry:\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('stopped')\n"
    )
    process = subprocess.Popen(
        [*LAUNCH, "-n", "2", "--restart", "3", str(script)],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate()
    assert sorted(lines) == ["[0] ready\n", "[1] ready\n"]
    assert sorted(rest.splitlines()) == ["[0] stopped", "[1] stopped"]
    assert process.returncode == 130


@pytest.mark.parametrize(
    "options, words",
    [
        (("-n", "0"), "-n must be at least 1, got 0"),
        (("--restart", "-1"), "--restart must be at least 0, got -1"),
        (("--timeout", "0"), "--timeout must be positive, got 0"),
        (("--hosts", ","), "--hosts must name a host, got none"),
        (("--hosts", "absent.json"), "--hosts must be a file like"),
    ],
)
def test_wrong_options_are_refused(launched, options, words):
    done = launched("", *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_hosts_are_read_in_the_format_of_mlx(tmp_path):
    path = tmp_path / "hosts.json"
    hosts = [{"ssh": "a", "ips": ["10.0.0.1"]}, {"ssh": "b", "ips": ["10.0.0.2"]}]
    expected = [Host("a", ("10.0.0.1",)), Host("b", ("10.0.0.2",))]
    for content in (hosts, {"backend": "ring", "hosts": hosts}):
        path.write_text(json.dumps(content))
        assert read_hosts(str(path)) == expected
    assert read_hosts("10.0.0.1,10.0.0.2")[1] == Host("10.0.0.2", ("10.0.0.2",))


def test_a_hosts_file_of_another_format_is_an_error(tmp_path):
    path = tmp_path / "hosts.json"
    path.write_text('["a"]')
    with pytest.raises(ValueError, match="must be a file like"):
        read_hosts(str(path))


def test_the_script_for_another_machine_sets_up_the_ring_there():
    """It is what ssh runs; here a shell of this machine does."""
    ring = json.dumps([["10.0.0.1:1"], ["10.0.0.2:2"]])
    code = "import os; print(open(os.environ['MLX_HOSTFILE']).read(), os.getcwd())"
    variables = {"MLX_HOSTFILE": ring, "MLX_RANK": "1", "LUCID_FN_WATCHDOG": "a b'c"}
    script = remote_script(["-c", code + "; print(os.environ)"], variables, 1000)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    first, environment = done.stdout.split("\n", 1)
    assert first == f"{ring} {Path.cwd()}"
    assert "'MLX_RANK': '1'" in environment and "a b'c" in environment
    assert "'OMP_NUM_THREADS': '1'" in environment


def test_ssh_starts_the_processes_of_other_machines(launched, tmp_path, monkeypatch):
    """A stand-in for ssh, which runs the script here."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\necho "on $4" >&2\nexec sh -c "$5"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = launched("print('rank', rank)", "--hosts", "10.0.0.1,10.0.0.2")
    assert sorted(done.stdout.splitlines()) == ["[0] rank 0", "[1] rank 1"]
    assert sorted(done.stderr.splitlines()) == ["[0] on 10.0.0.1", "[1] on 10.0.0.2"]
