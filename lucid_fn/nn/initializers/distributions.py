"""Initializers with constant or independently drawn elements."""

import math

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count, check_number, check_size, to_number
from lucid_fn.nn.initializers.fans import (
    LINEAR_GAIN,
    RELU_GAIN,
    Fan,
    Initializer,
    Shape,
    fan_in,
    fan_mean,
    fan_out,
)
from lucid_fn.types import Array, Key, Params


def zeros(key: Key, shape: Shape) -> Array:
    """All zeros.

    Args:
        key: a random key; unused.
        shape: shape of the weight.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.zeros(random.key(0), (2,))
        array([0, 0], dtype=float32)
    """
    return _full("zeros", shape, 0.0)


def ones(key: Key, shape: Shape) -> Array:
    """All ones.

    Args:
        key: a random key; unused.
        shape: shape of the weight.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.ones(random.key(0), (2,))
        array([1, 1], dtype=float32)
    """
    return _full("ones", shape, 1.0)


def constant(value: float) -> Initializer:
    """The same value everywhere.

    Args:
        value: the value.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.constant(0.5)(random.key(0), (2,))
        array([0.5, 0.5], dtype=float32)
    """
    value = to_number("constant", "value", value)
    return lambda key, shape: _full("constant", shape, value)


def uniform(low: float, high: float) -> Initializer:
    """Uniform in `[low, high)`.

    Args:
        low: lower bound, inclusive.
        high: upper bound, exclusive.

    Raises:
        ValueError: if `low > high`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> mx.max(initializers.uniform(-0.1, 0.1)(random.key(0), (99,))).item() < 0.1
        True
    """
    low = check_number("uniform", "low", low)
    high = check_number("uniform", "high", high, at_least=low)
    return lambda key, shape: random.uniform(key, shape, low=low, high=high)


def normal(std: float = 1.0, *, mean: float = 0.0) -> Initializer:
    """Normal with standard deviation `std`.

    Args:
        std: standard deviation, at least 0.
        mean: mean.

    Raises:
        ValueError: if `std` is negative.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.normal(0.02)(random.key(0), (2, 3)).shape
        (2, 3)
    """
    std = check_number("normal", "std", std, at_least=0)
    mean = check_number("normal", "mean", mean)
    return lambda key, shape: mean + std * random.normal(key, shape)


def truncated_normal(std: float = 1.0, *, mean: float = 0.0) -> Initializer:
    """Normal, truncated at two standard deviations from the mean.

    The truncated distribution has the standard deviation `0.88 * std`.

    Args:
        std: standard deviation before the truncation, at least 0.
        mean: mean.

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
    std = check_number("truncated_normal", "std", std, at_least=0)
    mean = check_number("truncated_normal", "mean", mean)
    return lambda key, shape: mean + std * random.truncated_normal(key, shape)


def uniform_by_fan_in(key: Key, shape: Shape) -> Array:
    """Uniform in `[-1/sqrt(fan_in), 1/sqrt(fan_in))`, PyTorch's default.

    Args:
        key: a random key.
        shape: shape of the weight.

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
    """Normal with standard deviation `sqrt(2 / fan_out)`, for layers before a ReLU.

    Args:
        key: a random key.
        shape: shape of the weight.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 14.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.normal_fan_out(random.key(0), (8, 3, 3, 4)).shape
        (8, 3, 3, 4)
    """
    return random.normal(key, shape) * math.sqrt(2 / fan_out(shape))


