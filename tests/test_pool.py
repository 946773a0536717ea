"""Promise: max and average pools, and their gradients, to the last tie and NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
from cases import POOL_CASES, PoolCase
from fastconv import reference

DTYPES = ("float32", "float64")
FORMATS = ("NCHW", "NHWC")
CHUNK = 100
AVG_CASES = [c for c in POOL_CASES if c.has_average]
DILATED_AWAY = PoolCase("dilated_away", (1, 2, 1, 3), 2, padding=(2, 1), dilation=3, stride=1)


def exact_average(case: PoolCase) -> PoolCase:
    """The case with a divisor whose quotients are exact."""
    return case.replace(divisor_override=8)


def tolerance(dtype):
    """A sum of small integers is exact; then comes one division, or a product with a reciprocal."""
    return {"float32": 2.5e-7, "float64": 5e-16}[dtype]


# ---- worked by hand -----------------------------------------------------------------------------


def test_max_by_hand():
    x = np.array([[[[1, 5, 2, 0], [3, 4, 2, 2], [9, 0, -1, -1]]]], np.float32)
    assert fastconv.max_pool2d(x, 2).tolist() == [[[[5, 2]]]]
    assert fastconv.max_pool2d(x, 2, ceil_mode=True).tolist() == [[[[5, 2], [9, -1]]]]
    assert fastconv.max_pool2d(x, (1, 2), 1).tolist() == [[[[5, 5, 2], [4, 4, 2], [9, 0, -1]]]]
    _, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    assert indices.tolist() == [[[[1, 2]]]]  # of the three 2s, the first in row-major order
    assert indices.dtype == np.int64


def test_average_by_hand():
    x = np.array([[[[1, 5, 2], [3, 4, 2]]]], np.float32)
    assert fastconv.avg_pool2d(x, 2).tolist() == [[[[3.25]]]]
    assert fastconv.avg_pool2d(x, 2, padding=(0, 1)).tolist() == [[[[1, 3.25]]]]
    y = fastconv.avg_pool2d(x, 2, padding=(0, 1), count_include_pad=False)
    assert y.tolist() == [[[[2, 3.25]]]]
    y = fastconv.avg_pool2d(x, 2, ceil_mode=True)  # what lies beyond the padding never counts
    assert y.tolist() == [[[[3.25, 2]]]]
    y = fastconv.avg_pool2d(x, 2, ceil_mode=True, divisor_override=1)
    assert y.tolist() == [[[[13, 4]]]]


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        (5, {}, 2),
        (5, {"ceil_mode": True}, 3),
        (5, {"stride": 3}, 2),
        (6, {"stride": 3, "ceil_mode": True}, 3 - 1),  # a window starting at 6 starts in nothing
        (6, {"stride": 3, "padding": (0, 1)}, 3),
        (6, {"stride": 3, "padding": (0, 1), "ceil_mode": True}, 3),
        (4, {"stride": 3, "padding": ((0, 0), (0, 1)), "ceil_mode": True}, 2),
        (3, {"stride": 3, "padding": ((0, 0), (0, 1)), "ceil_mode": True}, 1),
        (7, {"stride": 2, "padding": "same"}, 4),
        (8, {"stride": 3, "padding": "same_lower"}, 3),
    ],
    ids=str,
)
def test_output_sizes_by_hand(size, arguments, expected):
    x = np.ones((1, 1, 1, size), np.float32)
    if "stride" in arguments:
        arguments = {**arguments, "stride": (1, arguments["stride"])}
    for pool in (fastconv.max_pool2d, fastconv.avg_pool2d):
        assert pool(x, (1, 2), **arguments).shape == (1, 1, 1, expected)


# ---- against the reference ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", [*POOL_CASES, DILATED_AWAY], ids=str)
def test_max_pool(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    for x, _ in (case.integers(), case.normal()):
        expected, places = reference.max_pool2d(x, **case.max_args, return_indices=True)
        y = fastconv.max_pool2d(x, **case.max_args)
        cases.assert_exact(y, expected, case)
        assert y.dtype == dtype
        assert y.shape == case.output_shape
        assert y.flags.c_contiguous
        y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
        cases.assert_exact(y, expected, case)
        cases.assert_exact(indices, places, case)
        assert indices.dtype == np.int64


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", [*POOL_CASES, DILATED_AWAY], ids=str)
def test_max_pool_backward(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    x, g = case.integers()
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args)
    cases.assert_exact(dx, expected, case)
    assert dx.dtype == dtype
    assert dx.flags.c_contiguous
    _, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=indices)
    cases.assert_exact(dx, expected, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", AVG_CASES, ids=str)
def test_avg_pool(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    x, g = case.integers()
    y = fastconv.avg_pool2d(x, **case.avg_args)
    expected = reference.avg_pool2d(x.astype(np.float64), **case.avg_args)
    np.testing.assert_allclose(y, expected, rtol=tolerance(dtype), atol=0)
    assert y.dtype == dtype
    assert y.shape == case.output_shape
    assert y.flags.c_contiguous
    dx = fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
    expected = reference.avg_pool2d_backward(
        g.astype(np.float64), case.input_shape, **case.avg_args
    )
    # Quotients are added, and may cancel: the error is relative to the largest of them.
    np.testing.assert_allclose(dx, expected, rtol=0, atol=50 * tolerance(dtype))
    assert dx.dtype == dtype
    assert dx.flags.c_contiguous


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", AVG_CASES, ids=str)
def test_avg_pool_is_exact_where_its_divisor_is(case, data_format, threads):
    case = exact_average(case).replace(data_format=data_format)
    x, g = case.integers()
    y = fastconv.avg_pool2d(x, **case.avg_args)
    cases.assert_exact(y, reference.avg_pool2d(x, **case.avg_args), case)
    dx = fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
    expected = reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
    cases.assert_exact(dx, expected, case)


@pytest.mark.parametrize("case", AVG_CASES, ids=str)
def test_avg_pool_of_normal_data(case, threads):
    """Adding in another order may not cost more than the convolution's promise."""
    x, _ = case.normal()
    y = fastconv.avg_pool2d(x, **case.avg_args)
    expected = reference.avg_pool2d(x.astype(np.float64), **case.avg_args)
    taps = float(np.prod(cases.pair(case.kernel_size)))
    assert y.size == 0 or np.abs(y - expected).max() <= 5e-6 * max(taps**-0.5, np.std(expected))


