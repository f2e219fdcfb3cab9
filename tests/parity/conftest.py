"""What makes the comparisons fast: PyTorch on one thread, jax without optimizations.

PyTorch's threads would mostly wait for those of other tests, and jax would take longer
to optimize each of its programs than to run it once.
"""

import importlib.util
import os

os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