def scaled_uniform(gain: float, fan: Fan) -> Initializer:
    """Uniform with mean 0 and standard deviation `gain / sqrt(fan)`.

    Args:
        gain: factor, at least 0.
        fan: `fan_in`, `fan_out` or `fan_mean`.

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
    gain = check_number("scaled_uniform", "gain", gain, at_least=0)
    return lambda key, shape: _symmetric(key, shape, gain * math.sqrt(3 / fan(shape)))


def scaled_normal(gain: float, fan: Fan) -> Initializer:
    """Normal with mean 0 and standard deviation `gain / sqrt(fan)`.

    Args:
        gain: factor, at least 0.
        fan: `fan_in`, `fan_out` or `fan_mean`.

    Raises:
        ValueError: if `gain` is negative.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.scaled_normal(1.0, initializers.fan_in)
        >>> init(random.key(0), (3, 12)).shape
        (3, 12)
    """
    gain = check_number("scaled_normal", "gain", gain, at_least=0)
    return lambda key, shape: random.normal(key, shape) * (gain / math.sqrt(fan(shape)))


def xavier_uniform(gain: float = LINEAR_GAIN) -> Initializer:
    """Xavier (Glorot) uniform: standard deviation
    `gain * sqrt(2 / (fan_in + fan_out))`.

    Args:
        gain: gain of the activation that follows, at least 0.

    Source: Glorot & Bengio, 2010, https://proceedings.mlr.press/v9/glorot10a.html,
    eq. 16.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.xavier_uniform(initializers.TANH_GAIN)
        >>> init(random.key(0), (2, 4)).shape
        (2, 4)
    """
    gain = check_number("xavier_uniform", "gain", gain, at_least=0)
    return scaled_uniform(gain, fan_mean)


def xavier_normal(gain: float = LINEAR_GAIN) -> Initializer:
    """Xavier (Glorot) normal: standard deviation `gain * sqrt(2 / (fan_in + fan_out))`.

    Args:
        gain: gain of the activation that follows, at least 0.

    Source: as `xavier_uniform`.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.xavier_normal()(random.key(0), (2, 4)).shape
        (2, 4)
    """
    gain = check_number("xavier_normal", "gain", gain, at_least=0)
    return scaled_normal(gain, fan_mean)


def kaiming_uniform(gain: float = RELU_GAIN, *, fan: Fan = fan_in) -> Initializer:
    """Kaiming (He) uniform: standard deviation `gain / sqrt(fan)`.

    Args:
        gain: gain of the activation that follows, at least 0.
        fan: `fan_in`, or `fan_out` to preserve the variance of gradients.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 10 and 14.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.kaiming_uniform(initializers.leaky_relu_gain(0.2))
        >>> init(random.key(0), (2, 4)).shape
        (2, 4)
    """
    gain = check_number("kaiming_uniform", "gain", gain, at_least=0)
    return scaled_uniform(gain, fan)


def kaiming_normal(gain: float = RELU_GAIN, *, fan: Fan = fan_in) -> Initializer:
    """Kaiming (He) normal: standard deviation `gain / sqrt(fan)`.

    Args:
        gain: gain of the activation that follows, at least 0.
        fan: `fan_in`, or `fan_out` to preserve the variance of gradients.

    Source: as `kaiming_uniform`.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.kaiming_normal(fan=initializers.fan_out)
        >>> init(random.key(0), (2, 3, 3, 4)).shape
        (2, 3, 3, 4)
    """
    gain = check_number("kaiming_normal", "gain", gain, at_least=0)
    return scaled_normal(gain, fan)


def lecun_uniform(key: Key, shape: Shape) -> Array:
    """LeCun uniform: standard deviation `1 / sqrt(fan_in)`.

    Args:
        key: a random key.
        shape: shape of the weight.

    Source: LeCun et al., 1998, "Efficient BackProp", eq. 16.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.lecun_uniform(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return scaled_uniform(LINEAR_GAIN, fan_in)(key, shape)


def lecun_normal(key: Key, shape: Shape) -> Array:
    """LeCun normal: standard deviation `1 / sqrt(fan_in)`, as SELU requires.

    Args:
        key: a random key.
        shape: shape of the weight.

    Source: LeCun et al., 1998, "Efficient BackProp", eq. 16.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.lecun_normal(random.key(0), (2, 4)).shape
        (2, 4)
    """
    return scaled_normal(LINEAR_GAIN, fan_in)(key, shape)


def weight_and_bias(
    key: Key,
    shape: Shape,
    bias: bool,
    weight_init: Initializer,
    bias_init: Initializer | None = None,
) -> Params:
    """The params of a layer with a weight `(out, ..., in)` and maybe a bias `(out,)`.

    By default the bias is uniform in +-1/sqrt(fan_in), as in PyTorch. The key of each
    is folded from its name.

    Args:
        key: a random key, that of the whole layer.
        shape: shape of the weight.
        bias: whether there is a bias.
        weight_init: initializer of the weight.
        bias_init: initializer of the bias; by default as above.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> init = initializers.kaiming_normal()
        >>> params = initializers.weight_and_bias(random.key(0), (2, 4), True, init)
        >>> params["bias"].shape
        (2,)
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
    """Bias, uniform in +-1/sqrt(fan_in), that of the weight: PyTorch's default.

    Args:
        key: a random key, that of the whole layer.
        weight_shape: shape of the weight.
        size: length of the bias.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.bias_by_fan_in(random.key(0), (2, 4), 2).shape
        (2,)
    """
    shape = (check_count("bias_by_fan_in", "size", size),)
    bound = 1 / math.sqrt(fan_in(weight_shape))
    return _symmetric(random.fold_in(key, "bias"), shape, bound)


def _symmetric(key: Key, shape: Shape, bound: float) -> Array:
    return random.uniform(key, shape, low=-bound, high=bound)


def _full(caller: str, shape: Shape, value: float) -> Array:
    check_size(f"initializers.{caller}", "shape", shape)
    return mx.full(shape, value, mx.float32)
