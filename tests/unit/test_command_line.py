"""`python -m lucid_fn` and its commands; those of the doctor are in test_doctor.py."""

from pathlib import Path

import pytest

from lucid_fn import demo, train
from lucid_fn.__main__ import main

MNIST = Path(__file__).parents[2] / "examples" / "data" / "mnist"


def test_without_a_command_it_prints_what_there_is(capsys):
    assert main([]) == 2
    printed = capsys.readouterr().out
    assert "doctor" in printed and "demo" in printed


def test_the_demo_gets_the_folder_the_epochs_and_the_file(monkeypatch):
    calls = []
    monkeypatch.setattr(demo, "run", lambda *given, **more: calls.append((given, more)))
    assert main(["demo", "--data", "d", "--epochs", "2", "--out", "o.json"]) == 0
    assert calls == [(("d",), {"epochs": 2, "out": "o.json"})]


def test_the_demo_trains_and_writes_its_record(tmp_path, monkeypatch):
    whole = demo.data.load_mnist(MNIST)
    few = type(whole)(*[array[:128] for array in whole])
    monkeypatch.setattr(demo.data, "load_mnist", lambda *_, **__: few)
    out = tmp_path / "history.json"
    demo.run("unused", epochs=1, out=str(out))
    history = train.load_history(out)
    assert len(history.batch_losses) == 2
    assert 0 <= history.epochs[0]["test_accuracy"] <= 1


@pytest.mark.parametrize(
    "given, message",
    [
        (["--data", "/nowhere"], "pass the folder that has them"),
        (["--data", str(MNIST), "--epochs", "0"], "epochs must be at least 1, got 0"),
    ],
)
def test_what_the_demo_cannot_do_is_said_without_a_traceback(capsys, given, message):
    assert main(["demo", *given]) == 1
    assert message in capsys.readouterr().err
