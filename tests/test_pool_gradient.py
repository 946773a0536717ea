"""Promise: gradients of max pools that walk down their planes, or take planes as a whole.

Small windows of contiguous rows (2x2, 3x3), those of channels in the lanes and windows that are
whole planes have kernels of their own. Their lanes, margins and blocks depend on sizes, so that
every size near a vector's is tried.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import PoolCase
from fastconv import reference

DTYPES = ("float32", "float64")
SMALL = [(2, 2, 0), (2, 2, 1), (3, 1, 0), (3, 1, 1), (3, 1, 2), (3, 2, 0), (3, 2, 1), (3, 2, 2)]
SPECIALS = ("integers", "ties", "nan", "least", "infinite", "zeros", "distinct")


def plane_data(shape, dtype, what, seed=0):
    """Small integers; few of them, with NaN or -inf between; zeros of both signs; no two alike."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 9, shape).astype(dtype)
    if what == "ties":
        x = rng.integers(0, 2, shape).astype(dtype)
    elif what == "nan":
        x[rng.random(shape) < 0.1] = np.nan
        x[rng.random(shape) < 0.2] = np.inf
    elif what == "least":
        x[rng.random(shape) < 0.9] = -np.inf
    elif what == "infinite":
        x[rng.random(shape) < 0.3] = -np.inf
        x[rng.random(shape) < 0.2] = np.inf
    elif what == "distinct":
        x = (rng.permutation(x.size) - x.size // 2).reshape(shape).astype(dtype)
    elif what == "zeros":
        x = np.where(rng.random(shape) < 0.5, dtype(-0.0), dtype(0.0))
    return x


def check_between_guards(case, what, seed):
    """With and without saved indices, against the reference."""
    rng = np.random.default_rng(seed)
    x = plane_data(case.input_shape, np.dtype(case.dtype).type, what, seed)
    g = rng.integers(-5, 5, case.output_shape).astype(case.dtype)
    g[g == 0] = -0.0
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    _, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    _, wanted = reference.max_pool2d(x, **case.max_args, return_indices=True)
    cases.assert_exact(indices, wanted, case)
    for side in guard.SIDES:
        a, b, saved = (guard.array(v, side) for v in (x, g, indices))
        for given in (None, saved):
            dx = fastconv.max_pool2d_backward(b, a, **case.max_args, indices=given)
            cases.assert_exact(dx, expected, case)
            assert not np.signbit(dx[dx == 0]).any()


# ---- small windows ------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), SMALL)
def test_small_windows_of_every_width(kernel, stride, padding, dtype, what, threads):
    rng = np.random.default_rng(1)
    for width in (kernel, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 35, 66):
        case = PoolCase(
            "", (2, 3, int(rng.integers(kernel, 12)), width), kernel, stride, padding,
            ceil_mode=bool(width % 2), dtype=dtype,
        )  # fmt: skip
        check_between_guards(case, what, width)


# Windows of more than 16 taps: several whole planes in a block, and dilated ones, of which all taps
# may lie in padding.
LARGE = [
    (5, 1, 2, 1),
    (9, 1, 4, 1),
    (13, 1, 6, 1),
    (5, 2, 2, 1),
    (6, 3, 1, 1),
    (5, 1, 2, 4),
    (7, 2, 3, 5),
]


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), LARGE)
def test_large_windows(kernel, stride, padding, dilation, data_format, what, threads):
    for height, width in ((13, 13), (20, 17), (33, 40)):
        if dilation * (kernel - 1) + 1 > min(height, width) + 2 * padding:
            continue
        case = PoolCase(
            "", (2, 5, height, width), kernel, stride, padding, dilation, data_format=data_format
        )
        x = plane_data(case.input_shape, np.float32, what, width)
        g = np.random.default_rng(2).integers(-5, 5, case.output_shape).astype(np.float32)
        expected = reference.max_pool2d_backward(g, x, **case.max_args)
        cases.assert_exact(fastconv.max_pool2d_backward(g, x, **case.max_args), expected, case)


