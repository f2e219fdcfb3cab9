"""The laws of optimizers, and `check_optimizer`, which checks them."""

from collections.abc import Collection
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import optim, random, transforms, tree
from lucid_fn.optim.base import check_transformation
from lucid_fn.testing.laws import (
    Law,
    check_laws,
    copied,
    each,
    is_float,
    require,
    require_close,
    require_equal,
    specs,
)
from lucid_fn.types import Params, Tree

DTYPES = (mx.float32, mx.bfloat16, mx.float64)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


class Subject(NamedTuple):
    """An optimizer, and the params to update."""

    optimizer: optim.GradientTransformation
    params: Params

    def grads(self, seed: int) -> Tree:
        """Random gradients like the params."""
        return drawn_like(self.params, seed)

    def steps(
        self, params: Params, grads: Collection[Tree], opt_state: Any = None
    ) -> tuple[Params, Any]:
        """The params and the state after an update with each of `grads`."""
        if opt_state is None:
            opt_state = self.optimizer.init(params)
        for g in grads:
            updates, opt_state = self.optimizer.update(g, opt_state, params)
            params = optim.apply_updates(params, updates)
        return params, opt_state


def drawn_like(params: Params, seed: int) -> Tree:
    key = random.key(seed)
    return tree.map_with_path(
        lambda path, p: random.normal(random.fold_in(key, path), p.shape).astype(
            p.dtype
        ),
        params,
    )


def small_network() -> Params:
    """Normal numbers as the params of a small network."""
    shapes = {
        "conv": {"weight": mx.zeros((3, 2, 1, 2))},
        "fc": {
            "weight": mx.zeros((2, 3)),
            "bias": mx.zeros((2,)),
            "scale": mx.zeros(()),
        },
    }
    return drawn_like(shapes, 0)  # type: ignore[no-any-return]


def check_optimizer(
    optimizer: optim.GradientTransformation,
    params: Params | None = None,
    *,
    skip: Collection[str] = (),
) -> None:
    """Check an optimizer against the laws that all of this library satisfy.

    - `"structure"`: updates and states keep their structures, shapes and dtypes, for
      params in float32, bfloat16 and float64.
    - `"moments"`: moments of 16-bit params are float32, to keep small changes.
    - `"arrays"`: the state holds no array twice, and none of the params.
    - `"purity"`: `update` does not change its arguments, and is deterministic.
    - `"restoring"`: a run can be resumed from the named leaves of a state, as in a
      checkpoint.
    - `"jit"`: compiled and eager updates agree.
    - `"vmap"`: runs stacked under `vmap` are the same as single runs.

    Args:
        optimizer: a `GradientTransformation`.
        params: params to update; by default those of a small network.
        skip: names of laws that the optimizer need not satisfy.

    Raises:
        AssertionError: if laws are broken; the message says which and why.
        TypeError: if `optimizer` is not a transformation.
        ValueError: if `skip` names an unknown law.

    Example:
        >>> from lucid_fn import optim, testing, tree
        >>> testing.check_optimizer(optim.adam(0.1))
        >>> def update(grads, sums, params):
        ...     sums = tree.map(lambda s, g: s + g, sums, grads)
        ...     return tree.map(lambda s: -0.1 * s, sums), sums
        >>> summing = optim.GradientTransformation(tree.zeros_like, update)
        >>> testing.check_optimizer(summing)
        Traceback (most recent call last):
        ...
        AssertionError: check_optimizer: broken laws, which skip=[...] would leave out
          moments: conv.weight of the state is bfloat16 for params of bfloat16; make it
          float32, from tree.cast(params, mx.float32)
    """
    check_transformation("check_optimizer", "optimizer", optimizer)
    given = small_network() if params is None else params
    check_laws("check_optimizer", LAWS, Subject(optimizer, given), skip)


