"""Slices of params and wrong arguments, without processes.

`tests/e2e/test_sharded_groups.py` computes with processes.
"""

import mlx.core as mx
import pytest

from lucid_fn import distributed, losses, nn, optim, random, train, tree
from lucid_fn.distributed import Group
from lucid_fn.train import checks

PAIR = [Group(0, 2), Group(1, 2)]
KEY = random.key(0)


def parallel(group):
    return nn.serial(
        up=nn.column_parallel_linear(4, 6, group=group),
        down=nn.row_parallel_linear(6, 4, group=group),
        attn=nn.multi_head_attention(4, 2, group=group),
    )


def test_params_are_slices_of_those_of_one_process():
    whole, _ = parallel(None).init(KEY)
    for group in PAIR:
        model = parallel(group)
        own = nn.shard_params(model, whole)
        assert tree.equal(own, model.init(KEY)[0]).item()
        half, rank = slice(3 * group.rank, 3 * group.rank + 3), group.rank
        assert mx.array_equal(own["up"]["weight"], whole["up"]["weight"][half])
        assert mx.array_equal(own["up"]["bias"], whole["up"]["bias"][half])
        assert mx.array_equal(own["down"]["weight"], whole["down"]["weight"][:, half])
        assert mx.array_equal(own["down"]["bias"], whole["down"]["bias"])
        rows = whole["attn"]["in_proj_weight"].reshape(3, 2, 2, 4)  # q, k and v; heads
        assert mx.array_equal(
            own["attn"]["in_proj_weight"], rows[:, rank].reshape(6, 4)
        )


def test_a_train_state_is_divided_with_its_moments():
    model = parallel(PAIR[1])
    whole, _ = parallel(None).init(KEY)
    both = {"params": whole, "opt_state": optim.adam(0.1).init(whole)}
    own = nn.shard_params(model, both)
    shapes = tree.map(lambda x: x.shape, own)
    adam = optim.adam(0.1).init(own["params"])
    assert shapes["opt_state"] == tree.map(lambda x: x.shape, adam)


def test_a_param_that_ends_like_a_divided_one_is_not_divided():
    def model(group):
        up = nn.column_parallel_linear(4, 6, group=group)
        down = nn.row_parallel_linear(6, 4, group=group)
        return nn.serial(up, down, nn.serial(nn.linear(4, 6), nn.linear(6, 4)))

    whole, _ = model(None).init(KEY)
    own = nn.shard_params(model(PAIR[1]), {"params": whole})
    assert tree.equal(own["params"], model(PAIR[1]).init(KEY)[0]).item()


@pytest.mark.parametrize(
    "wrap",
    [
        nn.checkpointed,
        nn.mixed_precision,
        nn.frozen,
        lambda layer: nn.tap(layer, "up"),
        nn.scan,
    ],
)
def test_layers_inside_of_wrappers_are_found(wrap):
    model = nn.serial(wrap(parallel(PAIR[1])))
    whole, _ = nn.serial(wrap(parallel(None))).init(KEY)
    assert tree.equal(nn.shard_params(model, whole), model.init(KEY)[0]).item()


@pytest.mark.parametrize("group", [None, Group(0, 1)])
def test_without_a_group_nothing_is_divided(group):
    model = parallel(group)
    params, _ = model.init(KEY)
    assert params["up"]["weight"].shape == (6, 4)
    assert tree.equal(nn.shard_params(model, params), params).item()
    assert nn.unshard_params(model, params) is params
    x = mx.ones(2)
    assert distributed.sum_gradients(x, group) is x
    assert distributed.sum_parts(x, group) is x


