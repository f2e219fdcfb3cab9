"""How parameters are drawn."""

import math

from lucid_fn import random
from lucid_fn.types import Array, Key


def uniform_fan_in(
    key: Key, fan_in: int, **shapes: tuple[int, ...]
) -> dict[str, Array]:
    """Arrays uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in)]`, by name.

    PyTorch's default for the weight and the bias of linear layers and convolutions.
    Each array has its own key, folded from its name.

    Args:
        key: a key.
        fan_in: inputs of one output: `in_features`, or
            `in_channels / groups * kernel height * kernel width`.
        shapes: the shape of each array.

    Source: LeCun et al., 1998, "Efficient BackProp", and PyTorch's
    `torch.nn.Linear.reset_parameters`.

    Example:
        >>> from lucid_fn import random
        >>> uniform_fan_in(random.key(0), 4, weight=(2, 4))["weight"].shape
        (2, 4)
    """
    bound = 1 / math.sqrt(fan_in)
    return {
        name: random.uniform(random.fold_in(key, name), shape, low=-bound, high=bound)
        for name, shape in shapes.items()
    }


def normal_fan_out(key: Key, shape: tuple[int, ...]) -> Array:
    """Normal draws of deviation `sqrt(2 / fan_out)`, for layers before a ReLU.

    Args:
        key: a key.
        shape: `(out, ..., in)`; `fan_out` is all sizes but the last, multiplied.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 14.

    Example:
        >>> from lucid_fn import random
        >>> normal_fan_out(random.key(0), (8, 3, 3, 4)).shape
        (8, 3, 3, 4)
    """
    return random.normal(key, shape) * math.sqrt(2 / math.prod(shape[:-1]))
