"""Promise: the largest error on N(0, 1) data over the output's RMS: direct 5e-6, Winograd 3e-5.

Sums as long as in real networks (512 channels of 3 x 3: 4,608 products), against float64.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
from cases import ConvCase, PoolCase
from fastconv import reference

FORMATS = ("NCHW", "NHWC")

DEEP = [
    ConvCase("512_3x3", (1, 512, 9, 11), (48, 512, 3, 3), padding=1),
    ConvCase("256_3x3", (2, 256, 14, 14), (32, 256, 3, 3), padding=1),
    ConvCase("512_1x1", (1, 512, 14, 14), (64, 512, 1, 1)),
    ConvCase("512_1x7", (1, 512, 5, 17), (24, 512, 1, 7), padding=(0, 3)),
    ConvCase("512_3x3_stride2", (1, 512, 14, 14), (32, 512, 3, 3), padding=1, stride=2),
    ConvCase("512_dilated", (1, 512, 13, 12), (24, 512, 3, 3), padding=2, dilation=2),
    ConvCase("48_5x5", (1, 48, 18, 18), (64, 48, 5, 5), padding=2),
    ConvCase("3_11x11", (1, 3, 60, 60), (32, 3, 11, 11), stride=4),
    ConvCase("1_31x31", (1, 1, 70, 70), (4, 1, 31, 31)),
    ConvCase("grouped_128", (1, 256, 10, 10), (64, 128, 3, 3), groups=2, padding=1),
    ConvCase("depthwise_9x9", (1, 16, 40, 40), (16, 1, 9, 9), groups=16, padding=4),
]


def error(actual, expected):
    """The largest error relative to the RMS: exactly what is promised, with no allowance."""
    rms = np.sqrt(np.mean(np.square(expected)))
    return np.max(np.abs(actual.astype(np.float64) - expected)) / rms


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", DEEP, ids=str)
def test_direct(case, data_format, threads):
    case = case.replace(data_format=data_format)
    a = case.normal(seed=7)
    expected = cases.expected_conv(case, a)
    assert error(cases.conv(case, a, algorithm="direct"), expected) <= 5e-6
    packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry, algorithm="direct")
    assert error(packed(a.input), expected) <= 5e-6


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", DEEP, ids=str)
def test_auto(case, data_format):
    case = case.replace(data_format=data_format)
    a = case.normal(seed=8)
    expected = cases.expected_conv(case, a)
    bound = 3e-5 if case.may_use_winograd else 5e-6
    assert error(cases.conv(case, a), expected) <= bound


@pytest.mark.parametrize("case", DEEP, ids=str)
def test_float64(case):
    case = case.replace(dtype="float64")
    a = case.normal(seed=9)
    expected = cases.expected_conv(case, a)
    assert error(cases.conv(case, a, algorithm="direct"), expected) <= 5e-14


def test_float64_keeps_its_digits():
    """Nothing on the way is float32: an integer of 50 bits comes back whole."""
    big = 2.0**50 + 1
    x = np.full((1, 1, 3, 3), big)
    one = np.ones((1, 1, 1, 1))
    assert (fastconv.conv2d(x, one) == big).all()
    gx, gw, gb = fastconv.conv2d_backward(x[..., :1, :1], x[..., :1, :1], one)
    assert (gx.item(), gb.item()) == (big, big)
    assert gw.item() == big * big
    assert fastconv.max_pool2d(x, 2).max() == big
    assert (fastconv.avg_pool2d(x, 1) == big).all()


# Gradients: of the deep layers, and of batches whose weight gradients sum thousands of pixels.
GRADIENTS = [
    *(case.replace(bias=True) for case in DEEP[:8]),
    ConvCase("pixels_6272", (8, 8, 28, 28), (16, 8, 3, 3), padding=1),
    ConvCase("pixels_4900_depthwise", (1, 8, 70, 70), (8, 1, 3, 3), groups=8, padding=1),
    ConvCase("digits_50", (50, 1, 28, 28), (8, 1, 5, 5)),
]


@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients(case, threads):
    a = case.normal(seed=3)
    bound = 3e-5 if case.gradient_may_use_winograd else 5e-6
    gx, gw, gb = cases.backward(case, a)
    wanted = cases.expected_backward(case, a)
    assert error(gx, wanted[0]) <= bound
    assert error(gw, wanted[1]) <= max(bound, 5e-6 * _excess(case))
    assert error(gb, wanted[2]) <= 5e-6 * _excess(case)


def _excess(case):
    """The promise is for 512 channels' 4,608 products: longer sums may err more, as their root."""
    return max(1.0, (case.terms()[2] / 4608) ** 0.5)


def test_float64_gradients():
    case = ConvCase("", (4, 24, 20, 20), (32, 24, 3, 3), padding=1, dtype="float64")
    a = case.normal()
    for grad, wanted in zip(cases.backward(case, a), cases.expected_backward(case, a), strict=True):
        assert error(grad, wanted) <= 1e-13


def test_large_offsets_cancel_as_they_should():
    """A sum whose terms are a thousand times its value: relative to the terms nothing is lost."""
    case = ConvCase("", (1, 256, 12, 12), (16, 256, 3, 3), padding=1)
    a = case.normal()
    a.input[...] += 1000
    expected = cases.expected_conv(case, a)
    y = cases.conv(case, a, algorithm="direct")
    assert np.abs(y - expected).max() <= 5e-6 * 1000 * np.sqrt(256 * 9)


@pytest.mark.parametrize("kernel", [2, 3, 13, 25])
def test_average_pools(kernel):
    case = PoolCase("", (2, 5, 60, 61), kernel, stride=1, padding=kernel // 2)
    x, g = case.normal()
    y = fastconv.avg_pool2d(x, **case.avg_args)
    assert error(y, reference.avg_pool2d(x.astype(np.float64), **case.avg_args)) <= 5e-6
    dx = fastconv.avg_pool2d_backward(g, x.shape, **case.avg_args)
    expected = reference.avg_pool2d_backward(g.astype(np.float64), x.shape, **case.avg_args)
    assert error(dx, expected) <= 5e-6
