"""The bar of an epoch: on a terminal only, and cheap."""

import io
import sys
import time

import pytest

from lucid_fn.train import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def advance(steps, seconds=0.0):
    """A bar after so many steps, and how often it asked for values."""
    asked = []

    def values():
        asked.append(1)
        return {"loss": 0.123456}

    bar = progress.bar(steps, "epoch 1/1")
    for _ in range(steps):
        bar.advance(values)
        time.sleep(seconds)
    bar.close()
    return len(asked)


def test_a_terminal_gets_a_bar_with_values(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    advance(3, seconds=0.11)  # tqdm writes ten times a second
    assert "epoch 1/1" in terminal.getvalue()
    assert "loss=0.123" in terminal.getvalue()


def test_values_are_collected_ten_times_a_second_at_most(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    start = time.monotonic()
    asked = advance(1000)
    assert 1 <= asked <= 1 + (time.monotonic() - start) / 0.1


def test_values_follow_the_clock(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    seconds = iter(range(5))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    assert advance(5) == 5


def test_elsewhere_nothing_is_written_and_no_value_collected(capsys):
    assert advance(10) == 0
    assert capsys.readouterr() == ("", "")
