"""Random numbers from explicit keys: the same key gives the same numbers.

MLX has a hidden generator as well, which a compiled function freezes at its first
call; nothing here touches it. Use a key once: `split` it for more.
"""

from lucid_fn.call_errors import guide
from lucid_fn.random.choice import categorical, choice, permutation
from lucid_fn.random.exponential import exponential, gumbel, laplace
from lucid_fn.random.gamma import beta, dirichlet, gamma
from lucid_fn.random.keys import fold_in, key, split
from lucid_fn.random.normal import multivariate_normal, normal, truncated_normal
from lucid_fn.random.poisson import poisson
from lucid_fn.random.uniform import bernoulli, randint, uniform

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
