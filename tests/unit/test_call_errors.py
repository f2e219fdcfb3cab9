"""Names and arguments of other libraries get an error that says what ours are."""

import importlib
import inspect
import pickle
import re
import sys
from importlib import resources
from types import ModuleType

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import (
    call_errors,
    data,
    foreign_names,
    interop,
    losses,
    models,
    nn,
    ops,
    optim,
    random,
    schedules,
    train,
)

ONES = mx.ones((1, 1))


@pytest.mark.parametrize(
    ("package", "name", "message"),
    [
        (nn, "Linear", "nn has no attribute 'Linear'; torch.nn.Linear is nn.linear"),
        (nn, "Conv2d", "torch.nn.Conv2d is nn.conv2d here"),
        (nn, "BatchNorm2d", "torch.nn.BatchNorm2d is nn.batch_norm here"),
        (
            nn,
            "FractionalMaxPool2d",
            "there is no torch.nn.FractionalMaxPool2d here: use nn.max_pool2d",
        ),
        (nn, "Conv2D", "did you mean nn.conv2d?"),
        (optim, "AdamW", "torch.optim.AdamW is optim.adamw here"),
        (
            schedules,
            "StepLR",
            "torch.optim.lr_scheduler.StepLR is schedules.step_decay",
        ),
        (losses, "CrossEntropyLoss", "is losses.cross_entropy here"),
        (data, "TensorDataset", "torch.utils.data.TensorDataset is data.batches here"),
        (data, "RandomCrop", "torchvision.transforms.RandomCrop is data.random_crop"),
        (data, "DataLoader", "torch.utils.data.DataLoader is data.loader here"),
        (interop.torch, "load", r"a file of PyTorch: interop\.torch\.load_pt"),
        (schedules, "step_lr", r"lr_scheduler\.StepLR is schedules\.step_decay here"),
        (nn, "batch_norm2d", r"torch\.nn\.BatchNorm2d is nn\.batch_norm here"),
        (losses, "bce_with_logits", r"is losses\.sigmoid_binary_cross_entropy here"),
        (data, "random_horizontal_flip", r"is data\.random_flip here"),
        (lf.metrics, "mean_iou", r"MeanIoU is metrics\.class_counts here \(tp, fp, fn"),
        (lf.metrics, "mse", r"has no attribute 'mse'; it is losses\.mse here$"),
        (nn, "unet", r"it is models\.unet here$"),
        (lf.tree, "stack", r"of trees: tree\.map\(lambda \*leaves: mx\.stack"),
        (nn, "MaxPooling2D", "did you mean nn.max_pool2d?"),
        (nn, "swish", r"flax\.linen\.swish is nn\.silu here$"),
        (nn, "remat_scan", "flax.linen.remat_scan is nn.repeat here"),
        (random, "PRNGKey", r"jax\.random\.PRNGKey is random\.key here$"),
        (optim, "global_norm", r"optax\.global_norm is tree\.global_norm here$"),
        (train, "ModelCheckpoint", "lightning.ModelCheckpoint is train.keep_best"),
        (lf.metrics, "Accuracy", r"is metrics\.accuracy here \("),
        (optim, "ema", "optax.ema is optim.param_ema here"),
        (
            lf,
            "no_grad",
            "there is no torch.no_grad here: gradients are computed only where",
        ),
        (nn, "LoRA", r"flax\.nnx\.LoRA is nn\.lora here"),
        (nn, "LoRAParam", r"flax\.nnx\.LoRAParam is nn\.lora here"),
        (nn, "DataParallel", r"DataParallel is train\.make_step .* lucid_fn launch"),
        (lf, "pmap", "processes instead of devices: python -m lucid_fn launch"),
        (lf, "switch", r"switch is lf\.cond here \(nested"),
        (nn, "fuse_linear_bn_eval", r"is nn\.fold_batch_norm here"),
        (train, "load_state_dict", r"is interop\.torch\.from_state_dict here"),
        (nn, "pack_padded_sequence", r"is nn\.RecurrentInputs here \(no packed"),
        (
            interop.huggingface,
            "from_pretrained",
            "is interop.huggingface.gpt2_from_state_dict or interop.huggingface.bert",
        ),
        (schedules, "polynom", "did you mean schedules.polynomial_decay?"),
        (losses, "triplet", r"losses\.triplet_loss is losses\.triplet_margin here"),
        (train, "early", "did you mean train.early_stopping?"),
        (data, "crop", "mean data.random_crop or data.random_resized_crop"),
        (nn, "quantum", "nn has no attribute 'quantum'$"),
    ],
)
def test_an_unknown_name_is_told_what_it_is_called_here(package, name, message):
    with pytest.raises(AttributeError, match=message.replace("?", r"\?")):
        getattr(package, name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.adam(lr=1e-3), "adam: 'lr' is called learning_rate here"),
        (
            lambda: optim.adam(1e-3, betas=(0.9, 0.99)),
            r"adam: 'betas' is called b1 and b2 here; write adam\(learning_rate, ",
        ),
        (lambda: nn.dropout(p=0.1), "dropout: 'p' is called rate here"),
        (
            lambda: nn.max_pool2d(2, 2),
            r"max_pool2d: takes size by position, and the others by name, as in "
            r"max_pool2d\(2, stride=2\)",
        ),
        (
            lambda: nn.conv2d(3, 8, 3, 1, 1),
            r"as in conv2d\(3, 8, 3, stride=1, padding=1\)",
        ),
        (
            lambda: nn.linear(3),
            r"linear: needs out_features; write linear\(in_features",
        ),
        (
            lambda: nn.linear(3, 4, biass=True),
            r"has no argument 'biass' \(did you mean bias\?\); write linear\(",
        ),
        (
            lambda: nn.linear(3, 4, device="cpu"),
            r"linear: has no argument 'device' \(mx.set_default_device chooses it\)",
        ),
        (
            lambda: losses.binary_cross_entropy(ONES, ONES, weight=ONES),
            r"has no argument 'weight' \(for a loss, multiply the values",
        ),
        (
            lambda: losses.ctc(ONES, ONES, target_lengths=[1]),
            "'target_lengths' is called label_lengths here",
        ),
        (
            lambda: optim.adam(1e-3, decoupled_weight_decay=True),
            r"\(optim.adamw has decoupled weight decay\)",
        ),
        (
            lambda: optim.adafactor(1e-3, beta2_decay=-0.8),
            "'beta2_decay' is called decay_power here",
        ),
        (
            lambda: optim.adamw(1e-3, mask=lambda params: params),
            r"has no argument 'mask' \(optim.masked and optim.partition choose",
        ),
        (
            lambda: schedules.one_cycle(max_lr=0.1, total_steps=10),
            "'max_lr' is called peak here",
        ),
        (
            lambda: schedules.cosine_restarts(0.1, T_0=10, T_mult=2),
            "'T_0' is called first_period here; 'T_mult' is called growth here",
        ),
        (
            lambda: lf.jit(len, static_argnums=1),
            r"jit: 'static_argnums' is called static_argnames here; write jit\(fn",
        ),
        (lambda: lf.vmap(len, in_dims=1), "vmap: 'in_dims' is called in_axes here"),
        (
            lambda: nn.compose(len, nn.linear(3, 4)),
            r"compose: takes forward by position, and the others by name, as in "
            r"compose\(<built-in function len>, name_1=linear\(3, 4\)\)",
        ),
        (
            lambda: data.batches(mx.zeros((99, 9)), mx.zeros(99), 9),
            r"as in batches\(<array>, <array>, seed=9\)",
        ),
        (lambda: nn.linear(3, 4, in_features=3), "linear: got an argument twice"),
        (
            lambda: interop.torch.load_pt("a.pt", map_location=0),
            "arrays have no device",
        ),
        (lambda: models.vit(weights="DEFAULT"), "from_state_dict loads the weights of"),
        (
            lambda: models.resnet18(pretrained=True),
            "got pretrained; load torchvision's weights",
        ),
        (
            lambda: losses.cross_entropy(ONES, ONES, weights=ONES),
            r"has no argument 'weights' \(did you mean weight\?\)",
        ),
        (
            lambda: train.init(nn.linear(3, 4), optim.adam(1e-3), ONES, params={}),
            r"gets others by ts\._replace\(params=params, opt_state=optimizer\.init",
        ),
        (
            lambda: lf.metrics.accuracy(ONES, ONES, ignore_index=-100),
            r"divide it by ops\.mean\(labels != ignore_index\)",
        ),
        (
            lambda: train.fit(ONES, ONES, ONES, num_epochs=3),
            "'num_epochs' is called epochs here",
        ),
        (lambda: models.unet(base_channels=8), "'base_channels' is called width here"),
        (lambda: models.gpt(block_size=8), "'block_size' is called max_length here"),
        (
            lambda: models.resnet18(in_channels=1),
            r"as in conv1=nn\.conv2d\(1, 64, 7, stride=2, padding=3, bias=False\)",
        ),
        (
            lambda: nn.compose(fc=nn.linear(3, 4)),
            r"compose: needs forward; write compose\(forward, \*, examplewise",
        ),
        (
            lambda: lf.export(len, "a.mlxfn", ONES, batch_dim=0),
            r"write export\(fn, path, \*example_args, batch_argnums=\(\)\)",
        ),
        (lambda: train.save({}, "a.safetensors"), r"write save\(path, ts\)"),
        (
            lambda: train.early_stopping(monitor="loss", mode="min", patience=1),
            "'monitor' is called metric here; 'mode' is called higher_is_better here",
        ),
    ],
)
def test_an_unfit_argument_is_told_how_to_give_it(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_every_name_of_the_tables_has_an_answer():
    text = resources.files("lucid_fn").joinpath("names.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    names = [
        name for row in rows for name in re.findall("`([^`]+)`", row.split(" |")[0])
    ]
    assert len(names) > 1000
    for name in names:
        with pytest.raises(AttributeError, match=" here"):
            foreign_names.raise_unknown("lf", name, [])


def test_remarks_beside_the_tables_answer_nothing():
    with pytest.raises(AttributeError, match=r"; it is optim\.ScaleByAdamState here$"):
        foreign_names.raise_unknown("nn", "ScaleByAdamState", [])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.interpolate(ONES, size=4),
            r"interpolate is nn\.upsample_nearest or",
        ),
        (
            lambda: schedules.cosine(0.1),
            "mean schedules.cosine_decay or schedules.warmu",
        ),
        (lambda: ops.cross_entropy(ONES, ONES), r"is losses\.cross_entropy here"),
    ],
)
def test_a_file_that_is_called_is_told_as_an_unknown_name(call, message):
    with pytest.raises(AttributeError, match=message):
        call()


