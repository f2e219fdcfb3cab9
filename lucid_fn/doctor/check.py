"""The result of a check, and the device that MLX computes on."""

import sys
from typing import Literal, NamedTuple

import mlx.core as mx


class Check(NamedTuple):
    """One line of the report."""

    name: str
    verdict: Literal["ok", "slow", "broken"]
    found: str
    advice: str = ""  # what to do; empty if nothing
    numbers: dict[str, float] | None = None  # measured values, by their unit


def on_cpu() -> bool:
    """Whether MLX computes on the CPU."""
    return mx.default_device() == mx.cpu


def on_linux_cpu() -> bool:
    """Whether MLX computes on a Linux CPU, which `lucid_fn.cpu.runtime` sets up."""
    return sys.platform == "linux" and on_cpu()


def plural(number: int, noun: str) -> str:
    """`1 core`, `2 cores`."""
    return f"{number} {noun}" + "s" * (number != 1)
