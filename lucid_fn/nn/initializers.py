"""How parameters are drawn: functions of a key and a shape `(out, ..., in)`.

Those with hyper-parameters are made by a constructor, such as `normal(0.02)`; those
without are plain functions, such as `zeros`. Layers take them as `weight_init` and
`bias_init`.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import mlx.core as mx

from lucid_fn import random
from lucid_fn.types import Array, Key, Params

Shape: TypeAlias = tuple[int, ...]

Initializer: TypeAlias = Callable[[Key, Shape], Array]
"""`init(key, shape)`: a float32 array. Layers take one as `weight_init`."""

Fan: TypeAlias = Callable[[Shape], float]
"""How many values of a layer a weight of this shape connects with one: `fan_in`, ..."""

LINEAR_GAIN = 1.0
TANH_GAIN = 5 / 3
RELU_GAIN = math.sqrt(2)
SELU_GAIN = 3 / 4
"""By what a weight is scaled for the activation after it: PyTorch's numbers."""


def leaky_relu_gain(negative_slope: float = 0.01) -> float:
    """`sqrt(2 / (1 + negative_slope^2))`, the gain for a leaky ReLU.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 15.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.leaky_relu_gain(1.0)
        1.0
    """
    return math.sqrt(2 / (1 + negative_slope**2))


