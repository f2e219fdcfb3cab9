"""Functions of the statistics that batch norms hold."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, tree


def drawn_state(key, channels):
    return {
        "running_mean": random.normal(key, (channels,)),
        "running_var": random.uniform(key, (channels,), low=0.5, high=2.0),
        "num_batches_tracked": mx.array(3),
    }


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_folded_convolutions_do_the_same_in_eval(key, bias, affine):
    conv, bn = nn.conv2d(3, 4, 3, bias=bias), nn.batch_norm(4, affine=affine, eps=1e-3)
    k1, k2, k3 = random.split(key, 3)
    params, _ = conv.init(k1)
    bn_params = tree.map(lambda leaf: leaf + random.normal(k2, (4,)), bn.init(k2)[0])
    state = drawn_state(k3, 4)
    x = random.normal(k1, (2, 6, 6, 3))
    y, _ = conv.apply(params, {}, x, train=False)
    expected, _ = bn.apply(bn_params, state, y, train=False)
    folded = nn.fold_batch_norm(params, bn_params, state, eps=1e-3)
    y, _ = nn.conv2d(3, 4, 3).apply(folded, {}, x, train=False)
    assert mx.allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (nn.conv1d, (2, 6, 4)),
        (nn.conv2d, (2, 5, 6, 4)),
        (nn.conv3d, (2, 3, 4, 5, 4)),
        (nn.conv_transpose1d, (2, 6, 4)),
        (nn.conv_transpose2d, (2, 5, 6, 4)),
        (nn.conv_transpose3d, (2, 3, 4, 5, 4)),
    ],
    ids=lambda value: getattr(value, "__name__", "x"),
)
@pytest.mark.parametrize("channels", [4, 6])
def test_all_convolutions_fold(key, make, x, groups, channels):
    k1, k2, k3 = random.split(key, 3)
    conv, bn = make(4, channels, 2, groups=groups), nn.batch_norm(channels)
    params, _ = conv.init(k1)
    bn_params = tree.map(
        lambda leaf: leaf + random.normal(k2, (channels,)),
        {"weight": mx.ones((channels,)), "bias": mx.zeros((channels,))},
    )
    state = drawn_state(k3, channels)
    x = random.normal(k1, x)
    y, _ = conv.apply(params, {}, x, train=False)
    expected, _ = bn.apply(bn_params, state, y, train=False)
    how = {"transposed": True, "groups": groups} if "trans" in make.__name__ else {}
    folded = nn.fold_batch_norm(params, bn_params, state, **how)
    y, _ = conv.apply(folded, {}, x, train=False)
    assert mx.allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_folded_params_keep_their_dtype(key):
    params = tree.cast(nn.conv2d(3, 4, 3).init(key)[0], mx.bfloat16)
    folded = nn.fold_batch_norm(params, {}, drawn_state(key, 4))
    assert {leaf.dtype for leaf in tree.leaves(folded)} == {mx.bfloat16}


@pytest.mark.parametrize("groups", [3, 4])
def test_folding_into_other_groups_is_an_error(key, groups):
    params, _ = nn.conv_transpose2d(4, 6, 3, groups=2).init(key)
    with pytest.raises(ValueError, match="give transposed=True and its groups"):
        nn.fold_batch_norm(
            params, {}, drawn_state(key, 6), transposed=True, groups=groups
        )


def test_folded_params_are_those_of_the_layer_with_bias(key):
    folded = nn.fold_batch_norm(
        nn.linear(2, 4, bias=False).init(key)[0], {}, drawn_state(key, 4)
    )
    assert tree.paths(folded) == tree.paths(nn.linear(2, 4).init(key)[0])


def test_folding_other_channels_is_an_error(key):
    params, _ = nn.conv2d(3, 5, 3).init(key)
    with pytest.raises(ValueError, match="as many output channels as bn, got a weight"):
        nn.fold_batch_norm(params, {}, drawn_state(key, 4))


def test_folding_without_a_state_is_an_error(key):
    with pytest.raises(ValueError, match="bn_state must hold 'running_mean'"):
        nn.fold_batch_norm(nn.conv2d(3, 4, 3).init(key)[0], {}, {})


def model():
    return nn.serial(
        conv=nn.conv2d(2, 3, 3), bn=nn.batch_norm(3), drop=nn.dropout(0.5), act=nn.relu
    )


def test_reestimating_forgets_what_was_there(key):
    params, state = model().init(key)
    batches = [random.normal(random.fold_in(key, i), (4, 6, 6, 2)) for i in range(3)]
    once = nn.update_batch_norm(model(), params, state, batches, key=key)
    again = nn.update_batch_norm(model(), params, once, batches, key=key)
    assert mx.array_equal(once["bn"]["running_var"], again["bn"]["running_var"])
    assert once["bn"]["num_batches_tracked"].item() == 3
    assert mx.all(state["bn"]["running_mean"] == 0)  # the given state is as it was


def test_the_order_of_the_batches_does_not_matter():
    layer = nn.batch_norm(1, momentum=0.9)
    params, state = layer.init(random.key(0))
    batches = [mx.array([[v], [v + 2.0]]) for v in (1.0, 5.0, 9.0)]
    forth = nn.update_batch_norm(layer, params, state, batches)
    back = nn.update_batch_norm(layer, params, state, batches[::-1])
    assert forth["running_mean"].item() == pytest.approx(6.0)
    assert back["running_mean"].item() == pytest.approx(6.0)


def test_no_batches_are_an_error(key):
    layer = nn.batch_norm(2)
    with pytest.raises(ValueError, match="must hold at least one batch, got none"):
        nn.update_batch_norm(layer, *layer.init(key), [])


def test_reestimating_leaves_frozen_norms_as_they_are(key):
    layer = nn.serial(held=nn.frozen(nn.batch_norm(4)), free=nn.batch_norm(4))
    params, state = layer.init(key)
    state["held"] = drawn_state(key, 4)
    x = random.normal(key, (64, 4))
    found = nn.update_batch_norm(layer, params, state, [x, x])
    assert all(tree.leaves(tree.map(mx.array_equal, found["held"], state["held"])))
    y, _ = nn.batch_norm(4).apply(params["held"], state["held"], x, train=False)
    assert mx.allclose(found["free"]["running_mean"], y.mean(axis=0), atol=1e-5)
    assert found["free"]["num_batches_tracked"].item() == 2


def test_reestimating_forgets_statistics_that_are_not_numbers(key):
    layer = nn.batch_norm(2)
    params, state = layer.init(key)
    spoiled = {**state, "running_mean": mx.array([mx.nan, mx.inf])}
    found = nn.update_batch_norm(layer, params, spoiled, [mx.ones((3, 2))])
    assert found["running_mean"].tolist() == [1.0, 1.0]


def two_norms():
    return nn.serial(
        body=nn.serial(fc=nn.linear(3, 4), bn=nn.batch_norm(4), drop=nn.dropout(0.5)),
        bn=nn.batch_norm(4),
    )


def test_frozen_batch_norms_normalize_by_the_state_and_train_their_weights(key):
    frozen = nn.freeze_batch_norm(two_norms())
    params, _ = frozen.init(key)
    state = {"body": {"bn": drawn_state(key, 4)}, "bn": drawn_state(key, 4)}
    x = random.normal(key, (5, 3))

    def total(params):
        y, new = frozen.apply(params, state, x, train=True, key=key)
        return mx.sum(mx.square(y)), new

    grads, new = lf.grad(total, has_aux=True)(params)
    assert tree.equal(new, state)
    assert all(mx.any(leaf != 0) for leaf in tree.leaves(grads))


def test_only_the_chosen_batch_norms_are_frozen_and_dropout_still_drops(key):
    frozen = nn.freeze_batch_norm(two_norms(), lambda path: path == "body.bn")
    params, state = frozen.init(key)
    x = random.normal(key, (5, 3))
    y, new = frozen.apply(params, state, x, train=True, key=key)
    assert tree.equal(new["body"], state["body"])
    assert new["bn"]["num_batches_tracked"].item() == 1
    other, _ = frozen.apply(params, state, x, train=True, key=random.key(9))
    assert not mx.array_equal(y, other)


def test_freezing_no_norm_or_one_in_a_wrapper_is_an_error():
    with pytest.raises(ValueError, match=r"got none; there are bn, body\.bn"):
        nn.freeze_batch_norm(two_norms(), lambda path: path == "bn2")
    with pytest.raises(ValueError, match="there are none in the layer"):
        nn.freeze_batch_norm(nn.linear(3, 4))
    many = nn.checkpointed(nn.serial(*[nn.batch_norm(4) for _ in range(7)]))
    with pytest.raises(ValueError, match=r"got 0, 1, 2, 3, 4 and 2 more; freeze them"):
        nn.freeze_batch_norm(many)
    hidden = nn.serial(a=nn.checkpointed(two_norms()), b=nn.batch_norm(4))
    with pytest.raises(ValueError, match=r"wrappers, got a\.bn, a\.body\.bn; freeze"):
        nn.freeze_batch_norm(hidden)
