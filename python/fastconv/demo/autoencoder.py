"""The demo of an auto-encoder: digits through a quarter of their numbers and back.

Upsampling exists for this: the network must end at the size at which it began. What its pools
dropped cannot come back; the decoder learns what usually stood there.
"""

from __future__ import annotations

import time
from typing import TextIO

import numpy as np

from fastconv import nn
from fastconv.data import CLASSES, Digits
from fastconv.demo.networks import AUTOENCODER
from fastconv.demo.options import Options, heading
from fastconv.demo.pictures import save_reconstructions
from fastconv.demo.training import Array, batches

__all__ = ["reconstruct", "run_autoencoder", "train_autoencoder"]


def train_autoencoder(
    network: nn.Sequential,
    images: Array,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
    err: TextIO,
) -> list[float]:
    """Adam on the mean squared error between digits and restored digits; the loss of each step.

    Raises
    ------
    FloatingPointError
        The loss became infinite or NaN.
    """
    criterion, optimiser = nn.MSELoss(), nn.Adam(network.train().parameters(), lr)
    losses: list[float] = []
    steps = epochs * -(-len(images) // batch_size)
    for epoch in range(1, epochs + 1):
        begin, first = time.perf_counter(), len(losses)
        for chosen in batches(rng.permutation(len(images)), batch_size):
            batch = images[chosen]
            optimiser.lr = lr * (1 - len(losses) / steps)
            losses.append(criterion(network(batch), batch))
            network.backward(criterion.backward(), input_grad=False)
            optimiser.step()
            if not np.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"the loss became {losses[-1]}: try a smaller learning rate"
                )
        rate = len(images) / (time.perf_counter() - begin)
        mean = float(np.mean(losses[first:]))
        print(
            f"epoch {epoch}/{epochs}  loss {mean:.5f}  {rate:,.0f} images/s", file=err, flush=True
        )
    return losses


def reconstruct(network: nn.Sequential, images: Array) -> tuple[Array, Array]:
    """The code, the smallest array on the way, and the restored images."""
    x, arrays = images, []
    for layer in network.eval():
        x = layer(x)
        arrays.append(x)
    return min(arrays, key=np.size), x


def run_autoencoder(options: Options, digits: Digits, out: TextIO, err: TextIO) -> int:
    """Train, report on `out`, save a picture of reconstructions; the exit code is 0."""
    recipe = AUTOENCODER
    count = len(digits.train_images)
    epochs = options.epochs or max(1, round(recipe.images / count))
    batch_size = min(options.batch_size or recipe.batch_size, count)
    rng = np.random.default_rng(options.seed)
    network = recipe.build(rng)
    size = sum(p.size for p in network.parameters())
    print(heading(options.network, size, digits, epochs, batch_size), file=out, flush=True)
    train_autoencoder(
        network,
        digits.train_images,
        epochs=epochs,
        batch_size=batch_size,
        lr=recipe.lr if options.lr is None else options.lr,
        rng=rng,
        err=err,
    )
    images = digits.test_images
    codes, restored = reconstruct(network, images)
    error = float(np.mean((restored - images) ** 2))
    mean = float(np.mean((digits.train_images.mean(0) - images) ** 2))
    share = codes[0].size / images[0].size
    maps = " x ".join(map(str, codes.shape[1:]))
    print(f"\ncode     {maps}, {share:.0%} of a digit's numbers", file=out)
    print(f"error    {error:.4f} (mean square, held out; the mean digit's {mean:.4f})", file=out)
    if options.picture is not None:
        labels = digits.test_labels
        shown = [int(np.flatnonzero(labels == k)[0]) for k in range(CLASSES) if (labels == k).any()]
        title = f"Held-out digits through an auto-encoder: {share:.0%} of the numbers"
        save_reconstructions(options.picture, title, images[shown], codes[shown], restored[shown])
        print(f"picture  {options.picture}", file=out)
    return 0
