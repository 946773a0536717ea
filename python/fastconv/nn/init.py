"""Initial weights, seeded: the same seed gives the same network on every machine.

Every function draws in float64 and then rounds, so that a float32 and a float64 network of one
seed start alike. The names are those of the literature; the documents that the demo follows use

* `he_normal`: variance 2 / fan_in, which keeps a ReLU network's scale (He et al., 2015);
* `glorot_uniform`: variance 2 / (fan_in + fan_out), Keras's default (Glorot and Bengio, 2010);
* `lecun_uniform`: variance 1 / (3 fan_in), PyTorch's default;
* `truncated_normal`: redrawn beyond two standard deviations, as in TensorFlow's tutorials;
* `normal`: of a fixed deviation, as in the book.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fastconv.nn.base import Array, Parameter

__all__ = [
    "glorot_uniform",
    "he_normal",
    "lecun_uniform",
    "normal",
    "truncated_normal",
]

Seed: TypeAlias = int | np.random.Generator | None
Shape: TypeAlias = tuple[int, ...]


def normal(shape: Shape, std: float, rng: Seed = None, dtype: npt.DTypeLike = np.float32) -> Array:
    """N(0, std^2).

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.normal((30, 1, 5, 5), 0.01, rng=0).shape
    (30, 1, 5, 5)
    """
    return (np.random.default_rng(rng).standard_normal(shape) * std).astype(dtype)


def truncated_normal(
    shape: Shape, std: float, rng: Seed = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """N(0, std^2), each value beyond two deviations drawn again.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> float(abs(init.truncated_normal((1000,), 0.1, rng=0)).max()) <= 0.2
    True
    """
    generator = np.random.default_rng(rng)
    values = generator.standard_normal(shape)
    while np.any(outside := np.abs(values) > 2):
        values[outside] = generator.standard_normal(int(outside.sum()))
    return (values * std).astype(dtype)


def _uniform(shape: Shape, limit: float, rng: Seed, dtype: npt.DTypeLike) -> Array:
    return np.random.default_rng(rng).uniform(-limit, limit, shape).astype(dtype)


def glorot_uniform(
    shape: Shape, fan_in: int, fan_out: int, rng: Seed = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Uniform, of variance 2 / (fan_in + fan_out).

    Examples
    --------
    >>> from fastconv.nn import init
    >>> float(abs(init.glorot_uniform((1000,), 2, 4, rng=0)).max()) <= 1.0
    True
    """
    return _uniform(shape, math.sqrt(6 / (fan_in + fan_out)), rng, dtype)


def lecun_uniform(
    shape: Shape, fan_in: int, rng: Seed = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Uniform between -1 / sqrt(fan_in) and 1 / sqrt(fan_in).

    Examples
    --------
    >>> from fastconv.nn import init
    >>> float(abs(init.lecun_uniform((1000,), 4, rng=0)).max()) <= 0.5
    True
    """
    return _uniform(shape, 1 / math.sqrt(fan_in), rng, dtype)


def he_normal(
    shape: Shape, fan_in: float, rng: Seed = None, dtype: npt.DTypeLike = np.float32
) -> Parameter:
    """A parameter of normal values of variance 2 / fan_in.

    Examples
    --------
    >>> from fastconv.nn import init
    >>> init.he_normal((64, 32), 32, rng=0)
    Parameter(shape=(64, 32), dtype=float32)
    """
    return Parameter(normal(shape, math.sqrt(2 / max(1, fan_in)), rng, dtype))