def check_pools(case: PoolCase, x, g, max_pool=fastconv.max_pool2d):
    """Forward and backward of one case, with arrays that may be awkward."""
    expected, places = reference.max_pool2d(x, **case.max_args, return_indices=True)
    cases.assert_exact(max_pool(x, **case.max_args), expected, case)
    y, indices = max_pool(x, **case.max_args, return_indices=True)
    cases.assert_exact(y, expected, case)
    cases.assert_exact(indices, places, case)
    wanted = reference.max_pool2d_backward(g, x, **case.max_args)
    cases.assert_exact(fastconv.max_pool2d_backward(g, x, **case.max_args), wanted, case)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=indices)
    cases.assert_exact(dx, wanted, case)
    if case.has_average:
        exact = exact_average(case).avg_args
        y = fastconv.avg_pool2d(x, **exact)
        cases.assert_exact(y, reference.avg_pool2d(x, **exact), case)
        dx = fastconv.avg_pool2d_backward(g, case.input_shape, **exact)
        wanted = reference.avg_pool2d_backward(g, case.input_shape, **exact)
        cases.assert_exact(dx, wanted, case)
        y = fastconv.avg_pool2d(x, **case.avg_args)
        wanted = reference.avg_pool2d(x, **case.avg_args)
        np.testing.assert_allclose(y, wanted, rtol=tolerance(case.dtype), err_msg=repr(case))


@pytest.mark.parametrize("start", range(0, 500, CHUNK))
def test_random_pools(start):
    for problem in cases.random_pools(CHUNK, start):
        x, g = problem.case.integers(problem.seed)
        x, g = cases.AWKWARD[problem.awkward[0]](x), cases.AWKWARD[problem.awkward[1]](g)
        with cases.thread_count(problem.threads):
            check_pools(problem.case, x, g)


