"""The reference is what the kernels are tested against; this file tests the reference itself.

Four independent oracles: loops written from the definition, the dense matrix of a convolution,
finite differences, and PyTorch where it is installed.  Data are small integers wherever the
arithmetic allows, so that results must be equal, not close.
"""

from __future__ import annotations

import doctest
import inspect
import itertools
import math
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fastconv import reference

few = settings(max_examples=40, deadline=None, derandomize=True, database=None)
pairs = st.tuples
FORMATS = ("NCHW", "NHWC")


# ---------------------------------------------------------------------------------------------
# The definitions as loops.  Nothing here is shared with the code under test.


def window_starts(size, kernel, stride, before, after, dilation, ceil_mode=False) -> list[int]:
    """Where on the axis each window starts, found by laying one after the other."""
    starts = []
    for start in itertools.count(-before, stride):
        end = start + dilation * (kernel - 1) + 1
        previous_reached_the_end = end - stride >= size + after
        if end > size + after and not ceil_mode:
            return starts
        if ceil_mode and (previous_reached_the_end or start >= size):
            return starts
        starts.append(start)


def plane_windows(size, kernel, stride, padding, dilation, ceil_mode=False) -> list[list[int]]:
    """The window starts of both axes."""
    return [
        window_starts(n, k, s, before, after, d, ceil_mode)
        for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]


def loop_conv(x, w, b, stride, padding, dilation, groups):
    """Seven loops: n, o, p, q, c, i, j."""
    (batch, _, height, width), (kernels, channels, *kernel) = x.shape, w.shape
    rows, cols = plane_windows((height, width), kernel, stride, padding, dilation)
    y = np.zeros((batch, kernels, len(rows), len(cols)))
    for n in range(batch):
        for o in range(kernels):
            for p, top in enumerate(rows):
                for q, left in enumerate(cols):
                    total = 0.0 if b is None else float(b[o])
                    for c in range(channels):
                        for i in range(kernel[0]):
                            for j in range(kernel[1]):
                                h, v = top + i * dilation[0], left + j * dilation[1]
                                if 0 <= h < height and 0 <= v < width:
                                    source = o // (kernels // groups) * channels + c
                                    total += float(w[o, c, i, j]) * float(x[n, source, h, v])
                    y[n, o, p, q] = total
    return y


def loop_windows(x, kernel, stride, padding, dilation, ceil_mode) -> Iterator[tuple[Any, list]]:
    """Every output position with the positions of its taps, (inside the plane?, h, w)."""
    (N, C, H, W) = x.shape
    rows, cols = plane_windows((H, W), kernel, stride, padding, dilation, ceil_mode)
    for n, c, p, q in itertools.product(range(N), range(C), range(len(rows)), range(len(cols))):
        taps = [
            (rows[p] + i * dilation[0], cols[q] + j * dilation[1])
            for i in range(kernel[0])
            for j in range(kernel[1])
        ]
        yield (n, c, p, q), [(0 <= h < H and 0 <= w < W, h, w) for h, w in taps]


def loop_max_pool(x, kernel, stride, padding, dilation, ceil_mode):
    rows, cols = plane_windows(x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    y = np.full((*x.shape[:2], len(rows), len(cols)), -np.inf, x.dtype)
    index = np.full(y.shape, -1, np.int64)
    for at, taps in loop_windows(x, kernel, stride, padding, dilation, ceil_mode):
        seen = [(float(x[*at[:2], h, w]), h * x.shape[3] + w) for inside, h, w in taps if inside]
        nans = [place for value, place in seen if math.isnan(value)]
        if nans:
            y[at], index[at] = math.nan, nans[0]
        elif seen:
            y[at] = max(value for value, _ in seen)
            index[at] = next(place for value, place in seen if value == y[at])
    return y, index


def loop_avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override):
    """The mean in float64, and the divisor of every window."""
    rows, cols = plane_windows(x.shape[2:], kernel, stride, padding, (1, 1), ceil_mode)
    y = np.zeros((*x.shape[:2], len(rows), len(cols)))
    divisors = np.zeros(y.shape, int)
    (H, W), ((top, bottom), (left, right)) = x.shape[2:], padding
    for at, taps in loop_windows(x, kernel, stride, padding, (1, 1), ceil_mode):
        total = sum(float(x[*at[:2], h, w]) for inside, h, w in taps if inside)
        in_padded = [-top <= h < H + bottom and -left <= w < W + right for _, h, w in taps]
        counted = in_padded if count_include_pad else [inside for inside, _, _ in taps]
        divisors[at] = sum(counted) if divisor_override is None else divisor_override
        y[at] = total / divisors[at]
    return y, divisors


# ---------------------------------------------------------------------------------------------
# Random problems.


@dataclass
class Conv:
    input: np.ndarray
    weight: np.ndarray
    bias: np.ndarray | None
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int

    @property
    def where(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def matrix(self, weight: np.ndarray | None = None) -> np.ndarray:
        weight = self.weight if weight is None else weight
        return reference.convolution_matrix(weight, self.input.shape[1:], **self.where)


@dataclass
class Pool:
    input: np.ndarray
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    ceil_mode: bool

    @property
    def max_arguments(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode

    @property
    def avg_arguments(self) -> tuple[Any, ...]:
        return self.kernel_size, self.stride, self.padding, self.ceil_mode


def integers(rng: np.random.Generator, *shape: int, high: int = 4) -> np.ndarray:
    return rng.integers(-high, high + 1, shape).astype(np.float32)


generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@st.composite
def axes_(
    draw, max_padding: Callable[[int, int], int], dilated: bool = True, symmetric: bool = False
):
    """(size, kernel, stride, (before, after), dilation) of one axis with room for a window."""
    kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 3)) if dilated else 1
    span = dilation * (kernel - 1) + 1
    before, after = draw(pairs(*[st.integers(0, max_padding(kernel, span))] * 2))
    after = before if symmetric else after
    size = draw(st.integers(max(1, span - before - after), 8))
    return size, kernel, stride, (before, after), dilation


@st.composite
def convs(draw, symmetric: bool = False):
    axis = axes_(lambda kernel, span: 3, symmetric=symmetric)
    size, kernel, stride, padding, dilation = zip(draw(axis), draw(axis), strict=True)
    groups, inputs, outputs = draw(pairs(*[st.integers(1, 2)] * 3))
    batch, biased, rng = draw(st.integers(1, 2)), draw(st.booleans()), draw(generators)
    weight = integers(rng, groups * outputs, inputs, *kernel)
    return Conv(
        integers(rng, batch, groups * inputs, *size),
        weight,
        integers(rng, len(weight)) if biased else None,
        stride,
        padding,
        dilation,
        groups,
    )


