"""Assertions and property checks for your own layers, optimizers and losses.

`check_layer`, `check_optimizer` and `check_loss` hold them to the laws that all of this
library satisfy. This is the only package that imports chex, which takes most of a
second.
"""

from lucid_fn.call_errors import guide
from lucid_fn.testing import strategies
from lucid_fn.testing.assertions import (
    assert_close,
    assert_finite,
    assert_same_structure,
    check_grads,
    check_pure,
)
from lucid_fn.testing.layer_laws import check_layer
from lucid_fn.testing.loss_laws import check_loss
from lucid_fn.testing.optimizer_laws import check_optimizer

__all__ = [
    "assert_close",
    "assert_finite",
    "assert_same_structure",
    "check_grads",
    "check_layer",
    "check_loss",
    "check_optimizer",
    "check_pure",
    "strategies",
]

guide(globals(), "testing")
