"""Time fastconv beside the libraries that people use, on the layers of known networks.

    python bench/peers.py --suite resnet50 --threads 1 2
    python bench/peers.py --direction prepacked --batch 1 16 --json out.json --picture out.png
    python bench/peers.py --ops pool --direction forward backward

`README.md` in this directory says how the numbers are taken and how to read them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import report
import selection
from adapters import DEFAULT, ENTRANTS
from workload import Work

JOB_OPTIONS = ("isa", "dtype", "seconds", "rounds", "patience", "check")
WORKER = Path(__file__).with_name("worker.py")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="peers.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    selection.add_arguments(parser)
    against = parser.add_argument_group("against whom")
    names = sorted(set(ENTRANTS) - {"fastconv"})
    against.add_argument("--peers", nargs="+", choices=names, metavar="PEER", help=", ".join(names))
    how = parser.add_argument_group("how")
    how.add_argument("--threads", nargs="+", type=int, default=[1], help="one process for each")
    how.add_argument("--seconds", type=float, default=1.0, help="for each layer (default 1)")
    how.add_argument("--rounds", type=int, default=5)
    how.add_argument(
        "--patience", type=float, default=2.0, help="longest wait for a quiet machine, each layer"
    )
    how.add_argument("--no-check", dest="check", action="store_false")
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, help="every number, with the machine's description")
    output.add_argument("--picture", type=Path, help="ratios; beside it NAME-roofline")
    output.add_argument("--markdown", action="store_true", help="the table as Markdown")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    machine.core()
    try:
        works = selection.works(options)
        cpus = {threads: machine.pick_cpus(threads) for threads in options.threads}
    except ValueError as error:
        raise SystemExit(str(error)) from None
    result = _blank(options, argv)
    for threads in options.threads:
        for direction, jobs in works.items():
            _merge(result, *run(options, direction, jobs, cpus[threads]))
    expected = sum(map(len, works.values())) * len(options.threads)
    return finish(result, options, expected)


def run(
    options: argparse.Namespace, direction: str, works: list[Work], cpus: list[int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure in a process of its own; its header, and a row for every workload.

    A library that crashes takes the process with it: that workload is lost, and another process
    goes on with the rest.
    """
    peers = options.peers or DEFAULT[options.ops, direction]
    job = {
        "entrants": ["fastconv", *peers],
        "threads": len(cpus),
        "cpus": cpus,
        **{key: getattr(options, key) for key in JOB_OPTIONS},
    }
    header: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    left = [work.to_json() for work in works]
    while left:
        title = f"{direction}, {report.threads(len(cpus))}"
        code, received = _session(job | {"works": left}, title)
        if not received:
            print(f"\nthe measuring process ended with {code}", file=sys.stderr)
            break
        header = header or received[0]
        rows += received[1:]
        left = left[len(received) - 1 :]
        if left:
            lost = Work.from_json(left.pop(0)).name
            print(f"\nLOST: {lost}, the process ended with {code}", file=sys.stderr)
    print(file=sys.stderr)
    return header, rows


def _session(job: dict[str, Any], title: str) -> tuple[int, list[dict[str, Any]]]:
    """One measuring process: its exit code, and the objects that it sent until then."""
    received = []
    process = subprocess.Popen(
        [sys.executable, str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=machine.environment(job["threads"], job["isa"]),
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        json.dump(job, process.stdin)
        process.stdin.close()
        for line in process.stdout:
            received.append(json.loads(line))
            _progress(f"{title}: {len(received) - 1}/{len(job['works'])}", received[-1])
    return process.returncode, received


def _progress(head: str, row: dict[str, Any]) -> None:
    name = row.get("name", "warming up")
    print(f"\r{f'{head} {name}':<79.79}", end="", file=sys.stderr, flush=True)
    for entrant in row.get("wrong", ()):
        print(f"\nWRONG: {entrant} on {name}, by {row['errors'][entrant]}", file=sys.stderr)


def _blank(options: argparse.Namespace, argv: Sequence[str] | None) -> dict[str, Any]:
    words = ["bench/peers.py", *(sys.argv[1:] if argv is None else argv)]
    return {
        "format": report.FORMAT,
        "commands": ["python " + shlex.join(words)],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": options.seconds,
        "rounds": options.rounds,
        "machine": machine.describe(),
        "config": {},
        "versions": {},
        "skipped": {},
        "roofs": [],
        "rows": [],
    }


def _merge(result: dict[str, Any], header: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    result["rows"] += rows
    if header:
        result["config"] = result["config"] or header["config"]
        result["versions"] |= header["versions"]
        result["skipped"] |= header["skipped"]
        result["roofs"] = report.best_roofs([*result["roofs"], header["roofs"]])


def finish(result: dict[str, Any], options: argparse.Namespace, expected: int) -> int:
    """Write what was asked for; 1 if fastconv or a peer was wrong or the run was cut short."""
    print(report.text(result, markdown=options.markdown))
    if options.json:
        report.save(result, options.json)
    if options.picture:
        import pictures

        pictures.save(result, options.picture)
    wrong = any(row["wrong"] for row in result["rows"])
    return int(wrong or len(result["rows"]) < expected)


if __name__ == "__main__":
    sys.exit(main())