# Overlapping windows of more than 16 taps, with enough planes or channels to fill the lanes: nearly
# as long as a line, cut at both ends, and with steps that skip some of a block.
FILLED = [
    (5, 1, 2),
    (9, 1, (4, 8)),
    ((4, 16), 1, (0, 15)),
    (5, 2, 2),
    (7, 5, 3),
    (6, (2, 4), 0),
    ((3, 7), (1, 2), (1, 3)),
    ((17, 1), 1, (8, 0)),
    ((1, 18), (1, 2), (0, 4)),
]


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), FILLED)
def test_large_windows_that_fill_the_lanes(kernel, stride, padding, dtype, what, threads):
    for channels, size in ((9, (20, 18)), (33, (17, 20)), (16, (23, 37))):
        for data_format in ("NCHW", "NHWC"):
            case = PoolCase(
                "", (2, channels, *size), kernel, stride, padding,
                ceil_mode=channels == 9, dtype=dtype, data_format=data_format,
            )  # fmt: skip
            check_between_guards(case, what, channels)
            check_values_at_their_places(case, what)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [*FILLED, (3, 1, 1), (13, 1, 6)])
def test_windows_are_added_in_row_major_order(kernel, stride, padding, data_format, dtype, threads):
    for channels, size in ((21, (20, 19)), (32, (18, 21))):
        case = PoolCase(
            "", (1, channels, *size), kernel, stride, padding, dtype=dtype, data_format=data_format
        )
        rng = np.random.default_rng(channels)
        x = plane_data(case.input_shape, np.dtype(dtype).type, "distinct")
        g = rng.standard_normal(case.output_shape).astype(dtype)
        _, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
        places, shares = (cases.from_format(a, data_format) for a in (indices, g))
        expected = np.zeros((channels, size[0] * size[1]), dtype)
        planes = np.broadcast_to(np.arange(channels)[:, None, None], places.shape[1:])
        np.add.at(expected, (planes.ravel(), places.ravel()), shares.ravel())
        expected = cases.to_format(expected.reshape(1, channels, *size), data_format)
        for saved in (None, indices):
            dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=saved)
            cases.assert_exact(dx, expected, case)


# Planes enough to fill the lanes, whose rows leave much of a vector empty, take other roads.
@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [*SMALL, (3, 1, ((0, 2), (1, 0)))])
def test_short_rows_of_many_planes(kernel, stride, padding, dtype, what, threads):
    for channels, size in ((9, (7, 7)), (33, (4, 3)), (16, (9, 16)), (20, (11, 19)), (37, (3, 9))):
        case = PoolCase("", (2, channels, *size), kernel, stride, padding, dtype=dtype)
        check_between_guards(case, what, channels)
        average = case.replace(divisor_override=4)
        _, g = average.integers()
        dx = fastconv.avg_pool2d_backward(g, case.input_shape, **average.avg_args)
        expected = reference.avg_pool2d_backward(g, case.input_shape, **average.avg_args)
        cases.assert_exact(dx, expected, case)


def check_values_at_their_places(case, what):
    """The sign of a zero, too, is that of the element that the index names."""
    x = plane_data(case.input_shape, np.dtype(case.dtype).type, what)
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    planes, places = (cases.from_format(a, case.data_format) for a in (x, indices))
    flat = planes.reshape(*planes.shape[:2], -1)
    values = np.take_along_axis(flat, places.reshape(*places.shape[:2], -1), 2)
    values = cases.to_format(values.reshape(places.shape), case.data_format)
    cases.assert_exact(y, values, case)
    known = ~np.isnan(values)
    cases.assert_exact(np.signbit(y[known]), np.signbit(values[known]), case)


def spaced(a, axis, step):
    """The same values, `step` apart along an axis."""
    where = (*[np.s_[:]] * axis, np.s_[::step])
    b = np.full(np.add(a.shape, np.eye(a.ndim, dtype=int)[axis] * a.shape[axis]), 99, a.dtype)[
        where
    ]
    b[...] = a
    return b


def test_large_windows_of_planes_with_gaps(threads):
    case = PoolCase("", (2, 20, 15, 14), 5, 1, 2)
    x, g = case.integers()
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    y, indices = reference.max_pool2d(x, **case.max_args, return_indices=True)
    for axis, step in ((3, 2), (2, 2), (1, 2), (1, -2), (0, -2)):
        a, b = (spaced(v, axis, step) for v in (x, g))
        cases.assert_exact(
            fastconv.max_pool2d_backward(b, a, **case.max_args), expected, (axis, step)
        )
        found, places = fastconv.max_pool2d(a, **case.max_args, return_indices=True)
        cases.assert_exact(found, y, (axis, step))
        cases.assert_exact(places, indices, (axis, step))


