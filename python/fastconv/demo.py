"""The demo: train a small network on handwritten digits and show what came of it.

    data -> network -> train (progress bar) -> accuracy, confusion matrix
                                            -> time per step beside fastconv.reference
                                            -> picture

`run` walks this road; ``python -m fastconv demo`` calls it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

import fastconv
from fastconv import nn, reference
from fastconv.data import CLASSES, Digits, MissingExtra, load_digits

__all__ = [
    "NETWORKS",
    "History",
    "Options",
    "Recipe",
    "accuracy",
    "confusion",
    "predict",
    "prepare",
    "run",
    "train",
]

Array = npt.NDArray[Any]


# --- networks -----------------------------------------------------------------------------------


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
    """A network and how to train it; `images` is how many it sees in all."""

    build: Callable[[np.random.Generator], nn.Sequential]
    batch_size: int
    lr: float
    images: int


# Small CNNs as the teaching texts of four libraries write them. Adam's rate falls linearly to
# zero, which is worth half a point of accuracy over a constant one in so short a training.
NETWORKS = {
    "keras": Recipe(_keras, batch_size=50, lr=2e-3, images=40_000),
    "torch": Recipe(_torch, batch_size=50, lr=2e-3, images=40_000),
    "tf": Recipe(_tf, batch_size=50, lr=1e-3, images=16_000),
    "dlfs": Recipe(_dlfs, batch_size=50, lr=1e-3, images=40_000),
}


# --- training -----------------------------------------------------------------------------------


class Progress:
    """Loss, images per second and time left: a bar on a terminal, else a line per epoch."""

    def __init__(self, epochs: int, images: int, stream: TextIO) -> None:
        self.epochs, self.images, self.stream = epochs, images, stream
        self.terminal = stream.isatty()
        self.full, self.empty = "█░" if "utf" in str(stream.encoding).lower() else "#."
        self.trained, self.seconds, self.drawn = 0, 0.0, 0.0

    def step(self, epoch: int, images: int, seconds: float, loss: float) -> None:
        """Count a step of training, and redraw the bar if it is time to."""
        self.trained += images
        self.seconds += seconds
        now = time.perf_counter()
        if self.terminal and now - self.drawn > 0.1:
            self.drawn = now
            share = self.trained / (self.epochs * self.images)
            bar = (self.full * round(20 * share)).ljust(20, self.empty)
            self._write("\r" + f"{bar} {self._line(epoch, loss)}".ljust(79))

    def epoch(self, epoch: int, loss: float, accuracy: float) -> None:
        """Close an epoch with its mean loss and the held-out accuracy after it."""
        line = self._line(epoch, loss, f"held-out {100 * accuracy:5.1f}%  ")
        self._write(f"\r{line:79}\n" if self.terminal else f"{line}\n")

    def _line(self, epoch: int, loss: float, more: str = "") -> str:
        rate = self.trained / self.seconds
        left = (self.epochs * self.images - self.trained) / rate
        return (
            f"epoch {epoch:{len(str(self.epochs))}}/{self.epochs}  loss {loss:6.4f}  {more}"
            f"{rate:7,.0f} images/s  {left:3.0f} s left"
        )

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
        for chosen in _batches(rng.permutation(count), batch_size):
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


def _batches(order: Array, size: int) -> Iterator[Array]:
    return (order[start : start + size] for start in range(0, len(order), size))


def predict(network: nn.Sequential, images: Array) -> Array:
    """The most probable class of each image, (N,); leaves the network in inference mode."""
    network.eval()
    parts = [network(images[i]).argmax(1) for i in _batches(np.arange(len(images)), 250)]
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


# --- beside the reference -----------------------------------------------------------------------


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
    rounds: int = 3,
    steps: int = 3,
) -> Comparison:
    """Train two copies of a network on one batch, on fastconv and on fastconv.reference.

    Both start from the same weights and draw the same dropout masks, so their losses must agree
    step by step.
    """
    twins = [network.with_ops(ops).train() for ops in (fastconv, reference)]
    optimisers = [nn.Adam(twin.parameters(), lr) for twin in twins]
    criterion = nn.CrossEntropyLoss()
    seconds: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    for _ in range(rounds):
        for k, twin in enumerate(twins):
            # After a call, a pool's idle threads spin for a while, at the other one's expense.
            time.sleep(0.1)
            for _ in range(steps):
                begin = time.perf_counter()
                losses[k].append(criterion(twin(images), labels))
                twin.backward(criterion.backward(), input_grad=False)
                optimisers[k].step()
                seconds[k].append(time.perf_counter() - begin)
    ours, theirs = np.array(losses)
    difference = float(np.max(np.abs(ours - theirs)) / theirs[0])
    return Comparison(min(seconds[0]), min(seconds[1]), difference)


# --- the picture --------------------------------------------------------------------------------


def _figure_class() -> type[Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib") from error
    return Figure


def _check_picture(path: Path) -> None:
    """Whatever would keep the picture from being saved, before the training and not after it."""
    _figure_class()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: expected a name ending in one of .{', .'.join(sorted(kinds))}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path.absolute().parent}: no such directory")


INK, ACCENT, SOFT = "#1f3b57", "#c8502d", "#9fb4c7"


def save_picture(
    path: Path,
    title: str,
    network: nn.Sequential,
    history: History,
    digits: Digits,
    predicted: Array,
) -> None:
    """Learning curve, confusion matrix, first filters and some wrongly read digits."""
    figure = _figure_class()(figsize=(11, 8.2), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    figure.suptitle(title, fontsize=14, fontweight="bold", color=INK)
    (curve, matrix), (filters, mistakes) = figure.subfigures(
        2, 2, width_ratios=(1.15, 1), height_ratios=(1.1, 1)
    )
    _draw_curve(curve, history)
    _draw_matrix(matrix, confusion(predicted, digits.test_labels))
    _draw_filters(filters, network)
    _draw_mistakes(mistakes, digits, predicted)
    figure.savefig(path)


def _draw_curve(panel: Any, history: History) -> None:
    panel.suptitle("Learning curve", color=INK)
    axes = panel.subplots()
    losses = np.array(history.losses)
    epochs = len(history.test_accuracy)
    steps = np.arange(1, len(losses) + 1) * (epochs / len(losses))
    window = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    axes.plot(steps, losses, color=SOFT, linewidth=0.6)
    axes.plot(steps[window - 1 :], smooth, color=INK, label="loss (running mean)")
    axes.set(yscale="log", xlim=(0, 1.02 * epochs), xlabel="epoch")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("loss", color=INK)
    axes.grid(axis="y", color="0.92")
    right = axes.twinx()
    after = np.arange(1, epochs + 1)
    errors = [100 - 100 * np.array(a) for a in (history.train_accuracy, history.test_accuracy)]
    right.plot(after, errors[0], ":", color=ACCENT, label="error while training")
    right.plot(after, errors[1], "o-", color=ACCENT, markersize=3.5, label="error, held out")
    right.set_ylim(0, 1.1 * max(1.0, *errors[0], *errors[1]))
    right.set_ylabel("error (%)", color=ACCENT)
    lines = [*axes.get_lines()[1:], *right.get_lines()]
    names = [line.get_label() for line in lines]
    right.legend(lines, names, loc="upper right", frameon=False, fontsize=9)


def _draw_matrix(panel: Any, counts: Array) -> None:
    panel.suptitle("Confusion matrix", color=INK)
    axes = panel.subplots()
    # The colour shows the mistakes only: beside the diagonal they would all look white.
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    axes.imshow(np.ma.masked_equal(wrong, 0), cmap="Oranges", vmin=0, vmax=2 * max(3, wrong.max()))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            weight = "bold" if row == column else "normal"
            style = {"ha": "center", "va": "center", "fontsize": 8, "color": INK}
            axes.text(column, row, str(count), fontweight=weight, **style)
    ticks = range(len(counts))
    axes.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
    axes.tick_params(length=0)


def _draw_filters(panel: Any, network: nn.Sequential) -> None:
    first = next(leaf for leaf in network.leaves() if isinstance(leaf, nn.Conv2d))
    kernels = first.weight.data[:, 0]
    count, height, width = kernels.shape
    panel.suptitle(f"The first layer's {count} filters, {height}x{width}", color=INK)
    columns = 8 if count > 16 else 4
    grid = panel.subplots(-(-count // columns), columns, squeeze=False)
    limit = float(np.abs(kernels).max())
    for axes in grid.flat:
        axes.axis("off")
    for axes, kernel in zip(grid.flat, kernels, strict=False):
        drawn = axes.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
    panel.colorbar(drawn, ax=grid, shrink=0.8, aspect=25).ax.tick_params(labelsize=8)


def _draw_mistakes(panel: Any, digits: Digits, predicted: Array) -> None:
    wrong = np.flatnonzero(predicted != digits.test_labels)
    rows, columns = 3, 6
    shown = min(len(wrong), rows * columns)
    panel.suptitle(f"{shown} of {len(wrong)} wrongly read digits: true → predicted", color=INK)
    # Held-out digits come sorted by class: evenly spaced ones show some of each.
    wrong = wrong[np.arange(shown) * len(wrong) // max(1, shown)]
    grid = panel.subplots(rows, columns)
    for axes in grid.flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, wrong, strict=False):
        axes.imshow(digits.test_images[i, 0], cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"{digits.test_labels[i]} → {predicted[i]}", fontsize=10, pad=3)


# --- the whole ----------------------------------------------------------------------------------


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


def prepare(options: Options) -> Digits:
    """Load the digits, and check before the training whatever would stop the run after it.

    Raises
    ------
    MissingExtra, OSError, ValueError
        Something that is needed is missing or wrong.
    """
    if options.picture is not None:
        _check_picture(options.picture)
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

    say(f"network  {options.network}, {size:,} parameters")
    say(f"data     {count:,} digits to train on, {held_out:,} held out (from {digits.source})")
    threads = _count(fastconv.get_num_threads(), "thread")
    say(f"run      {_count(epochs, 'epoch')}, batches of {batch_size}, {threads}")
    history = train(
        network,
        digits,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        rng=rng,
        progress=Progress(epochs, count, err),
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
        status = _report(compare(initial, *batch, lr), batch_size, say)
    if options.picture is not None:
        title = f"fastconv demo: network “{options.network}” reads {result}"
        save_picture(options.picture, title, network, history, digits, predicted)
        say(f"\npicture  {options.picture}")
    return status


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _report(timed: Comparison, batch_size: int, say: Callable[[str], None]) -> int:
    """Say how the comparison went; an exit code of 1 if the losses differ."""
    ratio = timed.reference / timed.fastconv
    # Adam divides by the gradient's size, so the last bit of a gradient that is nearly zero can
    # turn a whole step of its weight around; the losses feel that far below this bound.
    agree = timed.difference < 1e-3
    say(f"\none training step, batch of {batch_size}, same weights")
    say(f"  fastconv            {1e3 * timed.fastconv:8.2f} ms")
    say(f"  fastconv.reference  {1e3 * timed.reference:8.2f} ms   {ratio:.1f} times as long")
    verdict = "agree to" if agree else "DIFFER by"
    say(f"  losses {verdict} {timed.difference:.0e} of the first one, step by step")
    return 0 if agree else 1
