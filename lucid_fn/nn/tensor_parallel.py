"""Tensor parallelism: linear layers whose weights are divided among processes."""

from typing import Any, TypeAlias

from lucid_fn import ops, random, tree
from lucid_fn.checks import check_bool
from lucid_fn.distributed.agreement import several
from lucid_fn.distributed.collectives import all_gather, sum_gradients, sum_parts
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_last_axis, check_params, check_positive
from lucid_fn.nn.core.layer import Layer, check_layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.core.sharding import (
    ShardSpec,
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
    """Linear layer of which each rank computes some of the outputs, from
    `(..., in_features)` to `(..., out_features / size)`.

    The input is the same on all ranks; the outputs of rank `r` are the `r`-th of `size`
    equal parts of those of `linear`. Functions of single numbers, such as `relu`, and a
    `row_parallel_linear` follow.

    Params: `weight` `(out_features / size, in_features)` and `bias`
    `(out_features / size,)`, slices of those that `linear` has for the same key.

    Args:
        in_features: size of the last axis of the input.
        out_features: of all ranks together, a multiple of their number.
        group: as `distributed.init` returns it. With a group of one, and with `None`,
            the layer is `linear`.
        bias: whether a bias is added.
        weight_init: draws the weight from a key and a shape.
        bias_init: draws the bias; by default as in `linear`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `out_features` is not a multiple of the number of ranks; as
            `linear`.

    Source: Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053, section 3. The name
    is that of the columns of `weight.T`.

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
    if not several(group):
        return linear(in_features, out_features, **options)
    part = shard_size(caller, "out_features", out_features, group)
    specs = {"weight": ShardSpec((out_features, in_features), 0)}
    if bias:
        specs["bias"] = ShardSpec((out_features,), 0)

    def forward(params: Params, x: Array) -> Array:
        check_last_axis(caller, x, in_features)
        check_params(
            caller, params, weight=(part, in_features), bias=(part,) if bias else None
        )
        x = sum_gradients(x, group)
        y = ops.linear(x, params["weight"], params["bias"] if bias else None)
        count_multiply_adds(y.size * in_features)
        return y

    return _parallel(
        linear(in_features, out_features, **options), forward, group, specs
    )


def row_parallel_linear(
    in_features: int,
    out_features: int,
    *,
    group: Group | None,
    bias: bool = True,
    weight_init: Initializer = initializers.uniform_by_fan_in,
    bias_init: Initializer | None = None,
) -> Layer:
    """Linear layer of which each rank has some of the inputs, from
    `(..., in_features / size)` to `(..., out_features)`.

    `y = sum(x_r @ weight_r.T) + bias`, over the ranks `r`. Its inputs are the outputs
    of a `column_parallel_linear`; its output is the same on all ranks.

    Params: `weight` `(out_features, in_features / size)`, a slice of that which
    `linear` has for the same key, and its whole `bias` `(out_features,)`.

    Args:
        in_features: of all ranks together, a multiple of their number.
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
    if not several(group):
        return linear(in_features, out_features, **options)
    part = shard_size(caller, "in_features", in_features, group)
    specs = {"weight": ShardSpec((out_features, in_features), 1)}

    def forward(params: Params, x: Array) -> Array:
        check_last_axis(caller, x, part)
        offset = (out_features,) if bias else None
        check_params(caller, params, weight=(out_features, part), bias=offset)
        y = ops.linear(x, params["weight"], None)
        count_multiply_adds(y.size * part)
        y = sum_parts(y, group)
        return add_bias(y, params["bias"]) if bias else y

    return _parallel(
        linear(in_features, out_features, **options), forward, group, specs
    )


def _parallel(
    whole: Layer, forward: Any, group: Group, specs: dict[str, ShardSpec]
) -> Layer:
    """The layer of `forward`, with slices of the params of `whole`."""

    def init(key: Key) -> Params:
        return shard_of_rank(whole.init(key)[0], group, specs)

    return sharded(parametric(init, forward), group, specs)


# ---- from the whole to parts, and back ----


def shard_params(layer: Layer, params: Tree) -> Tree:
    """This rank's part of params, for a layer that divides some of them.

    It starts a parallel layer from the params of the layer without a group, such as
    those of a checkpoint or of PyTorch. It also takes a tree that holds the params, or
    what has their names and shapes, such as a `TrainState` with Adam's moments.

    Args:
        layer: of `column_parallel_linear`, `row_parallel_linear`, attentions and
            transformers with a `group`, made by combinators; inside of wrappers with
            params of their own, such as `lora` and `weight_norm`, nothing is found.
        params: those of the layer without a group, the same on all ranks.

    Returns:
        The tree, with a slice in place of each divided array.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: if an array of a divided param has the wrong shape. Optimizers whose
            state has other shapes, such as `adafactor`, are not elementwise, and would
            take a slice for the whole.

    Example:
        >>> from lucid_fn import distributed, nn, random
        >>> params, _ = nn.linear(4, 16).init(random.key(0))
        >>> layer = nn.column_parallel_linear(4, 16, group=distributed.init())
        >>> nn.shard_params(layer, params)["weight"].shape  # of 4 processes (4, 4)
        (16, 4)
    """
    caller = "shard_params"
    check_layer(caller, layer)
    found = _by_path(layer)

    def slice_of(path: str, x: Any) -> Any:
        divided = _of_param(path, found)
        if divided is None:
            return x
        spec, group = divided
        _check_shape(caller, path, x, spec.shape)
        return spec.shard(x, group.rank, group.size)

    return started(tree.map_with_path(slice_of, params))


def unshard_params(layer: Layer, params: Tree) -> Tree:
    """The whole params, from the parts of all ranks: the inverse of `shard_params`.

    They are those of the layer without a group, so that a checkpoint does not depend on
    the number of processes. All ranks call it, and all get them.

    Args:
        layer: as in `shard_params`.
        params: its params, or a tree that holds them, as in `shard_params`.

    Returns:
        The tree, with the whole in place of each slice.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: if an array of a divided param has the wrong shape, or the ranks
            differ.

    Example:
        >>> from lucid_fn import distributed, nn, random
        >>> layer = nn.column_parallel_linear(4, 16, group=distributed.init())
        >>> params, _ = layer.init(random.key(0))
        >>> nn.unshard_params(layer, params)["weight"].shape
        (16, 4)
    """
    caller = "unshard_params"
    check_layer(caller, layer)
    found = _by_path(layer)
    specs: dict[str, ShardSpec] = {}
    parts: dict[str, Array] = {}
    for path, x in tree.named_leaves(params).items():
        divided = _of_param(path, found)
        if divided is not None:
            specs[path], group = divided
            _check_shape(caller, path, x, specs[path].shard_shape(group.size))
            parts[path] = x
    if not parts:
        return params
    gathered: dict[str, Array] = all_gather(parts, group)

    def whole(path: str, x: Any) -> Any:
        return specs[path].unshard(gathered[path]) if path in specs else x

    return started(tree.map_with_path(whole, params))


_Divided: TypeAlias = tuple[ShardSpec, Group] | None


def _by_path(layer: Layer) -> dict[str, _Divided]:
    """How each param of the layer is divided; `None` for those that are not."""
    specs = {path: (spec, group) for path, spec, group in shard_specs(layer)}
    if not specs:
        return {}
    params, _ = eval_shape(layer.init, random.key(0))
    return {**dict.fromkeys(tree.named_leaves(params)), **specs}


def _of_param(path: str, found: dict[str, _Divided]) -> _Divided:
    """How the param is divided that a path in a tree around the params ends with."""
    words = path.split(".")
    # The longest ending first: `block.fc.weight` is not the `fc.weight` beside it.
    endings = (".".join(words[i:]) for i in range(len(words)))
    return next((found[ending] for ending in endings if ending in found), None)


def _check_shape(caller: str, path: str, x: Any, shape: tuple[int, ...]) -> None:
    found = getattr(x, "shape", type(x).__name__)
    if found != shape:
        raise ValueError(
            f"{caller}: {path} must have shape {shape}, got {found}; are the params "
            "those of this layer, and is the optimizer elementwise, such as adamw?"
        )
