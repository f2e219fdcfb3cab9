import json
from pathlib import Path

import pytest

from tests.e2e.examples import assert_png, run

TINY = (
    "--epochs 2 --steps 25 --batch-size 8 --context 32 --layers 1 --heads 2 --width 32"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A run on the first verses: what it prints, and the folder of its files."""
    folder = tmp_path_factory.mktemp("char_gpt")
    text = "And God said, Let there be light: and there was light.\n" * 100
    (folder / "text.txt").write_text(text)
    data = ["--data", str(folder / "text.txt"), "--out", str(folder)]
    return run("char_gpt.py", *TINY.split(), *data), folder


def test_a_gpt_of_characters_learns_in_a_few_steps(tiny):
    _, folder = tiny
    history = json.loads((folder / "history.json").read_text())
    assert len(history["batch_losses"]) == 50
    first, last = history["epochs"]
    assert last["test_loss"] < first["test_loss"] < 3.0  # nats; 18 characters are 2.9


def test_a_gpt_of_characters_writes_a_table_a_picture_and_a_sample(tiny):
    printed, folder = tiny
    sample = (folder / "sample.txt").read_text()
    assert len(sample) == 32 and sample.startswith("And God said, ")
    assert "validation  " in printed and printed.count(sample) == 1
    assert_png(folder / "curves.png")


def test_the_text_that_ships_is_real_and_small():
    path = Path(__file__).parents[2] / "examples" / "data" / "text" / "kjv.txt.gz"
    assert 200_000 < path.stat().st_size < 1_200_000
