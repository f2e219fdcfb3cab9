"""Summaries: counts that are known, and that nothing is computed."""

import mlx.core as mx
import pytest

from lucid_fn import models, nn


def flops(layer, shape, **options):
    return nn.summary(layer, shape, **options).flops


def test_lenet_has_the_known_parameters():
    table = nn.summary(models.lenet5(), (1, 28, 28, 1))
    counts = {row.path: row.num_params for row in table.rows if row.num_params}
    assert counts == {
        "conv1": 156,
        "conv2": 2416,
        "fc1": 30840,
        "fc2": 10164,
        "fc3": 850,
    }
    assert table.num_params == 44_426
    assert table.nbytes == 4 * 44_426


def test_resnet_has_the_known_parameters_and_products():
    table = nn.summary(models.resnet18(), (1, 224, 224, 3))
    assert table.num_params == 11_689_512
    assert table.flops == 2 * 1_814_073_344  # torchvision's 1.81 GFLOPs: multiply-adds
    assert "layer2.1.conv2" in [row.path for row in table.rows]


def test_a_model_that_fits_into_no_memory_has_a_summary():
    table = nn.summary(nn.linear(1_000_000, 1_000_000, bias=False), (8, 1_000_000))
    assert table.nbytes == 4 * 10**12
    assert mx.get_peak_memory() < 2**33


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.linear(4, 3), (5, 4), 2 * 5 * 4 * 3),
        (nn.conv2d(4, 6, 3, padding=1), (2, 8, 8, 4), 2 * 2 * 64 * 6 * 9 * 4),
        (nn.conv2d(4, 8, 3, padding=1, groups=4), (1, 8, 8, 4), 2 * 64 * 8 * 9),
        (nn.conv_transpose1d(4, 6, 2, stride=2), (1, 5, 4), 2 * 5 * 4 * 2 * 6),
        (nn.multi_head_attention(8, 2), (1, 5, 8), 2 * (4 * 5 * 64 + 2 * 25 * 8)),
        (nn.gru(3, 4), (1, 5, 3), 2 * 5 * 12 * (3 + 4)),
    ],
)
def test_flops_are_twice_the_products(layer, shape, expected):
    assert flops(layer, shape) == expected


def test_tokens_have_a_dtype():
    model = nn.tied_embedding(nn.linear(4, 4), 9, 4)
    assert flops(model, (1, 5), dtype=mx.int32) == 2 * (5 * 16 + 5 * 4 * 9)


def test_an_input_of_several_arrays_is_given_itself():
    x = mx.zeros((1, 3, 8))
    table = nn.summary(nn.multi_head_attention(8, 2), nn.AttentionInputs(x, x, x))
    assert table.rows[0].path == "(layer)"
    assert table.rows[0].output == "(1, 3, 8)"


def test_a_shared_layer_has_one_row_and_all_its_products():
    shared = nn.compose(lambda x, fc: fc(fc(x)), fc=nn.linear(4, 4, bias=False))
    table = nn.summary(shared, (1, 4))
    assert [row.path for row in table.rows] == ["fc"]
    assert table.rows[0].flops == table.flops == 2 * 2 * 16
    assert table.num_params == 16


def test_products_outside_of_rows_count_in_the_sum():
    model = nn.tied_embedding(nn.identity, 9, 4)
    table = nn.summary(model, (1, 5), dtype=mx.int32)
    assert sum(row.flops for row in table.rows) == 0
    assert table.flops == 2 * 5 * 4 * 9


def test_the_table_is_aligned():
    lines = str(nn.summary(models.lenet5(), (1, 28, 28, 1))).splitlines()
    assert lines[0].split() == ["layer", "output", "params", "FLOPs", "bytes"]
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[:2] == ["total", "44,426"]


def test_a_shape_that_does_not_fit_is_the_layers_error():
    with pytest.raises(ValueError, match=r"conv2d: x must have shape \(N, H, W, 1\)"):
        nn.summary(models.lenet5(), (1, 28, 28, 3))
