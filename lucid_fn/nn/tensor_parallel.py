"""Tensor parallelism: linear layers whose weights are sharded over processes."""

from typing import Any, TypeAlias

from lucid_fn import ops, random, tree
from lucid_fn.checks import check_bool
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.collectives import all_gather, sum_gradients, sum_parts
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_last_axis, check_params, check_positive
from lucid_fn.nn.core.layer import Layer, check_layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.core.sharding import (
    ShardSpec,
    ShardSpecs,
    shard_of_rank,
    shard_size,
    shard_specs,
    sharded,
)
from lucid_fn.nn.initializers import Initializer
from lucid_fn.nn.linear import linear
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.tracing import started
from lucid_fn.transforms.debugging import eval_shape
from lucid_fn.types import Array, Key, Params, Tree


def column_parallel_linear(
    in_features: int,
    out_features: int,
    *,
    group: Group | None,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """Linear layer with its outputs sharded: `(..., in_features)` to
    `(..., out_features / size)`.

    The input is the same on all ranks; rank `r` computes the `r`-th of `size` equal
    slices of the output of `linear`. Elementwise functions, such as `relu`, and a
    `row_parallel_linear` follow.

    Params: `weight` `(out_features / size, in_features)` and `bias`
    `(out_features / size,)`, slices of those of `linear` for the same key.

    Args:
        in_features: size of the last axis of the input.
        out_features: number of outputs on all ranks together, a multiple of the number
            of ranks.
        group: a group of `distributed.init`. With a group of one, and with `None`, the
            layer is `linear`.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape.
        bias_init: draws the bias; by default as in `linear`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `out_features` is not a multiple of the number of ranks; as
            `linear`.

    Source: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3. The
    columns are those of `weight.T`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import distributed, nn, random
        >>> group = distributed.init()
        >>> layer = nn.serial(
        ...     nn.column_parallel_linear(4, 16, group=group),
        ...     nn.relu,
        ...     nn.row_parallel_linear(16, 4, group=group),
        ... )
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.ones((2, 4)), train=False)[0].shape
        (2, 4)
    """
    caller = "column_parallel_linear"
    check_bool(caller, bias=bias)
    check_group(caller, group)
    check_positive(caller, in_features=in_features, out_features=out_features)
    options: Any = {"bias": bias, "weight_init": weight_init, "bias_init": bias_init}
    whole = linear(in_features, out_features, **options)
    if not is_distributed(group):
        return whole
    size = shard_size(caller, "out_features", out_features, group)
    specs = {"weight": ShardSpec((out_features, in_features), 0)}
    if bias:
        specs["bias"] = ShardSpec((out_features,), 0)

    def forward(params: Params, x: Array) -> Array:
        check_last_axis(caller, x, in_features)
        check_params(
            caller, params, weight=(size, in_features), bias=(size,) if bias else None
        )
        x = sum_gradients(x, group)
        y = ops.linear(x, params["weight"], params["bias"] if bias else None)
        count_multiply_adds(y.size * in_features)
        return y

    return _parallel(whole, forward, group, specs)


def row_parallel_linear(
    in_features: int,
    out_features: int,
    *,
    group: Group | None,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """Linear layer with its inputs sharded: `(..., in_features / size)` to
    `(..., out_features)`.

    `y = sum(x_r @ weight_r.T) + bias`, over the ranks `r`. Its inputs are the outputs
    of a `column_parallel_linear`; its output is the same on all ranks.

    Params: `weight` `(out_features, in_features / size)`, a slice of that of `linear`
    for the same key, and the whole `bias` `(out_features,)`.

    Args:
        in_features: number of inputs on all ranks together, a multiple of the number of
            ranks.
        out_features: size of the last axis of the output.
        group: as in `column_parallel_linear`.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape.
        bias_init: draws the bias; by default as in `linear`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `in_features` is not a multiple of the number of ranks; as
            `linear`.

    Source: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3.

    Example:
        >>> from lucid_fn import distributed, nn, random
        >>> layer = nn.row_parallel_linear(16, 4, group=distributed.init())
        >>> layer.init(random.key(0))[0]["bias"].shape
        (4,)
    """
    caller = "row_parallel_linear"
    check_bool(caller, bias=bias)
    check_group(caller, group)
    check_positive(caller, in_features=in_features, out_features=out_features)
    options: Any = {"bias": bias, "weight_init": weight_init, "bias_init": bias_init}
    whole = linear(in_features, out_features, **options)
    if not is_distributed(group):
        return whole
    size = shard_size(caller, "in_features", in_features, group)
    specs = {"weight": ShardSpec((out_features, in_features), 1)}
    bias_shape = (out_features,) if bias else None

    def forward(params: Params, x: Array) -> Array:
        check_last_axis(caller, x, size)
        check_params(caller, params, weight=(out_features, size), bias=bias_shape)
        y = ops.linear(x, params["weight"], None)
        count_multiply_adds(y.size * size)
        y = sum_parts(y, group)
        return add_bias(y, params["bias"]) if bias else y

    return _parallel(whole, forward, group, specs)


def _parallel(whole: Layer, forward: Any, group: Group, specs: ShardSpecs) -> Layer:
    """The layer of `forward`, with this rank's shards of the params of `whole`."""

    def init(key: Key) -> Params:
        return shard_of_rank(whole.init(key)[0], group, specs)

    return sharded(parametric(init, forward), group, specs)


# ---- sharding of params, and back ----


def shard_params(layer: Layer, params: Tree) -> Tree:
    """This rank's shards of whole params, for a layer with tensor parallelism.

    Use it to give a parallel layer the params of the same layer without a group, such
    as those of a checkpoint or of PyTorch. It also accepts a tree that contains the
    params, or arrays of their names and shapes, such as a `TrainState` with Adam's
    moments.

    Args:
        layer: a layer made by combinators of `column_parallel_linear`,
            `row_parallel_linear`, and attentions and transformers with a `group`.
            Inside of wrappers with params of their own, such as `lora` and
            `weight_norm`, none is found.
        params: params of the layer without a group, the same on all ranks.

    Returns:
        The tree, with this rank's slice in place of each sharded array.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: if a sharded array has the wrong shape. The state of optimizers that
            are not elementwise, such as `adafactor`, has other shapes and cannot be
            sharded.

    Example:
        >>> from lucid_fn import distributed, nn, random
        >>> params, _ = nn.linear(4, 16).init(random.key(0))
        >>> layer = nn.column_parallel_linear(4, 16, group=distributed.init())
        >>> nn.shard_params(layer, params)["weight"].shape  # (4, 4) with 4 processes
        (16, 4)
    """
    caller = "shard_params"
    check_layer(caller, layer)
    shardings = _shardings(layer)

    def shard(path: str, x: Any) -> Any:
        sharding = _find(path, shardings)
        if sharding is None:
            return x
        spec, group = sharding
        _check_shape(caller, path, x, spec.shape)
        return spec.shard(x, group.rank, group.size)

    return started(tree.map_with_path(shard, params))


def unshard_params(layer: Layer, params: Tree) -> Tree:
    """The whole params, from the shards of all ranks: the inverse of `shard_params`.

    They are the params of the layer without a group, so that a checkpoint does not
    depend on the number of processes. All ranks must call it, and all get the result.

    Args:
        layer: as in `shard_params`.
        params: its params, or a tree that contains them, as in `shard_params`.

    Returns:
        The tree, with the whole array in place of each shard.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: if a shard has the wrong shape, or the trees of the ranks differ.

    Example:
        >>> from lucid_fn import distributed, nn, random
        >>> layer = nn.column_parallel_linear(4, 16, group=distributed.init())
        >>> params, _ = layer.init(random.key(0))
        >>> nn.unshard_params(layer, params)["weight"].shape
        (16, 4)
    """
    caller = "unshard_params"
    check_layer(caller, layer)
    shardings = _shardings(layer)
    specs: ShardSpecs = {}
    shards: dict[str, Array] = {}
    for path, x in tree.named_leaves(params).items():
        sharding = _find(path, shardings)
        if sharding is not None:
            specs[path], group = sharding
            _check_shape(caller, path, x, specs[path].shard_shape(group.size))
            shards[path] = x
    if not shards:
        return params
    gathered: dict[str, Array] = all_gather(shards, group)

    def whole(path: str, x: Any) -> Any:
        return specs[path].unshard(gathered[path]) if path in specs else x

    return started(tree.map_with_path(whole, params))


_Sharding: TypeAlias = tuple[ShardSpec, Group] | None


def _shardings(layer: Layer) -> dict[str, _Sharding]:
    """How each param of the layer is sharded; `None` for those that are not."""
    specs = {path: (spec, group) for path, spec, group in shard_specs(layer)}
    if not specs:
        return {}
    params, _ = eval_shape(layer.init, random.key(0))
    return {**dict.fromkeys(tree.named_leaves(params)), **specs}


def _find(path: str, shardings: dict[str, _Sharding]) -> _Sharding:
    """The entry of the longest path of a param with which `path` ends."""
    # The longest, because `block.fc.weight` is not `fc.weight`, which may exist too.
    words = path.split(".")
    endings = (".".join(words[i:]) for i in range(len(words)))
    return next((shardings[ending] for ending in endings if ending in shardings), None)


def _check_shape(caller: str, path: str, x: Any, shape: tuple[int, ...]) -> None:
    got = getattr(x, "shape", type(x).__name__)
    if got != shape:
        raise ValueError(
            f"{caller}: {path} must have shape {shape}, got {got}; are the params "
            "those of this layer, and is the optimizer elementwise, such as adamw?"
        )