FOUR = Group(0, 4)
WRONG = {
    "out_features must be a multiple of the number of processes, got 6 and 4": (
        lambda: nn.column_parallel_linear(4, 6, group=FOUR)
    ),
    "in_features must be a multiple of the number of processes, got 6 and 4": (
        lambda: nn.row_parallel_linear(6, 4, group=FOUR)
    ),
    "num_heads must be a multiple of the number of processes, got 2 and 4": (
        lambda: nn.multi_head_attention(8, 2, group=FOUR)
    ),
    "return_weights must be False with a group, got True": (
        lambda: nn.multi_head_attention(8, 4, return_weights=True, group=FOUR)
    ),
    "group must be None for a layer with a cache, got a group of 4": (
        lambda: nn.transformer_encoder_layer(
            8, 4, causal=True, cache=(1, 4), group=FOUR
        )
    ),
    r"attn.in_proj_bias must have shape \(12,\), got \(6,\); are the params": (
        lambda: nn.shard_params(parallel(PAIR[0]), parallel(PAIR[0]).init(KEY)[0])
    ),
    r"attn.in_proj_bias must have shape \(6,\), got \(12,\); are the params": (
        lambda: nn.unshard_params(parallel(PAIR[0]), parallel(None).init(KEY)[0])
    ),
    r"row_parallel_linear: x must have shape \(..., 3\), got \(1, 6\)": (
        lambda: _apply(nn.row_parallel_linear(6, 4, group=PAIR[0]))
    ),
    r"dropout: x must have shape \(..., features\), got \(\)": (
        lambda: nn.dropout(0.5, group=PAIR[0]).apply({}, {}, mx.array(1.0), train=False)
    ),
    r"mask must broadcast to \(N, 4, L, S\), got \(1, 2, 3, 3\)": (
        lambda: _attend(nn.multi_head_attention(8, 4, group=PAIR[0]), heads=2)
    ),
}


def _attend(layer, heads):
    x, mask = mx.ones((1, 3, 8)), mx.ones((1, heads, 3, 3), mx.bool_)
    inputs = nn.AttentionInputs(x, x, x, mask)
    return layer.apply(layer.init(KEY)[0], {}, inputs, train=False)


def _apply(layer):
    return layer.apply(layer.init(KEY)[0], {}, mx.ones((1, 6)), train=False)


@pytest.mark.parametrize("words", WRONG)
def test_wrong_sizes_are_errors(words):
    with pytest.raises(ValueError, match=words):
        WRONG[words]()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.column_parallel_linear(4, 6, group=2),
        lambda: nn.row_parallel_linear(4, 6, group=2),
        lambda: nn.multi_head_attention(4, 2, group=2),
        lambda: nn.transformer_encoder_layer(4, 2, group=2),
        lambda: nn.transformer_decoder_layer(4, 2, group=2),
        lambda: nn.dropout(0.1, group=2),
    ],
)
def test_a_group_of_the_wrong_type_is_an_error(make):
    with pytest.raises(TypeError, match="group must be a Group, as"):
        make()


def test_the_ranks_drop_together_what_one_process_drops():
    x, key = mx.ones((3, 8)), random.key(1)
    whole, _ = nn.dropout(0.5).apply({}, {}, x, train=True, key=key)
    parts = [
        nn.dropout(0.5, group=g).apply({}, {}, x[:, :4], train=True, key=key)[0]
        for g in PAIR
    ]
    assert mx.array_equal(mx.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1)),
        optim.zero_redundancy(optim.adam(0.1), PAIR[0]),
        optim.dynamic_loss_scale(optim.adam(0.1)),
        optim.apply_if_finite(optim.adam(0.1)),
        optim.chain(optim.prodigy(), optim.add_decayed_weights(0.1)),
        optim.lbfgs(),
    ],
)
def test_an_optimizer_that_takes_slices_for_the_whole_is_refused(optimizer):
    with pytest.raises(ValueError, match="optimizer must be elementwise"):
        train.init(parallel(PAIR[0]), optimizer, KEY)


def test_gradients_of_slices_are_not_averaged():
    with pytest.raises(ValueError, match="group must be None for a model that is div"):
        train.make_step(parallel(PAIR[0]), optim.sgd(0.1), losses.mse, group=PAIR[0])


def test_slices_do_not_all_become_those_of_rank_0_in_fit():
    model, optimizer = parallel(PAIR[0]), optim.sgd(0.1)
    ts = train.init(model, optimizer, KEY)
    step = train.make_step(model, optimizer, losses.mse)
    with pytest.raises(ValueError, match="fit: group must be None for a model that is"):
        train.fit(ts, step, lambda epoch: [], epochs=1, group=PAIR[0])


@pytest.mark.parametrize(
    "paths", [["run.safetensors", "run.safetensors"], ["run.safetensors", None]]
)
def test_ranks_do_not_share_a_checkpoint_of_slices(paths, monkeypatch, tmp_path):
    monkeypatch.setattr(checks, "exchange", lambda group, what, path: paths)
    model, optimizer = parallel(PAIR[0]), optim.sgd(0.1)
    ts = train.init(model, optimizer, KEY)
    step = train.make_step(model, optimizer, losses.mse)
    path = tmp_path / "run.safetensors"
    with pytest.raises(ValueError, match="checkpoint must be a different path on ea"):
        train.fit(ts, step, lambda epoch: [], epochs=1, checkpoint=path)
