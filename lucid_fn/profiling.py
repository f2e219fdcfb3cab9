"""The time that each layer takes: `lf.profile`."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import io, transforms, tree
from lucid_fn.checks import check_count, check_function
from lucid_fn.nn.core.recording import Record, is_float, recording, tap_gradients
from lucid_fn.types import Array

__all__ = ["Profile", "ProfileRow", "Span", "profile"]


class Span(NamedTuple):
    """One pass through a layer; times are in seconds since the start of the run."""

    path: str
    phase: str  # "forward" or "backward"
    start: float
    end: float


class ProfileRow(NamedTuple):
    """A row of `Profile`: the sums over all calls of an innermost layer."""

    path: str
    forward: float  # seconds
    backward: float  # seconds; 0 without a gradient
    flops: int  # of matrix products and convolutions in a forward pass
    nbytes: int  # of params, state and output of the last call


class Profile(NamedTuple):
    """The innermost layers in the order of their calls; `str` makes a table of it."""

    rows: tuple[ProfileRow, ...]
    seconds: float  # of the whole function, including work outside of layers
    spans: tuple[Span, ...]

    def __str__(self) -> str:
        head = ("layer", "forward ms", "GFLOP/s", "backward ms", "GFLOP/s", "bytes")
        lines = [head, *map(_cells, self.rows)]
        other = self.seconds - sum(row.forward + row.backward for row in self.rows)
        lines += [("other", f"{1e3 * other:.3f}", "", "", "", "")]
        lines += [("total", f"{1e3 * self.seconds:.3f}", "", "", "", "")]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def to_chrome_trace(self, path: str | Path) -> None:
        """Write a file for `chrome://tracing` or https://ui.perfetto.dev.

        Args:
            path: the `.json` file; its folder must exist.

        Raises:
            OSError: if the file cannot be written.
        """
        caller = "profile.to_chrome_trace"
        path = io.check_path(caller, "path", path)
        events = [
            {
                "name": span.path,
                "cat": span.phase,
                "ph": "X",
                "ts": 1e6 * span.start,
                "dur": 1e6 * (span.end - span.start),
                "pid": 0,
                "tid": 0,
            }
            for span in self.spans
        ]
        with io.atomic_write(path, caller=caller) as file:
            file.write(json.dumps({"traceEvents": events}).encode())


def _cells(row: ProfileRow) -> tuple[str, ...]:
    # The backward pass has two products for each one: for the input and for the params.
    return (
        row.path,
        f"{1e3 * row.forward:.3f}",
        _rate(row.flops, row.forward),
        f"{1e3 * row.backward:.3f}" if row.backward else "",
        _rate(2 * row.flops, row.backward),
        f"{row.nbytes:,}",
    )


def _rate(flops: int, seconds: float) -> str:
    return f"{flops / seconds / 1e9:.1f}" if flops and seconds else ""


def profile(
    fn: Callable[..., Any], *args: Any, repeats: int = 3, **kwargs: Any
) -> Profile:
    """Measure the time that each layer takes, forward and backward.

    `fn` runs without `jit`, and each layer is computed before the next one starts:
    nothing is fused across layers, and batches are joined between them instead of
    staying divided among the cores. So the total exceeds the time of a compiled step;
    the profile shows where the time goes. If `fn` returns a loss, a float array of
    shape `()` or a tuple that begins with one, its gradients in all float arguments are
    computed too, as are gradients that `fn` computes itself, as a training step does.
    Layers inside of `lf.vmap` are not measured. Layers in the body of a loop, such as
    `lf.scan`, are traced before the loop runs: their rows show 0 ms, and their time is
    part of `other`.

    Args:
        fn: a function of trees, such as a loss that applies a model, or a step of
            `train.make_step`.
        args: its arguments.
        repeats: runs after one for warming up; the fastest one is returned.
        kwargs: its keyword arguments.

    Returns:
        A `Profile`: it prints as a table, and `to_chrome_trace(path)` writes a
        timeline.

    Raises:
        TypeError: if `fn` is not a function, or `repeats` not an integer.
        ValueError: if `repeats` is less than 1.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import models, random
        >>> model = models.lenet5()
        >>> params, state = model.init(random.key(0))
        >>> def loss(params, x):
        ...     return mx.sum(model.apply(params, state, x, train=True)[0])
        >>> found = lf.profile(loss, params, mx.zeros((8, 28, 28, 1)))
        >>> [row.path for row in found.rows][:3]
        ['conv1', 'act1', 'pool1']
    """
    check_function("profile", "fn", fn)
    repeats = check_count("profile", "repeats", repeats)
    runs = [_run(fn, args, kwargs) for _ in range(repeats + 1)]
    return min(runs[1:], key=lambda run: run.seconds)


def _run(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Profile:
    clock = _Clock()
    leaves, structure = tree.flatten((args, kwargs))
    mx.eval([leaf for leaf in leaves if isinstance(leaf, mx.array)])
    floats = {i: leaf for i, leaf in enumerate(leaves) if is_float(leaf)}

    def loss(floats: dict[int, Array]) -> Array:
        filled = [floats.get(i, leaf) for i, leaf in enumerate(leaves)]
        positional, named = tree.unflatten(structure, filled)
        out = fn(*positional, **named)
        found = out[0] if isinstance(out, tuple) and out else out
        if not is_float(found) or found.ndim > 0:
            raise _NoLossError(out)
        return found  # type: ignore[no-any-return]  # checked above

    with transforms.disable_jit(), recording(clock.watch) as recorder:
        start = time.perf_counter()
        try:
            _wait(transforms.grad(loss)(floats))
        except _NoLossError as error:
            _wait(error.out)
        seconds = time.perf_counter() - start
    spans = [
        span._replace(start=span.start - start, end=span.end - start)
        for span in clock.spans
    ]
    rows = tuple(_rows(recorder.records, spans))
    return Profile(rows, seconds, tuple(spans))


class _NoLossError(Exception):
    """The function returned `out`, which is not a loss."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out


