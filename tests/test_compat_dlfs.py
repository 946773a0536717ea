"""Promise: the book's classes keep their signatures, shapes and numbers, without column matrix."""

from __future__ import annotations

import doctest
import inspect

import numpy as np
import pytest

from fastconv.compat import dlfs


class BookConvolution:
    """The method of the book: one column matrix for the batch, three matrix products."""

    def __init__(self, W, b, stride=1, pad=0):
        self.W, self.b, self.stride, self.pad = W, b, stride, pad

    def forward(self, x):
        outputs, _, kh, kw = self.W.shape
        self.x, self.col = x, dlfs.im2col(x, kh, kw, self.stride, self.pad)
        oh, ow = (
            1 + (n + 2 * self.pad - k) // self.stride
            for n, k in zip(x.shape[2:], (kh, kw), strict=True)
        )
        y = self.col @ self.W.reshape(outputs, -1).T + self.b
        return y.reshape(len(x), oh, ow, outputs).transpose(0, 3, 1, 2)

    def backward(self, dout):
        outputs, _, kh, kw = self.W.shape
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, outputs)
        self.db, self.dW = rows.sum(0), (rows.T @ self.col).reshape(self.W.shape)
        dcol = rows @ self.W.reshape(outputs, -1)
        return dlfs.col2im(dcol, self.x.shape, kh, kw, self.stride, self.pad)


def naive_columns(x, kh, kw, stride, pad):
    """Each window as a row, window by window."""
    padded = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    rows = [
        image[:, i : i + kh, j : j + kw].ravel()
        for image in padded
        for i in range(0, padded.shape[2] - kh + 1, stride)
        for j in range(0, padded.shape[3] - kw + 1, stride)
    ]
    return np.array(rows)


GEOMETRIES = [(1, 0), (1, 2), (2, 0), (2, 1), (3, 1)]


