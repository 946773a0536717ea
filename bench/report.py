"""Results of `peers.py`: tables of them, their JSON, and several of them as one.

    python bench/report.py one.json two.json
    python bench/report.py *.json --summary --markdown

The ratio of a row is the time of the fastest peer over the time of fastconv, so above 1 fastconv is
ahead. Percentages refer to the roofs measured beside that very row.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

FORMAT = 1
OURS = "fastconv"
# What a roof was measured for; rows have the same keys.
ROOF_KEYS = ("threads", "dtype", "isa")

TEXT_COLUMNS = {"layer", "direction", "fastest peer", "plan", "measured", "suite", "its layer"}

Row = dict[str, Any]
Cells = list[str]


def seconds(row: Row, entrant: str = OURS) -> float | None:
    summary = row["times"].get(entrant)
    return summary["min"] if summary else None


def peers_of(row: Row) -> list[str]:
    """The entrants that are not fastconv in one form or another."""
    return [name for name in row["times"] if not name.startswith(OURS)]


def fastest_peer(row: Row) -> str | None:
    return min(peers_of(row), key=lambda name: row["times"][name]["min"], default=None)


def ratio(row: Row) -> float | None:
    """Time of the fastest peer / time of fastconv; None where one of them is missing."""
    ours, peer = seconds(row), fastest_peer(row)
    return row["times"][peer]["min"] / ours if ours and peer else None


def speed(row: Row, entrant: str = OURS) -> float | None:
    """GFLOP/s of a convolution, GB/s of a pool."""
    time = seconds(row, entrant)
    return row["flops" if row["ops"] != "pool" else "bytes"] / time / 1e9 if time else None


def of_roof(row: Row, roof: str) -> float | None:
    """The part of the roof ("fma" or "copy") that fastconv reaches; 1 is all of it."""
    time, limit = seconds(row), row[roof]
    return row["flops" if roof == "fma" else "bytes"] / time / limit if time and limit else None


def geometric_mean(values: Iterable[float]) -> float:
    logs = [math.log(value) for value in values]
    return math.exp(math.fsum(logs) / len(logs)) if logs else math.nan


def sections(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows that belong into one table, under its title.

    Batches are told apart only where a layer was measured at more than one: a table may give each
    layer its own.
    """
    batches: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row in rows:
        batches[what(row), row["name"]].add(row["layer"]["n"])
    several = {title for (title, _), sizes in batches.items() if len(sizes) > 1}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[f"{what(row)}, {series(row, what(row) in several)}"].append(row)
    return dict(found)


def what(row: Row) -> str:
    """The part of a title that says what was measured."""
    isa = f", {row['isa']}" if row["isa"] else ""
    return f"{row['ops']} {row['direction']}, {row['dtype']}{isa}"


def series(row: Row, batch: bool) -> str:
    """The part of a title that says under which conditions."""
    return threads(row["threads"]) + f", batch {row['layer']['n']}" * batch


def threads(count: int) -> str:
    return f"{count} thread" + "s" * (count > 1)


def text(result: dict[str, Any], markdown: bool = False, summary: bool = False) -> str:
    """Everything for a terminal, or as Markdown."""
    parts = []
    found = sections(result["rows"])
    if not summary:
        for title, rows in found.items():
            parts += [f"### {title}\n" if markdown else title, _caption(rows[0]) + "\n"]
            parts += [render(*_table(rows), markdown) + "\n" * markdown, *_below(rows), ""]
    if summary or len(found) > 1:
        parts += [render(*_summary(found), markdown), ""]
    footer = _footer(result)
    return "\n".join([*parts, *(f"- {line}" for line in footer)] if markdown else parts + footer)


