"""What the command line can say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastconv import get_num_threads
from fastconv.data import Digits

__all__ = ["Options", "heading", "plural"]


@dataclass
class Options:
    """What the command line can say; None stands for the network's own recipe."""

    network: str = "tf"
    data: Path | None = None
    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    seed: int = 0
    picture: Path | None = Path("fastconv-demo.png")
    compare: bool = True


def plural(number: int, noun: str) -> str:
    """'1 epoch', '2 epochs'."""
    return f"{number} {noun}{'s' * (number != 1)}"


def heading(network: str, size: int, digits: Digits, epochs: int, batch_size: int) -> str:
    """The first lines of a report: what is trained, on what, for how long."""
    count, held_out = len(digits.train_labels), len(digits.test_labels)
    threads = plural(get_num_threads(), "thread")
    return (
        f"network  {network}, {size:,} parameters\n"
        f"data     {count:,} digits to train on, {held_out:,} held out (from {digits.source})\n"
        f"run      {plural(epochs, 'epoch')}, batches of {batch_size}, {threads}"
    )
