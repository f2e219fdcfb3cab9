"""Compiled training and evaluation steps: `make_step` and `make_eval_step`."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import nn, ops, optim, random, transforms, tree
from lucid_fn.call_errors import explains_calls
from lucid_fn.checks import check_bool, check_float, check_function
from lucid_fn.distributed.agreement import is_distributed
from lucid_fn.distributed.averaging import average
from lucid_fn.distributed.group import Group, check_group
from lucid_fn.train.state import (
    TrainState,
    check_model,
    check_optimizer,
    check_state,
    divided_among,
)
from lucid_fn.types import Array, Key, Params, Scalar, State

LossFn: TypeAlias = Callable[[Any, Any], Array]
"""`loss_fn(predictions, targets)`: a loss per example, or their mean."""

Metrics: TypeAlias = dict[str, Array]
"""Scalars by name, `"loss"` among them: means over one batch."""

StepFn: TypeAlias = Callable[..., tuple[TrainState, Metrics]]
EvalFn: TypeAlias = Callable[..., Any]

_LOSSES = "a function (predictions, targets) -> loss such as losses.mse"


def make_step(
    model: nn.Layer,
    optimizer: optim.GradientTransformation,
    loss_fn: LossFn,
    *,
    metrics: Mapping[str, Callable[[Any, Any], Array]] | None = None,
    group: Group | None = None,
) -> StepFn:
    """A compiled training step `(ts, x, targets) -> (ts, metrics)`.

    It applies the model with `train=True` and the key of the step, differentiates the
    mean loss, multiplied by the scale of an `optim.dynamic_loss_scale` if there is one,
    and adds the optimizer's updates to the params. The result is already being computed
    when the function returns, so `mx.eval` is not needed.

    Args:
        model: a layer.
        optimizer: a transformation, such as `optim.sgd(0.1)`.
        loss_fn: `loss_fn(predictions, targets)`, one value per example or their mean.
        metrics: further functions from `(predictions, targets)` to scalars, by name,
            such as `{"accuracy": metrics.accuracy}`.
        group: processes that train together, as returned by `distributed.init`: data
            parallelism. Each process passes its own part of the batch. The gradients,
            the metrics and the new state, such as the running statistics of batch norm,
            are averaged over all examples, so all processes keep the same state;
            dropout and other randomness differ among them.

    Returns:
        The step. Its metrics are `"loss"` and those in `metrics`, on the batch, before
        the update. `x` may be any tree that the model takes, and `targets` any tree
        that the loss takes.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a metric is called `"loss"`, or `group` has several processes and
            `model` is divided among processes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses, nn, optim, random, train
        >>> model, optimizer = nn.linear(3, 2), optim.sgd(0.1)
        >>> ts = train.init(model, optimizer, random.key(0))
        >>> step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
        >>> ts, metrics = step(ts, mx.ones((4, 3)), mx.array([0, 1, 1, 0]))
        >>> list(metrics), ts.step.item()
        (['loss'], 1)
    """
    step = uncompiled_step("train.make_step", model, optimizer, loss_fn, metrics, group)
    return transforms.jit(explains_calls(step))


def uncompiled_step(
    caller: str,
    model: nn.Layer,
    optimizer: optim.GradientTransformation,
    loss_fn: LossFn,
    metrics: Mapping[str, Callable[[Any, Any], Array]] | None,
    group: Group | None = None,
) -> StepFn:
    """The step of `make_step`, not compiled."""
    check_model(caller, model)
    check_optimizer(caller, optimizer)
    check_function(caller, "loss_fn", loss_fn, kinds=_LOSSES)
    extra = _check_metrics(caller, metrics)
    check_group(caller, group)
    if is_distributed(group) and divided_among(model):
        raise ValueError(
            f"{caller}: group must be None for a model that is divided among "
            "processes, whose gradients are of different slices, got a group of "
            f"{group.size}; leave it out, and give all ranks the same batch"
        )

    def objective(
        params: Params, state: State, key: Key, scale: Scalar, x: Any, targets: Any
    ) -> tuple[Array, tuple[State, Metrics]]:
        y, state = model.apply(params, state, x, train=True, key=key)
        loss = mean_loss(loss_fn(y, targets))
        values = {name: fn(y, targets) for name, fn in extra.items()}
        scaled = loss * scale
        if is_distributed(group):  # a sum over examples, which `_averaged` divides
            scaled = scaled * rows(x, targets)
        return scaled, (state, {"loss": loss, **values})

    def step(ts: TrainState, x: Any, targets: Any) -> tuple[TrainState, Metrics]:
        check_state("step", ts)  # while tracing, so that later calls cost nothing
        value_and_grad = transforms.value_and_grad(objective, has_aux=True)
        key, scale = _step_key(ts, group), optim.loss_scale(ts.opt_state)
        (_, (state, values)), grads = value_and_grad(
            ts.params, ts.state, key, scale, x, targets
        )
        values, state, grads = _averaged(
            (values, state), group, rows(x, targets), sums=grads
        )
        updates, opt_state = optimizer.update(grads, ts.opt_state, ts.params)
        params = optim.apply_updates(ts.params, updates)
        new = TrainState(params, state, opt_state, ts.key, ts.step + 1)
        return new, _in_order(values, extra)

    vars(step)["divided_among"] = divided_among(
        model
    )  # `fit` reads it; `jit` copies it
    return step


def make_eval_step(
    model: nn.Layer,
    loss_fn: LossFn,
    *,
    metrics: Mapping[str, Callable[[Any, Any], Array]] | None = None,
    group: Group | None = None,
) -> EvalFn:
    """A compiled evaluation step `(ts, x, targets) -> metrics`, with `train=False`.

    With the keyword `outputs=True` it returns the pair `(metrics, y)`, where `y` is the
    output of the model. `evaluate` runs it on all batches.

    Args:
        model: a layer.
        loss_fn: as in `make_step`.
        metrics: as in `make_step`.
        group: as in `make_step`; the metrics are means over the examples of all
            processes, and the outputs are those of this process.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a metric is called `"loss"`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses, nn, optim, random, train
        >>> model = nn.linear(3, 2)
        >>> ts = train.init(model, optim.sgd(0.1), random.key(0))
        >>> evaluate = train.make_eval_step(model, losses.softmax_cross_entropy)
        >>> list(evaluate(ts, mx.ones((4, 3)), mx.array([0, 1, 1, 0])))
        ['loss']
    """
    check_model("train.make_eval_step", model)
    check_function("train.make_eval_step", "loss_fn", loss_fn, kinds=_LOSSES)
    extra = _check_metrics("train.make_eval_step", metrics)
    check_group("train.make_eval_step", group)

    def measure(
        params: Params, state: State, x: Any, targets: Any
    ) -> tuple[Metrics, Any]:
        y, _ = model.apply(params, state, x, train=False)
        loss = mean_loss(loss_fn(y, targets))
        values = {name: fn(y, targets) for name, fn in extra.items()}
        values = {"loss": loss, **values}
        (averaged,) = _averaged((values,), group, rows(x, targets))
        return _in_order(averaged, extra), y

    with_outputs = transforms.jit(measure)
    metrics_only = transforms.jit(lambda *arguments: measure(*arguments)[0])

    @explains_calls
    def evaluate(ts: TrainState, x: Any, targets: Any, *, outputs: bool = False) -> Any:
        check_state("evaluate", ts)
        check_bool("evaluate", outputs=outputs)
        compiled = with_outputs if outputs else metrics_only
        return compiled(ts.params, ts.state, x, targets)

    return evaluate


def rows(x: Any, targets: Any) -> int:
    """The batch size: the length of the first array in the targets, else in the input.

    An input may hold arrays that all examples share, such as a mask.
    """
    leaves = [*tree.leaves(targets), *tree.leaves(x)]
    return next((len(leaf) for leaf in leaves if getattr(leaf, "ndim", 0)), 1)


def _step_key(ts: TrainState, group: Group | None) -> Key:
    key = random.fold_in(ts.key, ts.step)
    return random.fold_in(key, group.rank) if is_distributed(group) else key


def _averaged(
    means: tuple[Any, ...], group: Group | None, count: int, *, sums: Any = None
) -> Any:
    """Means over the examples of all ranks, from those of this one.

    Args:
        means: the metrics, followed by other trees of means over `count` examples.
        group: the ranks.
        count: the number of examples on this rank.
        sums: gradients of a sum over examples. A mean could not be multiplied by
            `count` afterwards: with synchronized batch norm, the gradients include
            terms from the losses of other ranks.

    Returns:
        The means of all these trees.
    """
    if not is_distributed(group):
        return (*means, sums) if sums is not None else means
    metrics, *others = means
    floats = {name: _as_float(x) for name, x in metrics.items()}
    weighted = tree.map(lambda x: _weighted(x, count), (floats, *others))
    given = (*weighted, sums) if sums is not None else weighted
    return average(given, group, weight=count)


def _weighted(x: Array, count: int) -> Array:
    """`count * x` for floats; integers, such as counts of batches, are unchanged."""
    return (x * count).astype(x.dtype) if mx.issubdtype(x.dtype, mx.floating) else x


def _as_float(metric: Any) -> Array:
    """A metric as a float array; integers, bools and Python numbers become float32."""
    x = metric if isinstance(metric, mx.array) else mx.array(metric)
    return x if mx.issubdtype(x.dtype, mx.floating) else x.astype(mx.float32)


def _in_order(values: Metrics, extra: Iterable[str]) -> Metrics:
    """The loss first, then the others in the user's order, which trees have sorted."""
    return {name: values[name] for name in ("loss", *extra)}


def mean_loss(loss: Any) -> Array:
    """The mean loss in float32, summed in blocks: a naive sum of a million is 1e-2 off.

    Raises:
        TypeError: if `loss` is not a float array.
    """
    check_float("what loss_fn returns", loss=loss)
    return ops.mean(loss.astype(mx.float32))


def _check_metrics(
    caller: str, metrics: Mapping[str, Callable[[Any, Any], Array]] | None
) -> dict[str, Callable[[Any, Any], Array]]:
    extra = metrics or {}
    if not isinstance(extra, Mapping) or not all(map(callable, extra.values())):
        raise TypeError(
            f"{caller}: metrics must be a dict of functions by name, such as "
            f"{{'accuracy': metrics.accuracy}}, got {metrics!r:.100}"
        )
    for name, owner in (("loss", "that of loss_fn"), ("seconds", "measured by fit")):
        if name in extra:
            raise ValueError(
                f"{caller}: metrics must not hold {name!r}, which is {owner}"
            )
    return dict(extra)
