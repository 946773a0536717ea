"""Training on digits, and what can be said of the result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.data import CLASSES, Digits

__all__ = [
    "History",
    "Progress",
    "accuracy",
    "batches",
    "confusion",
    "confusion_text",
    "predict",
    "train",
]

Array = npt.NDArray[Any]


class Progress:
    """Loss, images per second and time left: a bar on a terminal, else a line per epoch.

    With `every`, also the cost of every so many steps, in the form of TensorFlow's tutorials.
    """

    def __init__(self, epochs: int, images: int, stream: TextIO, every: int | None = None) -> None:
        self.epochs, self.images, self.stream, self.every = epochs, images, stream, every
        self.terminal = stream.isatty()
        self.full, self.empty = "█░" if "utf" in str(stream.encoding).lower() else "#."
        self.trained, self.steps, self.seconds, self.drawn = 0, 0, 0.0, 0.0

    def step(self, epoch: int, images: int, seconds: float, loss: float) -> None:
        """Count a step of training, and redraw the bar if it is time to."""
        self.trained += images
        self.steps += 1
        self.seconds += seconds
        if self.every is not None and self.steps % self.every == 0:
            self._close(f"Step : {self.steps}, cost : {loss}")
        now = time.perf_counter()
        if self.terminal and now - self.drawn > 0.1:
            self.drawn = now
            share = self.trained / (self.epochs * self.images)
            bar = (self.full * round(20 * share)).ljust(20, self.empty)
            self._write("\r" + f"{bar} {self._line(epoch, loss)}".ljust(79))

    def epoch(self, epoch: int, loss: float, accuracy: float) -> None:
        """Close an epoch with its mean loss and the held-out accuracy after it."""
        self._close(self._line(epoch, loss, f"held-out {100 * accuracy:5.1f}%  "))

    def _line(self, epoch: int, loss: float, more: str = "") -> str:
        rate = self.trained / self.seconds
        left = (self.epochs * self.images - self.trained) / rate
        return (
            f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}  loss {loss:6.4f}  {more}"
            f"{rate:7,.0f} images/s  {left:3.0f} s left"
        )

    def _close(self, line: str) -> None:
        """Write a line that stays, over the bar if there is one."""
        self._write(f"\r{line:79}\n" if self.terminal else f"{line}\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


@dataclass
class History:
    """What training went through: the loss of each step, the accuracies after each epoch."""

    losses: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)


def train(
    network: nn.Sequential,
    digits: Digits,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: np.random.Generator,
    progress: Progress,
) -> History:
    """Adam on shuffled batches; the learning rate falls linearly to zero.

    Raises
    ------
    FloatingPointError
        The loss became infinite or NaN.
    """
    criterion, optimiser = nn.CrossEntropyLoss(), nn.Adam(network.parameters(), lr)
    history, count = History(), len(digits.train_labels)
    steps = epochs * -(-count // batch_size)
    for epoch in range(1, epochs + 1):
        network.train()
        right, first = 0, len(history.losses)
        for chosen in batches(rng.permutation(count), batch_size):
            begin = time.perf_counter()
            images, labels = digits.train_images[chosen], digits.train_labels[chosen]
            optimiser.lr = lr * (1 - len(history.losses) / steps)
            logits = network(images)
            loss = criterion(logits, labels)
            network.backward(criterion.backward(), input_grad=False)
            optimiser.step()
            if not np.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss}: try a smaller learning rate")
            history.losses.append(loss)
            right += int((logits.argmax(1) == labels).sum())
            progress.step(epoch, len(labels), time.perf_counter() - begin, loss)
        predicted = predict(network, digits.test_images)
        history.train_accuracy.append(right / count)
        history.test_accuracy.append(accuracy(predicted, digits.test_labels))
        mean_loss = float(np.mean(history.losses[first:]))
        progress.epoch(epoch, mean_loss, history.test_accuracy[-1])
    return history


def batches(order: Array, size: int) -> Iterator[Array]:
    """The order in pieces."""
    return (order[start : start + size] for start in range(0, len(order), size))


def predict(network: nn.Sequential, images: Array) -> Array:
    """The most probable class of each image, (N,); leaves the network in inference mode."""
    network.eval()
    parts = [network(images[i]).argmax(1) for i in batches(np.arange(len(images)), 250)]
    return np.concatenate(parts)


def accuracy(predicted: Array, labels: Array) -> float:
    """Share of the labels that were predicted.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.demo import accuracy
    >>> accuracy(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]))
    0.75
    """
    return float(np.mean(predicted == labels))


def confusion(predicted: Array, labels: Array, classes: int = CLASSES) -> Array:
    """Counts, (classes, classes): row is the true class, column the predicted one.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.demo import confusion
    >>> confusion(np.array([0, 1, 1]), np.array([0, 0, 1]), classes=2)
    array([[1, 1],
           [0, 1]])
    """
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def confusion_text(counts: Array) -> str:
    """The confusion matrix as lines of text, with a dot for zero."""
    width = max(3, len(str(counts.max())))
    lines = [" true " + "".join(f" {k:{width}}" for k in range(len(counts)))]
    for k, row in enumerate(counts):
        lines.append(f"{k:5} " + "".join(f" {n or '.':>{width}}" for n in row))
    return "\n".join(lines)
