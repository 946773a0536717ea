"""Promise: 1-D and 3-D pools, and 2-D ones of every road, to the last tie, NaN and bit."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

import cases
import fastconv
import guard
from fastconv import reference

FORMATS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
DIMS = (1, 2, 3)


def functions(module, dims):
    names = (f"max_pool{dims}d", f"avg_pool{dims}d")
    return [getattr(module, name + end) for name in names for end in ("", "_backward")]


class Pool:
    """Shapes and arguments of one pool, drawn from a seed; small enough for the reference."""

    def __init__(self, dims: int, seed: int):
        pick = random.Random(f"{dims} {seed}")
        self.dims = dims
        self.kernel = tuple(pick.choice((1, 2, 2, 3, 3, 5, 7)) for _ in range(dims))
        self.stride = tuple(pick.choice((1, 1, 2, 2, 3, 4)) for _ in range(dims))
        self.dilation = tuple(pick.choice((1, 1, 1, 2, 3)) for _ in range(dims))
        if pick.random() < 0.6:
            self.dilation = (1,) * dims
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        self.padding = tuple((pick.randint(0, r), pick.randint(0, r)) for r in reach)
        if pick.random() < 0.4:
            self.padding = ((0, 0),) * dims
        most = {1: 90, 2: 37, 3: 12}[dims]
        self.size = tuple(pick.randint(r + 1, r + most) for r in reach)
        self.batch, self.channels = pick.choice((1, 2, 3)), pick.choice((1, 2, 5, 16, 33))
        self.ceil = pick.random() < 0.3
        self.include = pick.random() < 0.5
        self.divisor = pick.choice((None, None, 4))
        self.rng = np.random.default_rng(seed)

    @property
    def max_args(self):
        return (self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    @property
    def avg_args(self):
        padding = tuple(
            (min(a, k - 1), min(b, k - 1))
            for (a, b), k in zip(self.padding, self.kernel, strict=True)
        )
        return self.kernel, self.stride, padding, self.ceil, self.include, self.divisor

    def input(self, dtype="float32", normal=False):
        shape = (self.batch, self.channels, *self.size)
        if normal:
            return self.rng.standard_normal(shape).astype(dtype)
        return self.rng.integers(-4, 5, shape).astype(dtype)

    def like(self, y, normal=False):
        if normal:
            return self.rng.standard_normal(y.shape).astype(y.dtype)
        return self.rng.integers(-4, 5, y.shape).astype(y.dtype)

    def __repr__(self):
        shape = (self.batch, self.channels, *self.size)
        return f"Pool{self.dims}d of {shape}: {self.max_args}, {self.avg_args}"


def last(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def first(a):
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def check(pool: Pool, dtype: str, threads: int) -> None:
    """All four functions in both formats, exactly as the reference where sums are exact."""
    max_pool, max_backward, avg_pool, avg_backward = functions(fastconv, pool.dims)
    ref_max, ref_max_backward, ref_avg, ref_avg_backward = functions(reference, pool.dims)
    x = pool.input(dtype)
    y, places = ref_max(x, *pool.max_args, return_indices=True)
    g = pool.like(y)
    dx = ref_max_backward(g, x, *pool.max_args)
    mean = ref_avg(x.astype(np.float64), *pool.avg_args)
    h = pool.like(mean).astype(dtype)
    spread = ref_avg_backward(h.astype(np.float64), x.shape, *pool.avg_args)
    eps = np.finfo(dtype).eps
    for layout, lay, back in zip(
        FORMATS[pool.dims], (np.asarray, last), (np.asarray, first), strict=True
    ):
        keywords = {"data_format": layout}
        with cases.thread_count(threads):
            cases.assert_exact(back(max_pool(lay(x), *pool.max_args, **keywords)), y, pool)
            got, indices = max_pool(lay(x), *pool.max_args, return_indices=True, **keywords)
            cases.assert_exact(back(got), y, pool)
            cases.assert_exact(back(indices), places, pool)
            for saved in (None, indices):
                got = max_backward(lay(g), lay(x), *pool.max_args, indices=saved, **keywords)
                cases.assert_exact(back(got), dx, pool)
            got = avg_pool(lay(x), *pool.avg_args, **keywords)
            np.testing.assert_allclose(back(got), mean, rtol=2.1 * eps, err_msg=repr(pool))
            shape = lay(x).shape
            got = avg_backward(lay(h), shape, *pool.avg_args, **keywords)
            bound = 50 * eps * max(1.0, float(np.abs(spread).max(initial=0)))
            np.testing.assert_allclose(back(got), spread, rtol=0, atol=bound, err_msg=repr(pool))
            assert got.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dims", DIMS)
def test_random_pools_of_every_dimension(dims, dtype, threads):
    for seed in range(60):
        check(Pool(dims, seed), dtype, threads)


@pytest.mark.parametrize("dims", DIMS)
def test_layouts_threads_and_indices_leave_every_bit(dims):
    """N(0, 1) data, signed zeros, infinities and NaN: the same bytes, however they are laid out."""
    max_pool, max_backward, avg_pool, avg_backward = functions(fastconv, dims)
    for seed in range(60, 110):
        pool = Pool(dims, seed)
        x = pool.input(normal=True)
        flat = x.reshape(-1)
        for value in (0.0, -0.0, -np.inf, np.inf, np.nan):
            flat[pool.rng.integers(0, flat.size, flat.size // 9)] = value
        clean = pool.input(normal=True)
        y = max_pool(x, *pool.max_args)
        g = pool.like(y, normal=True)
        h = pool.like(avg_pool(x, *pool.avg_args), normal=True)
        results = []
        for lay, back, layout in (
            (np.asarray, np.asarray, FORMATS[dims][0]),
            (last, first, FORMATS[dims][1]),
            (np.asfortranarray, np.asarray, FORMATS[dims][0]),
        ):
            for threads in (1, 2):
                keywords = {"data_format": layout}
                with cases.thread_count(threads):
                    got, _ = max_pool(lay(x), *pool.max_args, return_indices=True, **keywords)
                    results.append(
                        [
                            back(a).tobytes()
                            for a in (
                                got,
                                max_pool(lay(x), *pool.max_args, **keywords),
                                avg_pool(lay(clean), *pool.avg_args, **keywords),
                                max_backward(lay(g), lay(x), *pool.max_args, **keywords),
                                avg_backward(lay(h), lay(x).shape, *pool.avg_args, **keywords),
                            )
                        ]
                    )
        for other in results[1:]:
            same = [a == b for a, b in zip(results[0], other, strict=True)]
            assert all(same), f"{pool}: {same}"
        nan = np.isnan(np.frombuffer(results[0][0], np.float32))
        same = results[0][0] == results[0][1]
        assert same or nan.any(), pool  # NaNs may be other NaNs


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("dims", DIMS)
def test_nothing_outside_the_arrays_is_touched(dims, side):
    max_pool, max_backward, avg_pool, avg_backward = functions(fastconv, dims)
    for seed, layout in itertools.product(range(110, 130), (0, 1)):
        pool = Pool(dims, seed)
        lay = (np.asarray, last)[layout]
        keywords = {"data_format": FORMATS[dims][layout]}
        x = guard.array(lay(pool.input()), side)
        expected, places = max_pool(x, *pool.max_args, return_indices=True, **keywords)
        out = guard.empty(expected.shape, np.float32, side)
        cases.assert_exact(max_pool(x, *pool.max_args, out=out, **keywords), expected)
        max_pool(x, *pool.max_args, return_indices=True, out=out, **keywords)
        g = guard.array(pool.like(expected), side)
        saved = guard.array(places, side)
        dx = max_backward(g, x, *pool.max_args, **keywords)
        cases.assert_exact(max_backward(g, x, *pool.max_args, indices=saved, **keywords), dx)
        mean = avg_pool(x, *pool.avg_args, **keywords)
        out = guard.empty(mean.shape, np.float32, side)
        cases.assert_exact(avg_pool(x, *pool.avg_args, out=out, **keywords), mean)
        avg_backward(guard.array(mean, side), x.shape, *pool.avg_args, **keywords)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("width", [7, 8, 17, 18, 23, 28, 30, 31, 34, 66])
def test_windows_that_tile_rows(width, layout, threads):
    """Vectors that end with a row, overlap the one before or spill over the next row."""
    max_pool, max_backward, avg_pool, avg_backward = functions(fastconv, 2)
    ref_max, ref_max_backward, ref_avg, ref_avg_backward = functions(reference, 2)
    lay, back = ((np.asarray, np.asarray), (last, first))[layout]
    keywords = {"data_format": FORMATS[2][layout]}
    rng = np.random.default_rng(width)
    for height, padding, side in itertools.product((4, 7), (0, 1), guard.SIDES):
        x = rng.integers(-3, 4, (2, 11, height, width)).astype(np.float32)
        args = (2, 2, padding)
        y, places = ref_max(x, *args, return_indices=True)
        g = rng.integers(-9, 9, y.shape).astype(np.float32)
        a, b = guard.array(lay(x), side), guard.array(lay(g), side)
        got, indices = max_pool(a, *args, return_indices=True, **keywords)
        cases.assert_exact(back(got), y)
        cases.assert_exact(back(indices), places)
        cases.assert_exact(back(max_pool(a, *args, **keywords)), y)
        cases.assert_exact(back(avg_pool(a, *args, **keywords)), ref_avg(x, *args))
        dx = ref_max_backward(g, x, *args)
        for saved in (None, guard.array(indices, side)):
            got = max_backward(b, a, *args, indices=saved, **keywords)
            cases.assert_exact(back(got), dx)
        got = avg_backward(b, a.shape, *args, **keywords)
        cases.assert_exact(back(got), ref_avg_backward(g, x.shape, *args))
        stray = places.copy()
        stray[1, 3, 0, -1] = 0  # not in its own window, though in the plane
        got = max_backward(b, a, *args, indices=guard.array(lay(stray), side), **keywords)
        cases.assert_exact(back(got), ref_max_backward(g, x, *args, indices=stray))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", [0, 1])
def test_gradients_add_in_row_major_order(layout, dtype, threads):
    """Of overlapping windows, with or without indices: the bits of a loop over the windows."""
    lay, back = ((np.asarray, np.asarray), (last, first))[layout]
    keywords = {"data_format": FORMATS[2][layout]}
    for kernel, stride, padding, size in ((3, 1, 1, 9), (3, 2, 1, 12), (3, 2, 0, 33), (5, 1, 2, 8)):
        rng = np.random.default_rng(kernel * size)
        x = rng.integers(0, 3, (1, 19, size, size)).astype(dtype)
        args = (kernel, stride, padding)
        y, places = fastconv.max_pool2d(x, *args, return_indices=True)
        g = rng.standard_normal(y.shape).astype(dtype)
        expected = np.zeros((19, size * size), dtype)
        for plane, place, share in zip(expected, places[0], g[0], strict=True):
            np.add.at(plane, place.ravel(), share.ravel())
        for saved in (None, lay(places)):
            dx = fastconv.max_pool2d_backward(lay(g), lay(x), *args, indices=saved, **keywords)
            assert back(dx).tobytes() == expected.tobytes(), args


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("planes", [1, 9, 16, 21, 40])
def test_windows_that_are_whole_planes(planes, side, threads):
    x = np.random.default_rng(planes).integers(-9, 9, (1, planes, 5, 7)).astype(np.float32)
    guarded = guard.array(x, side)
    args = ((5, 7),)
    y, places = reference.max_pool2d(x, *args, return_indices=True)
    out = guard.empty(y.shape, np.float32, side)
    got, indices = fastconv.max_pool2d(guarded, *args, return_indices=True, out=out)
    cases.assert_exact(got, y)
    cases.assert_exact(indices, places)
    cases.assert_exact(
        fastconv.avg_pool2d(guarded, *args, divisor_override=8, out=out),
        reference.avg_pool2d(x, *args, divisor_override=8),
    )
    g = guard.array(y, side)
    dx = reference.max_pool2d_backward(y, x, *args)
    cases.assert_exact(fastconv.max_pool2d_backward(g, guarded, *args), dx)
    cases.assert_exact(fastconv.max_pool2d_backward(g, guarded, *args, indices=places), dx)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(7, 7), (1, 5), (2, 3), (20, 9), (3, 4, 5)], ids=str)
def test_sums_of_whole_planes_are_added_in_order(size, dtype, threads):
    """Rows from left to right, those results from top to bottom, then slices; in either layout."""
    x = np.random.default_rng(0).standard_normal((2, 21, *size)).astype(dtype)
    expected = x
    for _ in size:  # accumulate adds one after the other
        expected = np.add.accumulate(expected, -1)[..., -1]
    expected = expected * (1 / np.dtype(dtype).type(math.prod(size)))
    pool = getattr(fastconv, f"avg_pool{len(size)}d")
    y = pool(x, size, 1)
    assert y.tobytes() == expected.astype(dtype).tobytes()
    z = pool(
        np.ascontiguousarray(np.moveaxis(x, 1, -1)), size, 1, data_format=FORMATS[len(size)][1]
    )
    assert z.tobytes() == y.tobytes()


# ---- by hand ------------------------------------------------------------------------------------


def test_one_axis_by_hand():
    x = np.array([[1, 5, 2, 0, 7]], np.float32)
    y, indices = fastconv.max_pool1d(x, 3, 1, 1, return_indices=True)
    assert y.tolist() == [[5, 5, 5, 7, 7]]
    assert indices.tolist() == [[1, 1, 1, 4, 4]]
    dx = fastconv.max_pool1d_backward(np.array([[1, 2, 4, 8, 16]], np.float32), x, 3, 1, 1)
    assert dx.tolist() == [[0, 7, 0, 0, 24]]
    assert fastconv.avg_pool1d(x, 2, 1).tolist() == [[3, 3.5, 1, 3.5]]
    dx = fastconv.avg_pool1d_backward(np.array([[2, 4, 6, 8]], np.float32), (1, 5), 2, 1)
    assert dx.tolist() == [[1, 3, 5, 7, 4]]


def test_three_axes_by_hand():
    x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(1, 2, 3, 4)
    x[0, 0, 1, 1] = 99
    y, indices = fastconv.max_pool3d(x, (2, 2, 2), return_indices=True)
    assert y.tolist() == [[[[99, 19]]]]
    assert indices.tolist() == [[[[5, 19]]]]  # flat in D * H * W
    assert fastconv.avg_pool3d(x, (2, 3, 4)).item() == (x.sum() / 24).item()
    dx = fastconv.avg_pool3d_backward(np.ones((1, 1, 1, 1), np.float32), x.shape, (2, 3, 4))
    assert (dx == np.float32(1 / 24)).all()


@pytest.mark.parametrize("dims", DIMS)
def test_saved_indices_may_come_from_elsewhere(dims):
    """Anywhere in the plane they add; outside of it they raise."""
    shape = (2, 3, *(6,) * dims)
    x = np.zeros(shape, np.float32)
    _, backward, _, _ = functions(fastconv, dims)
    output = (2, 3, *(3,) * dims)
    g = np.ones(output, np.float32)
    plane = 6**dims
    indices = np.random.default_rng(0).integers(-1, plane, output)
    expected = functions(reference, dims)[1](g, x, 2, indices=indices)
    cases.assert_exact(backward(g, x, 2, indices=indices), expected)
    for wrong in (plane, -2, 2**32, 2**32 + 1, -(2**40)):
        bad = indices.copy()
        bad.reshape(-1)[-1] = wrong
        with pytest.raises(ValueError, match="indices"):
            backward(g, x, 2, indices=bad)


@pytest.mark.parametrize("data_format", FORMATS[2])
@pytest.mark.parametrize("kernel", [5, 9, 13])
def test_large_windows(kernel, data_format, threads):
    """Windows that are folded along one axis after the other, of the planes of a detector."""
    lay = np.asarray if data_format == "NCHW" else last
    back = np.asarray if data_format == "NCHW" else first
    rng = np.random.default_rng(kernel)
    x = rng.integers(-9, 9, (1, 20, 20, 20)).astype(np.float32)
    args = (kernel, 1, kernel // 2)
    y, places = reference.max_pool2d(x, *args, return_indices=True)
    got, indices = fastconv.max_pool2d(lay(x), *args, return_indices=True, data_format=data_format)
    cases.assert_exact(back(got), y)
    cases.assert_exact(back(indices), places)
    g = rng.integers(-9, 9, y.shape).astype(np.float32)
    dx = fastconv.max_pool2d_backward(lay(g), lay(x), *args, data_format=data_format)
    cases.assert_exact(back(dx), reference.max_pool2d_backward(g, x, *args))


@pytest.mark.parametrize("data_format", FORMATS[2])
def test_global_pools(data_format, threads):
    lay = np.asarray if data_format == "NCHW" else last
    back = np.asarray if data_format == "NCHW" else first
    x = np.random.default_rng(0).integers(-9, 9, (3, 37, 7, 7)).astype(np.float32)
    y = fastconv.avg_pool2d(lay(x), 7, divisor_override=8, data_format=data_format)
    cases.assert_exact(back(y), x.sum((2, 3), keepdims=True) / 8)
    y = fastconv.max_pool2d(lay(x), 7, data_format=data_format)
    cases.assert_exact(back(y), x.max((2, 3), keepdims=True))
    g = np.random.default_rng(1).integers(-9, 9, (3, 37, 1, 1)).astype(np.float32)
    dx = fastconv.avg_pool2d_backward(
        lay(g), lay(x).shape, 7, divisor_override=8, data_format=data_format
    )
    cases.assert_exact(back(dx), np.broadcast_to(g / 8, x.shape))
    dx = fastconv.max_pool2d_backward(lay(g), lay(x), 7, data_format=data_format)
    cases.assert_exact(back(dx), reference.max_pool2d_backward(g, x, 7))


def test_a_long_signal_is_cut_into_blocks():
    x = np.random.default_rng(0).integers(-99, 99, (1, 1, 300_001)).astype(np.float32)
    for args in ((3, 1, 1), (3, 2, 1), (2,), (5, 3)):
        expected, places = reference.max_pool1d(x, *args, return_indices=True)
        y, indices = fastconv.max_pool1d(x, *args, return_indices=True)
        cases.assert_exact(y, expected)
        cases.assert_exact(indices, places)
        assert math.isfinite(float(fastconv.avg_pool1d(x, *args).sum()))
