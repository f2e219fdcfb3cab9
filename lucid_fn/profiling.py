"""Which layer takes the time: `lf.profile`."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import io, transforms, tree
from lucid_fn.checks import check_count, check_function
from lucid_fn.nn.core.recording import Record, recording
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array

__all__ = ["Profile", "ProfileRow", "Span", "profile"]


class Span(NamedTuple):
    """A pass through a layer; times are in seconds from the start of the run."""

    path: str
    phase: str  # "forward" or "backward"
    start: float
    end: float


class ProfileRow(NamedTuple):
    """A row of `Profile`: one innermost layer, with its calls added up."""

    path: str
    forward: float  # seconds
    backward: float  # seconds; 0 without a gradient
    flops: int  # of matrix products and convolutions in a forward pass
    nbytes: int  # of params, state and output


class Profile(NamedTuple):
    """The innermost layers in the order of their first call; as text, a table."""

    rows: tuple[ProfileRow, ...]
    seconds: float  # of the whole function, with what belongs to no layer
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
        """Writes a file for `chrome://tracing` or https://ui.perfetto.dev.

        Args:
            path: of the `.json` file; its folder must exist.

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
    # The backward pass multiplies twice: for the input, and for the params.
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
    """Measures the time that each layer takes, forward and backward.

    `fn` runs without `jit`, and each layer is waited for before the next one starts:
    nothing is fused across layers, and batches are not divided among the cores between
    them. So the sum is more than a compiled step takes; what it tells is where the time
    goes. If `fn` returns a loss, a float array of shape `()` or a tuple that begins
    with one, its gradients in all float arguments are computed too. So are those that
    `fn` computes itself, as a training step does. Layers inside of `lf.vmap` are not
    seen. Those in the body of a loop, such as `lf.scan`, are traced when the loop
    begins, and run with it: their rows show 0 ms, and their time is part of `other`.

    Args:
        fn: a function of trees, such as a loss that applies a model, or a step of
            `train.make_step`.
        args: its arguments.
        repeats: runs after one that warms up; the fastest one is taken.
        kwargs: its keyword arguments.

    Returns:
        A `Profile`: a table as text, and `to_chrome_trace(path)` writes a timeline.

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
    movable = {i: leaf for i, leaf in enumerate(leaves) if _is_float(leaf)}
    has_loss = False

    def loss(movable: dict[int, Array]) -> Array:
        nonlocal has_loss
        filled = [movable.get(i, leaf) for i, leaf in enumerate(leaves)]
        positional, named = tree.unflatten(structure, filled)
        out = fn(*positional, **named)
        found = out[0] if isinstance(out, tuple) and out else out
        has_loss = isinstance(found, mx.array) and found.ndim == 0 and _is_float(found)
        if not has_loss:
            raise _NoLossError(out)
        return found  # type: ignore[no-any-return]  # checked above

    with transforms.disable_jit(), recording(clock.watch) as recorder:
        start = time.perf_counter()
        try:
            _wait(transforms.grad(loss)(movable))
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
    """What a function returned that is not differentiated."""

    def __init__(self, out: Any) -> None:
        super().__init__()
        self.out = out


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def _wait(values: Any) -> bool:
    """Computes all arrays; `False` inside of `vmap`, where they have no values."""
    try:
        mx.eval([x for x in tree.leaves(values) if isinstance(x, mx.array)])
    except (ValueError, RuntimeError):
        return False
    return True


class _Clock:
    """Notes when a pass enters and leaves the layers."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._begun: dict[str, float] = {}  # forward, by path
        self._reached: dict[str, int] = {}  # the backward span of a path

    def watch(self, path: str, what: str, values: Any) -> Any:
        if not _wait(values):
            return values
        if what == "output":
            begun = self._begun.pop(path)
            self.spans.append(Span(path, "forward", begun, time.perf_counter()))
        values = self._tapped(path, what, values)
        _wait(values)
        if what == "input":  # which comes after the params
            self._begun[path] = time.perf_counter()
        return values

    def _tapped(self, path: str, what: str, values: Any) -> Any:
        """The values, whose gradients are waited for when they get here."""
        leaves, structure = tree.flatten(values)
        places = [i for i, leaf in enumerate(leaves) if _is_float(leaf)]
        if not places:
            return values
        passed = custom_function(lambda *arrays: arrays)

        @passed.vjp
        def _(primals: Any, grads: Any, _: Any) -> Any:
            listed = grads if isinstance(grads, list | tuple) else [grads]
            if _wait(listed):
                self._note(path, what)
            return grads if isinstance(primals, list | tuple) else listed[0]

        @passed.jvp
        def _(_: Any, tangents: Any) -> Any:
            return (
                tuple(tangents) if isinstance(tangents, list | tuple) else (tangents,)
            )

        for place, leaf in zip(
            places, passed(*[leaves[i] for i in places]), strict=True
        ):
            leaves[place] = leaf
        return tree.unflatten(structure, leaves)

    def _note(self, path: str, what: str) -> None:
        now = time.perf_counter()
        if what == "output":
            self._reached[path] = len(self.spans)
            self.spans.append(Span(path, "backward", now, now))
        elif path in self._reached:
            i = self._reached[path]
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
