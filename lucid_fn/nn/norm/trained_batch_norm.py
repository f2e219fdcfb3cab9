"""Batch norms of trained models: re-estimating, folding and freezing them."""

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx

from lucid_fn import random, transforms, tree
from lucid_fn.checks import check_bool, check_count, check_function, listed
from lucid_fn.nn.core.checks import check_eps
from lucid_fn.nn.core.layer import Layer, check_layer, require_names, wrap
from lucid_fn.nn.core.surgery import map_layers
from lucid_fn.nn.norm import running_statistics
from lucid_fn.tracing import lazily
from lucid_fn.types import Array, Key, Params, State


def update_batch_norm(
    layer: Layer,
    params: Params,
    state: State,
    batches: Iterable[Any],
    *,
    key: Key | None = None,
) -> State:
    """Re-estimate the running statistics of all batch norms from these batches.

    Each becomes the mean of the batches' statistics, computed with the given params,
    whatever the momentum of the norm. Use it where the running statistics do not match
    the params: after averaging params, or after a short training. Batch norms that do
    not update their state, such as those in `nn.frozen`, and all other leaves of the
    state stay as they are, whatever their names.

    Args:
        layer: any layer with batch norms in it.
        params: its params.
        state: its state, whose running statistics are replaced.
        batches: inputs of the layer, as in training; at least one.
        key: for layers that are random in train mode, such as dropout.

    Raises:
        ValueError: if there are no batches.

    Source: Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167, algorithm 2; the
    numbers are those of `torch.optim.swa_utils.update_bn`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.batch_norm(1)
        >>> params, state = layer.init(random.key(0))
        >>> batches = [mx.array([[0.0], [2.0]]), mx.array([[4.0], [6.0]])]
        >>> state = nn.update_batch_norm(layer, params, state, batches)
        >>> state["running_mean"].tolist(), state["running_var"].tolist()
        ([3.0], [2.0])
    """

    @transforms.jit
    def update(params: Params, state: State, x: Any, key: Key | None) -> State:
        with running_statistics.averaging():
            return layer.apply(params, state, x, train=True, key=key)[1]

    def paths_of_statistics(x: Any, key: Key | None) -> set[str]:
        with running_statistics.marking():
            _, marks = layer.apply(params, state, x, train=True, key=key)
        return running_statistics.marked(state, marks)

    step, updated, paths = 0, state, set[str]()
    for step, x in enumerate(batches, start=1):
        subkey = None if key is None else random.fold_in(key, step)
        if step == 1:
            paths = paths_of_statistics(x, subkey)
            updated = _replace(state, paths, tree.zeros_like(state))
        updated = _replace(state, paths, update(params, updated, x, subkey))
    if step == 0:
        raise ValueError(
            "update_batch_norm: batches must hold at least one batch, got none"
        )
    return updated


def _replace(state: State, paths: set[str], new: State) -> State:
    """The state, with the leaves at these paths taken from the new one."""

    def chosen(path: str, old: Array, new: Array) -> Array:
        return new if path in paths else old

    replaced: State = tree.map_with_path(chosen, state, new)
    return replaced


