"""Promise: windows that slide by one pixel, and averages of every stride, on roads of their own.

Windows of three taps and more are folded four or eight at a time with planes or channels in the
lanes, so that what counts is where groups of them begin and end, which taps are cut, and how
planes are cut into bands. Small averages walk down their planes backward, too, and those whose
strides suit no row go through the lanes.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import PoolCase
from fastconv import reference
from test_pool_gradient import plane_data, spaced

FORMATS = ("NCHW", "NHWC")
# Of four and eight windows at a time, longer than the line, cut at one end or both.
WINDOWS = [
    (3, 0),
    (3, 1),
    ((3, 5), (2, 1)),
    (4, 0),
    (5, 2),
    ((4, 7), (3, 6)),
    ((9, 5), (8, 0)),
    (13, 6),
    ((8, 12), ((2, 7), (11, 0))),
]
SIZES = [(1, 3), (4, 5), (13, 8), (20, 21), (9, 66)]


# Longer strides, whose windows still overlap.
STRIDED = [(5, 3, 0), (4, 2, 3), ((7, 5), (2, 4), (0, 2)), ((6, 4), (5, 1), (5, 1))]


def slides(kernel, padding, stride=1):
    """A case for each size that has an output, with lanes that are filled, cut and empty."""
    for size, lanes in zip(SIZES, ((1, 16), (2, 9), (1, 37), (3, 17), (1, 65)), strict=True):
        case = PoolCase("", (*lanes, *size), kernel, stride, padding, divisor_override=8)
        if min(case.output_shape) > 0:
            yield case


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "padding"), WINDOWS)
def test_sums_are_exact_between_guards(kernel, padding, dtype, data_format, threads):
    for case in slides(kernel, padding):
        case = case.replace(dtype=dtype, data_format=data_format)
        x, g = case.integers()
        y = reference.avg_pool2d(x, **case.avg_args)
        dx = reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
        for side in guard.SIDES:
            a, b = guard.array(x, side), guard.array(g, side)
            cases.assert_exact(fastconv.avg_pool2d(a, **case.avg_args), y, case)
            out = guard.array(np.zeros_like(y), side)
            cases.assert_exact(fastconv.avg_pool2d(a, **case.avg_args, out=out), y, case)
            got = fastconv.avg_pool2d_backward(b, case.input_shape, **case.avg_args)
            cases.assert_exact(got, dx, case)


@pytest.mark.parametrize("what", ["integers", "nan", "least", "infinite", "zeros"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("kernel", "padding"), WINDOWS)
def test_maxima_between_guards(kernel, padding, data_format, what, threads):
    for case in slides(kernel, padding):
        for dtype in (np.float32, np.float64):
            case = case.replace(dtype=np.dtype(dtype).name, data_format=data_format)
            x = plane_data(case.input_shape, dtype, what)
            y = reference.max_pool2d(x, **case.max_args)
            for side in guard.SIDES:
                got = fastconv.max_pool2d(guard.array(x, side), **case.max_args)
                cases.assert_exact(got, y, case)
            if what == "zeros":  # of several, the first one wins with its sign
                _, first = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
                flat = cases.from_format(x, data_format).reshape(*case.input[:2], -1)
                places = cases.from_format(first, data_format)
                there = np.take_along_axis(flat, places.reshape(*case.input[:2], -1), 2)
                sign = cases.from_format(np.signbit(got), data_format)
                assert np.array_equal(sign, np.signbit(there).reshape(places.shape))


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(("kernel", "stride", "padding"), STRIDED)
def test_longer_strides(kernel, stride, padding, data_format, ceil_mode, threads):
    for case in slides(kernel, padding, stride):
        for dtype in ("float32", "float64"):
            case = case.replace(dtype=dtype, data_format=data_format, ceil_mode=ceil_mode)
            x, _ = case.integers()
            mean = reference.avg_pool2d(x, **case.avg_args)
            most = reference.max_pool2d(x, **case.max_args)
            for side in guard.SIDES:
                a = guard.array(x, side)
                cases.assert_exact(fastconv.avg_pool2d(a, **case.avg_args), mean, case)
                cases.assert_exact(fastconv.max_pool2d(a, **case.max_args), most, case)


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), WINDOWS)
def test_layouts_threads_and_neighbours_leave_the_bits_alone(kernel, padding, count_include_pad):
    for case in slides(kernel, padding):
        case = case.replace(divisor_override=None, count_include_pad=count_include_pad)
        last = case.replace(data_format="NHWC")
        x, g = case.normal()
        x_last, g_last = cases.to_format(x, "NHWC"), cases.to_format(g, "NHWC")
        y = fastconv.avg_pool2d(x, **case.avg_args)
        dx = fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
        y_last = fastconv.avg_pool2d(x_last, **last.avg_args)
        dx_last = fastconv.avg_pool2d_backward(g_last, last.input_shape, **last.avg_args)
        assert np.array_equal(cases.from_format(y_last, "NHWC"), y)
        assert np.array_equal(cases.from_format(dx_last, "NHWC"), dx)
        few = np.s_[:1, :3]  # too few planes for the lanes: another road
        assert np.array_equal(fastconv.avg_pool2d(x[few], **case.avg_args), y[few])
        shape = (1, 3, *case.input[2:])
        assert np.array_equal(fastconv.avg_pool2d_backward(g[few], shape, **case.avg_args), dx[few])


def test_bands_of_large_planes(threads):
    for data_format in FORMATS:
        case = PoolCase(
            "", (1, 17, 90, 101), (6, 9), 1, ((5, 2), (0, 8)),
            data_format=data_format, divisor_override=16,
        )  # fmt: skip
        x, g = case.integers()
        cases.assert_exact(
            fastconv.avg_pool2d(x, **case.avg_args), reference.avg_pool2d(x, **case.avg_args)
        )
        cases.assert_exact(
            fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
            reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
        )
        y, indices = reference.max_pool2d(x, **case.max_args, return_indices=True)
        got = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
        cases.assert_exact(got[0], y)
        cases.assert_exact(got[1], indices)
        cases.assert_exact(fastconv.max_pool2d(x, **case.max_args), y)
        cases.assert_exact(
            fastconv.max_pool2d_backward(g, x, **case.max_args),
            reference.max_pool2d_backward(g, x, **case.max_args),
        )


def test_planes_with_gaps(threads):
    case = PoolCase("", (2, 20, 15, 14), (4, 8), 1, (2, 7), divisor_override=4)
    x, g = case.integers()
    y = reference.avg_pool2d(x, **case.avg_args)
    dx = reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
    maxima = reference.max_pool2d(x, **case.max_args)
    for axis, step in ((3, 2), (2, 2), (1, 2), (1, -2), (0, -2)):
        a, b = spaced(x, axis, step), spaced(g, axis, step)
        cases.assert_exact(fastconv.avg_pool2d(a, **case.avg_args), y, (axis, step))
        cases.assert_exact(fastconv.max_pool2d(a, **case.max_args), maxima, (axis, step))
        got = fastconv.avg_pool2d_backward(b, case.input_shape, **case.avg_args)
        cases.assert_exact(got, dx, (axis, step))


# Strides beyond 2 along the rows, with and without windows that overlap; and many taps.
STRIDES = [
    (7, 3, 3),
    (7, 7, 0),
    (9, 9, 4),
    ((2, 5), (1, 4), (0, 2)),
    (3, 4, 1),
    ((11, 3), (4, 3), (5, 0)),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), STRIDES)
def test_gradients_of_averages_of_every_stride(kernel, stride, padding, dtype, threads):
    for shape in ((1, 16, 14, 14), (2, 9, 23, 30), (3, 37, 11, 9), (1, 2, 19, 20)):
        for ceil_mode in (False, True):
            case = PoolCase(
                "", shape, kernel, stride, padding,
                dtype=dtype, ceil_mode=ceil_mode, divisor_override=8,
            )  # fmt: skip
            _, g = case.integers()
            expected = reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
            for side in guard.SIDES:
                b = guard.array(g, side)
                dx = fastconv.avg_pool2d_backward(b, case.input_shape, **case.avg_args)
                cases.assert_exact(dx, expected, case)
                assert not np.signbit(dx[dx == 0]).any()
