"""Records of runs: their files, and errors about damaged ones."""

import json

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import train
from tests.unit.train.runs import evaluation, fit

RECORD = {
    "batch_losses": [0.7, "nan", 1],
    "epochs": [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": "inf"}],
    "config": {"rate": 0.1, "note": ["x", None]},
    "environment": {"mlx": "0"},
    "interrupted": False,
}


def write(path, record):
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_a_record_is_read_as_it_is(tmp_path):
    history = train.load_history(write(tmp_path / "history.json", RECORD))
    assert history.batch_losses[::2] == [0.7, 1.0]
    assert np.isnan(history.batch_losses[1])
    assert history.series("train_loss") == [0.5, float("inf")]
    assert history.config == RECORD["config"]
    history.to_json(tmp_path / "again.json")
    assert train.load_history(tmp_path / "again.json").epochs == history.epochs


def changed(path, value):
    """The record with another value at a place, or without it."""
    record = json.loads(json.dumps(RECORD))
    node = record
    for key in path[:-1]:
        node = node[key]
    if value is KeyError:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        *(((name,), KeyError, "it must hold batch_losses") for name in RECORD),
        (("more",), 1, "it must hold batch_losses"),
        (("batch_losses",), {}, "batch_losses must be a list, got dict"),
        (("batch_losses",), 3, "batch_losses must be a list, got int"),
        (("batch_losses", 1), "x", "batch_losses.1 must be a number, got 'x'"),
        (("batch_losses", 1), None, "batch_losses.1 must be a number, got None"),
        (("batch_losses", 1), True, "batch_losses.1 must be a number, got True"),
        (("batch_losses", 1), 10**400, "batch_losses.1 must be a number that a fl"),
        (("epochs",), {"a": 1}, "epochs must be a list, got dict"),
        (("epochs", 1), [1], "epochs.1 must be a dict, got list"),
        (("epochs", 1), None, "epochs.1 must be a dict, got NoneType"),
        (("epochs", 1, "train_loss"), [], "epochs.1.train_loss must be a number"),
        (("epochs", 1, "epoch"), KeyError, "epochs.1.epoch must be an integer"),
        (("epochs", 1, "epoch"), 0, "epochs.1.epoch must be an integer of at least 1"),
        (("epochs", 1, "epoch"), 1.5, "epochs.1.epoch must be an integer"),
        (("epochs", 1, "epoch"), "inf", "epochs.1.epoch must be an integer"),
        (("config",), [], "config must be a dict, got list"),
        (("environment",), None, "environment must be a dict, got NoneType"),
        (("environment", "mlx"), 3, "environment.mlx must be a str, got int"),
        (("interrupted",), 1, "interrupted must be a bool, got int"),
        (("interrupted",), "no", "interrupted must be a bool, got str"),
    ],
)
def test_a_file_that_is_not_a_record_is_reported_with_the_place(
    tmp_path, path, value, where
):
    file = write(tmp_path / "history.json", changed(path, value))
    with pytest.raises(ValueError) as caught:
        train.load_history(file)
    message = str(caught.value)
    assert message.startswith(f"load_history: {file} is not the record of a training")
    assert where in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2]",
        b"null",
        b"\xff\xfe\x00",
        b'{"batch_losses": ["\xff"]}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"batch_losses": [' + b"1" * 5000 + b"]}",
    ],
)
def test_a_file_that_is_not_json_is_reported(tmp_path, content):
    file = tmp_path / "history.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^load_history: {file} is not the record"):
        train.load_history(file)


def test_a_damaged_file_is_a_record_or_a_value_error_of_ours(task, tmp_path):
    file = tmp_path / "history.json"
    fit(task, history_path=file, config={"a": [1, "b"]}, **evaluation(task))
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        start, stop = sorted(rng.integers(len(whole), size=2))
        if rng.random() < 0.3:
            del damaged[start : min(stop, start + 30)]
        file.write_bytes(damaged)
        try:
            history = train.load_history(file)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"load_history: {file} is not the record")
        else:
            assert all(isinstance(loss, float) for loss in history.batch_losses)
            assert all(isinstance(x, int) for x in history.series("epoch"))
            history.to_json(file)
    assert 100 < refused < 1500


def test_a_path_that_is_no_file_is_reported(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"load_history: there is no file .*a\.js"
    ):
        train.load_history(tmp_path / "a.json")
    with pytest.raises(IsADirectoryError, match=f"load_history: .*{tmp_path}"):
        train.load_history(tmp_path)
    with pytest.raises(TypeError, match="load_history: path must be a path, got 3"):
        train.load_history(3)


@pytest.mark.parametrize(
    ("epoch", "message"),
    [
        ({"test_loss": 1.0}, "epochs.0.epoch must be an integer of at least 1, got No"),
        ({"epoch": 1, "loss": "x"}, "epochs.0.loss must be a number, got 'x'"),
    ],
)
def test_a_record_that_could_not_be_loaded_is_not_written(tmp_path, epoch, message):
    path = tmp_path / "history.json"
    with pytest.raises(ValueError, match=f"^history.to_json: {message}"):
        train.History([0.5], [epoch], {}, {}, False).to_json(path)
    assert not path.exists()


def test_numpy_numbers_are_written_and_arrays_named(tmp_path):
    path = tmp_path / "history.json"
    losses, epochs = (
        [np.float32(0.5)],
        [{"epoch": np.int64(1), "loss": np.float64("inf")}],
    )
    train.History(losses, epochs, {}, {}, False).to_json(path)
    assert train.load_history(path).epochs == [{"epoch": 1, "loss": float("inf")}]
    with pytest.raises(TypeError, match=r"history.to_json: the record .*array is no"):
        train.History([mx.array(0.5)], [], {}, {}, False).to_json(path)
