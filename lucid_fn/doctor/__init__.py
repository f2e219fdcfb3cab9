"""What makes this machine fast or slow: `python -m lucid_fn doctor`."""

from lucid_fn.doctor.check import Check
from lucid_fn.doctor.comparisons import selftest
from lucid_fn.doctor.report import as_json, as_text, examine
from lucid_fn.elsewhere import guide

__all__ = ["Check", "as_json", "as_text", "examine", "selftest"]

guide(globals(), "doctor")
