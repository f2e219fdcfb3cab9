"""Files of ONNX, run by onnxruntime on one thread."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lucid_fn import ops, tree
from lucid_fn.transforms.arguments import as_array

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
onnxruntime.set_default_logger_severity(4)  # what is an error is raised, too


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )


def run(path: Path, *args: Any) -> dict[str, np.ndarray]:
    """The outputs of a file by their names, for trees of arguments."""
    model = session(path)
    names = [x.name for x in model.get_inputs()]
    given = [np.array(as_array(leaf)) for leaf in tree.leaves(args)]
    outputs = model.run(None, dict(zip(names, given, strict=True)))
    return dict(zip([x.name for x in model.get_outputs()], outputs, strict=True))


def assert_computes(path: Path, fn: Any, *args: Any) -> None:
    """A file computes what a function does, to 1e-5 of its largest value or of 1."""
    with ops.plain():
        expected = [np.array(as_array(leaf)) for leaf in tree.leaves(fn(*args))]
    for got, want in zip(run(path, *args).values(), expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        scale = max(1, np.abs(want[np.isfinite(want)]).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale)
