"""Promise: maxima of float16 are those of the same numbers in float32, for every bit pattern."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
import guard
from cases import POOL_CASES

PATTERNS = np.arange(2**16, dtype=np.uint16).view(np.float16)
FORMATS = ("NCHW", "NHWC")


def max_pool(x, case, **kwargs):
    return fastconv.max_pool2d(
        x,
        case.kernel_size,
        case.stride,
        case.padding,
        case.dilation,
        case.ceil_mode,
        data_format=case.data_format,
        **kwargs,
    )


def assert_same(got, wide):
    """The same bits; of a NaN no more than that it is one."""
    wanted = wide.astype(np.float16)  # exact: each maximum is one of the halves
    assert got.dtype == np.float16
    numbers = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(got), ~numbers)
    bits = np.ascontiguousarray(got).view(np.uint16), wanted.view(np.uint16)
    np.testing.assert_array_equal(bits[0][numbers], bits[1][numbers])


def check(x, case):
    assert_same(max_pool(x, case), max_pool(x.astype(np.float32), case))
    values, indices = max_pool(x, case, return_indices=True)
    wide, places = max_pool(x.astype(np.float32), case, return_indices=True)
    assert_same(values, wide)
    np.testing.assert_array_equal(indices, places)


def numbers(shape, seed=0):
    """Ties, zeros of both signs, infinities, subnormals and a few NaN."""
    rng = np.random.default_rng(seed)
    few = np.array([0, -0.0, 1, -1, 2, 6e-8, -6e-8, np.inf, -np.inf], np.float16)
    x = rng.choice(few, shape)
    x[rng.random(shape) < 0.01] = np.nan
    return x


@pytest.mark.parametrize("data_format", FORMATS)
def test_every_bit_pattern(data_format, threads):
    case = cases.PoolCase("", (1, 4, 256, 256), 2, data_format=data_format)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rng.permutation(np.tile(PATTERNS, 4)).reshape(case.input_shape)
        check(x, case)
    # And against its neighbours in the order of numbers.
    finite = np.sort(PATTERNS[np.isfinite(PATTERNS)])
    x = np.stack([finite[:-1], finite[1:]], -1).reshape(1, 1, -1, 2)
    y = fastconv.max_pool2d(x, (1, 2)).ravel()
    np.testing.assert_array_equal(y, finite[1:])


def test_a_window_of_one_element_keeps_its_bits():
    x = PATTERNS.reshape(1, 1, 256, 256)
    y = fastconv.max_pool2d(x, 1)
    numbers = ~np.isnan(x)
    assert np.isnan(y[~numbers]).all()
    np.testing.assert_array_equal(y.view(np.uint16)[numbers], x.view(np.uint16)[numbers])


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_every_window(case, data_format, threads):
    case = case.replace(data_format=data_format)
    check(numbers(case.input_shape), case)


# More than a block: planes, rows of one plane whose windows overlap, one long row, one long column.
LARGE = [
    cases.PoolCase(name, shape, *window)
    for name, shape, window in (
        ("many_planes", (30, 40, 19, 21), (2,)),
        ("large_planes", (2, 3, 500, 401), (3, 2, 1)),
        ("overlapping", (1, 5, 400, 300), (5, 1, 2)),
        ("dilated", (1, 5, 400, 300), (3, 1, 4, 4)),
        ("tall_windows", (1, 2, 600, 300), ((300, 2), 1)),
        ("one_row", (2, 2, 1, 300_001), ((1, 3), (1, 2))),
        ("one_column", (2, 2, 200_001, 1), ((3, 1), (2, 1))),
        ("rows_of_padding", (1, 3, 1, 50_000), ((3, 2), 1, 1)),
        ("unbatched", (70, 90, 90), (3, 2, 1)),
    )
]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_blocks(case, data_format, threads):
    case = case.replace(data_format=data_format)
    check(numbers(case.input_shape), case)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("last", [0, 1])
def test_one_and_three_dimensions(axes, last, threads):
    size = (50_001,) if axes == 1 else (30, 61, 62)
    pool = getattr(fastconv, f"max_pool{axes}d")
    data_format = cases.FORMATS[axes][last]
    x = numbers(cases.shape_in((2, 3, *size), data_format))
    for window in ((2,), (3, 2, 1), (3, 1, 1)):
        values, indices = pool(x, *window, return_indices=True, data_format=data_format)
        wide = pool(x.astype(np.float32), *window, return_indices=True, data_format=data_format)
        assert_same(values, wide[0])
        np.testing.assert_array_equal(indices, wide[1])
        assert_same(pool(x, *window, data_format=data_format), wide[0])


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 70)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    ceil_mode=st.booleans(),
    data_format=st.sampled_from(FORMATS),
)
def test_any_shape(shape, kernel, stride, ceil_mode, data_format):
    padding = tuple(k - 1 for k in kernel)
    case = cases.PoolCase("", shape, kernel, stride, padding, 1, ceil_mode, data_format=data_format)
    check(numbers(case.input_shape), case)


@pytest.mark.parametrize("how", cases.AWKWARD)
@pytest.mark.parametrize("data_format", FORMATS)
def test_awkward_arrays(data_format, how):
    for shape in ((2, 3, 17, 18), (2, 3, 300, 301)):
        case = cases.PoolCase("", shape, 3, 2, 1, data_format=data_format)
        x = numbers(case.input_shape)
        assert_same(max_pool(cases.AWKWARD[how](x), case), max_pool(x.astype(np.float32), case))


@pytest.mark.parametrize("how", cases.AWKWARD_OUT)
@pytest.mark.parametrize("data_format", FORMATS)
def test_out(data_format, how):
    case = cases.PoolCase("", (2, 33, 17, 18), 3, 2, 1, data_format=data_format)
    x = numbers(case.input_shape)
    wanted = max_pool(x.astype(np.float32), case)
    out = cases.AWKWARD_OUT[how](np.zeros(wanted.shape, np.float16))
    assert max_pool(x, case, out=out) is out
    assert_same(out, wanted)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("how", guard.MAKERS)
def test_nothing_outside_the_arrays_is_touched(how, side):
    windows = ((2,), (3, 2, 1), (3, 1, 1), (5, 1, 2))
    shapes = ((2, 3, 17, 19), (1, 1, 33, 32), (1, 40, 5, 6), (1, 2, 300, 301))
    for shape, window, data_format in itertools.product(shapes, windows, FORMATS):
        case = cases.PoolCase("", shape, *window, data_format=data_format)
        x = numbers(case.input_shape)
        wanted = max_pool(x.astype(np.float32), case)
        out = guard.empty(wanted.shape, np.float16, side)
        max_pool(guard.MAKERS[how](x, side), case, out=out)
        assert_same(out, wanted)


def test_out_is_checked():
    x = numbers((1, 2, 8, 8))
    for out in (
        np.empty((1, 2, 4, 4), np.float32),
        np.empty((1, 2, 4, 5), np.float16),
        x[..., :4, :4],
    ):
        with pytest.raises(ValueError, match="out"):
            fastconv.max_pool2d(x, 2, out=out)


def test_no_copy_in_float32(run_python):
    """A batch of 128 MB becomes maxima of 32; in float32 it would take twice its size."""
    source = """
    import resource
    import numpy as np
    import fastconv
    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    x = np.ones((64, 16, 256, 256), np.float16)
    fastconv.max_pool2d(x[:1], 2)
    before = peak()
    y = fastconv.max_pool2d(x, 2)
    print(peak() - before - y.nbytes)
    """
    done = run_python(source=source)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 << 20
