"""How parameters are drawn: functions of a key and a shape `(out, ..., in)`."""

import math
from collections.abc import Callable
from typing import TypeAlias

from lucid_fn import random
from lucid_fn.types import Array, Key, Params

Initializer: TypeAlias = Callable[[Key, tuple[int, ...]], Array]
"""`init(key, shape)`: a float32 array. Layers take one as `weight_init`."""


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs of one output, and outputs of one input, of a weight `(out, ..., in)`.

    Example:
        >>> fans((16, 5, 5, 6))
        (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fans: shape must have at least two axes, got {shape}")
    return math.prod(shape[1:]), math.prod(shape[:-1])


def uniform_by_fan_in(key: Key, shape: tuple[int, ...]) -> Array:
    """Uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, PyTorch's default.

    Source: LeCun et al., 1998, "Efficient BackProp"; PyTorch's
    `torch.nn.Linear.reset_parameters`.

    Example:
        >>> from lucid_fn import random
        >>> uniform_by_fan_in(random.key(0), (2, 4)).shape
        (2, 4)
    """
    bound = 1 / math.sqrt(fans(shape)[0])
    return random.uniform(key, shape, low=-bound, high=bound)


def normal_fan_out(key: Key, shape: tuple[int, ...]) -> Array:
    """Normal of deviation `sqrt(2 / fan_out)`, for layers before a ReLU.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 14.

    Example:
        >>> from lucid_fn import random
        >>> normal_fan_out(random.key(0), (8, 3, 3, 4)).shape
        (8, 3, 3, 4)
    """
    return random.normal(key, shape) * math.sqrt(2 / fans(shape)[1])


def weight_and_bias(
    key: Key, shape: tuple[int, ...], bias: bool, weight_init: Initializer
) -> Params:
    """The params of a layer that multiplies by a weight `(out, ..., in)`.

    The bias is uniform in +-1/sqrt(fan_in), PyTorch's default. Each has its own key,
    folded from its name.
    """
    params = {"weight": weight_init(random.fold_in(key, "weight"), shape)}
    if bias:
        bound = 1 / math.sqrt(fans(shape)[0])
        params["bias"] = random.uniform(
            random.fold_in(key, "bias"), shape[:1], low=-bound, high=bound
        )
    return params
