import os
import signal
import subprocess
import sys
import textwrap
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, nn, optim, random, train
from tests.unit.train.runs import equal


class Pair(NamedTuple):
    a: mx.array
    b: dict


def mixed_tree(scale: float = 1.0) -> Pair:
    """Every dtype and shape that a training state may hold."""
    return Pair(
        mx.array(scale),
        {
            "weight": mx.arange(6.0).reshape(2, 3).T * scale,
            "half": mx.ones((3,), mx.bfloat16) * scale,
            "empty": mx.zeros((0, 2)),
            "key": mx.array([1, 2], mx.uint32),
            "steps": [mx.array(7, mx.int32), (mx.array([True, False]),)],
        },
    )


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    path = tmp_path / "run.safetensors"
    train.save(path, mixed_tree(0.1))
    loaded = train.load(path, like=mixed_tree())
    assert isinstance(loaded, Pair)
    assert equal(loaded, mixed_tree(0.1))


def test_names_in_the_file_are_dotted_paths(tmp_path, task):
    path = tmp_path / "run.safetensors"
    train.save(path, task.start())
    names = set(mx.load(str(path)))
    assert {"params.fc1.weight", "key", "step", "opt_state.1.trace.fc2.bias"} <= names


def test_metadata_comes_back(tmp_path):
    path = tmp_path / "run.safetensors"
    train.save(path, {"w": mx.ones(2)}, metadata={"note": "a run"})
    assert train.load_metadata(path) == {"note": "a run"}


def test_ten_steps_are_five_saved_loaded_in_a_new_process_and_five_more(tmp_path, task):
    batches = list(data.batches((task.x, task.labels), 10, seed=0)) * 2
    ts = task.start()
    for x, labels in batches[:5]:
        ts, _ = task.step(ts, x, labels)
    train.save(tmp_path / "five.safetensors", ts)
    np.savez(tmp_path / "rest.npz", *[np.array(a) for xy in batches[5:] for a in xy])
    program = textwrap.dedent(
        """
        import sys
        import mlx.core as mx, numpy as np
        from lucid_fn import losses, metrics, nn, optim, random, train
        model = nn.serial(
            fc1=nn.linear(4, 8), act=mx.tanh, drop=nn.dropout(0.2), fc2=nn.linear(8, 2)
        )
        optimizer = optim.sgd(0.1, momentum=0.9)
        step = train.make_step(
            model, optimizer, losses.softmax_cross_entropy,
            metrics={"accuracy": metrics.accuracy},
        )
        like = train.init(model, optimizer, random.key(99))
        ts = train.load(sys.argv[1] + "/five.safetensors", like=like)
        arrays = list(np.load(sys.argv[1] + "/rest.npz").values())
        for x, labels in zip(arrays[::2], arrays[1::2]):
            ts, _ = step(ts, x, labels)
        train.save(sys.argv[1] + "/ten.safetensors", ts)
        """
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    for x, labels in batches[5:]:
        ts, _ = task.step(ts, x, labels)
    assert equal(train.load(tmp_path / "ten.safetensors", like=ts), ts)


def test_a_missing_and_an_unexpected_array_are_both_listed(tmp_path):
    path = tmp_path / "run.safetensors"
    train.save(path, {"fc": {"weight": mx.ones(2)}})
    with pytest.raises(
        ValueError, match=r"missing: fc\.bias\n  unexpected: fc\.weight"
    ):
        train.load(path, like={"fc": {"bias": mx.ones(2)}})


def test_a_shape_that_differs_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "run.safetensors"
    train.save(path, {"w": mx.ones(2)})
    with pytest.raises(ValueError, match=r"w: must be .*float32 \(3,\), got .*\(2,\)"):
        train.load(path, like={"w": mx.ones(3)})


def test_a_dtype_that_differs_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "run.safetensors"
    train.save(path, {"w": mx.ones(2)})
    with pytest.raises(ValueError, match=r"w: must be .*float16.*got .*float32"):
        train.load(path, like={"w": mx.ones(2, mx.float16)})


@pytest.mark.parametrize("keep", [0, 5, 60, 0.5, -1])
def test_a_file_cut_short_is_an_error(tmp_path, keep):
    path = tmp_path / "run.safetensors"
    train.save(path, mixed_tree())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep == 0.5 else keep])
    with pytest.raises(ValueError, match="damaged"):
        train.load(path, like=mixed_tree())


