"""Linear algebra with derivatives: systems, determinants and decompositions.

Names and signatures are those of `jax.numpy.linalg`, and of `jax.scipy.linalg` for
`solve_triangular`. All functions take leading axes as a batch, in float32 and float64,
under every transformation of `lf`; `mx.vmap` itself has no rule for LU and QR. MLX has
them on CPUs alone, so other devices hand their matrices over. The values of arrays are
not read: where there is no result, as of a singular matrix, it is not a number.
"""

from lucid_fn.call_errors import guide
from lucid_fn.ops.linalg.decompositions import (
    EighResult,
    QRResult,
    SVDResult,
    eigh,
    qr,
    svd,
)
from lucid_fn.ops.linalg.solving import (
    SlogdetResult,
    cholesky,
    det,
    inv,
    slogdet,
    solve,
    solve_triangular,
)

__all__ = [
    "EighResult",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
    "cholesky",
    "det",
    "eigh",
    "inv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
]

guide(globals(), "ops.linalg")
