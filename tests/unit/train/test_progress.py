"""The progress bar: in a terminal or a notebook only, and cheap."""

import io
import itertools
import sys

import pytest

from lucid_fn.train import progress

tqdm_auto = pytest.importorskip("tqdm.auto")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def to_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    return terminal


def advance(monkeypatch, seconds):
    """A bar that is advanced at these times, and how often it asked for values."""
    asked = []

    def values():
        asked.append(1)
        return {"loss": 0.123456}

    times = iter(seconds)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    bar = progress.bar(len(seconds), "epoch 1/1")
    for _ in seconds:
        bar.advance(values)
    bar.close()
    return len(asked)


class Notebook:
    """What `tqdm.auto` gives in a notebook, whose stderr is not a terminal."""

    def __init__(self, **settings):
        assert settings["disable"] is None  # the bar decides where it can be seen
        self.disable, self.shown = False, []

    def set_postfix(self, texts, refresh):
        self.shown.append(texts)

    def update(self):
        self.shown.append(1)

    def close(self):
        self.shown.append("closed")


def test_a_notebook_gets_a_bar(monkeypatch):
    bars = []

    def notebook(**settings):
        bars.append(Notebook(**settings))
        return bars[0]

    monkeypatch.setattr(tqdm_auto, "tqdm", notebook)
    advance(monkeypatch, [1])
    assert bars[0].shown == [{"loss": "0.1235"}, 1, "closed"]


def test_a_terminal_gets_a_bar_with_values(monkeypatch):
    terminal = to_terminal(monkeypatch)
    clock = itertools.count(0.0, 0.1).__next__  # tqdm writes ten times a second
    monkeypatch.setattr("tqdm.std.time", clock)
    advance(monkeypatch, [1, 2, 3])
    assert "epoch 1/1" in terminal.getvalue()
    assert "loss=0.123" in terminal.getvalue()


def test_values_are_collected_ten_times_a_second_at_most(monkeypatch):
    to_terminal(monkeypatch)
    assert advance(monkeypatch, [1 + i / 1000 for i in range(1000)]) == 10


def test_values_follow_the_clock(monkeypatch):
    to_terminal(monkeypatch)
    assert advance(monkeypatch, range(5)) == 5


def test_elsewhere_nothing_is_written_and_no_value_collected(capsys, monkeypatch):
    assert advance(monkeypatch, range(10)) == 0
    assert capsys.readouterr() == ("", "")
