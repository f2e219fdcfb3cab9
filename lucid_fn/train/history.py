"""The record of a training run."""

import json
import platform
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.train.files import write_atomically


class History(NamedTuple):
    """What a run did, in plain Python numbers; `to_json` writes it to a file.

    Each item of `epochs` holds `epoch` (from 1), `train_` and `test_` metrics weighted
    by batch size, `learning_rate`, and `train_seconds`, `test_seconds`.
    """

    batch_losses: list[float]
    epochs: list[dict[str, float]]
    config: dict[str, Any]
    environment: dict[str, str]
    interrupted: bool

    def to_json(self, path: str | Path) -> None:
        """Writes the record; the file is the old one or the new one, never half.

        Args:
            path: the file; its folder exists.

        Raises:
            FileNotFoundError: if the folder does not exist.
            TypeError: if the configuration holds what JSON has no form for.
        """
        text = self.dumps()
        write_atomically(Path(path), lambda file: _write(file, text))

    def dumps(self) -> str:
        """The record as JSON text; infinities and NaN become strings."""
        return json.dumps(_plain(self._asdict()), indent=1, allow_nan=False)

    def series(self, name: str) -> list[float]:
        """The values of one metric, an epoch each.

        Args:
            name: a key of the records in `epochs`, such as `"test_loss"`.

        Raises:
            KeyError: if the epochs have no such metric; the message lists them.

        Example:
            >>> run = History([], [{"epoch": 1, "test_loss": 0.5}], {}, {}, False)
            >>> run.series("test_loss")
            [0.5]
        """
        for record in self.epochs:
            if name not in record:
                raise KeyError(
                    f"history.series: there is no {name!r}, only {', '.join(record)}"
                )
        return [record[name] for record in self.epochs]


def load_history(path: str | Path) -> History:
    """Reads what `History.to_json` wrote.

    Args:
        path: a file that `History.to_json` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not such a record.

    Example:
        >>> import tempfile
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/history.json"
        >>> record = train.History([0.7, 0.5], [], {}, {}, interrupted=False)
        >>> record.to_json(path)
        >>> train.load_history(path).batch_losses
        [0.7, 0.5]
    """
    return parse_history(Path(path).read_text(), source=str(path))


def parse_history(text: str, *, source: str) -> History:
    """The record in a JSON text; `source` is what errors call it."""
    try:
        return History(**_numbers(json.loads(text)))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"load_history: {source} is not the record of a training run: {error}"
        ) from error


def environment() -> dict[str, str]:
    """The versions and the device that a run's numbers depend on."""
    import importlib.metadata  # takes 10 ms, a tenth of the import of this package

    return {
        "lucid_fn": importlib.metadata.version("lucid-fn"),
        "mlx": importlib.metadata.version("mlx"),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(mx.default_device()),
    }


_SPECIAL = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def _plain(value: Any) -> Any:
    """JSON has no infinities and no NaN."""
    if isinstance(value, float) and not np.isfinite(value):
        return str(float(value))
    if isinstance(value, dict):
        return {key: _plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return str(value) if isinstance(value, Path) else value


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `_plain`, where numbers are expected."""

    def number(value: Any) -> Any:
        return _SPECIAL.get(value, value) if isinstance(value, str) else value

    return {
        **record,
        "batch_losses": [number(value) for value in record["batch_losses"]],
        "epochs": [
            {name: number(value) for name, value in epoch.items()}
            for epoch in record["epochs"]
        ],
    }


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n")
