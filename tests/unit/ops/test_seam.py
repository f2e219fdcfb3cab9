"""The switch between tuned and plain formulations."""

import importlib

import mlx.core as mx
import pytest

from lucid_fn import ops
from lucid_fn.ops import seam
from lucid_fn.ops.seam import tuned


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch):
    """These tests make their own choice, whatever the suite runs with."""
    monkeypatch.delenv("LUCID_FN_OPS", raising=False)


def test_plain_holds_inside_its_block_alone():
    assert tuned()
    with ops.plain():
        assert not tuned()
        with ops.plain():
            assert not tuned()
        assert not tuned()
    assert tuned()


def test_plain_ends_with_an_error_too():
    with pytest.raises(KeyError), ops.plain():
        raise KeyError
    assert tuned()


def test_the_environment_forces_the_plain_formulations(monkeypatch):
    monkeypatch.setenv("LUCID_FN_OPS", "plain")
    assert not tuned()


def test_an_unknown_setting_is_an_error(monkeypatch):
    monkeypatch.setenv("LUCID_FN_OPS", "fast")
    with pytest.raises(ValueError, match="LUCID_FN_OPS must be 'plain' or 'tuned'"):
        tuned()


def test_the_choice_is_made_when_a_function_is_traced():
    choices = []

    @mx.compile
    def traced(x: mx.array) -> mx.array:
        choices.append(tuned())
        return x + 1

    with ops.plain():
        traced(mx.zeros(()))
    traced(mx.zeros(()))
    assert choices == [False]


@pytest.mark.parametrize("missing", ["lucid_fn.cpu", "lucid_fn.cpu.wing"])
def test_without_the_wing_the_plain_formulations_run(monkeypatch, missing):
    _fail_to_import(monkeypatch, missing)
    assert not tuned()


def test_a_wrong_import_inside_the_wing_is_not_taken_for_a_missing_wing(monkeypatch):
    _fail_to_import(monkeypatch, "lucid_fn.ops.moved")
    with pytest.raises(ModuleNotFoundError, match=r"lucid_fn\.ops\.moved"):
        tuned()


def _fail_to_import(monkeypatch, missing):
    def fail(_):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(importlib, "import_module", fail)
    monkeypatch.setattr(seam, "_wing", seam._wing.__wrapped__)  # not its cache
