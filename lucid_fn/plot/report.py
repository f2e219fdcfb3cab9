"""An HTML report of a training run."""

import html
import io as text_io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lucid_fn import io
from lucid_fn.plot.curves import draw_curves
from lucid_fn.train import History

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 0; background: white; border-radius: 6px; padding: 0.5rem; }
svg { width: 100%; height: auto; }
"""


def report(history: History, path: str | Path, title: str = "Training run") -> None:
    """Write a self-contained HTML report of a run.

    It shows the learning curves, a table of the epochs, the configuration, and the
    versions and machine of the run. `history.to_html(path)` does the same.

    Args:
        history: the history of a run.
        path: the `.html` file to write, in an existing folder.
        title: heading of the page.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `history` is not a `History`.
        ValueError: if the history has no epoch.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lucid_fn import plot, train
        >>> epochs = [{"epoch": 1, "train_loss": 0.9, "test_loss": 0.8}]
        >>> run = train.History([1.1, 0.7], epochs, {"lr": 0.1}, {}, interrupted=False)
        >>> plot.report(run, tempfile.mkdtemp() + "/run.html", title="LeNet-5")
    """
    write_report("plot.report", history, path, title)


def write_report(caller: str, history: History, path: str | Path, title: str) -> None:
    """`report`, with errors that begin with `caller`."""
    path = io.check_path(caller, "path", path)
    io.check_writable(path, caller=caller)
    picture = _svg(draw_curves({"": history}, caller, alone=True))
    end = "was interrupted" if history.interrupted else "ended by itself"
    heading = html.escape(title)
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{heading}</h1>
<p>{len(history.epochs)} epochs, {len(history.batch_losses):,} batches; the run {end}.
</p>
<figure>{picture}</figure>
<h2>Epochs</h2>
{_epochs(history.epochs)}
<h2>Configuration</h2>
{_pairs(history.config)}
<h2>Environment</h2>
{_pairs(history.environment)}
</body>
</html>
"""
    with io.atomic_write(path, caller=caller) as file:
        file.write(page.encode())


def _svg(figure: Any) -> str:
    """The figure as an SVG element."""
    text = text_io.StringIO()
    figure.savefig(text, format="svg")
    return re.sub(r"\A.*?(?=<svg)", "", text.getvalue(), flags=re.DOTALL)


def _epochs(records: list[dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for record in records for name in record))
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    rows = [
        "".join(f"<td>{_number(record.get(name))}</td>" for name in names)
        for record in records
    ]
    return _table(head, rows)


def _pairs(values: Mapping[str, Any]) -> str:
    rows = [
        f"<td>{html.escape(str(name))}</td><td>{html.escape(str(value))}</td>"
        for name, value in values.items()
    ]
    return _table("", rows) if rows else "<p>Not recorded.</p>"


def _table(head: str, rows: list[str]) -> str:
    lines = "\n".join(f"<tr>{row}</tr>" for row in ([head] if head else []) + rows)
    return f'<div class="scroll"><table>\n{lines}\n</table></div>'


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"
