import inspect

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, random, tree

RESNETS = ["resnet18", "resnet34", "resnet50", "cifar_resnet18"]


@pytest.fixture(scope="module")
def cifar():
    """The model with its params and state, for all tests that only read them."""
    model = models.cifar_resnet18()
    return model, *model.init(random.key(0))


@pytest.mark.parametrize(
    ("name", "parameters", "arrays", "statistics"),
    [
        ("resnet18", 11_689_512, 62, 40),
        ("resnet34", 21_797_672, 110, 72),
        ("resnet50", 25_557_032, 161, 106),
        ("cifar_resnet18", 11_173_962, 62, 40),
    ],
)
def test_parameters_are_as_many_as_torchvisions(name, parameters, arrays, statistics):
    params, state = lf.eval_shape(getattr(models, name)().init, random.key(0))
    assert sum(leaf.size for leaf in tree.leaves(params)) == parameters
    assert len(tree.leaves(params)) == arrays
    running = [path for path in tree.paths(state) if "running" in path]
    assert len(running) == statistics


def test_names_are_torchvisions():
    paths = tree.paths(lf.eval_shape(models.resnet18().init, random.key(0))[0])
    assert {"conv1.weight", "layer2.0.downsample.1.bias", "fc.weight"} <= set(paths)
    assert not any(path.startswith("layer1.0.downsample") for path in paths)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 64), ("resnet34", 32), ("resnet50", 32)]
)
def test_imagenet_models_take_images_of_any_size(name, size):
    model = getattr(models, name)(num_classes=7)

    def logits(key, x):
        return model.apply(*model.init(key), x, train=False)[0]

    x = mx.zeros((2, size, size, 3))
    assert lf.eval_shape(logits, random.key(0), x).shape == (2, 7)


def test_the_cifar_stem_keeps_the_size_of_the_image(cifar):
    model, *variables = cifar
    with pytest.raises(ValueError, match=r"x must have shape \(N, H, W, 3\)") as caught:
        model.apply(*variables, mx.zeros((1, 3, 32, 32)), train=False)
    assert caught.value.__notes__ == ["in layer conv1"]


def test_convolutions_are_normal_by_fan_out_and_norms_one_and_zero(cifar):
    _, params, state = cifar
    weight = np.array(params["layer3"]["0"]["conv1"]["weight"])
    assert weight.std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.02)
    assert weight.mean() == pytest.approx(0, abs=1e-3)
    assert mx.all(params["bn1"]["weight"] == 1).item()
    assert mx.all(params["bn1"]["bias"] == 0).item()
    assert mx.all(state["bn1"]["running_var"] == 1).item()
    fc = np.array(params["fc"]["weight"])
    assert np.abs(fc).max() <= 1 / np.sqrt(512)


def test_surgery_on_the_stem_leaves_the_other_draws_alone(cifar):
    plain, _ = models.resnet18(num_classes=10).init(random.key(0))
    _, params, _ = cifar
    assert params["conv1"]["weight"].shape == (64, 3, 3, 3)
    assert mx.array_equal(plain["fc"]["weight"], params["fc"]["weight"])
    ours, theirs = plain["layer4"]["1"], params["layer4"]["1"]
    assert mx.array_equal(ours["conv2"]["weight"], theirs["conv2"]["weight"])


def test_a_frozen_body_keeps_its_statistics(cifar):
    model, params, state = cifar
    x = mx.ones((2, 8, 8, 3))
    _, moved = nn.frozen(model).apply(params, state, x, train=True)
    assert moved is state


def test_training_on_one_pixel_of_one_image_is_an_error(cifar):
    model, params, state = cifar
    with pytest.raises(ValueError, match="at least 2 values per channel") as caught:
        model.apply(params, state, mx.ones((1, 8, 8, 3)), train=True)
    assert caught.value.__notes__ == ["in layer layer4.0.bn1"]


def test_children_are_replaced_by_name(cifar):
    model = models.resnet18(
        7,
        conv1=nn.conv2d(1, 64, 3, padding=1, bias=False),
        maxpool=nn.identity,
        fc=nn.serial(drop=nn.dropout(0.5), out=nn.linear(512, 3)),
    )
    params, state = model.init(random.key(0))
    assert params["conv1"]["weight"].shape == (64, 3, 3, 1)
    logits, _ = model.apply(params, state, mx.zeros((2, 8, 8, 1)), train=False)
    assert logits.shape == (2, 3)
    same, kept = (p["layer4"]["1"]["conv2"]["weight"] for p in (params, cifar[1]))
    assert mx.array_equal(same, kept).item()


def test_the_surgery_of_the_cifar_model_is_that_of_a_user(cifar):
    stem = nn.conv2d(
        3, 64, 3, padding=1, bias=False, weight_init=nn.initializers.normal_fan_out
    )
    ours = models.resnet18(10, conv1=stem, maxpool=nn.identity).init(random.key(0))
    theirs = cifar[1:]
    assert tree.paths(ours) == tree.paths(theirs)
    weights = [params["conv1"]["weight"] for params, _ in (ours, theirs)]
    assert mx.array_equal(*weights).item()


@pytest.mark.parametrize("name", RESNETS)
def test_a_child_of_another_name_is_an_error(name):
    with pytest.raises(TypeError, match=f"^{name}: children must be .* got head, stem"):
        getattr(models, name)(head=nn.identity, stem=nn.identity)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in models.__all__
        if "num_classes" in inspect.signature(getattr(models, name)).parameters
    ],
)
def test_a_wrong_number_of_classes_is_an_error_of_the_model(name):
    for given, kind in ((0, ValueError), ("10", TypeError), (True, TypeError)):
        with pytest.raises(kind, match=f"^{name}: num_classes must be"):
            getattr(models, name)(given)