def structures_shapes_and_dtypes_stay(s: Subject, dtype: mx.Dtype) -> None:
    params, grads = (tree.cast(x, dtype) for x in (s.params, s.grads(1)))
    begun = s.optimizer.init(params)
    updates, opt_state = s.optimizer.update(grads, begun, params)
    for what, new, old in (
        ("updates", updates, grads),
        ("the state", opt_state, begun),
        ("the params", optim.apply_updates(params, updates), params),
    ):
        same = tree.flatten(new)[1] == tree.flatten(old)[1]
        require(same, f"{what} change their structure with {dtype}")
        message = f"{what} change from {specs(old)} to {specs(new)}"
        require(specs(new) == specs(old), message)


def moments_of_16_bits_are_float32(s: Subject, dtype: mx.Dtype) -> None:
    params, grads = (tree.cast(x, dtype) for x in (s.params, s.grads(1)))
    _, opt_state = s.steps(params, [grads])
    for path, x in tree.named_leaves(opt_state).items():
        name = str(dtype).removeprefix("mlx.core.")
        require(
            not is_float(x) or x.dtype == mx.float32,
            f"{path} of the state is {name} for params of {name}; make it float32, "
            "from tree.cast(params, mx.float32)",
        )


def the_state_shares_no_array(s: Subject) -> None:
    # MLX compiles no function that takes and captures the same array.
    leaves = tree.leaves((s.params, s.optimizer.init(s.params)))
    distinct = len({id(leaf) for leaf in leaves}) == len(leaves)
    require(distinct, "the state shares an array with itself or with the params")


def an_update_is_pure(s: Subject) -> None:
    _, opt_state = s.steps(s.params, [s.grads(1)])
    given = (s.grads(2), opt_state, s.params)
    before = copied(given)
    first, again = s.optimizer.update(*given), s.optimizer.update(*given)
    require_equal(given, before, "update changes its arguments")
    require_equal(again, first, "update is not deterministic")


def a_state_survives_its_names(s: Subject) -> None:
    grads = [s.grads(seed) for seed in range(1, 5)]
    half, opt_state = s.steps(s.params, grads[:2])
    flat = tree.named_leaves(opt_state)
    restored = tree.restore(s.optimizer.init(s.params), flat)
    straight = s.steps(half, grads[2:], opt_state)
    message = "a run resumed from the named leaves of a state differs"
    require_equal(s.steps(half, grads[2:], restored), straight, message)


def compiled_is_eager(s: Subject) -> None:
    grads = [s.grads(seed) for seed in (1, 2)]
    compiled = s._replace(
        optimizer=s.optimizer._replace(update=transforms.jit(s.optimizer.update))
    )
    found, expected = (run.steps(s.params, grads) for run in (compiled, s))
    require_close(found, expected, "compiled and eager updates differ", **CLOSE)


def a_stack_under_vmap_is_each_alone(s: Subject) -> None:
    runs = [[s.grads(seed + 10 * i) for i in range(3)] for seed in (0, 1)]
    params, *grads = tree.map(lambda a, b: mx.stack([a, b]), *runs)
    opt_state = transforms.vmap(s.optimizer.init)(params)
    for g in grads:
        update = transforms.vmap(s.optimizer.update)
        updates, opt_state = update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
    for i, (begun, *own) in enumerate(runs):
        alone = s.steps(begun, own)
        message = f"run {i} of a stack under vmap differs from that run alone"
        require_close(each((params, opt_state), i), alone, message, **CLOSE)


def _structure_law(s: Subject) -> None:
    for dtype in DTYPES:
        structures_shapes_and_dtypes_stay(s, dtype)


LAWS: dict[str, Law] = {
    "structure": _structure_law,
    "moments": lambda s: moments_of_16_bits_are_float32(s, mx.bfloat16),
    "arrays": the_state_shares_no_array,
    "purity": an_update_is_pure,
    "restoring": a_state_survives_its_names,
    "jit": compiled_is_eager,
    "vmap": a_stack_under_vmap_is_each_alone,
}