def fold_batch_norm(
    conv: Params,
    bn: Params,
    bn_state: State,
    *,
    eps: float = 1e-5,
    transposed: bool = False,
    groups: int = 1,
) -> Params:
    """Fold a batch norm in eval mode into the params of the layer before it.

    The new weight is `weight * scale`, and the new bias is
    `(bias - running_mean) * scale + bn_bias`, where
    `scale = bn_weight / sqrt(running_var + eps)` is a number per output channel.

    Args:
        conv: params of a convolution or linear layer, with or without a bias.
        bn: params of the batch norm; empty if it has none.
        bn_state: state of the batch norm.
        eps: that of the batch norm.
        transposed: whether the convolution is a transposed one, whose output channels
            are the last axis of its weight. The shape of the weight does not tell where
            there are as many output channels as input channels.
        groups: the groups of a transposed convolution; of no effect for others.

    Returns:
        `weight` and `bias`, for the same layer made with `bias=True`, of the dtype of
        the weight.

    Raises:
        ValueError: if a name is missing, or the channels differ.

    Source: Jacob et al., 2018, https://arxiv.org/abs/1712.05877, section 3.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> one = mx.ones((1,))
        >>> folded = nn.fold_batch_norm(
        ...     {"weight": mx.ones((1, 2))},
        ...     {"weight": one, "bias": one},
        ...     {"running_mean": one, "running_var": 4 * one},
        ...     eps=1e-12,
        ... )
        >>> folded["weight"].tolist(), folded["bias"].tolist()
        ([[0.5, 0.5]], [0.5])
    """
    check_bool("fold_batch_norm", transposed=transposed)
    eps = check_eps("fold_batch_norm", eps)
    statistics = require_names(bn_state, "bn_state", "fold_batch_norm")
    mean, var = statistics["running_mean"], statistics["running_var"]
    weight = require_names(conv, "conv", "fold_batch_norm")["weight"]
    groups = check_count("fold_batch_norm", "groups", groups)
    channels = weight.shape[-1] * groups if transposed else weight.shape[0]
    if (channels,) != mean.shape or (transposed and weight.shape[0] % groups):
        raise ValueError(
            f"fold_batch_norm: conv must have as many output channels as bn, got a "
            f"weight of shape {weight.shape} and a running_mean of shape {mean.shape}; "
            "for a transposed convolution give transposed=True and its groups"
        )
    scale = mx.rsqrt(var + eps) * bn.get("weight", mx.ones_like(var))
    bias = (conv.get("bias", mx.zeros_like(mean)) - mean) * scale
    bias = bias + bn.get("bias", mx.zeros_like(mean))
    if transposed:  # (G, I/G, ..., O/G)
        scaled = mx.unflatten(weight, 0, (groups, weight.shape[0] // groups))
        scaled = scaled * scale.reshape(groups, *[1] * (weight.ndim - 1), -1)
    else:
        scaled = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    scaled = scaled.reshape(weight.shape)
    return {"weight": scaled.astype(weight.dtype), "bias": bias.astype(weight.dtype)}


def freeze_batch_norm(
    layer: Layer, predicate: Callable[[str], bool] = lambda path: True, /
) -> Layer:
    """`layer` with its batch norms always in eval mode; their weights still train.

    In train mode too, they normalize by their running statistics, which stay as they
    are: like PyTorch's `BatchNorm2d` after `eval()` in a model that trains. That helps
    to fine-tune on small batches, whose own statistics are noisy. Params and state are
    those of `layer`.

    Args:
        layer: a layer made by combinators, such as `models.resnet18()`.
        predicate: from the dotted path of a norm, such as `"layer1.0.bn1"`, to whether
            to freeze it; by default all are frozen.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if no norm is chosen, or a chosen one is inside of a wrapper, such
            as `nn.checkpointed`, and cannot be reached.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.serial(fc=nn.linear(2, 3), bn=nn.batch_norm(3))
        >>> model = nn.freeze_batch_norm(model, lambda path: path == "bn")
        >>> params, state = model.init(random.key(0))
        >>> _, new = model.apply(params, state, mx.ones((4, 2)), train=True)
        >>> new["bn"]["num_batches_tracked"].item()
        0
    """
    check_layer("freeze_batch_norm", layer)
    check_function(
        "freeze_batch_norm", "predicate", predicate, kinds="a function of a path"
    )
    with lazily():  # only the names are used
        _, state = layer.init(random.key(0))
    paths = [
        path.removesuffix("running_mean").removesuffix(".")
        for path in tree.paths(state)
        if path.rpartition(".")[2] == "running_mean"
    ]
    chosen = {path for path in paths if predicate(path)}
    if not chosen:
        raise ValueError(
            "freeze_batch_norm: predicate must choose a norm, got none; there are "
            f"{listed(paths) if paths else 'none in the layer'}"
        )
    reached = set[str]()

    def freeze(path: str, inner: Layer) -> Layer:
        if path not in chosen:
            return inner
        reached.add(path)
        return _in_eval_mode(inner)

    frozen = map_layers(freeze, layer)
    if hidden := chosen - reached:
        raise ValueError(
            "freeze_batch_norm: norms must not be inside of wrappers, got "
            f"{listed(sorted(hidden))}; freeze them before they are wrapped, as in "
            "nn.mixed_precision(nn.freeze_batch_norm(model))"
        )
    return frozen


def _in_eval_mode(layer: Layer) -> Layer:
    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        return layer.apply(params, state, x, train=False, key=key)

    return wrap(layer, run)
