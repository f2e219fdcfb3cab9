"""The activations, and those of them that take integers too."""

from lucid_fn import nn

ACTIVATIONS = [
    nn.celu,
    nn.elu,
    nn.gelu,
    nn.gelu_sigmoid,
    nn.gelu_tanh,
    nn.glu,
    nn.hard_shrink,
    nn.hard_sigmoid,
    nn.hard_swish,
    nn.hard_tanh,
    nn.leaky_relu,
    nn.log_sigmoid,
    nn.log_softmax,
    nn.mish,
    nn.relu,
    nn.relu6,
    nn.relu_squared,
    nn.selu,
    nn.sigmoid,
    nn.silu,
    nn.soft_shrink,
    nn.softmax,
    nn.softmin,
    nn.softplus,
    nn.softsign,
    nn.step,
    nn.tanh,
    nn.tanh_shrink,
]

OF_INTEGERS_TOO = [nn.hard_tanh, nn.relu, nn.relu6, nn.relu_squared, nn.step]
