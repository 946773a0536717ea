"""A run of the demo from the command line's options to the exit code."""

from __future__ import annotations

import sys
from typing import TextIO

import numpy as np

import fastconv
from fastconv.data import Digits, load_digits
from fastconv.demo.autoencoder import run_autoencoder
from fastconv.demo.comparison import compare, report
from fastconv.demo.networks import NETWORKS
from fastconv.demo.options import Options, heading
from fastconv.demo.pictures import check_picture, save_feature_maps, save_picture
from fastconv.demo.training import Progress, confusion, confusion_text, predict, train

__all__ = ["prepare", "run"]


def prepare(options: Options) -> Digits:
    """Load the digits, and check before the training whatever would stop the run after it.

    Raises
    ------
    MissingExtra, OSError, ValueError
        Something that is needed is missing or wrong.
    """
    if options.picture is not None:
        check_picture(options.picture)
    return load_digits(options.data)


def run(
    options: Options, digits: Digits, out: TextIO | None = None, err: TextIO | None = None
) -> int:
    """Train, report on `out`, show progress on `err`.

    Returns
    -------
    int
        0, or 1 if fastconv and the reference disagree.

    Raises
    ------
    FloatingPointError
        The loss became infinite or NaN.
    """
    out, err = out or sys.stdout, err or sys.stderr
    if options.network == "autoencoder":
        return run_autoencoder(options, digits, out, err)
    recipe = NETWORKS[options.network]
    count, held_out = len(digits.train_labels), len(digits.test_labels)
    epochs = options.epochs or max(1, round(recipe.images / count))
    batch_size = min(options.batch_size or recipe.batch_size, count)
    lr = recipe.lr if options.lr is None else options.lr
    rng = np.random.default_rng(options.seed)
    network = recipe.build(rng)
    initial = network.with_ops(fastconv)
    size = sum(p.size for p in network.parameters())

    def say(text: str) -> None:
        print(text, file=out, flush=True)

    say(heading(options.network, size, digits, epochs, batch_size))
    history = train(
        network,
        digits,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        rng=rng,
        progress=Progress(epochs, count, err, recipe.costs_every),
    )
    predicted = predict(network, digits.test_images)
    right = int((predicted == digits.test_labels).sum())
    result = f"{right / held_out:.1%} of {held_out:,} held-out digits"
    say(f"\nheld-out accuracy {right / held_out:.1%} ({right:,} of {held_out:,})\n")
    say("confusion matrix: rows are true digits, columns predicted ones")
    say(confusion_text(confusion(predicted, digits.test_labels)))
    status = 0
    if options.compare:
        chosen = rng.permutation(count)[:batch_size]
        batch = digits.train_images[chosen], digits.train_labels[chosen]
        status = report(compare(initial, *batch, lr), batch_size, say)
    if options.picture is not None:
        title = f"fastconv demo: network “{options.network}” reads {result}"
        save_picture(options.picture, title, network, history, digits, predicted)
        say(f"\npicture  {options.picture}")
        maps = options.picture.with_stem(f"{options.picture.stem}-maps")
        digit = digits.test_images[held_out // 2]
        save_feature_maps(maps, f"A digit through the network “{options.network}”", network, digit)
        say(f"picture  {maps}")
    return status