@st.composite
def pools(draw, dilated: bool = True, for_torch: bool = False):
    """Padding below the span of a window, or, `for_torch`, up to half a kernel."""
    axis = axes_(
        lambda kernel, span: kernel // 2 if for_torch else span - 1, dilated, symmetric=for_torch
    )
    size, kernel, stride, padding, dilation = zip(draw(axis), draw(axis), strict=True)
    batch, channels, rng = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(generators)
    x = integers(rng, batch, channels, *size, high=draw(st.sampled_from([1, 4, 100])))
    return Pool(x, kernel, stride, padding, dilation, draw(st.booleans()))


averages = st.fixed_dictionaries(
    {
        "count_include_pad": st.booleans(),
        "divisor_override": st.sampled_from([None, None, 1, 2, -3]),
    }
)


def as_format(array: np.ndarray, data_format: str) -> np.ndarray:
    return array if data_format == "NCHW" else np.moveaxis(array, 1, -1)


def numeric_gradient(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences of a scalar function, entry by entry."""
    gradient, step = np.zeros(at.shape), 2.0**-10
    for index in np.ndindex(at.shape):
        values = []
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            values.append(loss(moved))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


# ---------------------------------------------------------------------------------------------
# Convolution.


@few
@given(convs(), st.sampled_from(FORMATS), st.sampled_from([None, "relu"]))
def test_conv2d_is_its_seven_loops(problem, data_format, activation):
    x, w, b = problem.input, problem.weight, problem.bias
    expected = loop_conv(x, w, b, *problem.where.values())
    expected = expected if activation is None else np.where(expected > 0, expected, 0)
    y = reference.conv2d(
        as_format(x, data_format),
        w,
        b,
        **problem.where,
        data_format=data_format,
        activation=activation,
    )
    assert y.dtype == np.float32
    assert y.flags.c_contiguous
    assert_array_equal(y, as_format(expected, data_format))


@few
@given(convs())
def test_convolution_matrix_is_the_seven_loops(problem):
    expected = loop_conv(problem.input, problem.weight, None, *problem.where.values())
    matrix = problem.matrix()
    assert matrix.dtype == np.float32
    for x, y in zip(problem.input, expected, strict=True):
        assert_array_equal(matrix @ x.ravel(), y.ravel())


@few
@given(convs(), st.sampled_from(FORMATS), generators)
def test_conv2d_and_its_gradients_are_the_dense_matrix(problem, data_format, rng):
    """y = M x, dx = Mᵀ dy; and M is linear in the weight, so dw[k] = dyᵀ M(e_k) x."""
    x, w = problem.input, problem.weight
    matrix = problem.matrix()
    y = reference.conv2d(x, w, **problem.where)
    assert_array_equal(y.reshape(len(x), -1), x.reshape(len(x), -1) @ matrix.T)

    dy = integers(rng, *y.shape)
    dx, dw, db = reference.conv2d_backward(
        as_format(dy, data_format),
        as_format(x, data_format),
        w,
        **problem.where,
        data_format=data_format,
    )
    expected_dx = (dy.reshape(len(x), -1) @ matrix).reshape(x.shape)
    expected_dw = np.zeros_like(w)
    for k in range(w.size):
        unit = np.zeros_like(w)
        unit.flat[k] = 1
        image = x.reshape(len(x), -1) @ problem.matrix(unit).T
        expected_dw.flat[k] = (dy.reshape(len(x), -1) * image).sum()
    assert_array_equal(dx, as_format(expected_dx, data_format))
    assert_array_equal(dw, expected_dw)
    assert_array_equal(db, dy.sum(axis=(0, 2, 3)))
    assert dx.dtype == dw.dtype == db.dtype == np.float32


@pytest.mark.parametrize("padding", [0, (2, 1), ((0, 2), (1, 0)), "same", "same_lower"])
@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), ((2, 1), (1, 2), 2)])
def test_conv2d_backward_is_the_finite_difference(padding, stride, dilation, groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 2, 5, 6)), rng.standard_normal((4, 2 // groups, 2, 3))
    where = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    b = rng.standard_normal(4)
    dy = rng.standard_normal(reference.conv2d(x, w, b, **where).shape)
    gradients = reference.conv2d_backward(dy, x, w, **where)
    losses = (
        lambda x: (reference.conv2d(x, w, b, **where) * dy).sum(),
        lambda w: (reference.conv2d(x, w, b, **where) * dy).sum(),
        lambda b: (reference.conv2d(x, w, b, **where) * dy).sum(),
    )
    for gradient, loss, at in zip(gradients, losses, (x, w, b), strict=True):
        assert_allclose(gradient, numeric_gradient(loss, at), rtol=0, atol=1e-9)


def test_flipping_the_kernel_gives_the_convolution_of_mathematics():
    x, w = np.array([1.0, 2.0, 5.0, -1.0]), np.array([1.0, 10.0, 100.0])
    y = reference.conv2d(x[None, None], w[None, None, None, ::-1], padding=(0, 2))
    assert_array_equal(y[0, 0], np.convolve(x, w))


@pytest.mark.parametrize("mask", list(itertools.product([False, True], repeat=3)))
def test_output_mask_leaves_none(mask):
    rng = np.random.default_rng(0)
    x, w, dy = integers(rng, 1, 2, 4, 4), integers(rng, 3, 2, 3, 3), integers(rng, 1, 3, 2, 2)
    every = reference.conv2d_backward(dy, x, w)
    for wanted, gradient, full in zip(
        mask, reference.conv2d_backward(dy, x, w, output_mask=mask), every, strict=True
    ):
        if wanted:
            assert_array_equal(gradient, full)
        else:
            assert gradient is None


# ---------------------------------------------------------------------------------------------
# im2col, col2im and padding.


@few
@given(convs())
def test_im2col_holds_every_tap_of_every_window(problem):
    x, kernel = problem.input, problem.weight.shape[2:]
    columns = reference.im2col(x, kernel, problem.stride, problem.padding, problem.dilation)
    arguments = (kernel, problem.stride, problem.padding, problem.dilation, False)
    rows, cols = plane_windows(x.shape[2:], *arguments[:-1])
    expected = np.zeros((*x.shape[:2], math.prod(kernel), len(rows), len(cols)), x.dtype)
    for (n, c, p, q), taps in loop_windows(x, *arguments):
        expected[n, c, :, p, q] = [x[n, c, h, w] if inside else 0 for inside, h, w in taps]
    shape = (len(x), x.shape[1] * math.prod(kernel), len(rows) * len(cols))
    assert_array_equal(columns, expected.reshape(shape))
    assert columns.dtype == x.dtype


@few
@given(convs(), generators)
def test_col2im_is_the_transpose_of_im2col(problem, rng):
    """<im2col(e), z> = <e, col2im(z)> for every unit vector e, so for every x."""
    x, kernel = problem.input[:1, :1], problem.weight.shape[2:]
    where = (kernel, problem.stride, problem.padding, problem.dilation)
    z = integers(rng, *reference.im2col(x, *where).shape)
    expected = np.zeros_like(x)
    for k in range(x.size):
        unit = np.zeros_like(x)
        unit.flat[k] = 1
        expected.flat[k] = (reference.im2col(unit, *where) * z).sum()
    assert_array_equal(reference.col2im(z, x.shape, *where), expected)


@pytest.mark.parametrize("size", [(7,), (4, 5, 6)])
def test_columns_of_any_number_of_axes(size):
    """With unit axes around it, a problem of other dimension is the same problem."""
    x = np.arange(2 * math.prod(size)).reshape(1, 2, *size)
    columns = reference.im2col(x, 3, 2, 1)
    assert columns.shape == (1, 2 * 3 ** len(size), math.prod((n + 1) // 2 for n in size))
    assert reference.col2im(columns, x.shape, 3, 2, 1).shape == x.shape
    if len(size) == 1:
        assert_array_equal(columns, reference.im2col(x[:, :, None], (1, 3), 2, ((0, 0), (1, 1))))


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (2, ((2, 2), (2, 2))),
        (np.int64(2), ((2, 2), (2, 2))),
        ((1, 0), ((1, 1), (0, 0))),
        ([1, 0], ((1, 1), (0, 0))),
        (np.array([1, 0]), ((1, 1), (0, 0))),
        (((1, 0), (2, 3)), ((1, 0), (2, 3))),
        (np.array([[1, 0], [2, 3]]), ((1, 0), (2, 3))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((0, 1), (1, 1))),
        ("same_lower", ((1, 0), (1, 1))),
    ],
)
def test_spellings_of_padding(padding, expected):
    assert reference.normalise_padding(padding, (5, 6), (2, 3)) == expected


@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 6),
    dilation=st.integers(1, 4),
)
@few
def test_same_padding_gives_ceil_of_size_over_stride(size, kernel, stride, dilation):
    arguments = ((size,), kernel, stride, dilation)
    ((before, after),) = reference.normalise_padding("same", *arguments)
    assert after - before in (0, 1)
    assert reference.normalise_padding("same_lower", *arguments) == ((after, before),)
    starts = window_starts(size, kernel, stride, before, after, dilation)
    assert len(starts) == -(-size // stride)
    if after:  # no more than needed
        fewer = window_starts(size, kernel, stride, before, after - 1, dilation)
        assert len(fewer) < len(starts)


@pytest.mark.parametrize(
    ("padding", "error"),
    [
        (-1, ValueError),
        ((1, 2, 3), ValueError),
        ((1,), ValueError),
        (((1, 2),), ValueError),
        (((1, 2), (3, -4)), ValueError),
        (((1, 2, 3), (1, 2, 3)), ValueError),
        ("full", ValueError),
        ("SAME", ValueError),
        (1.0, TypeError),
        ((1, 2.5), TypeError),
        (((1, 2), 3), TypeError),
        (None, TypeError),
    ],
)
def test_impossible_paddings(padding, error):
    x, w = np.ones((1, 1, 8, 8)), np.ones((1, 1, 3, 3))
    with pytest.raises(error, match="padding"):
        reference.conv2d(x, w, padding=padding)
    with pytest.raises(error, match="padding"):
        reference.max_pool2d(x, 3, padding=padding)
    with pytest.raises(error, match="padding"):
        reference.avg_pool2d(x, 3, padding=padding)


# ---------------------------------------------------------------------------------------------
# Pooling.


@few
@given(pools(), st.sampled_from(FORMATS), st.sampled_from([0, 0.2, 1]), generators)
def test_max_pool2d_is_its_loops(problem, data_format, specials, rng):
    """Ties are frequent in small integers; NaN and -inf are sprinkled in."""
    x = problem.input
    chosen = rng.random(x.shape) < specials
    x[chosen] = rng.choice([np.nan, -np.inf, np.inf], size=chosen.sum(), p=[0.3, 0.6, 0.1])
    expected, places = loop_max_pool(x, *problem.max_arguments)
    arguments = (as_format(x, data_format), *problem.max_arguments)
    y, index = reference.max_pool2d(*arguments, return_indices=True, data_format=data_format)
    assert_array_equal(y, as_format(expected, data_format))
    assert_array_equal(index, as_format(places, data_format))
    assert_array_equal(reference.max_pool2d(*arguments, data_format=data_format), y)
    assert y.dtype == np.float32
    assert index.dtype == np.int64
    assert y.flags.c_contiguous
    assert index.flags.c_contiguous


@few
@given(pools(), st.sampled_from(FORMATS), generators, st.booleans())
def test_max_pool2d_backward_is_its_loops(problem, data_format, rng, given_indices):
    x = problem.input
    _, places = loop_max_pool(x, *problem.max_arguments)
    dy = integers(rng, *places.shape)
    expected = np.zeros_like(x)
    for (n, c, p, q), place in np.ndenumerate(places):
        if place >= 0:
            expected[n, c, place // x.shape[3], place % x.shape[3]] += dy[n, c, p, q]
    dx = reference.max_pool2d_backward(
        as_format(dy, data_format),
        as_format(x, data_format),
        *problem.max_arguments,
        indices=as_format(places, data_format) if given_indices else None,
        data_format=data_format,
    )
    assert_array_equal(dx, as_format(expected, data_format))
    assert dx.dtype == np.float32


@few
@given(pools(dilated=False), averages, st.sampled_from(FORMATS))
def test_avg_pool2d_is_its_loops(problem, options, data_format):
    expected, _ = loop_avg_pool(problem.input, *problem.avg_arguments, **options)
    y = reference.avg_pool2d(
        as_format(problem.input, data_format),
        *problem.avg_arguments,
        **options,
        data_format=data_format,
    )
    # The sums are exact, and so is the rounding of a quotient.
    assert_array_equal(y, as_format(expected.astype(np.float32), data_format))
    assert y.dtype == np.float32
    assert y.flags.c_contiguous


@few
@given(pools(dilated=False), averages, st.sampled_from(FORMATS), generators)
def test_avg_pool2d_backward_is_its_loops(problem, options, data_format, rng):
    x = problem.input
    _, divisors = loop_avg_pool(x, *problem.avg_arguments, **options)
    dy = integers(rng, *divisors.shape).astype(np.float64)
    expected = np.zeros(x.shape)
    kernel, stride, padding, ceil_mode = problem.avg_arguments
    for at, taps in loop_windows(x, kernel, stride, padding, (1, 1), ceil_mode):
        for inside, h, w in taps:
            if inside:
                expected[*at[:2], h, w] += dy[at] / divisors[at]
    dx = reference.avg_pool2d_backward(
        as_format(dy, data_format),
        as_format(x, data_format).shape,
        *problem.avg_arguments,
        **options,
        data_format=data_format,
    )
    assert_allclose(dx, as_format(expected, data_format), rtol=0, atol=1e-12)
    assert dx.dtype == np.float64


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("padding", [0, 1, ((1, 0), (0, 2)), "same"])
def test_pool_backward_is_the_finite_difference(padding, ceil_mode):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 7 * 8).reshape(1, 2, 7, 8) / 8.0  # all different, so max is smooth
    for stride in (2, 3):
        common = (3, stride, padding)
        y = reference.max_pool2d(x, *common, 1, ceil_mode)
        dy = rng.standard_normal(y.shape)
        assert_allclose(
            reference.max_pool2d_backward(dy, x, *common, 1, ceil_mode),
            numeric_gradient(
                lambda x, dy=dy, common=common: (
                    reference.max_pool2d(x, *common, 1, ceil_mode) * dy
                ).sum(),
                x,
            ),
            rtol=0,
            atol=1e-9,
        )
        assert_allclose(
            reference.avg_pool2d_backward(dy, x.shape, *common, ceil_mode, False),
            numeric_gradient(
                lambda x, dy=dy, common=common: (
                    reference.avg_pool2d(x, *common, ceil_mode, False) * dy
                ).sum(),
                x,
            ),
            rtol=0,
            atol=1e-9,
        )


def test_ceil_mode_keeps_a_window_that_sticks_out_and_drops_one_that_starts_in_the_padding():
    x = np.arange(1.0, 6.0).reshape(1, 1, 5)
    assert_array_equal(reference.max_pool2d(x, (1, 2), ceil_mode=True), [[[2, 4, 5]]])
    assert_array_equal(reference.max_pool2d(x, (1, 2)), [[[2, 4]]])
    # Padded by one, windows start at -1, 1, 3 and 5; the last one starts in the padding.
    padded = reference.max_pool2d(x, (1, 2), 2, (0, 1), ceil_mode=True)
    assert_array_equal(padded, [[[1, 3, 5]]])


def test_average_counts_the_padding_but_not_what_sticks_out_of_it():
    x = np.full((1, 1, 4), 12.0)
    arguments = (x, (1, 3), 3, ((0, 0), (1, 0)), True)  # windows start at -1 and 2
    assert_array_equal(reference.avg_pool2d(*arguments), [[[8, 12]]])
    assert_array_equal(reference.avg_pool2d(*arguments, count_include_pad=False), [[[12, 12]]])
    assert_array_equal(reference.avg_pool2d(*arguments, divisor_override=4), [[[6, 6]]])


def test_first_of_equals_and_first_nan():
    x = np.array([[[2.0, 7.0, 7.0], [7.0, 1.0, 0.0]]])
    assert reference.max_pool2d(x, (2, 3), return_indices=True)[1] == 1
    x = np.array([[[9.0, np.nan, 3.0], [np.nan, 1.0, 0.0]]])
    y, index = reference.max_pool2d(x, (2, 3), return_indices=True)
    assert np.isnan(y).all()
    assert index == 1


def test_padding_never_wins_even_against_minus_infinity():
    x = np.full((1, 2, 2), -np.inf)
    y, index = reference.max_pool2d(x, 2, 1, 1, return_indices=True)
    assert_array_equal(y, np.full((1, 3, 3), -np.inf))
    assert_array_equal(index, [[[0, 0, 1], [0, 0, 1], [2, 2, 3]]])


def test_a_window_without_a_pixel_gives_minus_infinity_and_no_index():
    """The taps of the only window lie at -1 and 2 of an axis of two pixels."""
    x = np.ones((1, 2, 2))
    y, index = reference.max_pool2d(x, 2, 1, 1, 3, return_indices=True)
    assert_array_equal(y, [[[-np.inf]]])
    assert_array_equal(index, [[[-1]]])
    assert_array_equal(reference.max_pool2d(x, 2, 1, 1, 3), y)
    for indices in (None, index):
        dx = reference.max_pool2d_backward(np.ones((1, 1, 1)), x, 2, 1, 1, 3, indices=indices)
        assert_array_equal(dx, np.zeros((1, 2, 2)))


def test_given_indices_decide_where_the_gradient_goes():
    x, dy = np.arange(16.0).reshape(1, 4, 4), np.array([[[1.0, 2.0], [3.0, 4.0]]])
    indices = np.array([[[0, 0], [15, -1]]], np.int32)
    dx = reference.max_pool2d_backward(dy, x, 2, indices=indices)
    expected = np.zeros((1, 4, 4))
    expected[0, 0, 0], expected[0, 3, 3] = 3, 3
    assert_array_equal(dx, expected)


# ---------------------------------------------------------------------------------------------
# PyTorch.


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@few
@given(problem=convs(symmetric=True))
def test_torch_agrees_on_convolution(torch, problem):
    pads = tuple(before for before, _ in problem.padding)
    x, w = torch.from_numpy(problem.input), torch.from_numpy(problem.weight)
    b = None if problem.bias is None else torch.from_numpy(problem.bias)
    x.requires_grad_(), w.requires_grad_()
    where = problem.where | {"padding": pads}
    y = torch.nn.functional.conv2d(x, w, b, **where)
    dy = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape) % 7 - 3
    y.backward(dy)
    ours = reference.conv2d(problem.input, problem.weight, problem.bias, **where)
    assert_array_equal(ours, y.detach())
    dx, dw, _ = reference.conv2d_backward(dy, problem.input, problem.weight, **where)
    assert_array_equal(dx, x.grad)
    assert_array_equal(dw, w.grad)


@few
@given(problem=convs(symmetric=True))
def test_torch_agrees_on_columns(torch, problem):
    where = {
        "kernel_size": problem.weight.shape[2:],
        "stride": problem.stride,
        "padding": tuple(before for before, _ in problem.padding),
        "dilation": problem.dilation,
    }
    x = problem.input
    columns = reference.im2col(x, **where)
    assert_array_equal(columns, torch.nn.functional.unfold(torch.from_numpy(x), **where))
    folded = torch.nn.functional.fold(torch.from_numpy(columns), x.shape[2:], **where)
    assert_array_equal(reference.col2im(columns, x.shape, **where), folded)


@few
@given(problem=pools(for_torch=True))
def test_torch_agrees_on_max_pooling(torch, problem):
    pads = tuple(before for before, _ in problem.padding)
    arguments = (problem.kernel_size, problem.stride, pads, problem.dilation, problem.ceil_mode)
    x = torch.from_numpy(problem.input).requires_grad_()
    y, index = torch.nn.functional.max_pool2d(x, *arguments, return_indices=True)
    ours, our_index = reference.max_pool2d(problem.input, *arguments, return_indices=True)
    assert_array_equal(ours, y.detach())
    met = our_index >= 0  # torch's index lies outside the plane where a window meets no pixel
    assert_array_equal(our_index[met], index.numpy()[met])
    if met.all():
        dy = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape) % 7 - 3
        y.backward(dy)
        assert_array_equal(reference.max_pool2d_backward(dy, problem.input, *arguments), x.grad)


@few
@given(problem=pools(dilated=False, for_torch=True), options=averages)
def test_torch_agrees_on_average_pooling(torch, problem, options):
    pads = tuple(before for before, _ in problem.padding)
    arguments = (problem.kernel_size, problem.stride, pads, problem.ceil_mode)
    x = torch.from_numpy(problem.input).double().requires_grad_()
    y = torch.nn.functional.avg_pool2d(x, *arguments, **options)
    dy = torch.arange(y.numel(), dtype=y.dtype).reshape(y.shape) % 7 - 3
    y.backward(dy)
    ours = reference.avg_pool2d(problem.input.astype(float), *arguments, **options)
    assert_allclose(ours, y.detach(), rtol=0, atol=1e-12)
    dx = reference.avg_pool2d_backward(dy, tuple(x.shape), *arguments, **options)
    assert_allclose(dx, x.grad, rtol=0, atol=1e-12)


# ---------------------------------------------------------------------------------------------
# Arguments: unbatched samples, dtypes, odd arrays, out=, empty arrays, errors.


def sample_calls() -> list[Any]:
    """(name, function of one NCHW image x that returns arrays in the layout of x)."""
    rng = np.random.default_rng(0)
    w, b = integers(rng, 3, 2, 3, 3), integers(rng, 3)
    conv_dy, pool_dy = integers(rng, 2, 3, 4, 4), integers(rng, 2, 2, 3, 3)

    def like(x: np.ndarray, dy: np.ndarray, data_format: str) -> np.ndarray:
        dy = as_format(dy, data_format).astype(x.dtype)
        return dy if x.ndim == 4 else dy[0]

    return [
        ("conv2d", lambda x, f: reference.conv2d(x, w, b, data_format=f)),
        (
            "conv2d_backward",
            lambda x, f: reference.conv2d_backward(
                like(x, conv_dy, f), x, w, data_format=f, output_mask=(True, False, False)
            )[0],
        ),
        ("max_pool2d", lambda x, f: reference.max_pool2d(x, 2, data_format=f)),
        (
            "indices",
            lambda x, f: reference.max_pool2d(x, 2, return_indices=True, data_format=f)[1],
        ),
        (
            "max_pool2d_backward",
            lambda x, f: reference.max_pool2d_backward(like(x, pool_dy, f), x, 2, data_format=f),
        ),
        ("avg_pool2d", lambda x, f: reference.avg_pool2d(x, 2, data_format=f)),
        (
            "avg_pool2d_backward",
            lambda x, f: reference.avg_pool2d_backward(
                like(x, pool_dy, f), x.shape, 2, data_format=f
            ),
        ),
    ]


calls = pytest.mark.parametrize(
    "call", [pytest.param(call, id=name) for name, call in sample_calls()]
)


@calls
@pytest.mark.parametrize("data_format", FORMATS)
def test_one_sample_without_a_batch_axis(call, data_format):
    x = as_format(integers(np.random.default_rng(1), 2, 2, 6, 6, high=50), data_format)
    assert_array_equal(call(x[0], data_format), call(x[:1].repeat(2, axis=0), data_format)[0])


def odd_arrays(x: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "fortran order", np.asfortranarray(x)
    yield "every second pixel", np.repeat(x, 2, axis=3)[..., ::2]
    yield "negative strides", x[::-1, :, ::-1].copy()[::-1, :, ::-1]
    yield "byte-swapped", x.astype(x.dtype.newbyteorder("S"))
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    yield "misaligned", misaligned
    frozen = x.copy()
    frozen.flags.writeable = False
    yield "read-only", frozen


@calls
def test_odd_arrays_give_the_same_and_are_left_alone(call):
    x = integers(np.random.default_rng(1), 2, 2, 6, 6, high=50)
    expected = call(x, "NCHW")
    for name, odd in odd_arrays(x):
        before = odd.copy()
        result = call(odd, "NCHW")
        assert result.dtype == expected.dtype, name
        assert result.dtype.isnative, name
        assert_array_equal(result, expected, err_msg=name)
        assert_array_equal(odd, before, err_msg=name)
        assert not np.shares_memory(result, odd), name


def test_lists_and_dlpack_and_array_protocols():
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    w = np.ones((1, 1, 2, 2))

    class OnlyDLPack:
        def __dlpack__(self, **options):
            return x.__dlpack__(**options)

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    class OnlyArray:
        def __array__(self, dtype=None, copy=None):
            return x

    expected = reference.conv2d(x, w)
    assert_array_equal(reference.conv2d(x.tolist(), w.tolist()), expected)
    assert_array_equal(reference.conv2d(OnlyDLPack(), w), expected)
    assert_array_equal(reference.conv2d(OnlyArray(), w), expected)


HALF, SINGLE, DOUBLE = np.float16, np.float32, np.float64


@pytest.mark.parametrize(
    ("first", "second", "third", "expected"),
    [
        (HALF, HALF, HALF, HALF),
        (SINGLE, SINGLE, SINGLE, SINGLE),
        (DOUBLE, DOUBLE, DOUBLE, DOUBLE),
        (HALF, SINGLE, HALF, SINGLE),
        (SINGLE, SINGLE, DOUBLE, DOUBLE),
        (HALF, DOUBLE, SINGLE, DOUBLE),
    ],
)
def test_dtypes_are_promoted_as_numpy_does(first, second, third, expected):
    x, w, b = np.ones((1, 1, 2, 2), first), np.ones((1, 1, 1, 1), second), np.ones(1, third)
    assert reference.conv2d(x, w, b).dtype == expected
    gradients = reference.conv2d_backward(x.astype(third), x, w)
    assert {gradient.dtype for gradient in gradients} == {np.dtype(expected)}
    pair = np.promote_types(first, second)
    assert reference.max_pool2d_backward(x[..., :1, :1].astype(second), x, 2).dtype == pair
    assert reference.avg_pool2d_backward(x, (1, 1, 4, 4), 2).dtype == first
    assert reference.max_pool2d(x, 2).dtype == reference.avg_pool2d(x, 2).dtype == first


def test_float16_is_summed_in_float32():
    """In float16, 2048 + 1 is 2048: a sum of ones would stop there."""
    x, w = np.ones((1, 3000, 1, 1), HALF), np.ones((1, 3000, 1, 1), HALF)
    assert reference.conv2d(x, w) == 3000
    plane = np.ones((1, 50, 60), HALF)
    assert reference.avg_pool2d(plane, (50, 60)) == 1
    dy = np.ones((1, 1, 50, 60), HALF)
    _, dw, db = reference.conv2d_backward(dy, dy, np.ones((1, 1, 1, 1), HALF))
    assert dw.dtype == db.dtype == HALF
    assert (dw, db) == (3000, 3000)


def test_float32_stays_float32_inside():
    """Products and sums that overflow in float32, and would not on a detour through float64."""
    x = np.array([[[1e30, -1e30]]], SINGLE)
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(reference.conv2d(x, np.full((1, 1, 1, 2), 1e30, SINGLE)))
        assert np.isinf(reference.avg_pool2d(np.full((1, 1, 2), 3e38, SINGLE), (1, 2)))


@pytest.mark.parametrize(
    ("dtype", "fix"),
    [
        (np.int64, r"np\.asarray\(.*float32\)"),
        (np.uint8, r"np\.asarray\(.*float32\)"),
        (np.bool_, r"np\.asarray\(.*float32\)"),
        (object, r"np\.asarray\(.*float32\)"),
        (np.complex64, r"\.real and .*\.imag"),
    ],
)
def test_other_dtypes_name_the_argument_and_the_fix(dtype, fix):
    good, bad = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2)).astype(dtype)
    one = np.ones((1, 1, 1, 1))
    for name, call in [
        ("input", lambda: reference.conv2d(bad, one)),
        ("weight", lambda: reference.conv2d(good, bad)),
        ("bias", lambda: reference.conv2d(good, one, bad[0, 0, 0, :1])),
        ("grad_output", lambda: reference.conv2d_backward(bad, good, one)),
        ("input", lambda: reference.max_pool2d(bad, 2)),
        ("grad_output", lambda: reference.max_pool2d_backward(bad, good, 1)),
        ("input", lambda: reference.avg_pool2d(bad, 2)),
        ("grad_output", lambda: reference.avg_pool2d_backward(bad, (1, 1, 2, 2), 1)),
    ]:
        with pytest.raises(TypeError, match=f"^{name}: .*{np.dtype(dtype)}.*{fix}"):
            call()


def outs() -> list[Any]:
    w = np.ones((2, 2, 3, 3), SINGLE)
    return [
        pytest.param(lambda x, **k: reference.conv2d(x, w, padding=1, **k), id="conv2d"),
        pytest.param(lambda x, **k: reference.max_pool2d(x, 3, 1, 1, **k), id="max_pool2d"),
        pytest.param(
            lambda x, **k: reference.max_pool2d(x, 3, 1, 1, return_indices=True, **k)[0],
            id="max_pool2d with indices",
        ),
        pytest.param(lambda x, **k: reference.avg_pool2d(x, 3, 1, 1, **k), id="avg_pool2d"),
    ]


@pytest.mark.parametrize("call", outs())
@pytest.mark.parametrize("data_format", FORMATS)
def test_out_receives_the_result(call, data_format):
    x = integers(np.random.default_rng(0), 2, 2, 2, 2)
    expected = call(x, data_format=data_format)
    out = np.full((*expected.shape, 2), np.nan, SINGLE)[..., 0]  # any strides will do
    assert call(x, data_format=data_format, out=out) is out
    assert_array_equal(out, expected)
    one = np.full(expected.shape[1:], np.nan, SINGLE)
    assert call(x[0], data_format=data_format, out=one) is one
    assert_array_equal(one, expected[0])


@pytest.mark.parametrize("call", outs())
def test_out_must_fit(call):
    buffer = integers(np.random.default_rng(0), 3, 2, 4, 4)
    x, frozen = buffer[:2], np.zeros((2, 2, 4, 4), SINGLE)
    frozen.flags.writeable = False
    for out, complaint in [
        (np.zeros((2, 2, 4, 5), SINGLE), "shape"),
        (np.zeros((2, 4, 4), SINGLE), "shape"),
        (np.zeros((2, 2, 4, 4), DOUBLE), "dtype"),
        (np.zeros((2, 2, 4, 4), np.dtype(SINGLE).newbyteorder("S")), "dtype"),
        (frozen, "writable"),
        (x, "overlap"),
        (buffer[1:], "overlap"),
    ]:
        before, kept = out.copy(), x.copy()
        with pytest.raises(ValueError, match=f"^out: .*{complaint}"):
            call(x, out=out)
        assert_array_equal(out, before)
        assert_array_equal(x, kept)
    with pytest.raises(TypeError, match=r"^out: expected a NumPy array"):
        call(x, out=[0.0])


def test_out_may_interleave_with_the_input_but_not_overlap_the_weight_or_bias():
    buffer = np.ones((1, 4, 2, 2))
    x, out = buffer[:, ::2], buffer[:, 1::2]
    reference.max_pool2d(x, 1, out=out)
    w, b = np.ones((2, 2, 1, 1)), np.ones(2)
    with pytest.raises(ValueError, match=r"^out: .*overlap"):
        reference.conv2d(x[..., :1, :1], w, b, out=w[:1, :, :, :])
    with pytest.raises(ValueError, match=r"^out: .*overlap"):
        reference.conv2d(x[..., :1, :1], w, b, out=b.reshape(1, 2, 1, 1))


@pytest.mark.parametrize("data_format", FORMATS)
def test_empty_batch_and_no_channels(data_format):
    def zeros(*shape: int) -> np.ndarray:
        return as_format(np.zeros(shape, SINGLE), data_format)

    f = {"data_format": data_format}
    w, b = np.ones((3, 2, 2, 2), SINGLE), np.arange(3.0, dtype=SINGLE)
    x, dy = zeros(0, 2, 4, 4), zeros(0, 3, 3, 3)
    assert reference.conv2d(x, w, b, **f).shape == dy.shape
    dx, dw, db = reference.conv2d_backward(dy, x, w, **f)
    assert dx.shape == x.shape
    assert_array_equal(dw, np.zeros_like(w))
    assert_array_equal(db, np.zeros(3))

    none, no_weight = zeros(1, 0, 4, 4), np.zeros((3, 0, 2, 2), SINGLE)
    only_bias = reference.conv2d(none, no_weight, b, **f)
    expected = np.broadcast_to(b.reshape(1, 3, 1, 1), (1, 3, 3, 3))
    assert_array_equal(only_bias, as_format(expected, data_format))
    gradients = reference.conv2d_backward(only_bias, none, no_weight, **f)
    assert [g.shape for g in gradients] == [none.shape, no_weight.shape, (3,)]
    assert_array_equal(gradients[2], 9 * b)

    no_output = reference.conv2d(zeros(1, 2, 4, 4), np.zeros((0, 2, 2, 2), SINGLE), **f)
    assert no_output.shape == zeros(1, 0, 3, 3).shape
    gradients = reference.conv2d_backward(
        no_output, zeros(1, 2, 4, 4), np.zeros((0, 2, 2, 2), SINGLE), **f
    )
    assert_array_equal(gradients[0], zeros(1, 2, 4, 4))

    for x, y in [(zeros(0, 2, 4, 4), zeros(0, 2, 2, 2)), (none, zeros(1, 0, 2, 2))]:
        value, index = reference.max_pool2d(x, 2, return_indices=True, **f)
        assert value.shape == index.shape == y.shape
        assert reference.avg_pool2d(x, 2, **f).shape == y.shape
        assert reference.max_pool2d_backward(y, x, 2, **f).shape == x.shape
        assert reference.max_pool2d_backward(y, x, 2, indices=index, **f).shape == x.shape
        assert reference.avg_pool2d_backward(y, x.shape, 2, **f).shape == x.shape


X, W3, DY = np.ones((1, 2, 4, 4)), np.ones((2, 2, 3, 3)), np.ones((1, 2, 2, 2))
WT = np.ones((2, 3, 3, 3))


def conv(**changes: Any) -> Callable[[], Any]:
    return lambda: reference.conv2d(**{"input": X, "weight": W3} | changes)


def conv_backward(**changes: Any) -> Callable[[], Any]:
    arguments = {"grad_output": DY, "input": X, "weight": W3} | changes
    return lambda: reference.conv2d_backward(**arguments)


def max_pool(**changes: Any) -> Callable[[], Any]:
    return lambda: reference.max_pool2d(**{"input": X, "kernel_size": 2} | changes)


def max_pool_backward(**changes: Any) -> Callable[[], Any]:
    arguments = {"grad_output": DY, "input": X, "kernel_size": 2} | changes
    return lambda: reference.max_pool2d_backward(**arguments)


def avg_pool(**changes: Any) -> Callable[[], Any]:
    return lambda: reference.avg_pool2d(**{"input": X, "kernel_size": 2} | changes)


def avg_pool_backward(**changes: Any) -> Callable[[], Any]:
    arguments = {"grad_output": DY, "input_size": X.shape, "kernel_size": 2} | changes
    return lambda: reference.avg_pool2d_backward(**arguments)


@pytest.mark.parametrize("forward", [conv, conv_backward, max_pool, max_pool_backward, avg_pool])
@pytest.mark.parametrize("shape", [(), (4,), (4, 4), (1, 1, 2, 4, 4)])
def test_images_have_three_or_four_dimensions(forward, shape):
    with pytest.raises(ValueError, match=r"^input: Expected 3D \(unbatched\) or 4D \(batched\)"):
        forward(input=np.ones(shape))()


@pytest.mark.parametrize("function", [conv, conv_backward, max_pool, avg_pool, avg_pool_backward])
@pytest.mark.parametrize("stride", [0, -1, (1, 0), (1, 2, 3), ()])
def test_impossible_strides(function, stride):
    with pytest.raises(ValueError, match=r"^stride: expected"):
        function(stride=stride)()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (conv(stride=1.0), TypeError, "^stride: .*1.0"),
        (conv(stride="2"), TypeError, "^stride: .*'2'"),
        (conv(stride=None), TypeError, "^stride: .*None"),
        (conv(dilation=0), ValueError, "^dilation: .*at least 1"),
        (conv(dilation=(1, -1)), ValueError, "^dilation: "),
        (conv(groups=0), ValueError, "^groups: .*at least 1"),
        (conv(groups=-2), ValueError, "^groups: "),
        (conv(groups=1.0), TypeError, "^groups: "),
        (conv(groups=(1,)), TypeError, "^groups: "),
        (conv(weight=np.ones((3, 1, 3, 3)), groups=2), ValueError, "divisible by 2 at dimension 0"),
        (conv(weight=np.ones((2, 3, 3, 3))), ValueError, "to have 3 channels, but got 2 channels"),
        (conv(weight=np.ones((2, 3, 3))), ValueError, "^weight: expected 4 dimensions"),
        (conv(weight=np.float64(1)), ValueError, "^weight: expected 4 dimensions"),
        (conv(weight=np.ones((2, 2, 0, 3))), ValueError, "^weight: .*kernel size"),
        (conv(weight=np.ones((2, 2, 5, 5))), ValueError, "Output size is too small"),
        (conv(dilation=2), ValueError, "Output size is too small"),
        (conv(input=np.ones((1, 2, 0, 4)), padding=3), ValueError, "^input: .*at least 1"),
        (conv(bias=np.ones(3)), ValueError, "expected bias to be 1-dimensional with 2 elements"),
        (conv(bias=np.ones((2, 1))), ValueError, "expected bias to be 1-dimensional"),
        (conv(bias=np.float64(1)), ValueError, "expected bias to be 1-dimensional"),
        (conv(activation="gelu"), ValueError, "^activation: .*relu.*gelu"),
        (conv(algorithm="fft"), ValueError, "^algorithm: .*direct.*fft"),
        (conv(algorithm=None), ValueError, "^algorithm: "),
        (conv(data_format="CHWN"), ValueError, "^data_format: .*NHWC.*CHWN"),
        (conv(data_format="NHWC"), ValueError, "channels"),
        (conv_backward(grad_output=np.ones((1, 2, 2, 3))), ValueError, "^grad_output: .*shape"),
        (conv_backward(grad_output=np.ones((2, 2, 2))), ValueError, "^grad_output: .*shape"),
        (conv_backward(output_mask=(True, True)), ValueError, "^output_mask: "),
        (conv_backward(output_mask=True), ValueError, "^output_mask: "),
        (max_pool(kernel_size=0), ValueError, "^kernel_size: .*at least 1"),
        (max_pool(kernel_size=(2, 2, 2)), ValueError, "^kernel_size: "),
        (max_pool(kernel_size=2.0), TypeError, "^kernel_size: "),
        (max_pool(kernel_size=5), ValueError, "Output size is too small"),
        (max_pool(dilation=0), ValueError, "^dilation: "),
        (max_pool(padding=2), ValueError, "^padding: expected less than .*2"),
        (max_pool(padding=((0, 0), (2, 0))), ValueError, "^padding: expected less than .*2"),
        (max_pool(padding=((0, 0), (0, 2))), ValueError, "^padding: expected less than .*2"),
        (max_pool(padding=4, dilation=3), ValueError, "^padding: expected less than .*4"),
        (max_pool(input=np.ones((1, 2, 0, 4)), padding=1), ValueError, "^input: .*at least 1"),
        (max_pool(data_format="NCWH"), ValueError, "^data_format: "),
        (max_pool_backward(grad_output=X), ValueError, "^grad_output: .*shape"),
        (max_pool_backward(indices=np.zeros(X.shape, int)), ValueError, "^indices: .*shape"),
        (max_pool_backward(indices=np.zeros(DY.shape)), TypeError, "^indices: .*integers"),
        (max_pool_backward(indices=np.full(DY.shape, 16)), ValueError, "^indices: .*16 pixels"),
        (max_pool_backward(indices=np.full(DY.shape, -2)), ValueError, "^indices: .*-2"),
        (
            max_pool_backward(indices=np.full(DY.shape, 2**64 - 1, np.uint64)),
            ValueError,
            "^indices: .*18446744073709551615",
        ),
        (avg_pool(padding=2), ValueError, "^padding: expected less than .*2"),
        (avg_pool(divisor_override=0), ValueError, "^divisor_override: .*not zero"),
        (avg_pool(divisor_override=1.5), TypeError, "^divisor_override: "),
        (avg_pool(kernel_size=5), ValueError, "Output size is too small"),
        (avg_pool_backward(input_size=(1, 2, 5, 6)), ValueError, "^grad_output: .*shape"),
        (avg_pool_backward(input_size=(2, 2)), ValueError, "^input_size: Expected 3D"),
        (avg_pool_backward(input_size=(1, -2, 4, 4)), ValueError, "^input_size: "),
        (avg_pool_backward(input_size=4), TypeError, "^input_size: "),
        (avg_pool_backward(divisor_override=0), ValueError, "^divisor_override: "),
        (lambda: reference.im2col(np.ones((2, 2)), 2), ValueError, "^input: "),
        (lambda: reference.im2col(X, 5), ValueError, "Output size is too small"),
        (lambda: reference.col2im(X[0], X.shape, 2), ValueError, "^columns: .*shape"),
        (lambda: reference.conv2d(None, W3), TypeError, "^input: .*None"),
        (lambda: reference.conv2d(X, None), TypeError, "^weight: .*None"),
        (lambda: reference.conv2d_backward(None, X, W3), TypeError, "^grad_output: .*None"),
        (lambda: reference.max_pool2d(None, 2), TypeError, "^input: .*None"),
        (lambda: reference.conv_transpose2d(X, None), TypeError, "^weight: .*None"),
        (lambda: reference.conv_transpose2d(X, W3[:1]), ValueError, "channels"),
        (lambda: reference.conv_transpose2d(X, WT, None, 1, 0, 1), ValueError, "^output_padding"),
        (
            lambda: reference.conv_transpose2d(X, WT, None, 2, "same", 1),
            ValueError,
            "^output_padding",
        ),
        (lambda: reference.conv_transpose2d(X, WT, padding=3), ValueError, "utput size"),
        (lambda: reference.conv_transpose2d(X, WT, np.ones(7)), ValueError, "bias"),
        (
            lambda: reference.conv_transpose2d_backward(X, X, WT),
            ValueError,
            "^grad_output: .*shape",
        ),
        (lambda: reference.convolution_matrix(W3, (3, 4, 4)), ValueError, "channels"),
        (lambda: reference.convolution_matrix(W3, (4, 4)), ValueError, "^weight: "),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_padding_just_below_the_effective_kernel_size_is_allowed():
    x = np.ones((1, 4, 4))
    assert reference.max_pool2d(x, 2, 1, 3, dilation=3).shape == (1, 7, 7)
    assert reference.avg_pool2d(x, 3, 1, ((2, 0), (0, 2))).shape == (1, 4, 4)


def test_algorithm_is_accepted_and_makes_no_difference():
    for algorithm in ("direct", "winograd"):
        assert_array_equal(reference.conv2d(X, W3, algorithm=algorithm), reference.conv2d(X, W3))


def test_relu_lets_nan_through():
    x = np.array([[[np.nan, -1.0, 2.0]]])
    y = reference.conv2d(x, np.ones((1, 1, 1, 1)), activation="relu")
    assert_array_equal(y, [[[np.nan, 0, 2]]])


# ---------------------------------------------------------------------------------------------
# The module itself.

SIGNATURES = {
    "conv2d": "(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, "
    "data_format='NCHW', activation=None, algorithm='auto', out=None)",
    "conv2d_backward": "(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, "
    "*, data_format='NCHW', output_mask=(True, True, True))",
    "max_pool2d": "(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, "
    "return_indices=False, *, data_format='NCHW', out=None)",
    "max_pool2d_backward": "(grad_output, input, kernel_size, stride=None, padding=0, "
    "dilation=1, ceil_mode=False, *, indices=None, data_format='NCHW')",
    "avg_pool2d": "(input, kernel_size, stride=None, padding=0, ceil_mode=False, "
    "count_include_pad=True, divisor_override=None, *, data_format='NCHW', out=None)",
    "avg_pool2d_backward": "(grad_output, input_size, kernel_size, stride=None, padding=0, "
    "ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format='NCHW')",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_public_ones(name):
    signature = inspect.signature(getattr(reference, name))
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


def test_the_examples_run_and_every_public_function_has_one():
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    with_examples = set()
    for name in reference.__all__:
        function = getattr(reference, name)
        for test in finder.find(function, name, globs={"np": np, **function.__globals__}):
            if test.examples:
                with_examples.add(name)
                assert runner.run(test).failed == 0, name
    assert with_examples >= set(reference.__all__)


def test_nothing_but_numpy_and_the_standard_library_is_imported():
    """Loaded from its folder where no fastconv can be imported, the package works."""
    program = """
        import importlib.util, sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] == "fastconv":
                    raise ImportError(name)

        sys.meta_path.insert(0, Blocked())
        import numpy
        before = set(sys.modules)
        spec = importlib.util.spec_from_file_location("textbook", sys.argv[1])
        module = sys.modules["textbook"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        ones = numpy.ones((1, 1, 3, 3))
        assert module.conv2d(ones, ones).item() == 9
        assert module.max_pool2d(ones, 3).item() == 1
        roots = {name.partition(".")[0] for name in set(sys.modules) - before}
        assert roots <= {"textbook", "numpy"} | set(sys.stdlib_module_names), roots
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), reference.__file__],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_ordinary_calls_are_silent():
    x = np.array([[[np.nan, -np.inf, 1.0, 2.0]]], HALF)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference.max_pool2d(x, (1, 2), 1, (0, 1), return_indices=True)
        reference.avg_pool2d(x, (1, 3), 2, (0, 1), ceil_mode=True, count_include_pad=False)
