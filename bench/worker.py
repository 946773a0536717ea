"""The process that measures: one for each thread count, pinned, with one library beside the other.

Started by `peers.py` with the environment that sets every pool's size, because most libraries read
it once, when they load. Reads one JSON job from standard input and writes JSON lines to standard
output: a header, then a row for every workload.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from math import isfinite
from typing import IO, Any


def main() -> None:
    job = json.load(sys.stdin)
    # Before NumPy loads: some pools count the CPUs that they may use, once.
    os.sched_setaffinity(0, job["cpus"])
    lines = _own_stdout()
    import machine
    import timing

    machine.core()
    entrants, versions, skipped = _load(job)
    timing.wait_for_quiet(machine.Neighbours(job["cpus"]), job["patience"])
    header = {
        "versions": versions,
        "skipped": skipped,
        "roofs": {
            **{key: job[key] for key in ("threads", "dtype", "isa")},
            **machine.standing_roofs(job["dtype"], job["threads"]),
        },
        "config": _config(),
    }
    _write(lines, header)
    for workload in job["works"]:
        _write(lines, measure(workload, entrants, job))
        gc.collect()


def _own_stdout() -> IO[str]:
    """Keep standard output for the rows: what libraries print there goes to standard error."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return lines


def _write(lines: IO[str], value: dict[str, Any]) -> None:
    lines.write(json.dumps(value, default=str) + "\n")
    lines.flush()


def _load(job: dict[str, Any]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Set up the adapters of this job; a library that is not installed is skipped."""
    import adapters

    ready: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in job["entrants"]:
        try:
            module = adapters.adapter(name)
        except ImportError as error:
            skipped[name] = f"not installed ({error})"
            continue
        module.setup(job["threads"], job["dtype"])
        ready[name] = module.version()
    return list(ready), ready, skipped


def _config() -> Any:
    import fastconv

    return fastconv.show_config(mode="dicts")


def measure(workload: dict[str, Any], entrants: list[str], job: dict[str, Any]) -> dict[str, Any]:
    """One row: the times of every entrant that can do this and gets it right."""
    from adapters import fastconv_
    from workload import Data, Work

    work = Work.from_json(workload)
    data = Data(work)
    row = workload | {
        "name": work.name,
        "kind": work.layer.kind,
        "threads": job["threads"],
        "isa": job["isa"],
        "flops": work.flops,
        "bytes": work.bytes,
        "algorithm": fastconv_.algorithm(work),
    }
    calls, results, row["skipped"] = _first_runs(entrants, work, data)
    row["errors"], row["wrong"] = _check(results, work, data) if job["check"] else ({}, [])
    del results
    right = {name: offered for name, offered in calls.items() if name not in row["wrong"]}
    return row | _times(right, work, job)


def _first_runs(
    entrants: list[str], work: Any, data: Any
) -> tuple[dict[str, Any], dict[str, list[Any]], dict[str, str]]:
    """The calls of every entrant, the results of their first run, and who has none and why.

    The first run also compiles, packs and allocates, before any timing. A peer that fails costs
    its own column, not the run.
    """
    import adapters

    calls, results, skipped = {}, {}, {}
    for name in entrants:
        try:
            offered = adapters.calls(name, work, data)
            results[name] = [call.arrays(call.run()) for call in offered]
            calls[name] = offered
        except adapters.Unsupported as reason:
            skipped[name] = str(reason)
        except Exception as error:
            if name == "fastconv":
                raise
            traceback.print_exc()
            skipped[name] = f"{type(error).__name__}: {error}"
    return calls, results, skipped


def _check(
    results: dict[str, list[Any]], work: Any, data: Any
) -> tuple[dict[str, float | None], list[str]]:
    """The error of every entrant (None: not even comparable), and those that are wrong."""
    from oracle import truth
    from workload import TOLERANCE, error

    right = truth(work, data)
    errors = {
        name: max(error(arrays, right) for arrays in offered) for name, offered in results.items()
    }
    wrong = [name for name, value in errors.items() if not value <= TOLERANCE[work.dtype]]
    # JSON has no infinity.
    return {name: value if isfinite(value) else None for name, value in errors.items()}, wrong


def _times(calls: dict[str, Any], work: Any, job: dict[str, Any]) -> dict[str, Any]:
    import machine
    import timing

    beside: list[machine.Roofs] = []

    def roofs() -> None:
        beside.append(machine.roofs(work.dtype, job["threads"], work.bytes))

    neighbours = machine.Neighbours(job["cpus"])
    patience = job["patience"] - timing.wait_for_quiet(neighbours, job["patience"])
    runners = {
        name: timing.fastest([call.run for call in offered]) for name, offered in calls.items()
    }
    race = timing.Race(runners, job["seconds"], job["rounds"], neighbours, patience, roofs)
    disturbance = race.run() if runners else []
    return {
        "disturbance": disturbance,
        "quiet": sum(map(timing.quiet, disturbance)),
        "times": {name: runner.summary() for name, runner in runners.items()},
        # The best of the rounds, because the times are the best of the rounds too.
        "fma": max((roof.fma for roof in beside), default=None),
        "copy": max((roof.copy for roof in beside), default=None),
    }


if __name__ == "__main__":
    main()
