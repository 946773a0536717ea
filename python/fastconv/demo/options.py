"""What the command line can say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Options", "plural"]


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
