"""Random numbers from explicit keys: the same key gives the same numbers.

MLX has a hidden generator as well, which a compiled function freezes at its first
call; nothing here touches it. Use a key once: `split` it for more.
"""

from lucid_fn.call_errors import guide
from lucid_fn.random.continuous import (
    beta,
    dirichlet,
    exponential,
    gamma,
    gumbel,
    laplace,
    multivariate_normal,
    normal,
    truncated_normal,
    uniform,
)
from lucid_fn.random.discrete import (
    bernoulli,
    categorical,
    choice,
    permutation,
    poisson,
    randint,
)
from lucid_fn.random.keys import fold_in, key, split

__all__ = [
    "bernoulli",
    "beta",
    "categorical",
    "choice",
    "dirichlet",
    "exponential",
    "fold_in",
    "gamma",
    "gumbel",
    "key",
    "laplace",
    "multivariate_normal",
    "normal",
    "permutation",
    "poisson",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]

guide(globals(), "random")
