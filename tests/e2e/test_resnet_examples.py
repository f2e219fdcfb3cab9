"""The examples of the second experiment, on a few small batches of real images."""

import json

import pytest

from tests.e2e.examples import assert_png, run, run_alone

SMALL = ("--steps", "3", "--batch-size", "8", "--subset", "32")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    out = tmp_path_factory.mktemp("resnet")
    printed = run_alone(
        "resnet18_cifar10.py", *SMALL, "--augment", "--out", str(out),
        "--schedule", "5", "0.5", "--checkpoint", str(out / "run.safetensors"),
    )  # fmt: skip
    return printed, out


def test_resnet_trains_and_says_what_it_did(resnet):
    printed, out = resnet
    assert printed.startswith("32 images to train, 32 to test")
    assert "learning rate 0.001 x 0.5 every 5 epochs" in printed
    assert "parameters 11,173,962" in printed
    history = json.loads((out / "step5_gamma0.5.json").read_text())
    assert len(history["batch_losses"]) == 3
    assert history["batch_losses"][0] == pytest.approx(2.5, abs=0.5)
    assert history["epochs"][0]["learning_rate"] == pytest.approx(1e-3)
    assert history["config"]["weight_decay"] == 5e-4
    assert (out / "run_step5_gamma0.5.safetensors").exists()
    assert_png(out / "curves.png")


def test_resnet_takes_the_common_options():
    printed = run("resnet18_cifar10.py", "--help")
    for option in ("--seed", "--device", "--epochs", "--steps", "--out", "--subset"):
        assert option in printed


def test_resnet_agrees_with_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    # On a busy machine the threads of PyTorch mostly wait for each other.
    torch.set_num_threads(1)
    printed = run(
        "compare_with_pytorch.py", "resnet18", *SMALL, "--explain", "1",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert "side by side from the same weights, 1 steps" in printed
    assert "first gap: none, all of it is rounding" in printed
    ours = json.loads((tmp_path / "lucid_fn.json").read_text())["batch_losses"]
    theirs = json.loads((tmp_path / "pytorch.json").read_text())["batch_losses"]
    # The first is a forward pass alone. Then Adam makes a whole step of any gradient,
    # also of one that is all rounding.
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    assert ours == pytest.approx(theirs, rel=0.05)
    assert_png(tmp_path / "losses.png")


def test_wrong_semantics_are_found_by_their_first_gap():
    printed = run("wrong_semantics.py", "--steps", "4", "--only", "first_momentum")
    assert "first gap: step 0, update" in printed
    right, wrong = (line for line in printed.splitlines() if "first batch" in line)
    assert right.split()[3] == wrong.split()[3]  # before the first update