def test_an_error_raised_inside_of_a_function_is_left_alone():
    @call_errors.explains_calls
    def fails(x):
        return len(x, x)

    with pytest.raises(TypeError, match=r"len\(\) takes exactly one argument"):
        fails(1)


def test_a_call_inside_of_a_function_is_explained_as_the_one_it_is():
    @call_errors.explains_calls
    def outer(fn):
        return fn()

    message = "^linear: needs in_features and out_features; write linear"
    with pytest.raises(TypeError, match=message):
        outer(nn.linear)
    with pytest.raises(TypeError, match=message):
        lf.eval_shape(lambda x: nn.linear(), ONES)
    with pytest.raises(TypeError, match=message):
        outer(call_errors.explains_calls(lambda: outer(nn.linear)))


def test_a_traced_array_is_not_asked_for_its_values():
    with pytest.raises(TypeError, match=r"as in randint\(<array>, \(3,\)"):
        mx.compile(lambda key: lf.random.randint(key, (3,), 0, high=9))(mx.zeros(2))


def test_guided_functions_can_be_pickled_and_keep_their_signature():
    assert pickle.loads(pickle.dumps(nn.linear)) is nn.linear
    assert pickle.loads(pickle.dumps(optim.adam)) is optim.adam
    assert nn.linear.__doc__ and nn.linear.__name__ == "linear"


