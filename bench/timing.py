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
# The part of the CPUs that others may take in a round that counts as quiet.
DISTURBED = 0.05


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


@dataclass
class Race:
    """Time calibrated `runners` against each other.

    Parameters
    ----------
    seconds, rounds
        About how long for all of them together, and in how many rounds.
    neighbours
        Who may disturb. A disturbed round is followed by another, up to as many again, and by a
        wait for a quiet machine of up to `patience` seconds in all.
    each_round
        Runs at the start of every round.
    """

    runners: Mapping[str, Runner]
    seconds: float
    rounds: int
    neighbours: Neighbours
    patience: float
    each_round: Callable[[], None]

    def run(self) -> list[float]:
        """The part of the CPUs that neighbours took in each round; the times are in `runners`."""
        order = list(self.runners)
        taken: list[float] = []
        for runner in self.runners.values():
            runner.samples.clear()
        with _no_garbage_collection():
            while sum(map(quiet, taken)) < self.rounds and len(taken) < 2 * self.rounds:
                if taken and not quiet(taken[-1]):
                    self.patience -= wait_for_quiet(self.neighbours, self.patience)
                settle()
                self.neighbours.start()
                self.each_round()
                for name in _rotated(order, len(taken)):
                    self._turn(self.runners[name], len(taken))
                taken.append(self.neighbours.share())
        return taken

    def _turn(self, runner: Runner, index: int) -> None:
        """One burst, unless the runner has used up its share of the time.

        Everyone has one burst, and a second one unless a single call takes all the time there is.
        """
        share = self.seconds / len(self.runners)
        if index == 0 or index * runner.best <= (self.seconds if index == 1 else share):
            settle()
            runner.burst(share / self.rounds)


def wait_for_quiet(neighbours: Neighbours, limit: float) -> float:
    """Wait until nobody else uses the CPUs, for `limit` seconds at most; the seconds it took."""
    began = time.perf_counter()
    while time.perf_counter() - began < limit:
        neighbours.start()
        time.sleep(0.2)
        if quiet(neighbours.share()):
            break
    return time.perf_counter() - began


def quiet(taken: float) -> bool:
    return taken < DISTURBED


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
