"""TensorFlow's convolution and pooling functions on NumPy arrays.

Arrays are laid out as TensorFlow lays them out, images N H W C and filters H W I O; fastconv reads
the filters through a transposed view, so nothing is copied. Write ``import fastconv.compat.tf as
tf`` and keep ``tf.nn.conv2d(...)``. There is no graph here and no session: functions compute when
they are called. To train, see `fastconv.nn`.

Examples
--------
>>> import numpy as np
>>> import fastconv.compat.tf as tf
>>> x = np.ones((50, 28, 28, 1), np.float32)
>>> W = np.ones((5, 5, 1, 32), np.float32)
>>> h = tf.nn.relu(tf.nn.conv2d(x, W, strides=[1, 1, 1, 1], padding='SAME'))
>>> tf.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding='SAME').shape
(50, 14, 14, 32)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv

__all__ = [
    "avg_pool",
    "constant",
    "conv2d",
    "dropout",
    "float32",
    "float64",
    "max_pool",
    "nn",
    "random",
    "relu",
]

Array = npt.NDArray[Any]
Sizes = int | Sequence[int]
Padding = str | Sequence[Sequence[int]]

nn = sys.modules[__name__]  # tf.nn.conv2d is tf.conv2d
float32, float64 = np.float32, np.float64


def conv2d(
    input: npt.ArrayLike,
    filters: npt.ArrayLike,
    strides: Sizes = 1,
    padding: Padding = "VALID",
    data_format: str = "NHWC",
    dilations: Sizes = 1,
) -> Array:
    """2-D convolution, as ``tf.nn.conv2d``.

    Parameters
    ----------
    input : array_like, (N, H, W, C), or (N, C, H, W) for `data_format` 'NCHW'
    filters : array_like, (KH, KW, C / groups, O)
        As in TensorFlow, fewer channels than the input has mean groups.
    strides, dilations : int or sequence of 1, 2 or 4 int
        Four name every axis in the order of `data_format`; batch and channels must have 1.
    padding : 'SAME', 'VALID' or one pair (before, after) for each of the four axes
    data_format : 'NHWC' or 'NCHW'

    Returns
    -------
    ndarray, (N, OH, OW, O), or (N, O, OH, OW)

    Examples
    --------
    >>> conv2d(np.ones((1, 3, 3, 1)), np.ones((3, 3, 1, 1)), [1, 1, 1, 1], 'SAME')[0, :, :, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    x, w = np.asarray(input), np.asarray(filters)
    if w.ndim != 4:
        raise ValueError(f"filters: expected (KH, KW, C, O), got shape {w.shape}")
    channels = x.shape[data_format.find("C")]
    if channels % max(1, w.shape[2]):
        raise ValueError(
            f"filters: the input's {channels} channels are no multiple of the filters' {w.shape[2]}"
        )
    return fastconv.conv2d(
        x,
        w.transpose(3, 2, 0, 1),
        None,
        _spatial("strides", strides, data_format),
        _padding(padding, data_format),
        _spatial("dilations", dilations, data_format),
        channels // max(1, w.shape[2]),
        data_format=data_format,
    )


def max_pool(
    input: npt.ArrayLike,
    ksize: Sizes,
    strides: Sizes,
    padding: Padding,
    data_format: str = "NHWC",
) -> Array:
    """Maximum of each window, as ``tf.nn.max_pool``; padding never wins.

    Parameters
    ----------
    input : array_like, (N, H, W, C), or (N, C, H, W) for `data_format` 'NCHW'
    ksize, strides, padding, data_format
        As for `conv2d`.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding='SAME')[0, :, :, 0]
    array([[4., 5.],
           [7., 8.]])
    """
    return fastconv.max_pool2d(
        input,
        _spatial("ksize", ksize, data_format),
        _spatial("strides", strides, data_format),
        _padding(padding, data_format),
        data_format=data_format,
    )


def avg_pool(
    input: npt.ArrayLike,
    ksize: Sizes,
    strides: Sizes,
    padding: Padding,
    data_format: str = "NHWC",
) -> Array:
    """Mean of each window, as ``tf.nn.avg_pool``: of the pixels in it, padding does not count.

    Parameters
    ----------
    input : array_like, (N, H, W, C), or (N, C, H, W) for `data_format` 'NCHW'
    ksize, strides, padding, data_format
        As for `conv2d`.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> avg_pool(x, ksize=2, strides=2, padding='SAME')[0, :, :, 0]
    array([[2. , 3.5],
           [6.5, 8. ]])
    """
    return fastconv.avg_pool2d(
        input,
        _spatial("ksize", ksize, data_format),
        _spatial("strides", strides, data_format),
        _padding(padding, data_format),
        count_include_pad=False,
        data_format=data_format,
    )


def relu(features: npt.ArrayLike) -> Array:
    """max(0, x), elementwise, as ``tf.nn.relu``.

    Examples
    --------
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    return np.maximum(np.asarray(features), 0)


def dropout(
    x: npt.ArrayLike,
    keep_prob: float | None = None,
    *,
    rate: float | None = None,
    seed: int | np.random.Generator | None = None,
) -> Array:
    """Keep each element with probability `keep_prob` and scale it by 1 / `keep_prob`, else zero.

    Parameters
    ----------
    x : array_like
    keep_prob : float
        0 < keep_prob <= 1, as in TensorFlow 1; 1 keeps all, for inference.
    rate : float
        1 - keep_prob, as in TensorFlow 2; give one of the two.
    seed : int, numpy.random.Generator or None
        Draws the mask.

    Examples
    --------
    >>> dropout(np.ones(6), keep_prob=0.5, seed=0)
    array([0., 2., 2., 2., 0., 0.])
    >>> dropout(np.ones(3), keep_prob=1)
    array([1., 1., 1.])
    """
    if (keep_prob is None) == (rate is None):
        raise ValueError("keep_prob: give either keep_prob or rate")
    keep = 1.0 - rate if rate is not None else keep_prob
    if keep is None or not 0.0 < keep <= 1.0:
        raise ValueError(f"keep_prob: expected a number above 0 and up to 1, got {keep}")
    a = np.asarray(x)
    if keep == 1.0:
        return a
    kept = np.random.default_rng(seed).random(a.shape) < keep
    scaled: Array = a * np.multiply(kept, 1.0 / keep, dtype=a.dtype)
    return scaled


def constant(value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> Array:
    """`value` as an array, as ``tf.constant``: Python's floats become float32.

    Examples
    --------
    >>> constant([1.0, 2.0])
    array([1., 2.], dtype=float32)
    """
    array = np.asarray(value, dtype)
    listed = not isinstance(value, np.ndarray | np.generic)
    return (
        array.astype(np.float32) if listed and dtype is None and array.dtype.kind == "f" else array
    )


class random:
    """``tf.random``."""

    @staticmethod
    def normal(
        shape: Sequence[int],
        mean: float = 0.0,
        stddev: float = 1.0,
        dtype: npt.DTypeLike = np.float32,
        seed: int | None = None,
    ) -> Array:
        """Values of N(mean, stddev^2); other ones than TensorFlow draws from the same seed.

        Examples
        --------
        >>> random.normal(shape=(32, 50, 50, 3), mean=0, stddev=1).dtype
        dtype('float32')
        """
        values = np.random.default_rng(seed).standard_normal(shape) * stddev + mean
        return values.astype(dtype)


def _spatial(name: str, values: Sizes, data_format: str) -> int | tuple[int, ...]:
    """The two entries for H and W of a TensorFlow list."""
    if isinstance(values, int | np.integer):
        return int(values)
    listed = tuple(values)
    if len(listed) == 4:
        by_axis = dict(zip(data_format, listed, strict=True))
        if by_axis["N"] != 1 or by_axis["C"] != 1:
            raise ValueError(f"{name}: expected 1 for batch and channels, got {values!r}")
        return by_axis["H"], by_axis["W"]
    if len(listed) not in (1, 2):
        raise ValueError(f"{name}: expected an int, or 1, 2 or 4 of them, got {values!r}")
    return listed[0] if len(listed) == 1 else listed


def _padding(padding: Padding, data_format: str) -> Any:
    """TensorFlow's padding as fastconv's."""
    if isinstance(padding, str):
        if padding.upper() not in ("SAME", "VALID"):
            raise ValueError(f"padding: expected 'SAME', 'VALID' or four pairs, got {padding!r}")
        return padding.lower()
    pairs = [tuple(pair) for pair in padding]
    if len(pairs) != 4:
        raise ValueError(f"padding: expected 'SAME', 'VALID' or four pairs, got {padding!r}")
    by_axis = dict(zip(data_format, pairs, strict=True))
    if by_axis["N"] != (0, 0) or by_axis["C"] != (0, 0):
        raise ValueError(f"padding: expected (0, 0) for batch and channels, got {padding!r}")
    return by_axis["H"], by_axis["W"]
