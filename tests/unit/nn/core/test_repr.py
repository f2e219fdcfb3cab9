"""`print(model)` shows the calls that made it."""

from functools import partial

from lucid_fn import models, nn
from lucid_fn.models.resnet import basic_block


def test_a_model_shows_its_layers():
    shown = repr(models.lenet5(7)).splitlines()
    assert shown[:3] == ["lenet5(", "  conv1: conv2d(1, 6, 5)", "  act1: tanh"]
    assert shown[-2:] == ["  fc3: linear(84, 7)", ")"]


def test_a_block_shows_its_shortcut():
    shown = repr(basic_block(4, 8, stride=2)).splitlines()
    assert shown[0] == "compose("
    assert shown[2] == "  bn1: batch_norm(8)"
    assert shown[5] == "  downsample: serial("
    assert shown[7:] == ["    1: batch_norm(8)", "  )", ")"]
    assert repr(basic_block(4, 4)).splitlines()[-2] == "  downsample: identity"
    assert repr(nn.residual(nn.linear(2, 2))).splitlines() == [
        "residual(",
        "  body: linear(2, 2)",
        "  shortcut: identity",
        ")",
    ]


def test_a_block_of_the_users_shows_its_children():
    def forward(x, up, act, down):
        return x + down(act(up(x)))

    act = partial(nn.leaky_relu, negative_slope=0.2)
    block = nn.compose(
        forward, examplewise=True, up=nn.linear(4, 8), act=act, down=nn.linear(8, 4)
    )
    assert repr(block).splitlines() == [
        "compose(",
        "  up: linear(4, 8)",
        "  act: leaky_relu(negative_slope=0.2)",
        "  down: linear(8, 4)",
        ")",
    ]


def test_layers_inside_of_a_layer_of_the_library_are_shown():
    shown = repr(nn.transformer_encoder(nn.transformer_encoder_layer(4, 2), 2))
    assert "self_attn: multi_head_attention(4, 2" in shown
    assert "layers: compose(" in shown and "dropout2: dropout(0.1)" in shown
    assert not [line for line in shown.splitlines() if line.endswith(": layer")]


def test_wrappers_show_what_they_wrap():
    assert repr(nn.frozen(nn.linear(2, 3))) == "frozen(linear(2, 3))"
    assert repr(nn.weight_norm(nn.linear(2, 3))) == "weight_norm(linear(2, 3))"
    assert repr(nn.lift(nn.relu)) == "lift(relu)"


def test_a_layer_by_hand_is_a_layer():
    made = nn.Layer(lambda key: ({}, {}), lambda params, state, x, **_: (x, state))
    assert repr(nn.serial(made)).splitlines()[1] == "  0: layer"