@given(case=cases.pool_cases(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_drawn_pools(case, threads, seed):
    with cases.thread_count(threads):
        check_pools(case, *case.integers(seed))


# Planes and rows too long for one block of a gradient's workspace, and blocks of several planes.
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    "case",
    [
        PoolCase("rows_in_blocks", (1, 5, 301, 203), 3, stride=2, padding=1),
        PoolCase("large_windows_in_blocks", (1, 3, 251, 253), 9, stride=1, padding=4),
        PoolCase("dilated_in_blocks", (1, 3, 251, 253), 5, stride=2, padding=2, dilation=2),
        PoolCase("columns_in_blocks", (1, 2, 1, 200001), (1, 3), stride=1, padding=(0, 1)),
        PoolCase("long_windows_in_blocks", (1, 2, 1, 100003), (1, 40), stride=1, padding=(0, 20)),
        PoolCase("many_planes", (2, 37, 14, 14), 3, stride=2, padding=1),
        PoolCase("many_planes_of_large_windows", (2, 37, 13, 13), 5, stride=1, padding=2),
    ],
    ids=str,
)
def test_max_pool_backward_in_blocks(case, data_format, threads):
    case = case.replace(data_format=data_format)
    x, g = case.integers()
    expected = reference.max_pool2d_backward(g, x, **case.max_args)
    cases.assert_exact(fastconv.max_pool2d_backward(g, x, **case.max_args), expected, case)


# ---- ties, NaN, infinities ----------------------------------------------------------------------


def test_the_first_of_equal_maxima_wins():
    x = np.zeros((1, 1, 4, 6), np.float32)
    _, indices = fastconv.max_pool2d(x, 3, 1, 1, return_indices=True)
    rows, columns = np.maximum(np.arange(4) - 1, 0), np.maximum(np.arange(6) - 1, 0)
    cases.assert_exact(indices[0, 0], rows[:, None] * 6 + columns)
    dx = fastconv.max_pool2d_backward(np.ones_like(x), x, 3, 1, 1)
    cases.assert_exact(dx.ravel(), np.bincount(indices.ravel(), minlength=24))


def test_zeros_of_both_signs_tie():
    for pair in ([-0.0, 0.0], [0.0, -0.0]):
        x = np.array(pair, np.float32).reshape(1, 1, 1, 2)
        y, index = fastconv.max_pool2d(x, (1, 2), return_indices=True)
        assert y.item() == 0
        assert index.item() == 0


@pytest.mark.parametrize("data_format", FORMATS)
def test_padding_never_wins(data_format):
    case = PoolCase("", (1, 2, 5, 6), 3, stride=2, padding=2, data_format=data_format)
    x = np.full(case.input_shape, -np.inf, np.float32)
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    assert (y == -np.inf).all()
    rows, columns = np.maximum(np.arange(4) * 2 - 2, 0), np.maximum(np.arange(4) * 2 - 2, 0)
    expected = np.broadcast_to(rows[:, None] * 6 + columns, (1, 2, 4, 4))
    cases.assert_exact(indices, cases.to_format(expected, data_format))
    x[...] = -1e38
    assert (fastconv.max_pool2d(x, **case.max_args) == np.float32(-1e38)).all()


def _with_specials(case: PoolCase):
    x, g = case.integers()
    flat = x.reshape(-1)
    rng = np.random.default_rng(2)
    for value in (np.nan, np.nan, np.inf, -np.inf, -np.inf, np.nan):
        flat[rng.integers(0, flat.size, 1 + flat.size // 40)] = value
    return x, g


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", [c for c in POOL_CASES if 0 not in c.input], ids=str)
def test_nan_and_inf(case, data_format, dtype, threads):
    """Max: NaN wins and the first NaN is its index. Both: other windows see none of it."""
    case = case.replace(data_format=data_format, dtype=dtype)
    x, g = _with_specials(case)
    with np.errstate(invalid="ignore"):
        expected, places = reference.max_pool2d(x, **case.max_args, return_indices=True)
        wanted = reference.max_pool2d_backward(g, x, **case.max_args)
    cases.assert_exact(fastconv.max_pool2d(x, **case.max_args), expected, case)
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    cases.assert_exact(y, expected, case)
    cases.assert_exact(indices, places, case)
    cases.assert_exact(fastconv.max_pool2d_backward(g, x, **case.max_args), wanted, case)
    if case.has_average:
        arguments = exact_average(case).avg_args
        with np.errstate(invalid="ignore"):
            expected = reference.avg_pool2d(x, **arguments)
        cases.assert_exact(fastconv.avg_pool2d(x, **arguments), expected, case)


def test_the_index_of_nan_is_the_first_nans():
    x = np.array([[5, np.nan, 7], [np.nan, np.inf, 9]], np.float32).reshape(1, 1, 2, 3)
    y, index = fastconv.max_pool2d(x, (2, 3), return_indices=True)
    assert np.isnan(y.item())
    assert index.item() == 1
    dx = fastconv.max_pool2d_backward(np.ones((1, 1, 1, 1), np.float32), x, (2, 3))
    assert dx.ravel().tolist() == [0, 1, 0, 0, 0, 0]


# ---- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in POOL_CASES if len(c.input) == 4], ids=str)
def test_layouts_give_the_same_bits(case):
    x, g = case.normal()
    last = case.replace(data_format="NHWC")
    x_last, g_last = cases.to_format(x, "NHWC"), cases.to_format(g, "NHWC")

    def same(first, other):
        other = np.ascontiguousarray(cases.from_format(other, "NHWC"))
        assert first.tobytes() == other.tobytes()

    for a, b in ((x, x_last), (np.asfortranarray(x), x_last[:])):
        same(fastconv.max_pool2d(a, **case.max_args), fastconv.max_pool2d(b, **last.max_args))
        same(
            fastconv.max_pool2d_backward(g, a, **case.max_args),
            fastconv.max_pool2d_backward(g_last, b, **last.max_args),
        )
        if case.has_average:
            same(fastconv.avg_pool2d(a, **case.avg_args), fastconv.avg_pool2d(b, **last.avg_args))
            same(
                fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
                fastconv.avg_pool2d_backward(g_last, last.input_shape, **last.avg_args),
            )


@pytest.mark.parametrize("data_format", FORMATS)
def test_unbatched_is_a_batch_of_one(data_format):
    case = PoolCase("", (3, 8, 9), 3, stride=2, padding=1, data_format=data_format)
    x, g = case.integers()
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    batched = fastconv.max_pool2d(x[None], **case.max_args, return_indices=True)
    cases.assert_exact(y, batched[0][0])
    cases.assert_exact(indices, batched[1][0])
    cases.assert_exact(
        fastconv.avg_pool2d(x, **case.avg_args), fastconv.avg_pool2d(x[None], **case.avg_args)[0]
    )
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args)
    cases.assert_exact(dx, fastconv.max_pool2d_backward(g[None], x[None], **case.max_args)[0])


# ---- gradients, without a reference -------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", AVG_CASES, ids=str)
def test_avg_pool_is_linear_and_its_backward_the_adjoint(case, data_format):
    case = exact_average(case).replace(data_format=data_format)
    x, g = case.integers()
    y = fastconv.avg_pool2d(x, **case.avg_args)
    dx = fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args)
    assert np.sum(y.astype(np.float64) * g) == np.sum(dx.astype(np.float64) * x)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_max_pool_backward_obeys_the_indices(case, data_format):
    """<max(x), g> = <x, dx>, and dx is g scattered to the indices."""
    case = case.replace(data_format=data_format)
    x, g = case.integers()
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args)
    assert np.sum(y.astype(np.float64) * g) == np.sum(dx.astype(np.float64) * x)
    planes, places, gradients = (
        cases.from_format(a, data_format).reshape(-1, int(np.prod(size)))
        for a, size in ((dx, case.input[-2:]), (indices, case.output[-2:]),
                        (g, case.output[-2:]))
    )  # fmt: skip
    for plane, place, gradient in zip(planes, places, gradients, strict=True):
        scattered = np.bincount(place, gradient, minlength=plane.size)
        cases.assert_exact(plane, scattered, case)


