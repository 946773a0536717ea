"""The same training steps on fastconv and on its reference in pure NumPy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import fastconv
from fastconv import nn, reference

__all__ = ["Comparison", "compare", "report"]

Array = npt.NDArray[Any]


class Comparison(NamedTuple):
    """Seconds of the fastest step of each; largest difference of two losses over the first loss."""

    fastconv: float
    reference: float
    difference: float


def compare(
    network: nn.Sequential,
    images: Array,
    labels: Array,
    lr: float,
    rounds: int = 10,
    steps: int = 4,
) -> Comparison:
    """Train two copies of a network on one batch, on fastconv and on fastconv.reference.

    Both draw the same dropout masks, and the reference starts every step from the weights that
    fastconv started it from, so their losses must agree step by step. (Left to themselves they
    would part: Adam divides by the gradient's size, so the last bit of a gradient that is nearly
    zero can turn a whole step of its weight around.)
    """
    twins = [network.with_ops(ops).train() for ops in (fastconv, reference)]
    optimisers = [nn.Adam(twin.parameters(), lr) for twin in twins]
    criterion = nn.CrossEntropyLoss()
    seconds: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    for _ in range(rounds):
        starts: list[list[Array]] = []
        for k, twin in enumerate(twins):
            # After a call, a pool's idle threads spin for a while, at the other one's expense.
            time.sleep(0.1)
            for i in range(steps):
                if k == 0:
                    starts.append([p.data.copy() for p in twin.parameters()])
                else:
                    for p, value in zip(twin.parameters(), starts[i], strict=True):
                        p.data[...] = value
                begin = time.perf_counter()
                losses[k].append(criterion(twin(images), labels))
                twin.backward(criterion.backward(), input_grad=False)
                optimisers[k].step()
                seconds[k].append(time.perf_counter() - begin)
    ours, theirs = np.array(losses)
    difference = float(np.max(np.abs(ours - theirs)) / theirs[0])
    return Comparison(min(seconds[0]), min(seconds[1]), difference)


def report(timed: Comparison, batch_size: int, say: Callable[[str], None]) -> int:
    """Say how the comparison went; an exit code of 1 if the losses differ."""
    ratio = timed.reference / timed.fastconv
    agree = timed.difference < 1e-5
    say(f"\none training step, batch of {batch_size}, same weights")
    say(f"  fastconv            {1e3 * timed.fastconv:8.2f} ms")
    say(f"  fastconv.reference  {1e3 * timed.reference:8.2f} ms   {ratio:.1f} times as long")
    verdict = "agree to" if agree else "DIFFER by"
    say(f"  losses {verdict} {timed.difference:.0e} of the first one, step by step")
    return 0 if agree else 1
