"""`TrainState` and `init`."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import nn, optim, random, tree
from lucid_fn.checks import check_key, check_type
from lucid_fn.distributed.group import Group
from lucid_fn.nn.core.sharding import shard_specs
from lucid_fn.optim.states import find
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


class TrainState(NamedTuple):
    """The whole state of a training run between two steps."""

    params: Params
    state: State
    opt_state: Any
    key: Key  # constant; each step folds its number into it
    step: Array  # int32, shape (): the number of updates so far


def step_of(ts: TrainState) -> int:
    """The number of updates so far as an int; waits for the last one."""
    step: Any = ts.step.item() if isinstance(ts.step, mx.array) else ts.step
    return int(step)


def init(
    model: nn.Layer, optimizer: optim.GradientTransformation, key: Key
) -> TrainState:
    """The state of a training run before its first step.

    Args:
        model: a layer.
        optimizer: a transformation, such as `optim.sgd(0.1)`.
        key: a random key; the initial params and all later randomness derive from it.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `model` is divided among processes and `optimizer` needs all
            params at once, as `clip_by_global_norm`, `dynamic_loss_scale` and `prodigy`
            do, since it would only see the slices of this process; if `model` decodes
            with a cache.

    Example:
        >>> from lucid_fn import nn, optim, random, train
        >>> ts = train.init(nn.linear(3, 2), optim.sgd(0.1), random.key(0))
        >>> ts.step
        array(0, dtype=int32)
    """
    check_model("train.init", model)
    check_optimizer("train.init", optimizer)
    check_key("train.init", key)
    params, state = model.init(random.fold_in(key, "init"))
    _check_no_cache(state)
    opt_state = optimizer.init(params)
    _check_elementwise(model, opt_state)
    return started(
        TrainState(
            params,
            state,
            opt_state,
            random.fold_in(key, "train"),
            mx.array(0, mx.int32),
        )
    )


def check_state(caller: str, ts: Any) -> None:
    if not (hasattr(ts, "params") and hasattr(ts, "state")):
        raise TypeError(
            f"{caller}: the first argument must be a TrainState, as train.init "
            f"returns it, got {type(ts).__name__}; call {caller}(ts, x, targets)"
        )


def check_model(caller: str, model: Any) -> None:
    fix = (
        "it comes before the optimizer"
        if isinstance(model, optim.GradientTransformation)
        else "wrap a pair of functions in nn.Layer(init, apply)"
    )
    check_type(caller, "model", model, nn.Layer, "a Layer", fix=fix)


def check_optimizer(caller: str, optimizer: Any) -> None:
    words = "a GradientTransformation such as optim.sgd(0.1)"
    check_type(caller, "optimizer", optimizer, optim.GradientTransformation, words)


def _check_no_cache(state: State) -> None:
    """Raise if a layer has a decoding cache, which would be full after a few steps."""
    paths = set(tree.paths(state))
    for path in paths:
        layer, _, name = path.rpartition(".")
        if name == "keys" and f"{path.removesuffix('keys')}length" in paths:
            raise ValueError(
                f"train.init: model must not decode with a cache, which training fills "
                f"up, got one in {layer or 'it'}; make the model without cache=: "
                "the params are the same"
            )


def divided_among(model: nn.Layer) -> Group | None:
    """The processes among which some of the params are divided, or `None`."""
    return next((group for _, _, group in shard_specs(model)), None)


def _check_elementwise(model: nn.Layer, opt_state: Any) -> None:
    """Raise if the optimizer of a divided model is not elementwise."""
    if divided_among(model) is None:
        return
    found = [x for x in find(opt_state, tuple) if _mixes_params(x)]
    if found:
        raise ValueError(
            "train.init: optimizer must be elementwise for a model that is divided "
            "among processes, since it only sees the slices of one process, got one "
            f"with a {type(found[0]).__name__}; leave that part out, or use "
            "clip_by_value"
        )


def _mixes_params(state: Any) -> bool:
    """Whether the update of a number depends on other numbers, as in a global norm.

    Ranks that see different slices would update their common params differently.
    """
    kinds = (
        optim.ApplyIfFiniteState,
        optim.ClipByGlobalNormState,
        optim.DynamicLossScaleState,
        optim.ZeroRedundancyState,
    )
    return isinstance(state, kinds) or bool(getattr(state, "mixes_params", False))
