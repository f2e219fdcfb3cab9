"""The laws of losses, and `check_loss`, which checks them."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import random, transforms, tree
from lucid_fn.checks import check_function
from lucid_fn.testing.laws import (
    Law,
    check_laws,
    copied,
    each,
    is_float,
    require,
    require_close,
    require_equal,
    require_slope,
)
from lucid_fn.types import Array

LossFn = Callable[..., Array]
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


class Subject(NamedTuple):
    """A loss with its arguments."""

    loss: LossFn
    inputs: tuple[Any, ...]

    @property
    def value(self) -> Array:
        return self.loss(*self.inputs)


def check_loss(
    fn: LossFn, *inputs: Array, skip: Collection[str] = (), seed: int = 0
) -> None:
    """Check a loss against the laws that all losses of this library satisfy.

    - `"purity"`: it does not change its arguments, and is deterministic.
    - `"examples"`: unless it is a mean, the loss of an example does not depend on its
      batch.
    - `"gradient"`: the gradient of the first argument agrees with finite differences.
    - `"zero"`: first and second derivatives are finite where predictions and targets
      are both 0, and so equal.
    - `"jit"`: compiled and eager losses agree.
    - `"dtype"`: losses in half precision are those in float32, rounded once, even for
      numbers near 500, whose squares overflow in float16.
    - `"vmap"`: losses and gradients under `vmap` are those of a loop.

    Args:
        fn: `fn(predictions, targets)`, or any function from arrays to losses of
            examples or elements, or to their mean.
        inputs: arguments of `fn`, with the batch on axis 0; by default two arrays of
            normal numbers of shape `(4, 3)`.
        skip: names of laws that the loss need not satisfy.
        seed: seed of the default inputs.

    Raises:
        AssertionError: if laws are broken; the message says which and why.
        TypeError: if `fn` is not a function.
        ValueError: if `skip` names an unknown law.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses, testing
        >>> testing.check_loss(losses.huber)
        >>> testing.check_loss(lambda x, y: mx.abs(x - y) ** 1.5, skip=["dtype"])
        Traceback (most recent call last):
        ...
        AssertionError: check_loss: broken laws, which skip=[...] would leave out
          zero: the second derivative at 0 is not finite
    """
    check_function("check_loss", "fn", fn)
    if not inputs:
        keys = random.split(random.key(seed))
        inputs = tuple(random.normal(key, (4, 3)) for key in keys)
    check_laws("check_loss", LAWS, Subject(fn, inputs), skip)


def the_loss_is_pure(s: Subject) -> None:
    before = copied(s.inputs)
    first, again = s.value, s.value
    require_equal(s.inputs, before, "the loss changes its arguments")
    require_equal(again, first, "the loss is not deterministic")


def a_batch_is_its_examples(s: Subject) -> None:
    losses = s.value
    if losses.ndim == 0:
        return
    for i, expected in enumerate(losses):
        alone = s.loss(*[x[i : i + 1] for x in s.inputs])
        message = f"the loss of example {i} depends on its batch"
        require_close(alone[0], expected, message, **CLOSE)


def the_gradient_is_the_slope(s: Subject, seeds: Collection[Any]) -> None:
    first, *rest = s.inputs
    outputs = lambda movable: [s.loss(movable[0], *rest)]  # noqa: E731
    require_slope(outputs, {0: first}, seeds)


def derivatives_at_zero_are_finite(s: Subject) -> None:
    x, *rest = [mx.zeros_like(z) if is_float(z) else z for z in s.inputs]
    slope = transforms.grad(lambda z: mx.sum(s.loss(z, *rest)))
    curvature = transforms.grad(lambda z: mx.sum(slope(z)))
    for name, derivative in (("first", slope), ("second", curvature)):
        finite = tree.all_finite(derivative(x)).item() is True
        require(finite, f"the {name} derivative at 0 is not finite")


def compiled_is_eager(s: Subject) -> None:
    found = transforms.jit(lambda *inputs: s.loss(*inputs))(*s.inputs)
    require_close(found, s.value, "compiled and eager losses differ", **CLOSE)


def half_precision_is_rounded_once(
    s: Subject, dtype: mx.Dtype, scale: float, result: mx.Dtype | None = None
) -> Array:
    """No intermediate result overflows or is rounded in half precision.

    Returns the losses in float32.
    """
    first, *rest = [x.astype(dtype) if is_float(x) else x for x in s.inputs]
    half = [scale * first, *rest]
    rounded = [x.astype(mx.float32) if is_float(x) else x for x in half]
    found, expected = s.loss(*half), s.loss(*rounded)
    allowed = (dtype, mx.float32) if result is None else (result,)
    require(found.dtype in allowed, f"inputs of {dtype} give losses of {found.dtype}")
    message = f"losses in {dtype} differ from those in float32, rounded once"
    require_equal(found, expected.astype(found.dtype), message)
    return expected


def vectorized_is_a_loop(s: Subject) -> None:
    stacked = [mx.stack([x, x[::-1]]) for x in s.inputs]
    weights = random.normal(random.key(0), s.value.shape)

    def score(*inputs: Array) -> Array:
        return mx.sum(weights * s.loss(*inputs))

    def one_by_one(*inputs: Array) -> Array:
        return mx.stack([score(*each(inputs, i)) for i in range(2)])

    vectorized = transforms.vmap(score)
    message = "the loss under vmap differs from that of a loop"
    require_close(vectorized(*stacked), one_by_one(*stacked), message, **CLOSE)
    got, expected = (
        transforms.grad(lambda x, run=run: mx.sum(run(x, *stacked[1:])))(stacked[0])
        for run in (vectorized, one_by_one)
    )
    require_close(got, expected, f"the gradient of {message}", **CLOSE)


def _dtype_law(s: Subject) -> None:
    for dtype in (mx.float16, mx.bfloat16):
        for scale in (1, 150):
            half_precision_is_rounded_once(s, dtype, scale)


LAWS: dict[str, Law] = {
    "purity": the_loss_is_pure,
    "examples": a_batch_is_its_examples,
    "gradient": lambda s: the_gradient_is_the_slope(s, range(3)),
    "zero": derivatives_at_zero_are_finite,
    "jit": compiled_is_eager,
    "dtype": _dtype_law,
    "vmap": vectorized_is_a_loop,
}
