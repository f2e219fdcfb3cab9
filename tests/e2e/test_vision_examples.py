"""The examples with images, a few steps of each."""

import json

import pytest

from tests.e2e.examples import EXAMPLES, assert_png, run

NEW = ("dcgan", "fine_tune", "segmentation", "vae", "vit_cifar10")


@pytest.mark.parametrize("name", NEW)
def test_examples_are_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 150


def test_the_vae_shows_its_bound_and_digits(tmp_path):
    printed = run(
        "vae.py", "--steps", "30", "--epochs", "1", "--hidden", "64",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert "nats an image" in printed and "parameters " in printed
    record = json.loads((tmp_path / "history.json").read_text())["epochs"][0]
    parts = record["test_reconstruction"] + record["test_divergence"]
    assert record["test_loss"] == pytest.approx(parts, rel=1e-5)
    assert record["test_loss"] < 784 * 0.6931  # that of pixels of probability 1/2
    assert_png(tmp_path / "digits.png")
    assert_png(tmp_path / "curves.png")


def test_the_dcgan_moves_both_networks_and_shows_samples(tmp_path):
    printed = run(
        "dcgan.py", "--steps", "6", "--subset", "96", "--batch-size", "16",
        "--width", "8", "--out", str(tmp_path),
    )  # fmt: skip
    assert "generator" in printed and "discriminator" in printed
    record = json.loads((tmp_path / "history.json").read_text())["epochs"][0]
    losses = record["train_generator"] + record["train_discriminator"]
    assert record["train_loss"] == pytest.approx(losses, rel=1e-5)
    assert_png(tmp_path / "samples.png")
    assert_png(tmp_path / "losses.png")


def test_the_vision_transformer_keeps_its_best_epoch(tmp_path):
    printed = run(
        "vit_cifar10.py", "--steps", "2", "--batch-size", "8", "--patch-size", "8",
        "--num-layers", "1", "--hidden-dim", "16", "--out", str(tmp_path),
    )  # fmt: skip
    assert "best epoch 1, parameters " in printed
    history = json.loads((tmp_path / "history.json").read_text())
    assert len(history["batch_losses"]) == 2
    assert f"{history['epochs'][0]['test_accuracy']:10.3f}" in printed
    assert (tmp_path / "best.safetensors").exists()
    assert_png(tmp_path / "batch.png")


def test_fine_tuning_compares_three_ways(tmp_path):
    printed = run(
        "fine_tune.py", "--steps", "1", "--pretraining-images", "20",
        "--images-per-class", "1", "--batch-size", "5", "--test-images", "10",
        "--epochs", "1", "--out", str(tmp_path),
    )  # fmt: skip
    rows = printed.splitlines()[-4:-1]
    assert [row[:20].strip() for row in rows] == [
        "from scratch",
        "head alone",
        "all, norms frozen",
    ]
    trained = [row[20:36].strip() for row in rows]
    assert trained == ["11,179,077", "2,565", "11,179,077"]
    assert_png(tmp_path / "curves.png")


def test_segmentation_shows_the_classes_and_pictures(tmp_path):
    printed = run(
        "segmentation.py", "--steps", "2", "--train-scenes", "8", "--test-scenes", "12",
        "--batch-size", "4", "--width", "4", "--depth", "2", "--out", str(tmp_path),
    )  # fmt: skip
    assert "background" in printed and "mean of classes: IoU 0." in printed
    assert_png(tmp_path / "pictures.png")
    assert_png(tmp_path / "curves.png")
