"""A whole convolution as one matrix."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arguments import Array, Index, Padding, Size, as_array, to_shape
from .conv import conv_windows

__all__ = ["convolution_matrix"]


def convolution_matrix(
    weight: npt.ArrayLike,
    input_size: Sequence[int],
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """The dense matrix M of a convolution: ``y.ravel() == M @ x.ravel()`` for one sample x.

    Written straight from the definition, entry by entry, and sharing no step with `im2col`, it
    shows what kind of matrix a convolution is, and checks the rest: its transpose is the input
    gradient, ``dx.ravel() == M.T @ dy.ravel()``.

    Parameters
    ----------
    weight : array of shape (O, C/groups, KH, KW), any dtype
    input_size : sequence of int
        (C, H, W), the shape of one sample.
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    array of shape (O·OH·OW, C·H·W), dtype of `weight`

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    A row of four pixels under the kernel [1, 2] is multiplied by a banded Toeplitz matrix:

    >>> convolution_matrix(np.array([[[[1, 2]]]]), (1, 1, 4))
    array([[1, 2, 0, 0],
           [0, 1, 2, 0],
           [0, 0, 1, 2]])
    """
    w = as_array(weight)
    sample = to_shape("input_size", input_size)
    windows = conv_windows((1, *sample), w.shape, stride, padding, dilation, groups)
    matrix = np.zeros((w.shape[0], *windows.output, *sample), w.dtype)
    outputs, inputs = _group_slices(w.shape[0], groups), _group_slices(sample[0], groups)
    for pixel in itertools.product(*map(range, windows.output)):
        for tap in itertools.product(*map(range, windows.kernel)):
            source = tuple(
                p * axis.stride + i * axis.dilation - axis.before
                for p, i, axis in zip(pixel, tap, windows.axes, strict=True)
            )
            if all(0 <= at < n for at, n in zip(source, windows.size, strict=True)):
                for o, c in zip(outputs, inputs, strict=True):
                    entry: Index = (o, *pixel, c, *source)
                    kernel: Index = (o, slice(None), *tap)
                    matrix[entry] = w[kernel]
    return matrix.reshape(w.shape[0] * math.prod(windows.output), math.prod(sample))


def _group_slices(channels: int, groups: int) -> list[slice]:
    """The channels of each group."""
    each = channels // groups
    return [slice(g * each, (g + 1) * each) for g in range(groups)]
