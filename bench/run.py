"""Compare two builds of fastconv, layer by layer.

    python bench/run.py --a old/site --b new/site --layer 'res*' --threads 2
    python bench/run.py --a old-venv/bin/python --b new-venv/bin/python --direction backward

A build is a Python interpreter that has fastconv installed, or a directory that holds it, as
``pip install --target DIRECTORY .`` makes. The two take turns in short processes of their own, so
that a drifting clock meets both; each layer's time is the minimum over the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
import report
import selection
from workload import Data, Work

CHILD = "--measure-a-job-from-stdin"

Times = list[float]


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--a", type=Path, required=True, help="interpreter or directory")
    parser.add_argument("--b", type=Path, required=True, help="interpreter or directory")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.05, help="each layer, round and build")
    selection.add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    try:
        works = [work for chosen in selection.works(options).values() for work in chosen]
        cpus = machine.pick_cpus(options.threads)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    job = {
        "works": [work.to_json() for work in works],
        "cpus": cpus,
        "threads": options.threads,
        "dtype": options.dtype,
        "seconds": options.seconds,
    }
    best: dict[str, Times] = {}
    for index in range(options.rounds):
        # A B B A: neither is always the one that meets the warmer machine.
        for build in ("a", "b") if index % 2 == 0 else ("b", "a"):
            print(f"\rround {index + 1}/{options.rounds} {build}", end="", file=sys.stderr)
            times = measure_in(getattr(options, build), job, options.isa)
            best[build] = [*map(min, best.get(build, times), times)]
    print(file=sys.stderr)
    print(table(works, best["a"], best["b"]))
    return 0


def measure_in(build: Path, job: dict[str, Any], isa: str | None) -> Times:
    """Measure every workload of a job with one build, in a process of its own."""
    if not build.exists():
        raise SystemExit(f"{build} does not exist")
    env = machine.environment(job["threads"], isa)
    python = build if build.is_file() else Path(sys.executable)
    if build.is_dir():
        env["PYTHONPATH"] = str(build.resolve())
        job = job | {"inside": env["PYTHONPATH"]}
    # The interpreter's own path, not what it links to: the link is what makes it its venv's.
    command = [str(python.absolute()), __file__, CHILD]
    done = subprocess.run(
        command, env=env, input=json.dumps(job), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"{build}: measuring failed")
    times: Times = json.loads(done.stdout)
    return times


def measure() -> None:
    """The child: a JSON job in, the list of times out."""
    job = json.load(sys.stdin)
    os.sched_setaffinity(0, job["cpus"])
    machine.core()
    import fastconv

    # An editable install goes before PYTHONPATH, and would be measured against itself.
    if not Path(fastconv.__file__).resolve().is_relative_to(job.get("inside", "/")):
        raise SystemExit(f"fastconv comes from {fastconv.__file__}, not from {job['inside']}")
    from adapters import fastconv_

    fastconv_.setup(job["threads"], job["dtype"])
    works = map(Work.from_json, job["works"])
    print(json.dumps([_time(work, job["seconds"]) for work in works]))


def _time(work: Work, seconds: float) -> float:
    import timing
    from adapters import fastconv_

    (call,) = fastconv_.calls(work, Data(work), "NCHW")
    call.run()
    runner = timing.fastest([call.run])
    runner.burst(seconds)
    return runner.best


def table(works: Sequence[Work], a: Times, b: Times) -> str:
    """Times in µs and a/b, which is above 1 where b is the faster."""
    head = ["layer", "N", "direction", "a µs", "b µs", "a/b"]
    body = [
        [w.name, str(w.layer.n), w.direction, f"{x * 1e6:.1f}", f"{y * 1e6:.1f}", f"{x / y:.3f}"]
        for w, x, y in zip(works, a, b, strict=True)
    ]
    mean = report.geometric_mean(x / y for x, y in zip(a, b, strict=True))
    body.append(["geometric mean", "", "", "", "", f"{mean:.3f}"])
    return report.render(head, body)


if __name__ == "__main__":
    if sys.argv[1:] == [CHILD]:
        measure()
    else:
        sys.exit(main())