def check_found_and_saved(case):
    """With the winners found again, and with their indices."""
    x, g = case.integers()
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    _, indices = reference.max_pool2d(x, **case.max_args, return_indices=True)
    cases.assert_exact(fastconv.max_pool2d_backward(g, x, **case.max_args), expected, case)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=indices)
    cases.assert_exact(dx, expected, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((1, 2, 301, 203), 3, 1, 1), ((2, 1, 97, 700), 3, 2, 1), ((1, 3, 130, 131), 2, 2, 1)],
)
def test_small_windows_in_blocks_of_rows(shape, kernel, stride, padding, dtype, threads):
    case = PoolCase("", shape, kernel, stride, padding, dtype=dtype)
    check_found_and_saved(case)


def test_rows_that_run_backwards_are_no_small_windows(threads):
    case = PoolCase("", (2, 3, 20, 21), 3, 1, 1)
    x, g = case.integers()
    for flip in (np.s_[:, :, ::-1], np.s_[:, ::-1], np.s_[::-1], np.s_[:, :, :, ::-1]):
        a = np.ascontiguousarray(x[flip])[flip]
        b = np.ascontiguousarray(g[flip])[flip]
        expected = reference.max_pool2d_backward(g, x, **case.max_args)
        cases.assert_exact(fastconv.max_pool2d_backward(b, a, **case.max_args), expected, flip)


# Windows that overlap along both axes or one, or are cut by what padding leaves.
LANES = [*SMALL[1:], (2, 1, 0), ((3, 2), (1, 2), (1, 1)), ((1, 3), 1, (0, 1)), ((2, 3), (2, 2), 0)]


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), LANES)
def test_small_windows_with_channels_in_the_lanes(kernel, stride, padding, dtype, what, threads):
    rng = np.random.default_rng(1)
    for channels in (2, 3, 7, 8, 16, 19, 33):
        case = PoolCase(
            "", (2, channels, int(rng.integers(3, 12)), int(rng.integers(3, 12))), kernel, stride,
            padding, ceil_mode=bool(channels % 2), dtype=dtype, data_format="NHWC",
        )  # fmt: skip
        check_between_guards(case, what, channels)


@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [
        ((1, 40, 33, 900), 3, 2),
        ((1, 70, 61, 240), 3, 1),
        ((3, 5, 90, 31), 3, 1),
        ((2, 48, 61, 45), 3, 2),
        ((1, 256, 30, 15), 3, 2),
    ],
)
def test_channels_in_the_lanes_in_blocks(shape, kernel, stride, threads):
    """Of channels, where a row is long; and of rows, for several threads."""
    case = PoolCase("", shape, kernel, stride, 1, data_format="NHWC")
    check_found_and_saved(case)


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1, (1, 0), (0, 1)], ids=str)
def test_strided_windows_of_whole_vectors_of_channels(padding, ceil_mode, what, threads):
    """Each row of windows gives to rows of the one before; what no window holds is 0."""
    rng = np.random.default_rng(7)
    for channels in (16, 48):
        for width in (3, 4, 5, 12, 17):
            case = PoolCase(
                "", (2, channels, int(rng.integers(3, 32)), width), 3, 2, padding,
                ceil_mode=ceil_mode, data_format="NHWC",
            )  # fmt: skip
            check_between_guards(case, what, width)


@pytest.mark.parametrize("kernel", [3, (14, 9)], ids=str)
def test_channels_in_the_lanes_of_views(kernel, threads):
    """Some channels, columns and rows of larger arrays."""
    case = PoolCase("", (2, 32, 14, 9), kernel, 2, 0, data_format="NHWC")
    x, g = case.integers()
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    average = reference.avg_pool2d_backward(g, x.shape, kernel, 2, data_format="NHWC")
    views = [
        ((2, 14, 9, 48), np.s_[..., 8:40]),
        ((2, 14, 12, 48), np.s_[:, :, 1:10, 3:35]),
        ((2, 28, 9, 48), np.s_[:, ::2, :, :32]),
    ]
    for shape, cut in views:
        larger = np.full(shape, 99, np.float32)
        larger[cut] = x
        dy = np.repeat(g, 2, 3)[..., ::2]
        for given in (g, dy):
            dx = fastconv.max_pool2d_backward(given, larger[cut], **case.max_args)
            cases.assert_exact(dx, expected, cut)
            dx = fastconv.avg_pool2d_backward(given, x.shape, kernel, 2, data_format="NHWC")
            np.testing.assert_allclose(dx, average, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [6, 20, 40])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SMALL)
