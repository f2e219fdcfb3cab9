import json

import numpy as np
import pytest

from tests.e2e.examples import assert_png, run, run_alone


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    out = tmp_path_factory.mktemp("lenet")
    printed = run_alone("lenet_mnist.py", "--steps", "150", "--out", str(out))
    return printed, json.loads((out / "history.json").read_text()), out


def test_lenet_learns_in_a_few_steps(lenet):
    _, history, _ = lenet
    losses = history["batch_losses"]
    assert len(losses) == 150
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert history["epochs"][0]["test_accuracy"] > 0.7


def test_lenet_says_what_it_did(lenet):
    printed, history, out = lenet
    record = history["epochs"][0]
    assert printed.startswith("epoch  1/10  train loss ")
    assert f"test      {record['test_loss']:.4f}     " in printed
    assert "parameters 44,426" in printed
    assert history["config"]["seed"] == 42
    assert {"lucid_fn", "mlx", "device"} <= history["environment"].keys()
    assert_png(out / "curves.png")


def test_lenet_from_scratch_prints_the_same_lines(lenet, tmp_path):
    printed = run("lenet_from_scratch.py", "--steps", "150", "--out", str(tmp_path))

    def words(text: str) -> list[str]:
        lines = text.splitlines()[:7]
        return ["".join(c for c in line if not c.isdigit()) for line in lines]

    assert words(printed) == words(lenet[0])
    record = json.loads((tmp_path / "history.json").read_text())[0]
    assert record["test_accuracy"] > 0.7


def test_the_comparison_with_pytorch_agrees(tmp_path):
    torch = pytest.importorskip("torch")
    # On a busy machine the threads of PyTorch mostly wait for each other.
    torch.set_num_threads(1)
    out = str(tmp_path)
    printed = run("compare_with_pytorch.py", "lenet", "--steps", "60", "--out", out)
    ours = json.loads((tmp_path / "lucid_fn.json").read_text())
    theirs = json.loads((tmp_path / "pytorch.json").read_text())
    np.testing.assert_allclose(ours["batch_losses"], theirs["batch_losses"], atol=1e-5)
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert ours["epochs"][0][name] == pytest.approx(theirs["epochs"][0][name], 1e-4)
    assert "largest difference of a parameter at the end" in printed
    assert_png(tmp_path / "curves.png")


@pytest.mark.parametrize("script", ["lenet_mnist.py", "lenet_from_scratch.py"])
def test_examples_take_the_common_options(script):
    printed = run(script, "--help")
    for option in ("--seed", "--device", "--epochs", "--steps", "--out"):
        assert option in printed


def test_a_sweep_is_its_runs_one_by_one(tmp_path):
    together, apart = tmp_path / "together", tmp_path / "apart"
    few = "--steps", "12", "--test-images", "500"
    printed = run("sweep.py", *few, "--out", str(together))
    assert "12 steps of 8 models" in printed
    run("sweep.py", *few, "--one-by-one", "--out", str(apart))
    assert_png(together / "sweep.png")
    ours, theirs = (
        json.loads((folder / "sweep.json").read_text()) for folder in (together, apart)
    )
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-5)
    np.testing.assert_allclose(ours["accuracies"], theirs["accuracies"], atol=0.005)
    assert len(set(ours["losses"][-1])) == 8
