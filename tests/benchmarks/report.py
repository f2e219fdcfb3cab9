"""The page and the picture of what was measured."""

import os
import platform
import re
from pathlib import Path

from tests.benchmarks.startup import BASE
from tests.benchmarks.workloads import MAIN, WIDE, WORKLOADS

OURS = "lucid_fn"


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    import importlib.metadata as metadata

    model = "unknown"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [
            line.split(":", 1)[1].strip() for line in lines if "model name" in line
        ]
        model = names[0] if names else model
    packages = ("mlx", "torch", "jax", "numpy")
    versions = {name: metadata.version(name) for name in packages}
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **versions,
    }


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f}" if seconds < 0.1 else f"{seconds * 1e3:,.0f}"


def table(rows: list[dict], unit: str) -> str:
    """A workload: each peer's step or epoch, and its ratio to the fastest PyTorch."""
    fastest = min(r["median"] for r in rows if r["label"].startswith("PyTorch"))
    lines = [
        f"| | {unit}, median (ms) | to the fastest PyTorch | first {unit} (s) "
        "| peak (MB) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        mark = "**" if row["label"] == OURS else ""
        scaled = row["scaled_from"]
        label = row["label"] + (f" (timed with {scaled}, scaled)" if scaled else "")
        lines.append(
            f"| {mark}{label}{mark} | {mark}{milliseconds(row['median'])}{mark} "
            f"| {mark}{row['median'] / fastest:.2f}{mark} | {row['first']:.1f} "
            f"| {row['peak'] / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def verdict(rows: list[dict]) -> str:
    """Our time over that of the fastest peer."""
    ours, *others = sorted(rows, key=lambda row: row["label"] != OURS)
    fastest = min(others, key=lambda row: row["median"])
    ratio = ours["median"] / fastest["median"]
    return f"{OURS} over the fastest other, {fastest['label']}: {ratio:.2f}"


def wide_table(measured: dict) -> str:
    """A row a workload: ours, the fastest variants of the others, and the ratio."""
    kinds = ("PyTorch, eager", "PyTorch, torch.compile", "jax")
    lines = [
        "| step, median (ms) | ours | PyTorch eager | torch.compile | jax | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, workload in WIDE.items():
        if name not in measured:
            continue
        rows = {row["label"]: row["median"] for row in measured[name]}
        ours, cells = rows.pop(OURS), []
        for kind in kinds:
            times = [t for label, t in rows.items() if label.startswith(kind)]
            cells.append(milliseconds(min(times)) if times else "")
        ratio = f"{ours / min(rows.values()):.2f}"
        cells = [workload.title, milliseconds(ours), *cells, ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def imports(seconds: dict[str, float]) -> str:
    """What a process pays before it computes."""
    base = seconds.get(BASE)
    items = [
        f"`{name}` {s * 1e3:.0f} ms" + (f" ({s / base:.2f})" if base else "")
        for name, s in seconds.items()
    ]
    ratio = f" (and over that of `{BASE}`)" if base else ""
    return f"Median of seven fresh processes{ratio}: {', '.join(items)}."


def growth_table(rows: list[dict], side: int) -> str:
    """A row a size; `side` is that of the workload's images."""
    lines = [
        "| batch | image | ours (ms) | PyTorch eager (ms) | ratio | peak, ours (MB) "
        "| theirs |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        ratio = row["ours"] / row["theirs"]
        lines.append(
            f"| {row['batch_size']} | {row['side'] or side} "
            f"| {milliseconds(row['ours'])} "
            f"| {milliseconds(row['theirs'])} | {ratio:.2f} "
            f"| {row['our_peak'] / 1e6:,.0f} | {row['their_peak'] / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def sections(measured: dict) -> str:
    """All tables, as they stand between the marks of the page."""
    info = ", ".join(
        f"{name} {version}" for name, version in measured["machine"].items()
    )
    parts = [f"Measured on: {info}."]
    for name, workload in MAIN.items():
        if name in measured:
            unit = "epoch" if workload.kind == "loop" else "step"
            parts += [f"### {workload.title}", table(measured[name], unit)]
    if measured.keys() & WIDE.keys():
        parts += ["### What else people train", wide_table(measured)]
    for name, rows in measured.get("growth", {}).items():
        title = WORKLOADS[name].title.split(",")[0]
        parts += [f"### Growth: {title}", growth_table(rows, WORKLOADS[name].shape[0])]
    if "imports" in measured:
        parts += ["### Import", imports(measured["imports"])]
    return "\n\n".join(parts)


def write(measured: dict, folder: Path) -> None:
    page = folder / "benchmarks.md"
    marks = ("<!-- measured: begin -->", "<!-- measured: end -->")
    text = (
        page.read_text()
        if page.exists()
        else f"# Benchmarks\n\n{marks[0]}\n{marks[1]}\n"
    )
    pattern = re.compile(f"{marks[0]}.*{marks[1]}", re.DOTALL)
    body = f"{marks[0]}\n\n{sections(measured)}\n\n{marks[1]}"
    page.write_text(pattern.sub(lambda _: body, text))
    if measured.keys() & MAIN.keys():
        draw(measured, folder / "benchmarks.png")


def draw(measured: dict, path: Path) -> None:
    """A bar a peer: the time of a step as a ratio to the fastest PyTorch."""
    from matplotlib.figure import Figure

    names = [name for name in MAIN if name in measured]
    figure = Figure(figsize=(9, 1.2 + 1.9 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        rows = measured[name][::-1]
        fastest = min(r["median"] for r in rows if r["label"].startswith("PyTorch"))
        ratios = [r["median"] / fastest for r in rows]
        colors = ["tab:blue" if r["label"] == OURS else "lightgray" for r in rows]
        bars = panel.barh([r["label"] for r in rows], ratios, color=colors)
        panel.axvline(1, color="black", linewidth=0.8)
        panel.bar_label(
            bars,
            [f"{ratio:.2f}" for ratio in ratios],
            padding=3,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
        panel.set_xscale("log")
        panel.set_xlim(left=0.25, right=max(ratios) * 2)
        panel.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
        panel.xaxis.set_minor_formatter(lambda *_: "")
        panel.set_title(MAIN[name].title, loc="left", fontsize=10)
    panels[-1].set_xlabel(
        "time of a step, or an epoch; fastest PyTorch = 1 (logarithmic)"
    )
    figure.savefig(path, dpi=120)
