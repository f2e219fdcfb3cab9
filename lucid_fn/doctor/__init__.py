"""Checks whether this machine runs MLX fast: `python -m lucid_fn doctor`."""

from lucid_fn.call_errors import guide
from lucid_fn.doctor.check import Check
from lucid_fn.doctor.comparisons import selftest
from lucid_fn.doctor.report import as_json, as_text, examine

__all__ = ["Check", "as_json", "as_text", "examine", "selftest"]

guide(globals(), "doctor")