def test_any_changed_byte_is_an_error(tmp_path):
    path = tmp_path / "run.safetensors"
    metadata = {"history": '{"batch_losses": [0.563, 0.463], "epochs": []}'}
    train.save(
        path, {"weight": mx.arange(8.0), "steps": mx.array(3)}, metadata=metadata
    )
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        with pytest.raises(ValueError, match=rf"^train\.load: .*{path}"):
            train.load(path, like={"weight": mx.zeros(8), "steps": mx.array(0)})
        with pytest.raises(ValueError, match=rf"^train\.load_metadata: .*{path}"):
            train.load_metadata(path)


def test_a_file_of_another_program_is_an_error(tmp_path):
    path = tmp_path / "run.safetensors"
    mx.save_safetensors(str(path), {"w": mx.ones(2)})
    with pytest.raises(ValueError, match=r"must be a file that train\.save wrote"):
        train.load(path, like={"w": mx.ones(2)})


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.load: there is no file"):
        train.load(tmp_path / "none.safetensors", like={})


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        train.save(tmp_path / "none" / "run.safetensors", {"w": mx.ones(2)})


def test_another_suffix_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"path must end in \.safetensors, got .*\.pt"):
        train.save(tmp_path / "run.pt", {"w": mx.ones(2)})


def test_a_leaf_that_is_no_array_is_an_error(tmp_path):
    with pytest.raises(TypeError, match=r"rate must be an array, got float 0\.1"):
        train.save(tmp_path / "run.safetensors", {"rate": 0.1})
    assert list(tmp_path.iterdir()) == []


def test_metadata_with_the_names_of_the_format_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="metadata must not hold checksum"):
        train.save(tmp_path / "a.safetensors", {}, metadata={"checksum": "0"})


@pytest.mark.parametrize(
    "metadata", [{"epoch": 1}, {1: "epoch"}, ["epoch"], {"note": "\ud800"}]
)
def test_metadata_that_is_not_text_is_an_error(tmp_path, metadata):
    with pytest.raises((TypeError, ValueError), match=r"train\.save: metadata must be"):
        train.save(tmp_path / "a.safetensors", {}, metadata=metadata)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", [train.save, train.load])
def test_a_path_that_is_not_one_is_an_error(call):
    with pytest.raises(
        TypeError, match=rf"train\.{call.__name__}: path must be a path"
    ):
        call(3, {})


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    train.save(path, {"w": mx.array(1.0)})

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        train.save(path, {"w": mx.array(2.0)})
    assert train.load(path, like={"w": mx.array(0.0)})["w"].item() == 1.0
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "run.safetensors"
    program = textwrap.dedent(
        """
        import os, signal, sys
        import mlx.core as mx
        from lucid_fn import train

        def save(i):
            train.save(sys.argv[1], {"a": mx.full((50_000,), i), "b": mx.array(i)})

        def count(*event):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        save(0)
        left = int(sys.argv[2])  # calls and returns of functions, until the end
        sys.setprofile(count)
        for i in range(1, 100):
            save(i)
        """
    )
    for calls in (7, 60, 97, 131, 170, 209):
        command = [sys.executable, "-c", program, str(path), str(calls)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        like = {"a": mx.zeros((50_000,), mx.int32), "b": mx.array(0)}
        loaded = train.load(path, like=like)
        assert mx.all(loaded["a"] == loaded["b"]).item()
    train.save(path, like)
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]


def test_the_file_of_another_optimizer_is_answered_with_load_params(tmp_path):
    path, model = tmp_path / "run.safetensors", nn.linear(3, 2)
    train.save(path, train.init(model, optim.adam(0.1), random.key(0)))
    ts = train.init(model, optim.sgd(0.1, momentum=0.9), random.key(0))
    with pytest.raises(ValueError, match=r"missing: opt_state") as error:
        train.load(path, like=ts)
    assert any("train.load_params loads" in note for note in error.value.__notes__)


def test_a_load_without_a_template_says_what_to_give(tmp_path):
    train.save(tmp_path / "a.safetensors", {"w": mx.zeros(2)})
    with pytest.raises(TypeError, match=r"train\.load: like must .* like=train\.init"):
        train.load(tmp_path / "a.safetensors")
