"""Pictures of a result: the ratio of every layer, and where each layer stands under the roofs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

import report

# Okabe and Ito's colours, which readers with any colour vision can tell apart; no two series
# share a marker either.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#999999"

Row = dict[str, Any]


def save(result: dict[str, Any], path: Path) -> None:
    """Write the ratios to `path` and the roofline beside it, as NAME-roofline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for figure, name in (
        (ratios(result), path),
        (roofline(result), path.with_stem(path.stem + "-roofline")),
    ):
        figure.savefig(name, dpi=110, bbox_inches="tight", facecolor="white")
        plt.close(figure)


def ratios(result: dict[str, Any]) -> Figure:
    """One panel for each thing measured, one line for each layer, one dot for each condition."""
    panels = _by(result["rows"], report.what)
    tallest = max(len({row["name"] for row in rows}) for rows in panels.values())
    figure, axes = _grid(len(panels), columns=3, height=1.8 + 0.2 * tallest)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        _ratio_panel(ax, title, rows)
    figure.suptitle(_subject(result), fontsize=9, color="#555555")
    return figure


def _grid(panels: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """So many panels, each `height` inches tall, at most `columns` in a line."""
    columns = min(columns, panels)
    lines = -(-panels // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(7.5 * columns, height * lines), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[panels:]:
        ax.remove()
    return figure, list(axes.flat[:panels])


def _ratio_panel(ax: Axes, title: str, rows: Sequence[Row]) -> None:
    lines = {name: i for i, name in enumerate(dict.fromkeys(row["name"] for row in rows))}
    for i, (full, group) in enumerate(report.sections(rows).items()):
        known = [(row, value) for row in group if (value := report.ratio(row))]
        mean = report.geometric_mean(value for _, value in known)
        label = full.removeprefix(f"{title}, ") + f": geometric mean {mean:.2f}"
        ax.plot(
            [value for _, value in known],
            [lines[row["name"]] for row, _ in known],
            MARKERS[i % len(MARKERS)],
            color=COLORS[i % len(COLORS)],
            markersize=5,
            alpha=0.85,
            label=label,
        )
    ax.axvline(1, color="black", linewidth=1)
    ax.set_yticks(range(len(lines)), list(lines), fontsize=8)
    ax.set_ylim(len(lines) - 0.5, -0.5)
    values = [value for row in rows if (value := report.ratio(row))]
    ax.set_xlim(min([0.5, *values]) / 1.15, max([2.0, *values]) * 1.15)
    _log_axis(ax, "x")
    ax.set_xlabel("time of the fastest peer / time of fastconv (right of 1: fastconv ahead)")
    # Above the panel, as its title: inside it would hide dots.
    ax.legend(
        title=title,
        title_fontsize=11,
        alignment="left",
        fontsize=9,
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
    )
    _tidy(ax)


def roofline(result: dict[str, Any]) -> Figure:
    """Speed against flop/byte, with the roofs of the machine; one panel per thread count."""
    panels = _by(result["rows"], lambda row: f"{report.what(row)}, {report.series(row, False)}")
    figure, axes = _grid(len(panels), columns=2, height=5)
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        _roof_panel(ax, title, rows, _roof_of(result, rows[0]))
    figure.suptitle(_subject(result), fontsize=9, color="#555555")
    return figure


def _roof_panel(ax: Axes, title: str, rows: Sequence[Row], roof: dict[str, float] | None) -> None:
    compared = [row for row in rows if report.fastest_peer(row)]
    peers = [_gflops(row, report.fastest_peer(row)) for row in compared]
    intensity = [_intensity(row) for row in rows]
    ax.plot(
        list(map(_intensity, compared)), peers, ".", color=GREY, markersize=5, label="fastest peer"
    )
    for i, (kind, group) in enumerate(_by(rows, lambda row: row["kind"]).items()):
        ax.plot(
            list(map(_intensity, group)),
            [_gflops(row, report.OURS) for row in group],
            MARKERS[i % len(MARKERS)],
            color=COLORS[i % len(COLORS)],
            markersize=6,
            alpha=0.85,
            label=kind,
        )
    if roof:
        _draw_roofs(ax, roof, min(intensity), max(intensity))
    for axis in ("x", "y"):
        _log_axis(ax, axis)
    ax.set_xlabel("flop / byte, every array counted once")
    conv = rows[0]["ops"] != "pool"
    counted = "of direct convolution: Winograd may pass the roof" if conv else "per window element"
    ax.set_ylabel(f"GF/s ({counted})")
    ax.set_title(title, loc="left")
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    _tidy(ax)


def _draw_roofs(ax: Axes, roof: dict[str, float], low: float, high: float) -> None:
    x = np.geomspace(low / 1.5, high * 1.5, 200)
    for key, style, name in (("copy_cache", ":", "in cache"), ("copy_memory", "--", "from memory")):
        y = np.minimum(roof["fma"], roof[key] * x) / 1e9
        label = f"copy {name}, {roof[key] / 1e9:.0f} GB/s"
        ax.plot(x, y, style, color="black", linewidth=1, label=label)
    flat = x * roof["copy_memory"] >= roof["fma"]
    if flat.any():
        label = f"FMA peak, {roof['fma'] / 1e9:.0f} GF/s"
        ax.plot(x[flat], np.full(flat.sum(), roof["fma"] / 1e9), color="black", label=label)


def _intensity(row: Row) -> float:
    return float(row["flops"] / row["bytes"])


def _gflops(row: Row, entrant: str | None) -> float:
    """NaN, which no dot is drawn for, where there is no time."""
    time = report.seconds(row, entrant) if entrant else None
    return row["flops"] / time / 1e9 if time else np.nan


def _roof_of(result: dict[str, Any], row: Row) -> dict[str, float] | None:
    roofs: list[dict[str, float]] = result["roofs"]
    for roof in roofs:
        if all(roof[key] == row[key] for key in report.ROOF_KEYS):
            return roof
    return None


def _by(rows: Sequence[Row], key: Any) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def _subject(result: dict[str, Any]) -> str:
    cpu = result["machine"].get("cpu", "unknown CPU")
    return f"fastconv {result['versions'].get('fastconv', '?')} on {cpu}, {result['date'][:10]}"


def _log_axis(ax: Axes, axis: str) -> None:
    (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
    which = ax.xaxis if axis == "x" else ax.yaxis
    which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = ax.get_xlim() if axis == "x" else ax.get_ylim()
    if high / low < 100:
        # Powers of ten alone would leave such a short axis with one label.
        ticks = [m * 10.0**e for e in range(-4, 7) for m in (1, 2, 5)]
        which.set_ticks([tick for tick in ticks if low <= tick <= high])
    which.set_minor_formatter(NullFormatter())


def _tidy(ax: Axes) -> None:
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