def _table(rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    entrants = _entrants(rows)
    cost = "MFLOP" if rows[0]["ops"] != "pool" else "MB"
    head = ["layer", "N", cost, "µs", *entrants, "ratio", "fastest peer", "%fma", "%copy", "plan"]
    body = [_cells(row, entrants) for row in rows]
    blank = [""] * (len(entrants) + 2)
    known = [value for value in map(ratio, rows) if value]
    if known:
        mean = f"{geometric_mean(known):.2f}"
        body.append(["geometric mean", "", *blank, mean, "", "", "", ""])
        worst = min((row for row in rows if ratio(row)), key=lambda row: ratio(row) or 0)
        peer = fastest_peer(worst) or ""
        lowest = f"{ratio(worst):.2f}"
        body.append([f"worst: {worst['name']}", "", *blank, lowest, peer, "", "", ""])
    used = [i for i in range(len(head)) if any(cells[i] for cells in body)]
    return [head[i] for i in used], [[cells[i] for i in used] for cells in body]


def _entrants(rows: Sequence[Row]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row["times"])
    return [OURS, *(name for name in names if name != OURS)]


def _cells(row: Row, entrants: Sequence[str]) -> Cells:
    cost = row["flops" if row["ops"] != "pool" else "bytes"] / 1e6
    time = seconds(row)
    return [
        row["name"] + " ~" * _disturbed(row),
        str(row["layer"]["n"]),
        _short(cost),
        _short(time * 1e6 if time else None),
        *(_speed_cell(row, name) for name in entrants),
        _fixed(ratio(row)),
        fastest_peer(row) or "",
        _percent(of_roof(row, "fma")) if row["ops"] != "pool" else "",
        _percent(of_roof(row, "copy")),
        row["algorithm"],
    ]


def _speed_cell(row: Row, entrant: str) -> str:
    return "WRONG" if entrant in row["wrong"] else _short(speed(row, entrant))


def _short(value: float | None) -> str:
    """Three digits, in a form that lines up."""
    if value is None:
        return "-"
    digits = 2 if value < 1 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def _fixed(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}"


def _caption(row: Row) -> str:
    unit = "GFLOP/s" if row["ops"] != "pool" else "GB/s"
    return f"{unit} of each entrant; µs, %fma, %copy and plan are fastconv's."


def _below(rows: Sequence[Row]) -> list[str]:
    """What to know about these rows, one line each."""
    lines = []
    behind = [row["name"] for row in rows if (ratio(row) or 1) < 1]
    if behind:
        lines.append(f"{len(behind)} of {len(rows)} behind a peer: {', '.join(behind)}.")
    if any(map(_disturbed, rows)):
        lines.append("~: other processes used these CPUs in nearly every round. Measure again.")
    return lines


def _disturbed(row: Row) -> bool:
    return bool(row["quiet"] < 2)


def _summary(found: dict[str, list[Row]]) -> tuple[Cells, list[Cells]]:
    """One line for every section and suite, and one for all suites of a section."""
    body = []
    for title, rows in found.items():
        suites = dict.fromkeys(row["layer"]["suite"] for row in rows)
        groups = [(suite, [r for r in rows if r["layer"]["suite"] == suite]) for suite in suites]
        if len(groups) > 1:
            groups.append(("all", list(rows)))
        body += [_summary_line(title, suite, group) for suite, group in groups]
    return ["measured", "suite", "layers", "geomean", "worst", "its layer", "below 1"], body


def _summary_line(title: str, suite: str, rows: Sequence[Row]) -> Cells:
    known = {row["name"]: value for row in rows if (value := ratio(row))}
    if not known:
        return [title, suite, str(len(rows)), "-", "-", "", "-"]
    worst = min(known, key=lambda name: known[name])
    mean = f"{geometric_mean(known.values()):.2f}"
    below = str(sum(value < 1 for value in known.values()))
    return [title, suite, str(len(rows)), mean, f"{known[worst]:.2f}", worst, below]


def render(head: Cells, body: Sequence[Cells], markdown: bool = False) -> str:
    table = [head, *body]
    left = {i for i, name in enumerate(head) if name in TEXT_COLUMNS}
    widths = [max(3, *(len(cells[i]) for cells in table)) for i in range(len(head))]

    def line(cells: Cells) -> str:
        padded = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    if markdown:
        rule = line(["-" * w if i in left else "-" * (w - 1) + ":" for i, w in enumerate(widths)])
    else:
        rule = "-" * len(line(head))
    return "\n".join([line(head), rule, *map(line, body)])


def _footer(result: dict[str, Any]) -> list[str]:
    about, lines = result["machine"], []
    if about:
        caches = ", ".join(f"{level} {size}" for level, size in about["caches"].items())
        load = "/".join(map(str, about["load_average"]))
        lines.append(f"{about['cpu']}, {about['cpus']} CPUs, {caches}; load average {load}")
    for roof in result["roofs"]:
        isa = f", {roof['isa']}" if roof["isa"] else ""
        lines.append(
            f"{threads(roof['threads'])}, {roof['dtype']}{isa}: "
            f"FMA peak {roof['fma'] / 1e9:.0f} GF/s, "
            f"copy {roof['copy_cache'] / 1e9:.0f} GB/s in cache, "
            f"{roof['copy_memory'] / 1e9:.0f} GB/s from memory"
        )
    versions = (f"{name} {version}" for name, version in result["versions"].items())
    lines.append(", ".join(versions))
    skipped = {
        (name, reason) for row in result["rows"] for name, reason in row["skipped"].items()
    } | set(result["skipped"].items())
    lines += [f"skipped {name}: {reason}" for name, reason in sorted(skipped)]
    return [*lines, *(f"command: {command}" for command in result["commands"])]


def save(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")


def load(path: Path) -> dict[str, Any]:
    """Read a JSON of `peers.py`; ValueError where it is something else."""
    try:
        result = json.loads(path.read_text())
    except json.JSONDecodeError:
        result = None
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} is no result of peers.py in format {FORMAT}")
    return result


def merge(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Several results as one; of a row measured twice the last one stays, whole.

    Taking the better of each entrant would compare times of different hours.
    """
    merged = dict(results[-1])
    rows: dict[str, Row] = {}
    for result in results:
        for row in result["rows"]:
            rows[json.dumps([what(row), row["op"], row["threads"], row["layer"]])] = row
    merged["rows"] = list(rows.values())
    merged["commands"] = [command for result in results for command in result["commands"]]
    merged["roofs"] = best_roofs([roof for result in results for roof in result["roofs"]])
    for key in ("versions", "skipped"):
        merged[key] = {name: text for result in results for name, text in result[key].items()}
    return merged


def best_roofs(roofs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The highest of every roof, for each thread count, dtype and ISA."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for roof in roofs:
        known = best.setdefault(tuple(roof[key] for key in ROOF_KEYS), dict(roof))
        for limit in ("fma", "copy_cache", "copy_memory"):
            known[limit] = max(known[limit], roof[limit])
    return list(best.values())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="report.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path, help="JSON files of peers.py")
    parser.add_argument("--summary", action="store_true", help="geometric means only")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path, help="write all of them as one")
    parser.add_argument("--picture", type=Path, help="ratios; beside it NAME-roofline")
    options = parser.parse_args(argv)
    try:
        result = merge([load(path) for path in options.results])
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from None
    print(text(result, options.markdown, options.summary))
    if options.json:
        save(result, options.json)
    if options.picture:
        import pictures

        pictures.save(result, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
