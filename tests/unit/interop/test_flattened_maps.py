"""Linears after a flatten are found whatever the model looks like."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import models, nn, random
from lucid_fn.interop import flattening
from lucid_fn.interop.torch import to_state_dict


def exported(model, **options):
    params, state = model.init(random.key(0))
    return params, to_state_dict(model, params, state, **options)


def channels_first(weight, channels):
    """Columns (P, C) as (C, P), by NumPy alone."""
    rows = np.array(weight).reshape(len(weight), -1, channels)
    return rows.transpose(0, 2, 1).reshape(len(weight), -1)


def assert_reordered(params, weights, name, channels):
    ours = np.array(params[name]["weight"])
    np.testing.assert_array_equal(
        weights[f"{name}.weight"], channels_first(ours, channels)
    )
    assert not np.array_equal(weights[f"{name}.weight"], ours)


def assert_kept(params, weights, name):
    np.testing.assert_array_equal(
        weights[f"{name}.weight"], np.array(params[name]["weight"])
    )


def test_lenets_first_linear_follows_a_map_of_16_channels():
    params, weights = exported(models.lenet5())
    assert_reordered(params, weights, "fc1", 16)
    assert_kept(params, weights, "fc2")
    assert_kept(params, weights, "fc3")


def test_a_mean_over_the_map_leaves_the_columns_alone():
    # 16 features that a map of 4 channels and 4 pixels would have too.
    model = nn.serial(
        a=nn.conv2d(3, 4, 3), b=nn.conv2d(4, 16, 3), c=nn.global_avg_pool2d,
        d=nn.linear(16, 5),
    )  # fmt: skip
    params, weights = exported(model)
    assert_kept(params, weights, "d")


def test_a_flatten_after_an_adaptive_pool_is_found_at_any_input_size():
    model = nn.serial(
        a=nn.conv2d(3, 8, 3), b=lambda x: x[:, :2, :2], c=nn.flatten, d=nn.linear(32, 5)
    )
    params, weights = exported(model)
    assert_reordered(params, weights, "d", 8)


def test_a_flatten_in_pytorchs_order_is_left_alone():
    model = nn.serial(
        a=nn.conv2d(1, 8, 3),
        b=lambda x: x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1),
        c=nn.linear(8 * 9, 5),
    )
    params, weights = exported(model, input_shape=(5, 5, 1))
    assert_kept(params, weights, "c")


def test_activations_dropout_and_norms_may_stand_in_between():
    model = nn.serial(
        a=nn.conv2d(3, 8, 3, bias=False),
        b=nn.batch_norm(8),
        c=nn.relu,
        d=nn.flatten,
        e=nn.dropout(0.5),
        f=nn.batch_norm(8 * 9),
        g=nn.relu,
        h=nn.linear(8 * 9, 5),
    )
    params, state = model.init(random.key(0))
    features = mx.arange(72.0)
    params["f"]["weight"] = features
    state["f"]["running_mean"] = features
    weights = to_state_dict(model, params, state)
    assert_reordered(params, weights, "h", 8)
    expected = np.arange(72.0).reshape(9, 8).T.reshape(-1)
    np.testing.assert_array_equal(weights["f.weight"], expected)
    np.testing.assert_array_equal(weights["f.running_mean"], expected)


def test_a_free_form_model_is_understood():
    def forward(x, conv, left, right, head):
        y = nn.relu(conv(x))
        return head(left(nn.flatten(y)) * right(mx.mean(y, axis=(1, 2))))

    model = nn.compose(
        forward,
        conv=nn.conv2d(1, 6, 3),
        left=nn.linear(6 * 4, 7),
        right=nn.linear(6, 7),
        head=nn.linear(7, 2),
    )
    params, weights = exported(model)
    assert_reordered(params, weights, "left", 6)
    assert_kept(params, weights, "right")
    assert_kept(params, weights, "head")


def test_a_conv1d_and_its_flattened_sequence_are_understood():
    model = nn.serial(
        a=nn.conv1d(2, 4, 3), b=nn.tanh, c=nn.flatten, d=nn.linear(4 * 6, 3)
    )
    params, weights = exported(model)
    assert weights["a.weight"].shape == (4, 2, 3)
    assert_reordered(params, weights, "d", 4)


def test_a_softmax_at_the_end_hides_nothing():
    model = nn.serial(
        a=nn.conv2d(1, 4, 3), b=nn.flatten, c=nn.linear(4 * 4, 3), d=mx.softmax
    )
    params, weights = exported(model)
    assert_reordered(params, weights, "c", 4)


def test_the_flatten_of_the_input_itself_must_be_told():
    model = nn.serial(a=nn.flatten, b=nn.linear(12, 3))
    with pytest.raises(ValueError, match=r"flattens its input.*input_shape=\(H, W, C"):
        exported(model)
    params, weights = exported(model, input_shape=(2, 2, 3))
    assert_reordered(params, weights, "b", 3)
    params, weights = exported(model, input_shape=(2, 6, 1))
    assert_kept(params, weights, "b")
    params, weights = exported(model, input_shape=(12,))
    assert_kept(params, weights, "b")


def test_vectors_and_tokens_need_no_input_shape():
    params, weights = exported(nn.serial(a=nn.linear(6, 4), b=nn.linear(4, 2)))
    assert_kept(params, weights, "a")


def test_what_cannot_be_told_is_an_error_and_can_be_said():
    frozen = nn.frozen(nn.conv2d(1, 4, 3))  # no gradient reaches its channels
    model = nn.serial(a=frozen, b=nn.flatten, c=nn.linear(4 * 4, 3))
    with pytest.raises(ValueError, match=r"cannot tell whether c.weight .*flattened="):
        exported(model)
    params, weights = exported(model, flattened={"c": (2, 2, 4)})
    assert_reordered(params, weights, "c", 4)
    params, weights = exported(model, flattened={})
    assert_kept(params, weights, "c")


def test_an_input_that_no_size_fits_must_be_told():
    def forward(x, conv, fc):
        if x.shape[1:] != (5, 9, 1):
            raise ValueError("another size")
        return fc(nn.flatten(conv(x)))

    model = nn.compose(forward, conv=nn.conv2d(1, 2, 3), fc=nn.linear(2 * 21, 3))
    with pytest.raises(ValueError, match=r"cannot tell what the model takes.*H, W, C"):
        exported(model)
    with pytest.raises(ValueError, match=r"a float input of the shape \(1, 4, 4, 1\)"):
        exported(model, input_shape=(4, 4, 1))
    params, weights = exported(model, input_shape=(5, 9, 1))
    assert_reordered(params, weights, "fc", 2)


def generator(reshape):
    def forward(x, fc, conv):
        return conv(reshape(nn.relu(fc(x))))

    return nn.compose(
        forward, fc=nn.linear(5, 12), conv=nn.conv_transpose2d(3, 2, 2, stride=2)
    )


def test_the_map_that_a_linear_makes_must_be_told():
    model = generator(lambda y: y.reshape(-1, 2, 2, 3))
    with pytest.raises(ValueError, match=r"output of fc\.weight becomes a feature map"):
        exported(model)
    params, weights = exported(model, flattened={"fc": (2, 2, 3)})
    for name in ("weight", "bias"):
        ours = np.array(params["fc"][name])
        rows = ours.reshape(4, 3, -1).swapaxes(0, 1).reshape(ours.shape)
        np.testing.assert_array_equal(weights[f"fc.{name}"], rows)


def test_the_map_that_a_linear_makes_in_pytorchs_order_is_left_alone():
    model = generator(lambda y: y.reshape(-1, 3, 2, 2).transpose(0, 2, 3, 1))
    params, weights = exported(model)
    assert_kept(params, weights, "fc")


def test_scales_and_shifts_of_channels_are_not_taken_for_a_map():
    def forward(x, fc, conv, out):
        y = conv(x)
        scale, shift = mx.split(fc(mx.mean(y, axis=(1, 2))), 2, axis=1)
        return out(y * scale[:, None, None] + shift[:, None, None])

    model = nn.compose(
        forward,
        fc=nn.linear(3, 6),
        conv=nn.conv2d(1, 3, 1),
        out=nn.conv2d(3, 2, 1),
    )
    with pytest.raises(
        ValueError, match=r"output of fc\.weight .*flattened={} if none"
    ):
        exported(model)
    params, weights = exported(model, flattened={})
    assert_kept(params, weights, "fc")


@pytest.mark.parametrize(
    ("flattened", "message"),
    [
        ({"fc1": (4, 4, 4)}, r"flattened\['fc1'\] must be the shape .*64 features"),
        ({"fc9": (4, 4, 16)}, "no such layer"),
    ],
)
def test_a_wrong_map_is_an_error(flattened, message):
    with pytest.raises(ValueError, match=message):
        exported(models.lenet5(), flattened=flattened)


@pytest.mark.parametrize("kdim", [None, 4])
def test_the_projection_of_an_attention_over_a_map_follows_no_flatten(kdim):
    def tokens(x):
        x = x.reshape(len(x), -1, x.shape[-1])  # (N, H * W, C)
        return nn.AttentionInputs(x, x[..., :kdim], x)

    model = nn.serial(
        a=nn.conv2d(3, 8, 3), b=tokens, c=nn.multi_head_attention(8, 2, kdim=kdim),
        d=nn.global_avg_pool1d, e=nn.linear(8, 5),
    )  # fmt: skip
    params, weights = exported(model)
    ours = np.array(params["c"]["out_proj"]["weight"])
    np.testing.assert_array_equal(weights["c.out_proj.weight"], ours)
    assert_kept(params, weights, "e")


def test_a_vision_transformer_says_that_it_flattens_nothing(monkeypatch):
    vit = models.vit(
        5, image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8,
        mlp_dim=16,
    )  # fmt: skip
    model = nn.serial(backbone=models.backbone(vit), head=nn.linear(8, 3))
    asked = []
    make_supports = flattening.make_supports

    def watched(*args):
        supports = make_supports(*args)
        return lambda path, *rest: asked.append(path) or supports(path, *rest)

    monkeypatch.setattr(flattening, "make_supports", watched)
    exported(vit)
    assert asked == []
    params, weights = exported(model)
    assert set(asked) == {"head.weight"}
    assert_kept(params, weights, "head")