def _wait(values: Any) -> bool:
    """Compute all arrays; `False` inside of `vmap`, where they have no values."""
    try:
        mx.eval([x for x in tree.leaves(values) if isinstance(x, mx.array)])
    except (ValueError, RuntimeError):
        return False
    return True


class _Clock:
    """Records when the passes enter and leave the layers."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._started: dict[str, float] = {}  # by path: the start of its forward pass
        self._backward: dict[str, int] = {}  # by path: the index of its backward span

    def watch(self, path: str, what: str, values: Any) -> Any:
        if not _wait(values):
            return values
        if what == "output":
            started = self._started.pop(path)
            self.spans.append(Span(path, "forward", started, time.perf_counter()))

        def receive(grads: list[tuple[str, Array]]) -> None:
            if _wait(grads):
                self._record_gradient(path, what)

        values = tap_gradients(values, receive)
        _wait(values)
        if what == "input":  # which comes after the params
            self._started[path] = time.perf_counter()
        return values

    def _record_gradient(self, path: str, what: str) -> None:
        now = time.perf_counter()
        if what == "output":  # the backward pass enters the layer
            self._backward[path] = len(self.spans)
            self.spans.append(Span(path, "backward", now, now))
        elif path in self._backward:
            i = self._backward[path]
            self.spans[i] = self.spans[i]._replace(end=now)


def _rows(records: list[Record], spans: list[Span]) -> Iterator[ProfileRow]:
    paths = dict.fromkeys(record.path for record in records)
    for path in paths:
        if any(other.startswith(f"{path}.") for other in paths):
            continue
        own = [record for record in records if record.path == path]
        forward, backward = (
            sum(s.end - s.start for s in spans if (s.path, s.phase) == (path, phase))
            for phase in ("forward", "backward")
        )
        last = own[-1]
        arrays = tree.leaves((last.params, last.state, last.y))
        yield ProfileRow(
            path,
            forward,
            backward,
            2 * sum(record.multiply_adds for record in own),
            sum(x.nbytes for x in arrays if isinstance(x, mx.array)),
        )
