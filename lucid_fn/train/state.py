"""`TrainState`, and `init`, which makes it."""

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
    step: Array  # int32, shape (): updates made so far


def step_of(ts: TrainState) -> int:
    """The number of updates made so far as an int; waits for the last one."""
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
        ValueError: if `model` is divided among processes, and `optimizer` would take
            the slices of this one for the whole, as `clip_by_global_norm`,
            `dynamic_loss_scale` and `prodigy` would; if `model` decodes with a cache.

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
    _check_sees_slices(model, opt_state)
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
    """Raises if a layer keeps what it has seen: its cache is full after a few steps."""
    paths = set(tree.paths(state))
    for path in paths:
        layer, _, name = path.rpartition(".")
        if name == "keys" and f"{path.removesuffix('keys')}length" in paths:
            raise ValueError(
                f"train.init: model must not decode with a cache, which fills up as it "
                f"trains, got one in {layer or 'it'}; make the model without cache=: "
                "the params are the same"
            )


def divided_among(model: nn.Layer) -> Group | None:
    """The processes of which each has slices of some of the params, if there are."""
    return next((group for _, _, group in shard_specs(model)), None)


def _check_sees_slices(model: nn.Layer, opt_state: Any) -> None:
    """Raises if an optimizer would take this rank's slices for whole params."""
    if divided_among(model) is None:
        return
    found = [x for x in find(opt_state, (tuple,)) if _depends_on_all(x)]
    if found:
        raise ValueError(
            "train.init: optimizer must treat numbers one by one for a model that is "
            "divided among processes, since it sees the slices of one, got one with a "
            f"{type(found[0]).__name__}; leave that part out, or use clip_by_value"
        )


def _depends_on_all(state: Any) -> bool:
    """Whether one number of the params decides what becomes of the others.

    Ranks that decide by their own slices no longer agree on what they all have.
    """
    kinds = (
        optim.ApplyIfFiniteState,
        optim.ClipByGlobalNormState,
        optim.DynamicLossScaleState,
        optim.ZeroRedundancyState,
    )
    return isinstance(state, kinds) or bool(getattr(state, "mixes_params", False))
