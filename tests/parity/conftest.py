"""PyTorch computes on one thread: its threads would mostly wait for other tests'."""

import importlib.util

if importlib.util.find_spec("torch") is not None:
    import torch

    torch.set_num_threads(1)
