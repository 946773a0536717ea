"""Columns: im2col and its transpose col2im."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arguments import Array, Padding, Size, as_array, check_shape, spatial, to_shape
from .windows import Windows, windows_of

__all__ = ["col2im", "im2col"]


def im2col(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """Write every window of `input` as a column.

    Parameters
    ----------
    input : array of shape (N, C, H, W), any dtype
        Any number of spatial axes will do: (N, C, L) and (N, C, D, H, W) work alike.
    kernel_size, stride, dilation : int or (h, w)
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'

    Returns
    -------
    array of shape (N, C·KH·KW, OH·OW), dtype of `input`
        Rows run over (channel, tap), columns over the output pixels, both in row-major order.

    Raises
    ------
    ValueError, TypeError
        If an argument has an impossible value, or no window fits.

    Notes
    -----
    The layout is that of ``torch.nn.functional.unfold``.  The method is due to K. Chellapilla,
    S. Puri and P. Simard, "High performance convolutional neural networks for document
    processing", 2006.

    Examples
    --------
    >>> x = np.arange(9).reshape(1, 1, 3, 3)
    >>> im2col(x, 2)
    array([[[0, 1, 3, 4],
            [1, 2, 4, 5],
            [3, 4, 6, 7],
            [4, 5, 7, 8]]])
    """
    x = as_array(input)
    windows = windows_of(spatial("input", x.shape), kernel_size, stride, padding, dilation)
    return _merge(gather(x, windows), len(windows.size))


def col2im(
    columns: npt.ArrayLike,
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """Add every entry of `columns` onto the pixel that `im2col` took it from.

    This is the transpose of `im2col`, not its inverse: a pixel that k windows share comes back k
    times as large.

    Parameters
    ----------
    columns : array of shape (N, C·KH·KW, OH·OW), any numeric dtype
    input_size : sequence of int
        (N, C, H, W), the shape of the array that `im2col` was given.
    kernel_size, stride, padding, dilation
        As for `im2col`.

    Returns
    -------
    array of shape (N, C, H, W), dtype of `columns`

    Raises
    ------
    ValueError, TypeError
        If an argument has an impossible value, or `columns` has another shape than `im2col` gives.

    Notes
    -----
    The layout is that of ``torch.nn.functional.fold``.

    Examples
    --------
    How many of the four 2 x 2 windows hold each pixel?

    >>> col2im(np.ones((1, 4, 4), dtype=int), (1, 1, 3, 3), 2)
    array([[[[1, 2, 1],
             [2, 4, 2],
             [1, 2, 1]]]])
    """
    cols = as_array(columns)
    shape = to_shape("input_size", input_size)
    windows = windows_of(spatial("input_size", shape), kernel_size, stride, padding, dilation)
    batch, channels = shape[:2]
    taps, pixels = math.prod(windows.kernel), math.prod(windows.output)
    check_shape("columns", cols.shape, (batch, channels * taps, pixels))
    return scatter(cols.reshape(batch, channels, *windows.kernel, *windows.output), windows)


def gather(input: Array, windows: Windows) -> Array:
    """im2col before its axes are merged: (N, C, H, W) -> (N, C, KH, KW, OH, OW)."""
    padded = pad_planes(input, windows, 0)
    columns = np.empty((*input.shape[:2], *windows.kernel, *windows.output), input.dtype)
    for tap, window in windows.taps():
        columns[:, :, *tap] = padded[:, :, *window]
    return columns


def scatter(columns: Array, windows: Windows) -> Array:
    """The transpose of `gather`: (N, C, KH, KW, OH, OW) -> (N, C, H, W)."""
    padded = np.zeros((*columns.shape[:2], *windows.padded_size), columns.dtype)
    for tap, window in windows.taps():
        padded[:, :, *window] += columns[:, :, *tap]
    return padded[:, :, *windows.interior]


def pad_planes(input: Array, windows: Windows, value: float) -> Array:
    """Lay the planes of `input` on a border of `value`; the planes themselves if there is none."""
    if windows.padded_size == windows.size:
        return input
    padded = np.full((*input.shape[:2], *windows.padded_size), value, input.dtype)
    padded[:, :, *windows.interior] = input
    return padded


def _merge(columns: Array, axes: int) -> Array:
    """(N, C, KH, KW, OH, OW) -> (N, C·KH·KW, OH·OW), for `axes` spatial axes."""
    rows, pixels = columns.shape[1 : 2 + axes], columns.shape[2 + axes :]
    return columns.reshape(len(columns), math.prod(rows), math.prod(pixels))
