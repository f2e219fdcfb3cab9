"""Random numbers from explicit keys: the same key gives the same numbers.

MLX has a hidden generator as well, which a compiled function freezes at its first
call; nothing here touches it. Use a key once: `split` it for more.
"""

from lucid_fn.random.draws import (
    bernoulli as bernoulli,
    categorical as categorical,
    gumbel as gumbel,
    normal as normal,
    permutation as permutation,
    randint as randint,
    truncated_normal as truncated_normal,
    uniform as uniform,
)
from lucid_fn.random.keys import fold_in as fold_in, key as key, split as split
