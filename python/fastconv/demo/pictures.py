"""The demo's pictures, with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv import nn
from fastconv.data import Digits, MissingExtra
from fastconv.demo.training import History, confusion

__all__ = ["check_picture", "save_feature_maps", "save_picture", "save_reconstructions"]

Array = npt.NDArray[Any]
INK, ACCENT, SOFT = "#1f3b57", "#c8502d", "#9fb4c7"


def _figure_class() -> type[Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib") from error
    return Figure


def check_picture(path: Path) -> None:
    """Whatever would keep the picture from being saved, before the training and not after it."""
    _figure_class()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise ValueError(f"{path}: expected a name ending in one of .{', .'.join(sorted(kinds))}")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path.absolute().parent}: no such directory")


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


def save_feature_maps(path: Path, title: str, network: nn.Sequential, image: Array) -> None:
    """One image, (1, 28, 28), through the network: a row of maps for each layer that has any.

    Each row shows at most 16 channels on one scale of its own, so that rows with a ReLU, whose
    zeros are white, compare with those without.
    """
    rows = [("input", image)]
    x = image[None]
    for leaf in network.eval().leaves():
        x = leaf.forward(x)
        if x.ndim == 4 and not isinstance(leaf, nn.Dropout):
            rows.append((f"{type(leaf).__name__}\n{' x '.join(map(str, x.shape[1:]))}", x[0]))
    columns = min(16, max(len(maps) for _, maps in rows))
    size = (1.6 + 0.75 * columns, 0.8 + 0.8 * len(rows))
    figure = _figure_class()(figsize=size, dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for line, (name, maps) in zip(grid, rows, strict=True):
        low, high = min(0.0, float(maps.min())), float(maps.max())
        for axes, one in zip(line, maps, strict=False):
            axes.imshow(one, cmap="gray_r", vmin=low, vmax=high)
        line[0].text(
            *(-0.15, 0.5, name),
            transform=line[0].transAxes,
            ha="right",
            va="center",
            fontsize=9,
            color=INK,
        )
    figure.savefig(path)


def save_reconstructions(
    path: Path, title: str, images: Array, codes: Array, restored: Array
) -> None:
    """Digits, the maps that the network keeps of each, and what it makes of those again."""
    codes = codes / codes.max()
    rows = [("digit", images[:, 0]), ("restored", restored[:, 0])]
    rows[1:1] = [(f"code {k + 1}", codes[:, k]) for k in range(codes.shape[1])]
    rows.append(("difference", np.abs(restored - images)[:, 0]))
    figure = _figure_class()(
        figsize=(1.2 + len(images), 0.6 + len(rows)), dpi=110, layout="constrained"
    )
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK)
    grid = figure.subplots(len(rows), len(images), squeeze=False)
    for line, (name, shown) in zip(grid, rows, strict=True):
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
        for axes, one in zip(line, shown, strict=True):
            axes.imshow(one, cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_color("0.85")
    figure.savefig(path)