def test_an_index_outside_its_window_is_obeyed(
    kernel, stride, padding, data_format, width, threads
):
    """Also one that a window of the same places would hold, if rows did not end."""
    case = PoolCase("", (1, 2, 9, width), kernel, stride, padding)
    x, g = case.integers()
    _, good = reference.max_pool2d(x, **case.max_args, return_indices=True)
    rng = np.random.default_rng(5)
    rows, columns = case.output[-2:]
    strays = [(0, columns - 1, width), (1, 0, width - 1), (rows - 1, columns - 1, 0), (0, 0, -1)]
    for row, column, place in strays:
        indices = good.copy()
        indices[0, rng.integers(2), row, column] = place
        dy, given, saved = (cases.to_format(v, data_format) for v in (g, x, indices))
        options = {**case.max_args, "data_format": data_format}
        dx = fastconv.max_pool2d_backward(dy, given, **options, indices=saved)
        dx = cases.from_format(dx, data_format)
        for plane in range(2):
            wanted = np.zeros(x[0, plane].size, np.float32)
            places = indices[0, plane].ravel()
            np.add.at(wanted, places[places >= 0], g[0, plane].ravel()[places >= 0])
            cases.assert_exact(dx[0, plane].ravel(), wanted, (case, row, column, place))


@pytest.mark.parametrize("width", [6, 20, 40])
@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), SMALL)
def test_an_index_outside_its_plane_raises(kernel, stride, padding, data_format, width):
    """Also one whose lower half is a place in its window."""
    case = PoolCase("", (1, 2, 9, width), kernel, stride, padding)
    x, g = case.integers()
    _, good = reference.max_pool2d(x, **case.max_args, return_indices=True)
    rows, columns = case.output[-2:]
    for row, column in [(0, 0), (1, columns // 2), (rows - 1, columns - 1)]:
        place = good[0, 1, row, column]
        for wrong in (place + 2**32, place - 2**32, -(2**63) + place, 9 * width, -2):
            indices = good.copy()
            indices[0, 1, row, column] = wrong
            dy, given, saved = (cases.to_format(v, data_format) for v in (g, x, indices))
            options = {**case.max_args, "data_format": data_format, "indices": saved}
            with pytest.raises(ValueError, match="indices"):
                fastconv.max_pool2d_backward(dy, given, **options)


# ---- whole planes -------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [9, 16, 33])
@pytest.mark.parametrize(
    "size", [(7, 7), (4, 4), (8, 8), (5, 13), (1, 40), (2, 3), (12, 13), (11, 16)], ids=str
)
def test_whole_planes(size, planes, dtype, what, threads):
    x = plane_data((2, planes, *size), np.dtype(dtype).type, what)
    g = np.random.default_rng(3).integers(1, 9, (2, planes, 1, 1)).astype(dtype)
    flat = x.reshape(2, planes, -1)
    nan = np.isnan(flat)
    first = np.where(nan.any(2), nan.argmax(2), np.where(nan, -np.inf, flat).argmax(2))[..., None]
    expected = np.zeros_like(flat)
    np.put_along_axis(expected, first, g.reshape(2, planes, 1), 2)
    for side in guard.SIDES:
        a, b = guard.array(x, side), guard.array(g, side)
        y, indices = fastconv.max_pool2d(a, size, return_indices=True)
        cases.assert_exact(indices.reshape(first.shape), first)
        for result in (y, fastconv.max_pool2d(a, size)):
            value = np.take_along_axis(flat, first, 2).reshape(result.shape)
            cases.assert_exact(result, value)
            known = ~np.isnan(value)
            cases.assert_exact(np.signbit(result[known]), np.signbit(value[known]))
        dx = fastconv.max_pool2d_backward(b, a, size)
        cases.assert_exact(dx.reshape(flat.shape), expected)
        dx = fastconv.max_pool2d_backward(b, a, size, indices=indices)
        cases.assert_exact(dx.reshape(flat.shape), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_plane_of_ties_does_not_make_up_for_one_of_nan(dtype):
    x = np.arange(16 * 49, dtype=dtype).reshape(1, 16, 7, 7)
    x[0, 3] = np.nan
    x[0, 5, :, 2] = 1e4
    g = np.ones((1, 16, 1, 1), dtype)
    expected = np.zeros_like(x)
    expected[0, :, 6, 6] = 1
    expected[0, 3], expected[0, 5] = 0, 0
    expected[0, 3, 0, 0] = expected[0, 5, 0, 2] = 1
    cases.assert_exact(fastconv.max_pool2d_backward(g, x, 7), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 7), (3, 3), (1, 40)], ids=str)
def test_whole_planes_of_averages(size, dtype, threads):
    taps = size[0] * size[1]
    g = np.random.default_rng(4).integers(-9, 9, (2, 33, 1, 1)).astype(dtype)
    for make in (np.asarray, lambda a: np.repeat(a, 2, 1)[:, ::2]):
        dx = fastconv.avg_pool2d_backward(make(g), (2, 33, *size), size, divisor_override=8)
        cases.assert_exact(dx, np.broadcast_to(g / 8, dx.shape).astype(dtype))
    dx = fastconv.avg_pool2d_backward(g * taps, (2, 33, *size), size)
    np.testing.assert_allclose(dx, np.broadcast_to(g, dx.shape), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [16, 17, 33])
@pytest.mark.parametrize("size", [(7, 7), (3, 8), (5, 15), (1, 16), (4, 9)], ids=str)
def test_whole_planes_are_summed_row_by_row(size, planes, dtype, threads):
    x = np.random.default_rng(5).standard_normal((2, planes, *size)).astype(dtype)
    x[0, 3, 0, -1], x[1, 8] = np.nan, -0.0
    rows = np.cumsum(x, 3, dtype=dtype)[..., -1]
    expected = np.cumsum(rows, 2, dtype=dtype)[..., -1]
    for side in guard.SIDES:
        for a in (guard.array(x, side), guard.array(np.repeat(x, 2, 1), side)[:, ::2]):
            y = fastconv.avg_pool2d(a, size, divisor_override=1)
            cases.assert_exact(y[..., 0, 0], expected)
            assert np.signbit(y[1, 8])


# ---- whole images, with channels in the lanes ---------------------------------------------------


@pytest.mark.parametrize("what", SPECIALS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 7), (1, 5), (2, 2), (12, 13), (17, 18)], ids=str)
def test_whole_images(size, dtype, what, threads):
    """Channels that are less than a vector, some of them, and a few blocks of vectors."""
    for channels in (3, 8, 19, 33, 64, 150, 515):
        case = PoolCase("", (2, channels, *size), size, dtype=dtype, data_format="NHWC")
        check_between_guards(case, what, channels)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 7), (1, 40), (70, 3)], ids=str)