@pytest.mark.parametrize(("stride", "pad"), GEOMETRIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_im2col_and_its_transpose(stride, pad, dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (2, 3, 7, 6)).astype(dtype)
    col = dlfs.im2col(x, 3, 2, stride, pad)
    assert col.dtype == dtype
    np.testing.assert_array_equal(col, naive_columns(x, 3, 2, stride, pad))
    other = rng.integers(-9, 10, col.shape).astype(dtype)
    back = dlfs.col2im(other, x.shape, 3, 2, stride, pad)
    assert back.shape == x.shape
    assert (col * other).sum() == (x * back).sum()  # <A x, c> = <x, A' c>


@pytest.mark.parametrize(("stride", "pad"), GEOMETRIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolution_forward_and_backward(stride, pad, dtype):
    rng = np.random.default_rng(1)
    x, W, b = (
        rng.integers(-3, 4, shape).astype(dtype) for shape in ((2, 3, 7, 6), (4, 3, 3, 2), (4,))
    )
    ours, book = (cls(W, b, stride, pad) for cls in (dlfs.Convolution, BookConvolution))
    y = ours.forward(x)
    np.testing.assert_array_equal(y, book.forward(x))
    dout = rng.integers(-3, 4, y.shape).astype(dtype)
    np.testing.assert_array_equal(ours.backward(dout), book.backward(dout))
    np.testing.assert_array_equal(ours.dW, book.dW)
    np.testing.assert_array_equal(ours.db, book.db)
    assert {a.dtype for a in (y, ours.dW, ours.db)} == {np.dtype(dtype)}


def test_attributes_and_signatures():
    layer = dlfs.Convolution(np.zeros((4, 3, 5, 5)), np.zeros(4), stride=2, pad=1)
    assert [layer.stride, layer.pad, layer.dW, layer.db] == [2, 1, None, None]
    assert list(inspect.signature(dlfs.Convolution).parameters) == ["W", "b", "stride", "pad"]
    assert list(inspect.signature(dlfs.Pooling).parameters) == ["pool_h", "pool_w", "stride", "pad"]
    assert inspect.signature(dlfs.Pooling).parameters["stride"].default == 1
    shapes = ["filter_h", "filter_w", "stride", "pad"]
    assert list(inspect.signature(dlfs.im2col).parameters) == ["input_data", *shapes]
    assert list(inspect.signature(dlfs.col2im).parameters) == ["col", "input_shape", *shapes]


def test_the_layers_hold_no_more_than_their_input():
    x = np.random.default_rng(0).standard_normal((10, 3, 20, 20))
    conv = dlfs.Convolution(np.ones((4, 3, 5, 5)), np.zeros(4))
    pool = dlfs.Pooling(2, 2, 2)
    y = conv.forward(x)
    z = pool.forward(y)
    for layer, limit in ((conv, x.size + 4 * 75 + 4), (pool, y.size + z.size)):
        held = sum(a.size for a in vars(layer).values() if isinstance(a, np.ndarray))
        assert held <= limit


def test_a_weight_changed_in_place_or_assigned_counts():
    x = np.ones((1, 1, 2, 2))
    layer = dlfs.Convolution(np.ones((1, 1, 2, 2)), np.zeros(1))
    assert layer.forward(x).item() == 4
    layer.W -= 0.5
    assert layer.forward(x).item() == 2
    layer.W = np.zeros((1, 1, 2, 2))
    assert layer.forward(x).item() == 0


def test_raw_pixels_are_taken():
    x = np.arange(16).reshape(1, 1, 4, 4)
    layer = dlfs.Convolution(np.ones((1, 1, 2, 2), np.float32), np.zeros(1, np.float32))
    y = layer.forward(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y[0, 0], [[10, 14, 18], [26, 30, 34], [42, 46, 50]])
    assert dlfs.Pooling(2, 2, 2).forward(x).tolist() == [[[[5, 7], [13, 15]]]]


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pooling_against_the_columns(stride):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (2, 3, 7, 6)).astype(np.float64)  # with ties
    layer = dlfs.Pooling(3, 2, stride)
    y = layer.forward(x)
    windows = dlfs.im2col(x, 3, 2, stride).reshape(-1, 6)  # a row for each window and channel
    oh, ow = y.shape[2:]
    expected = windows.max(1).reshape(2, oh, ow, 3).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(y, expected)
    dout = rng.integers(-3, 4, y.shape).astype(np.float64)
    places = np.zeros(windows.shape)
    places[np.arange(len(windows)), windows.argmax(1)] = dout.transpose(0, 2, 3, 1).ravel()
    back = dlfs.col2im(places.reshape(2 * oh * ow, -1), x.shape, 3, 2, stride)
    np.testing.assert_array_equal(layer.backward(dout), back)


def test_pooling_honours_pad_and_never_lets_it_win():
    x = -np.arange(1.0, 10).reshape(1, 1, 3, 3)
    layer = dlfs.Pooling(2, 2, stride=2, pad=1)
    np.testing.assert_array_equal(layer.forward(x)[0, 0], [[-1, -2], [-4, -5]])
    back = layer.backward(np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(back[0, 0], [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_average_pooling():
    rng = np.random.default_rng(0)
    x = rng.integers(-8, 9, (2, 3, 6, 6)).astype(np.float64)
    layer = dlfs.AveragePooling(2, 2, stride=2)
    y = layer.forward(x)
    np.testing.assert_array_equal(y, x.reshape(2, 3, 3, 2, 3, 2).mean((3, 5)))
    dout = rng.integers(-8, 9, y.shape) * 4.0
    np.testing.assert_array_equal(layer.backward(dout), dout.repeat(2, 2).repeat(2, 3) / 4)
    padded = dlfs.AveragePooling(2, 2, stride=2, pad=1).forward(np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(padded[0, 0], [[0.25, 0.25], [0.25, 0.25]])


def test_examples():
    assert doctest.testmod(dlfs).attempted > 5
    assert doctest.testmod(dlfs).failed == 0
