"""The convolution and pooling classes of the book "Deep Learning from Scratch", on fastconv.

Change the import, keep the rest: signatures, shapes and the attributes ``W b dW db stride pad`` are
the book's. Differences, all on purpose:

* `Convolution` and `Pooling` build no column matrix; between `forward` and `backward` they keep
  their input (and `Pooling` the places of the maxima).
* The dtype stays: float32 in, float32 out. The book's buffers make everything float64.
* `Pooling` honours ``pad``. The book's classes hand it to im2col but leave it out of the output's
  size, so that any ``pad`` but 0 ends in a reshape error; and they pad with zeros, which would win
  over negative pixels. Here the padding of a max pool is -inf and never wins.

Examples
--------
>>> import numpy as np
>>> from fastconv.compat.dlfs import Convolution, Pooling, im2col
>>> im2col(np.random.rand(10, 3, 7, 7), 5, 5, stride=1, pad=0).shape
(90, 75)
>>> layer = Convolution(np.ones((4, 3, 3, 3)), np.zeros(4), stride=1, pad=1)
>>> y = Pooling(2, 2, stride=2).forward(layer.forward(np.ones((10, 3, 8, 8))))
>>> y.shape
(10, 4, 4, 4)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv
from fastconv import reference

__all__ = ["AveragePooling", "Convolution", "Pooling", "col2im", "im2col"]

Array = npt.NDArray[Any]


def im2col(input_data: Array, filter_h: int, filter_w: int, stride: int = 1, pad: int = 0) -> Array:
    """Write every window of a batch of images as a row.

    Parameters
    ----------
    input_data : ndarray, (N, C, H, W)
    filter_h, filter_w, stride, pad : int

    Returns
    -------
    ndarray, (N * OH * OW, C * filter_h * filter_w), dtype of `input_data`
        `fastconv.reference.im2col` with the axes in the book's order.

    Examples
    --------
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), 2, 2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    columns = reference.im2col(input_data, (filter_h, filter_w), stride, pad)
    return columns.transpose(0, 2, 1).reshape(-1, columns.shape[1])


def col2im(
    col: Array,
    input_shape: tuple[int, int, int, int],
    filter_h: int,
    filter_w: int,
    stride: int = 1,
    pad: int = 0,
) -> Array:
    """Add every row of `col` onto the pixels that `im2col` took it from.

    Parameters
    ----------
    col : ndarray, (N * OH * OW, C * filter_h * filter_w)
    input_shape : tuple of int
        (N, C, H, W).
    filter_h, filter_w, stride, pad : int

    Returns
    -------
    ndarray, (N, C, H, W), dtype of `col`

    Examples
    --------
    >>> col2im(np.ones((4, 4)), (1, 1, 3, 3), 2, 2)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    taps = input_shape[1] * filter_h * filter_w
    columns = np.reshape(col, (input_shape[0], -1, taps)).transpose(0, 2, 1)
    return reference.col2im(columns, input_shape, (filter_h, filter_w), stride, pad)


class Convolution:
    """The book's convolution layer.

    Parameters
    ----------
    W : ndarray, (FN, C, FH, FW)
        Filters.
    b : ndarray, (FN,)
        One bias for each filter.
    stride, pad : int

    Attributes
    ----------
    W, b, stride, pad
        As given. Assign to `W` and `b`, or change them in place, between steps.
    dW, db : ndarray or None
        Gradients, once `backward` has run.

    Examples
    --------
    >>> layer = Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    >>> layer.forward(np.arange(9.0).reshape(1, 1, 3, 3))[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    >>> layer.backward(np.ones((1, 1, 2, 2))).shape, layer.dW.shape, layer.db
    ((1, 1, 3, 3), (1, 1, 2, 2), array([4.]))
    """

    def __init__(self, W: Array, b: Array, stride: int = 1, pad: int = 0) -> None:
        self.W = W
        self.b = b
        self.stride = stride
        self.pad = pad
        self.x: Array | None = None
        self.dW: Array | None = None
        self.db: Array | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, FN, OH, OW)."""
        self.x = _floats(x, self.W.dtype)
        return fastconv.conv2d(self.x, self.W, self.b, self.stride, self.pad)

    def backward(self, dout: Array) -> Array:
        """(N, FN, OH, OW) to (N, C, H, W); leaves `dW` and `db`."""
        assert self.x is not None, "backward needs a forward before it"
        dx, self.dW, self.db = fastconv.conv2d_backward(dout, self.x, self.W, self.stride, self.pad)
        assert dx is not None
        return dx


class Pooling:
    """The book's max-pooling layer, with a `pad` that works (see the module).

    Parameters
    ----------
    pool_h, pool_w, stride, pad : int

    Examples
    --------
    >>> layer = Pooling(2, 2, stride=2)
    >>> layer.forward(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> layer.backward(np.ones((1, 1, 2, 2)))[0, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 0., 1.],
           [0., 0., 0., 0.],
           [0., 1., 0., 1.]])
    """

    def __init__(self, pool_h: int, pool_w: int, stride: int = 1, pad: int = 0) -> None:
        self.pool_h = pool_h
        self.pool_w = pool_w
        self.stride = stride
        self.pad = pad
        self.x: Array | None = None
        self._places: Array | None = None

    @property
    def _window(self) -> tuple[tuple[int, int], int, int]:
        return (self.pool_h, self.pool_w), self.stride, self.pad

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW)."""
        self.x = _floats(x, np.float64)
        y: Array
        y, self._places = fastconv.max_pool2d(self.x, *self._window, return_indices=True)
        return y

    def backward(self, dout: Array) -> Array:
        """(N, C, OH, OW) to (N, C, H, W): each gradient goes to its window's first maximum."""
        assert self.x is not None, "backward needs a forward before it"
        return fastconv.max_pool2d_backward(dout, self.x, *self._window, indices=self._places)


class AveragePooling(Pooling):
    """The mean of each window, in the form of the book's `Pooling`; padding counts as zeros.

    Parameters
    ----------
    pool_h, pool_w, stride, pad : int

    Examples
    --------
    >>> AveragePooling(2, 2, stride=2).forward(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW)."""
        self.x = _floats(x, np.float64)
        return fastconv.avg_pool2d(self.x, *self._window)

    def backward(self, dout: Array) -> Array:
        """(N, C, OH, OW) to (N, C, H, W): each gradient is shared by its window."""
        assert self.x is not None, "backward needs a forward before it"
        return fastconv.avg_pool2d_backward(dout, self.x.shape, *self._window)


def _floats(x: Array, dtype: npt.DTypeLike) -> Array:
    """`x`, or its integers as floats of `dtype`: the book takes raw pixels too."""
    x = np.asarray(x)
    return x if x.dtype.kind == "f" else x.astype(dtype)