@pytest.mark.parametrize("channels", [8, 33, 130, 2100])
def test_whole_images_of_averages(channels, size, dtype, threads):
    """The same bits as of planes, forward and backward."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((2, *size, channels)).astype(dtype)
    g = rng.standard_normal((2, 1, 1, channels)).astype(dtype)
    g[..., :3] = -0.0
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    wanted = fastconv.avg_pool2d(planes, size).transpose(0, 2, 3, 1)
    most = fastconv.max_pool2d(planes, size).transpose(0, 2, 3, 1)
    gradient = fastconv.avg_pool2d_backward(g.transpose(0, 3, 1, 2), planes.shape, size)
    for side in guard.SIDES:
        a, b = guard.array(x, side), guard.array(g, side)
        cases.assert_exact(fastconv.avg_pool2d(a, size, data_format="NHWC"), wanted)
        cases.assert_exact(fastconv.max_pool2d(a, size, data_format="NHWC"), most)
        dx = fastconv.avg_pool2d_backward(b, x.shape, size, data_format="NHWC")
        cases.assert_exact(dx, gradient.transpose(0, 2, 3, 1))
        assert not np.signbit(dx[dx == 0]).any()


@pytest.mark.parametrize("channels", [16, 130])
def test_indices_of_whole_images_may_be_anybodys(channels):
    x = np.zeros((2, 7, 7, channels), np.float32)
    g = np.random.default_rng(8).integers(1, 9, (2, 1, 1, channels)).astype(np.float32)
    indices = np.random.default_rng(9).integers(-1, 49, g.shape)
    expected = (np.arange(49).reshape(1, 7, 7, 1) == indices) * g
    dx = fastconv.max_pool2d_backward(g, x, 7, indices=indices, data_format="NHWC")
    cases.assert_exact(dx, expected.astype(np.float32))
    for wrong in (49, -2, 2**32 + 3, 3 - 2**32):
        indices[1, 0, 0, channels - 2] = wrong
        with pytest.raises(ValueError, match="indices"):
            fastconv.max_pool2d_backward(g, x, 7, indices=indices, data_format="NHWC")