def test_a_guided_function_still_marks_its_layers():
    layer = nn.serial(nn.linear(2, 3), nn.relu)
    params, state = layer.init(lf.random.key(0))
    assert layer.apply(params, state, mx.ones((1, 2)), train=False)[0].shape == (1, 3)


GUIDED = [lf.data, lf.losses, lf.metrics, lf.models, lf.nn, lf.nn.initializers, lf.ops]
GUIDED += [lf.optim, lf.random, lf.schedules, lf.train, lf.tree]


@pytest.mark.parametrize("package", GUIDED, ids=lambda package: package.__name__)
def test_a_file_that_is_imported_later_does_not_hide_a_function(package):
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value):
            setattr(package, name, ModuleType(name))
            assert getattr(package, name) is value


def test_a_file_that_is_imported_again_does_not_hide_its_function(monkeypatch):
    monkeypatch.delitem(sys.modules, "lucid_fn.nn.linear")
    layer, module = nn.linear, importlib.import_module("lucid_fn.nn.linear")
    assert nn.linear is layer and isinstance(module, ModuleType)


@pytest.mark.parametrize("name", ["glu", "softmax", "relu", "dot_product_attention"])
def test_a_function_that_two_packages_share_is_one(name):
    assert getattr(nn, name) is getattr(lf.ops, name)


@pytest.mark.parametrize("name", ["avg_pool1d", "avg_pool2d", "avg_pool3d"])
def test_a_pool_of_ops_says_that_its_stride_is_given_by_name(name):
    message = rf"{name}: takes x and size by position, .*{name}\(<array>, 2, stride=2\)"
    with pytest.raises(TypeError, match=message):
        getattr(ops, name)(mx.ones((1, 4, 4, 1)), 2, 2)


def test_no_function_of_ops_leaves_the_error_of_too_many_arguments_to_python():
    for name in ops.__all__:
        fn = getattr(ops, name)
        if inspect.isfunction(fn) and not str(inspect.signature(fn)).startswith("(*"):
            with pytest.raises((TypeError, ValueError)) as error:
                fn(*[None] * 25)
            assert not re.search(r"takes .*\d positional", str(error.value)), name