def fans(shape: Shape) -> tuple[int, int]:
    """Inputs of one output, and outputs of one input, of a weight `(out, ..., in)`.

    Raises:
        ValueError: if `shape` has less than two axes.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.fans((16, 5, 5, 6))
        (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fans: shape must have at least two axes, got {shape}")
    return math.prod(shape[1:]), math.prod(shape[:-1])


def fan_in(shape: Shape) -> float:
    """Inputs of one output: keeps the size of activations from layer to layer."""
    return fans(shape)[0]


def fan_out(shape: Shape) -> float:
    """Outputs of one input: keeps the size of gradients from layer to layer."""
    return fans(shape)[1]


def fan_mean(shape: Shape) -> float:
    """The mean of `fan_in` and `fan_out`."""
    return sum(fans(shape)) / 2


def zeros(key: Key, shape: Shape) -> Array:
    """All zeros."""
    return mx.zeros(shape)


def ones(key: Key, shape: Shape) -> Array:
    """All ones."""
    return mx.ones(shape)


def constant(value: float) -> Initializer:
    """The same value everywhere.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.constant(0.5)(random.key(0), (2,))
        array([0.5, 0.5], dtype=float32)
    """
    return lambda key, shape: mx.full(shape, value, mx.float32)


def uniform(low: float, high: float) -> Initializer:
    """Uniform in `[low, high)`.

    Raises:
        ValueError: if `low > high`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> mx.max(initializers.uniform(-0.1, 0.1)(random.key(0), (99,))).item() < 0.1
        True
    """
    if not low <= high:
        raise ValueError(f"uniform: low must be at most high, got {low} and {high}")
    return lambda key, shape: random.uniform(key, shape, low=low, high=high)


def normal(std: float = 1.0, *, mean: float = 0.0) -> Initializer:
    """Normal of this deviation, at least 0.

    Raises:
        ValueError: if `std` is negative.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.normal(0.02)(random.key(0), (2, 3)).shape
        (2, 3)
    """
    _check_not_negative("normal", std=std)
    return lambda key, shape: mean + std * random.normal(key, shape)


def truncated_normal(std: float = 1.0, *, mean: float = 0.0) -> Initializer:
    """Normal, given that a value is within two of these deviations of the mean.

    The deviation of what remains is `0.88 * std`.

    Raises:
        ValueError: if `std` is negative.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> draws = initializers.truncated_normal(0.5)(random.key(0), (99,))
        >>> mx.max(mx.abs(draws)).item() <= 1
        True
    """
    _check_not_negative("truncated_normal", std=std)
    return lambda key, shape: mean + std * random.truncated_normal(key, shape)


def uniform_by_fan_in(key: Key, shape: Shape) -> Array:
    """Uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, PyTorch's default.

    Source: LeCun et al., 1998, "Efficient BackProp"; PyTorch's
    `torch.nn.Linear.reset_parameters`.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.uniform_by_fan_in(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return _symmetric(key, shape, 1 / math.sqrt(fan_in(shape)))


def normal_fan_out(key: Key, shape: Shape) -> Array:
    """Normal of deviation `sqrt(2 / fan_out)`, for layers before a ReLU.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 14.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.normal_fan_out(random.key(0), (8, 3, 3, 4)).shape
        (8, 3, 3, 4)
    """
    return random.normal(key, shape) * math.sqrt(2 / fan_out(shape))


def scaled_uniform(gain: float, fan: Fan) -> Initializer:
    """Uniform, of mean 0 and deviation `gain / sqrt(fan)`.

    Raises:
        ValueError: if `gain` is negative.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.scaled_uniform(1.0, initializers.fan_in)
        >>> draws = init(random.key(0), (3, 12))
        >>> mx.max(mx.abs(draws)).item() <= 0.5
        True
    """
    _check_not_negative("scaled_uniform", gain=gain)
    return lambda key, shape: _symmetric(key, shape, gain * math.sqrt(3 / fan(shape)))


def scaled_normal(gain: float, fan: Fan) -> Initializer:
    """Normal, of mean 0 and deviation `gain / sqrt(fan)`.

    Raises:
        ValueError: if `gain` is negative.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.scaled_normal(1.0, initializers.fan_in)
        >>> init(random.key(0), (3, 12)).shape
        (3, 12)
    """
    _check_not_negative("scaled_normal", gain=gain)
    return lambda key, shape: random.normal(key, shape) * (gain / math.sqrt(fan(shape)))


def xavier_uniform(gain: float = LINEAR_GAIN) -> Initializer:
    """Uniform of deviation `gain * sqrt(2 / (fan_in + fan_out))`; also "Glorot".

    Source: Glorot & Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html,
    eq. 16.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.xavier_uniform(initializers.TANH_GAIN)
        >>> init(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return scaled_uniform(gain, fan_mean)


def xavier_normal(gain: float = LINEAR_GAIN) -> Initializer:
    """Normal of deviation `gain * sqrt(2 / (fan_in + fan_out))`; also "Glorot".

    Source: as `xavier_uniform`.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.xavier_normal()(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return scaled_normal(gain, fan_mean)


def kaiming_uniform(gain: float = RELU_GAIN, *, fan: Fan = fan_in) -> Initializer:
    """Uniform of deviation `gain / sqrt(fan)`; also "He".

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 10 and 14.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.kaiming_uniform(initializers.leaky_relu_gain(0.2))
        >>> init(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return scaled_uniform(gain, fan)


def kaiming_normal(gain: float = RELU_GAIN, *, fan: Fan = fan_in) -> Initializer:
    """Normal of deviation `gain / sqrt(fan)`; also "He".

    Source: as `kaiming_uniform`.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.kaiming_normal(fan=initializers.fan_out)
        >>> init(random.key(0), (2, 3, 3, 4)).shape
        (2, 3, 3, 4)
    """
    return scaled_normal(gain, fan)


def lecun_uniform(key: Key, shape: Shape) -> Array:
    """Uniform of deviation `1 / sqrt(fan_in)`.

    Source: LeCun et al., 1998, "Efficient BackProp", eq. 16.
    """
    return scaled_uniform(LINEAR_GAIN, fan_in)(key, shape)


def lecun_normal(key: Key, shape: Shape) -> Array:
    """Normal of deviation `1 / sqrt(fan_in)`, what SELU needs.

    Source: LeCun et al., 1998, "Efficient BackProp", eq. 16.
    """
    return scaled_normal(LINEAR_GAIN, fan_in)(key, shape)


def orthogonal(gain: float = 1.0) -> Initializer:
    """Rows `(out, the rest)` orthogonal and of length `gain`, or columns if fewer.

    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> weight = initializers.orthogonal()(random.key(0), (2, 3))
        >>> mx.allclose(weight @ weight.T, mx.eye(2), atol=1e-6).item()
        True
    """
    _check_not_negative("orthogonal", gain=gain)

    def init(key: Key, shape: Shape) -> Array:
        rows, columns = shape[0], fans(shape)[0]
        drawn = random.normal(key, (max(rows, columns), min(rows, columns)))
        q, r = mx.linalg.qr(drawn, stream=mx.cpu)
        # The factorisation is unique, and so q uniform, for a positive diagonal of r.
        q = q * mx.where(mx.diag(r) < 0, -gain, gain)
        return (q if rows >= columns else q.T).reshape(shape)

    return init


def identity(key: Key, shape: Shape) -> Array:
    """The weight that returns its input: a one where the middle tap meets its channel.

    Channels without a partner give and get zeros.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.identity(random.key(0), (2, 3))
        array([[1, 0, 0],
               [0, 1, 0]], dtype=float32)
    """
    fans(shape)
    taps = math.prod(shape[1:-1])
    middle = 0
    for size in shape[1:-1]:
        middle = middle * size + size // 2
    eye = mx.eye(shape[0], shape[-1])[:, None]  # (out, 1, in)
    before, after = middle, taps - middle - 1
    return mx.pad(eye, [(0, 0), (before, after), (0, 0)]).reshape(shape)


def weight_and_bias(
    key: Key,
    shape: Shape,
    bias: bool,
    weight_init: Initializer,
    bias_init: Initializer | None = None,
) -> Params:
    """The params of a layer that multiplies by a weight `(out, ..., in)`.

    The bias is uniform in +-1/sqrt(fan_in), PyTorch's default, unless given otherwise.
    Each has its own key, folded from its name.
    """
    params = {"weight": weight_init(random.fold_in(key, "weight"), shape)}
    if bias:
        params["bias"] = (
            bias_by_fan_in(key, shape, shape[0])
            if bias_init is None
            else bias_init(random.fold_in(key, "bias"), shape[:1])
        )
    return params


def bias_by_fan_in(key: Key, weight_shape: Shape, size: int) -> Array:
    """Uniform in +-1/sqrt(fan_in) of the weight beside it, PyTorch's default."""
    bound = 1 / math.sqrt(fan_in(weight_shape))
    return _symmetric(random.fold_in(key, "bias"), (size,), bound)


def _symmetric(key: Key, shape: Shape, bound: float) -> Array:
    return random.uniform(key, shape, low=-bound, high=bound)


def _check_not_negative(caller: str, **values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{caller}: {name} must be at least 0, got {value}")
