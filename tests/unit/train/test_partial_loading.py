"""Layers loaded from another model's file, as a whole or not at all."""

import mlx.core as mx
import pytest

from lucid_fn import models, nn, optim, random, train, tree
from tests.unit.train.runs import equal


def classifier(num_classes, width=4, norm=nn.batch_norm):
    return nn.serial(
        body=nn.linear(3, width), norm=norm(width), head=nn.linear(width, num_classes)
    )


def start(model, seed=0, optimizer=None):
    optimizer = optim.sgd(0.1, momentum=0.9) if optimizer is None else optimizer
    ts = train.init(model, optimizer, random.key(seed))
    return ts._replace(step=mx.array(seed, mx.int32))


@pytest.fixture
def path(tmp_path):
    """A file of a model of 1000 classes."""
    train.save(tmp_path / "run.safetensors", start(classifier(1000), seed=7))
    return tmp_path / "run.safetensors"


def load_params(path, like):
    return train.load_params(path, like=like)


def load(path, like):
    return train.load(path, like=like, strict=False)


@pytest.mark.parametrize("take", [load, load_params])
def test_another_number_of_classes_takes_all_but_the_head(path, take):
    like, source = start(classifier(10)), start(classifier(1000), seed=7)
    ts, report = take(path, like)
    assert equal(ts.params["body"], source.params["body"])
    assert equal(ts.params["norm"], source.params["norm"])
    assert equal(ts.state, source.state)
    assert equal(ts.params["head"], like.params["head"])
    # What the optimizer, the key and the step were goes with other weights.
    for name in ("opt_state", "key", "step"):
        assert equal(getattr(ts, name), getattr(like, name))
    assert "params.body.weight" in report.taken
    assert "state.norm.running_mean" in report.taken
    heads = ("params.head.bias", "params.head.weight")
    assert set(heads) <= set(report.missing) & set(report.unexpected)


def test_load_params_reports_params_and_state_only(path):
    _, report = train.load_params(path, like=start(classifier(10)))
    assert report.missing == ("params.head.bias", "params.head.weight")
    assert report.unexpected == report.missing
    assert not any(name.startswith("opt_state") for name in report.taken)


def test_all_that_fits_is_the_whole_run(path):
    like = start(classifier(1000))
    ts, report = train.load(path, like=like, strict=False)
    assert equal(ts, train.load(path, like=like))
    assert report.taken == tuple(sorted(tree.named_leaves(like)))
    assert report.missing == report.unexpected == ()


def test_another_optimizer_keeps_its_own_state(path):
    like = start(classifier(1000), optimizer=optim.adam(1e-3))
    ts, report = train.load(path, like=like, strict=False)
    assert equal(ts.params, start(classifier(1000), seed=7).params)
    assert equal(ts.opt_state, like.opt_state)
    assert ts.step.item() == 0
    assert any(name.startswith("opt_state") for name in report.unexpected)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        # half of its arrays differ, are missing, or are too many
        (lambda ts: ts.params["head"].update(bias=mx.zeros(3)), "head"),
        (lambda ts: ts.params["head"].pop("bias"), "head"),
        (lambda ts: ts.params["head"].update(scale=mx.zeros(3)), "head"),
        (lambda ts: ts.params["body"].update(bias=mx.zeros(4, mx.float16)), "body"),
        (lambda ts: ts.state["norm"].pop("running_var"), "norm"),
        (lambda ts: ts.state["norm"].update(running_var=mx.zeros(5)), "norm"),
        (lambda ts: ts.params.pop("norm"), "norm"),
    ],
)
@pytest.mark.parametrize("take", [load, load_params])
def test_never_half_a_layer(tmp_path, change, kept, take):
    source, like = start(classifier(9), seed=3), start(classifier(9))
    change(source)
    train.save(tmp_path / "a.safetensors", source)
    ts, report = take(tmp_path / "a.safetensors", like)
    assert equal(ts.params[kept], like.params[kept])
    assert equal(ts.state.get(kept, {}), like.state.get(kept, {}))
    assert not any(f".{kept}." in name for name in report.taken)
    for name in {"body", "norm", "head"} - {kept}:
        assert equal(ts.params[name], source.params[name])


def test_a_file_of_params_alone_and_a_template_of_params_alone(tmp_path, path):
    source = start(classifier(1000), seed=7)
    train.save(tmp_path / "params.safetensors", source.params)
    for file in (path, tmp_path / "params.safetensors"):
        params, report = train.load_params(file, like=start(classifier(10)).params)
        assert equal(params["body"], source.params["body"])
        assert report.missing == ("head.bias", "head.weight")
    ts, report = train.load_params(
        tmp_path / "params.safetensors", like=start(classifier(10))
    )
    assert equal(ts.params["body"], source.params["body"])
    assert "params.norm.weight" in report.missing  # its statistics are not in the file


def test_a_resnet_of_1000_classes_becomes_one_of_ten(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    pretrained = models.resnet18().init(random.key(0))
    train.save(path, dict(zip(("params", "state"), pretrained, strict=True)))
    like = models.resnet18(10).init(random.key(1))
    (params, state), report = train.load_params(path, like=like)
    assert report.missing == ("params.fc.bias", "params.fc.weight")
    assert equal({**params, "fc": {}}, {**pretrained[0], "fc": {}})
    assert equal(state, pretrained[1])


def test_a_file_of_which_nothing_fits_is_an_error(path):
    for take in (load, load_params):
        with pytest.raises(
            ValueError, match=rf"train\.{take.__name__}: {path}: no lay"
        ):
            take(path, start(nn.linear(3, 4)))


def test_the_errors_of_files_are_those_of_load(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"12345678")
    with pytest.raises(
        ValueError, match=r"train\.load_params: .*a\.safetensors is dam"
    ):
        train.load_params(tmp_path / "a.safetensors", like={})
    with pytest.raises(
        FileNotFoundError, match=r"train\.load_params: there is no file"
    ):
        train.load_params(tmp_path / "b.safetensors", like={})
