"""The record of a training run."""

import json
import math
import platform
import sys
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn import io


class History(NamedTuple):
    """The record of a training run, in plain Python numbers.

    Each item of `epochs` holds `epoch` (counted from 1), the `train_` and `test_`
    metrics averaged over examples, `learning_rate`, `train_seconds` and `test_seconds`.
    """

    batch_losses: list[float]
    epochs: list[dict[str, float]]
    config: dict[str, Any]
    environment: dict[str, str]
    interrupted: bool

    def to_json(self, path: str | Path) -> None:
        """Write the record to a file, atomically.

        Args:
            path: the file; the folder must exist.

        Raises:
            OSError: if the folder does not exist, or the file cannot be written.
            TypeError: if JSON cannot hold the configuration.
            ValueError: if `load_history` could not load it, for example because an
                epoch has no `"epoch"`.
        """
        caller = "history.to_json"
        path = io.check_path(caller, "path", path)
        try:
            text = self.dumps()
            _from_json(json.loads(text))
        except TypeError as error:
            raise TypeError(
                f"{caller}: the record must hold numbers, strings, bools, lists and "
                f"dicts, but {error}; convert an array to a number with .item()"
            ) from None
        except ValueError as error:
            raise ValueError(f"{caller}: {error}") from None
        with io.atomic_write(path, caller=caller) as file:
            file.write(text.encode() + b"\n")

    def to_html(self, path: str | Path, title: str = "Training run") -> None:
        """Write the record as an HTML page with curves; see `plot.report`.

        Args:
            path: a `.html` file; the folder must exist.
            title: the heading of the page.

        Raises:
            ImportError: if matplotlib is not installed.
            ValueError: if the record has no epoch.
            OSError: if the page cannot be written.
        """
        # Imported here because training does not need plots.
        from lucid_fn.plot.report import write_report

        write_report("history.to_html", self, path, title)

    def dumps(self, *, indent: int | None = 1) -> str:
        """The record as JSON text; infinities and NaN become strings.

        Args:
            indent: as in `json.dumps`.
        """
        return json.dumps(to_jsonable(self._asdict()), indent=indent, allow_nan=False)

    def series(self, name: str) -> list[float]:
        """The values of one metric over the epochs; NaN for epochs without it.

        Args:
            name: a key of the records in `epochs`, such as `"test_loss"`.

        Raises:
            KeyError: if no epoch has the metric; the message lists those there are.

        Example:
            >>> run = History([], [{"epoch": 1, "test_loss": 0.5}], {}, {}, False)
            >>> run.series("test_loss")
            [0.5]
        """
        known = {key: None for record in self.epochs for key in record}
        if self.epochs and name not in known:
            raise KeyError(
                f"history.series: there is no {name!r}, only {', '.join(known)}"
            )
        return [record.get(name, math.nan) for record in self.epochs]


def load_history(path: str | Path) -> History:
    """Load a record written by `History.to_json`.

    Args:
        path: a file written by `History.to_json`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read.
        ValueError: if the file is not such a record; the message says where.

    Example:
        >>> import tempfile
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/history.json"
        >>> record = train.History([0.7, 0.5], [], {}, {}, interrupted=False)
        >>> record.to_json(path)
        >>> train.load_history(path).batch_losses
        [0.7, 0.5]
    """
    caller = "load_history"
    path = io.check_path(caller, "path", path)
    text = io.read_bytes(path, caller=caller)
    return parse_history(text, caller=caller, source=path)


def parse_history(text: str | bytes, *, caller: str, source: Path) -> History:
    """Parse the record in a JSON text, which comes from the file `source`."""
    try:
        return _from_json(json.loads(text))
    except (ValueError, RecursionError) as error:  # including UnicodeDecodeError
        raise ValueError(
            f"{caller}: {source} is not the record of a training run, or is damaged: "
            f"{error}"
        ) from error


def environment() -> dict[str, str]:
    """The versions and the device that a run's numbers depend on."""
    import importlib.metadata  # slow to import: 10 ms

    return {
        "lucid_fn": importlib.metadata.version("lucid-fn"),
        "mlx": importlib.metadata.version("mlx"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(mx.default_device()),
    }


_SPECIAL = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def to_jsonable(value: Any) -> Any:
    """Convert to values that JSON can hold.

    Infinities, NaN and paths become strings, and NumPy scalars become Python numbers.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(float(value))
    if isinstance(value, dict):
        return {key: to_jsonable(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(child) for child in value]
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    return str(value) if isinstance(value, Path) else value


def _from_json(record: Any) -> History:
    """The inverse of `to_jsonable`.

    Raises:
        ValueError: if the record is not a `History`; the message says where.
    """
    _expect(record, dict, "the record")
    names = set(History._fields)
    if record.keys() != names:
        raise ValueError(
            f"it must hold {', '.join(History._fields)}, got {', '.join(record)[:200]}"
        )
    _expect(record["config"], dict, "config")
    _expect(record["interrupted"], bool, "interrupted")
    for name, text in _expect(record["environment"], dict, "environment").items():
        _expect(text, str, f"environment.{name}")
    losses = _expect(record["batch_losses"], list, "batch_losses")
    epochs = _expect(record["epochs"], list, "epochs")
    return History(
        [float(_number(x, f"batch_losses.{i}")) for i, x in enumerate(losses)],
        [_epoch(epoch, f"epochs.{i}") for i, epoch in enumerate(epochs)],
        record["config"],
        record["environment"],
        record["interrupted"],
    )


def _epoch(record: Any, where: str) -> dict[str, float]:
    _expect(record, dict, where)
    numbers = {name: _number(x, f"{where}.{name}") for name, x in record.items()}
    epoch: Any = numbers.get("epoch")
    if not isinstance(epoch, int) or epoch < 1:
        raise ValueError(f"{where}.epoch must be an integer of at least 1, got {epoch}")
    return numbers


def _number(value: Any, where: str) -> float:
    number: Any = _SPECIAL.get(value, value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{where} must be a number, got {repr(value)[:60]}")
    if isinstance(number, int) and abs(number) > sys.float_info.max:
        raise ValueError(f"{where} must be a number that a float can hold")
    return number


def _expect(value: Any, kind: Any, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(
            f"{where} must be a {kind.__name__}, got {type(value).__name__}"
        )
    return value
