"""The demo: train a small network on handwritten digits and show what came of it.

    data -> network -> train (progress bar) -> accuracy, confusion matrix
                                            -> time per step beside fastconv.reference
                                            -> pictures: curve, filters, mistakes; feature maps

`run` walks this road; ``python -m fastconv demo`` calls it. With the network "autoencoder", `run`
trains that instead and pictures digits beside their reconstructions.
"""

from __future__ import annotations

from fastconv.data import load_digits
from fastconv.demo.autoencoder import reconstruct, train_autoencoder
from fastconv.demo.comparison import Comparison, compare
from fastconv.demo.networks import AUTOENCODER, NETWORKS, Recipe
from fastconv.demo.options import Options
from fastconv.demo.session import prepare, run
from fastconv.demo.training import (
    History,
    Progress,
    accuracy,
    confusion,
    confusion_text,
    predict,
    train,
)

__all__ = [
    "AUTOENCODER",
    "NETWORKS",
    "Comparison",
    "History",
    "Options",
    "Progress",
    "Recipe",
    "accuracy",
    "compare",
    "confusion",
    "confusion_text",
    "load_digits",
    "predict",
    "prepare",
    "reconstruct",
    "run",
    "train",
    "train_autoencoder",
]
