"""The bar of an epoch: on a terminal only, and cheap."""

import io
import itertools
import sys
from types import SimpleNamespace

import pytest

from lucid_fn.train import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def advance(steps):
    """How often a bar asks for values in so many steps."""
    asked = []

    def values():
        asked.append(1)
        return {"loss": 0.123456}

    bar = progress.bar(steps, "epoch 1/1")
    for _ in range(steps):
        bar.advance(values)
    bar.close()
    return len(asked)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal on which each look at the clock finds so many seconds gone by."""
    pytest.importorskip("tqdm")

    def terminal(seconds):
        clock = itertools.count(0.0, seconds).__next__
        monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=clock))
        monkeypatch.setattr("tqdm.std.time", clock)
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return terminal


def test_a_terminal_gets_a_bar_with_values(terminal):
    screen = terminal(0.1)
    advance(3)
    assert "epoch 1/1" in screen.getvalue()
    assert "loss=0.123" in screen.getvalue()


def test_values_are_collected_ten_times_a_second_at_most(terminal):
    terminal(0.001)
    looks = 2 * 1000  # the bar's and tqdm's own, one each a step
    assert 1 < advance(1000) <= looks * 0.001 / 0.1 + 1


def test_values_follow_the_clock(terminal):
    terminal(1.0)
    assert advance(5) == 5


def test_elsewhere_nothing_is_written_and_no_value_collected(capsys):
    assert advance(10) == 0
    assert capsys.readouterr() == ("", "")