# ---- float16 and promotion ----------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", AVG_CASES, ids=str)
def test_float16(case, data_format):
    case = exact_average(case).replace(data_format=data_format, dtype="float16")
    x, g = case.integers()
    for y, expected in (
        (fastconv.max_pool2d(x, **case.max_args), reference.max_pool2d(x, **case.max_args)),
        (fastconv.avg_pool2d(x, **case.avg_args), reference.avg_pool2d(x, **case.avg_args)),
        (
            fastconv.max_pool2d_backward(g, x, **case.max_args),
            reference.max_pool2d_backward(g, x, **case.max_args),
        ),
        (
            fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
            reference.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
        ),
    ):
        assert y.dtype == np.float16
        cases.assert_exact(y, expected, case)


def test_backward_promotes_its_arrays():
    x, g = PoolCase("", (1, 2, 4, 4), 2).integers()
    for dtypes in (("float32", "float64"), ("float64", "float32"), ("float16", "float32")):
        dx = fastconv.max_pool2d_backward(g.astype(dtypes[0]), x.astype(dtypes[1]), 2)
        assert dx.dtype == np.result_type(*dtypes)
        cases.assert_exact(dx, reference.max_pool2d_backward(g, x, 2))


# ---- extremes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("big", [2**31, 2**40, 2**62])
def test_a_stride_may_be_huge_if_it_is_never_taken(big):
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert fastconv.max_pool2d(x, 2, big).tolist() == [[[[5.0]]]]
    assert fastconv.avg_pool2d(x, 2, big).tolist() == [[[[2.5]]]]
    g = np.ones((1, 1, 1, 1), np.float32)
    assert fastconv.max_pool2d_backward(g, x, 2, big).ravel().tolist().index(1.0) == 5
    assert fastconv.avg_pool2d_backward(g, (1, 1, 4, 4), 2, big).sum() == 1.0


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((1, 1, 4, 4), {"kernel_size": 5}),
        ((1, 1, 4, 4), {"kernel_size": (1, 5)}),
        ((1, 1, 4, 1), {"kernel_size": 4, "padding": 1}),
        ((0, 1, 2, 2), {"kernel_size": 3}),
    ],
    ids=str,
)
def test_an_output_below_one_raises(shape, arguments):
    for pool in (fastconv.max_pool2d, fastconv.avg_pool2d):
        with pytest.raises(ValueError, match=r"(?i)output|kernel"):
            pool(np.ones(shape, np.float32), **arguments)
