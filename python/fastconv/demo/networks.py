"""The networks of the demo: small CNNs as the teaching texts of four libraries write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastconv import nn
from fastconv.data import CLASSES

__all__ = ["AUTOENCODER", "NETWORKS", "Recipe"]


def _keras(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding="same", activation="relu", rng=rng),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 32, 5, padding="same", activation="relu", rng=rng),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64, activation="relu", rng=rng),
        nn.Linear(64, CLASSES, rng=rng),
    )


def _torch(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2, padding=1),
        nn.Conv2d(16, 32, 3, rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 32, rng=rng),
        nn.ReLU(),
        nn.Dropout(0.3, rng=rng),
        nn.Linear(32, CLASSES, rng=rng),
    )


def _tf(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding="same", activation="relu", rng=rng),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding="same", activation="relu", rng=rng),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024, activation="relu", rng=rng),
        nn.Dropout(0.5, rng=rng),
        nn.Linear(1024, CLASSES, rng=rng),
    )


def _dlfs(rng: np.random.Generator) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 30, 5, activation="relu", rng=rng),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(30 * 12 * 12, 100, activation="relu", rng=rng),
        nn.Linear(100, CLASSES, rng=rng),
    )


class Recipe(NamedTuple):
    """A network and how to train it; `images` is how many it sees in all.

    `costs_every` is how many steps lie between two costs that its text prints, if it prints them.
    """

    build: Callable[[np.random.Generator], nn.Sequential]
    batch_size: int
    lr: float
    images: int
    costs_every: int | None = None


# Adam's rate falls linearly to zero, which is worth half a point of accuracy over a constant one in
# so short a training.
NETWORKS = {
    "keras": Recipe(_keras, batch_size=50, lr=2e-3, images=40_000),
    "torch": Recipe(_torch, batch_size=50, lr=2e-3, images=40_000),
    "tf": Recipe(_tf, batch_size=50, lr=1e-3, images=16_000, costs_every=100),
    "dlfs": Recipe(_dlfs, batch_size=50, lr=1e-3, images=40_000),
}


def _autoencoder(rng: np.random.Generator) -> nn.Sequential:
    """To 4 x 7 x 7, a quarter of the numbers, and back: by repetition, then by transposition."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 4, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Upsample(2),
        nn.Conv2d(4, 16, 3, padding="same", rng=rng),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1, rng=rng),
        nn.Sigmoid(),
    )


AUTOENCODER = Recipe(_autoencoder, batch_size=50, lr=4e-3, images=20_000)
