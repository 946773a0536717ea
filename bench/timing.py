"""How long calls take, so that neither the clock's drift nor the neighbours decide who wins.

Every round gives each entrant one burst: a stretch of back-to-back calls with all other entrants
idle. The rounds are short and many, so all entrants see the same machine; the minimum over all
bursts is the time of the call when nothing disturbed it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from machine import Neighbours

# A clock reading costs some 50 ns: time at least this much between two of them.
SHORTEST_SAMPLE = 20e-6
# This long a trial decides between the alternatives that one entrant offers.
TRIAL_SECONDS = 0.01
TRIALS = 2
FEWEST_ROUNDS = 2
# Waiting for a CPU, relative to the time of a round, beyond which the round is not trusted.
DISTURBED = 0.03


@dataclass
class Runner:
    """A call, how many of them make one sample, and the samples so far, in seconds a call."""

    run: Callable[[], Any]
    inner: int = 1
    samples: list[float] = field(default_factory=list)

    @property
    def best(self) -> float:
        return min(self.samples)

    def sample(self) -> float:
        """Time one sample."""
        times = repeat(None, self.inner)
        run = self.run
        start = time.perf_counter()
        for _ in times:
            run()
        return (time.perf_counter() - start) / self.inner

    def burst(self, seconds: float) -> None:
        """Take samples for `seconds`, and one at least."""
        end = time.perf_counter() + seconds
        while True:
            self.samples.append(self.sample())
            if time.perf_counter() >= end:
                return

    def calibrate(self, seconds: float = TRIAL_SECONDS) -> None:
        """Choose `inner` so that a sample is long enough for the clock."""
        self.burst(seconds)
        self.inner = max(1, round(SHORTEST_SAMPLE / self.best))

    def summary(self) -> dict[str, Any]:
        return {
            "min": self.best,
            "median": statistics.median(self.samples),
            "calls": len(self.samples) * self.inner,
        }


def settle(limit: float = 0.1) -> None:
    """Sleep until this process is idle.

    After a call, the threads of most pools spin for up to some 20 ms in case another comes. They
    would take the CPU from the next entrant, so wait until the process consumes no time.
    """
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.001)
        if time.process_time() - before < 0.0002:
            return


def fastest(runs: Sequence[Callable[[], Any]]) -> Runner:
    """A calibrated runner for the fastest of equivalent calls, each of which has run before."""
    runners = [Runner(run) for run in runs]
    for _ in range(TRIALS if len(runners) > 1 else 1):
        for runner in runners:
            settle()
            runner.calibrate()
    return min(runners, key=lambda runner: runner.best)


def race(
    runners: Mapping[str, Runner],
    seconds: float,
    rounds: int,
    each_round: Callable[[], None],
) -> list[float]:
    """Time calibrated `runners` against each other for about `seconds` in all.

    `each_round` runs at the start of every round. A round that neighbours disturbed is followed by
    another, up to as many again. A runner whose single call would use up its whole share takes
    part in the first rounds only, one call in each; one that takes longer than all of `seconds`
    is left at its calibration.

    Returns
    -------
    list of float
        How much neighbours disturbed each round.
    """
    share = seconds / len(runners)
    cost = {name: runner.best for name, runner in runners.items()}
    order = [name for name in runners if cost[name] <= seconds]
    for name in order:
        runners[name].samples.clear()
    neighbours = Neighbours()
    disturbance: list[float] = []
    with _no_garbage_collection():
        while sum(map(quiet, disturbance)) < rounds and len(disturbance) < 2 * rounds:
            index = len(disturbance)
            neighbours.start()
            each_round()
            for name in _rotated(order, index):
                if index < FEWEST_ROUNDS or index * cost[name] <= share:
                    settle()
                    runners[name].burst(share / rounds)
            disturbance.append(neighbours.share())
            settle()
    return disturbance


def quiet(disturbance: float) -> bool:
    return disturbance < DISTURBED


def _rotated(names: Sequence[str], by: int) -> list[str]:
    # Nobody always runs after the same neighbour, whose arrays are what the caches hold.
    by %= len(names) or 1
    return [*names[by:], *names[:by]]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
