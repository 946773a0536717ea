"""Promise: conv2d computes the cross-correlation that DESIGN defines, for every argument."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
from cases import CONV_CASES, ConvCase

DTYPES = ("float32", "float64")
FORMATS = ("NCHW", "NHWC")
CHUNK = 100


# ---- worked by hand: these trust no reference ---------------------------------------------------


def test_is_cross_correlation_not_flipped():
    x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    w = np.array([[1, 10], [100, 1000]], np.float32).reshape(1, 1, 2, 2)
    y = fastconv.conv2d(x, w)
    assert y.tolist() == [[[[4310.0, 5421.0], [7643.0, 8754.0]]]]
    flipped = fastconv.conv2d(x, w[..., ::-1, ::-1])
    assert flipped.tolist() == [[[[134.0, 1245.0], [3467.0, 4578.0]]]]


def test_bias_and_relu_by_hand():
    x = np.array([[[[1.0, -2.0, 3.0]]]], np.float32)
    w = np.array([[[[1.0]]], [[[-1.0]]]], np.float32)
    bias = np.array([0.5, 1.0], np.float32)
    y = fastconv.conv2d(x, w, bias)
    assert y.tolist() == [[[[1.5, -1.5, 3.5]], [[0.0, 3.0, -2.0]]]]
    y = fastconv.conv2d(x, w, bias, activation="relu")
    assert y.tolist() == [[[[1.5, 0.0, 3.5]], [[0.0, 3.0, 0.0]]]]


@pytest.mark.parametrize(
    ("padding", "stride", "expected"),
    [
        (0, 1, [6, 9, 12]),
        ("valid", 1, [6, 9, 12]),
        ((0, 1), 1, [3, 6, 9, 12, 9]),
        (((0, 0), (2, 0)), 1, [1, 3, 6, 9, 12]),
        (((0, 0), (0, 2)), 1, [6, 9, 12, 9, 5]),
        ("same", 1, [3, 6, 9, 12, 9]),
        ("same_lower", 1, [3, 6, 9, 12, 9]),
        ("same", 2, [3, 9, 9]),
        ("same", 3, [6, 9]),  # ceil(5 / 3) = 2 outputs need one column more: it goes to the end
        ("same_lower", 3, [3, 12]),
        ((0, 1), 2, [3, 9, 9]),
    ],
)
def test_padding_by_hand(padding, stride, expected):
    x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 1, 5)
    y = fastconv.conv2d(x, np.ones((1, 1, 1, 3), np.float32), stride=(1, stride), padding=padding)
    assert y.ravel().tolist() == expected


def test_groups_by_hand():
    x = np.array([1, 2, 3, 4], np.float32).reshape(1, 4, 1, 1)
    w = np.array([[1, 10], [2, 20], [3, 30], [4, 40]], np.float32).reshape(4, 2, 1, 1)
    assert fastconv.conv2d(x, w, groups=2).ravel().tolist() == [21, 42, 129, 172]


def test_dilation_by_hand():
    x = np.arange(7, dtype=np.float32).reshape(1, 1, 1, 7)
    w = np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)
    assert fastconv.conv2d(x, w, dilation=(1, 3)).ravel().tolist() == [630]
    assert fastconv.conv2d(x, w, dilation=(5, 2)).ravel().tolist() == [420, 531, 642]


def test_arguments_go_by_position_in_torchs_order():
    case = ConvCase("", (2, 4, 9, 8), (6, 2, 3, 3), (2, 1), (1, 2), (1, 2), 2)
    a = case.integers()
    y = fastconv.conv2d(a.input, a.weight, a.bias, (2, 1), (1, 2), (1, 2), 2)
    cases.assert_exact(y, cases.expected_conv(case, a))
    y = fastconv.conv2d(
        groups=2, dilation=(1, 2), padding=[1, 2], stride=[2, 1], bias=a.bias, weight=a.weight,
        input=a.input,
    )  # fmt: skip
    cases.assert_exact(y, cases.expected_conv(case, a))


def test_integers_may_be_numpy_integers():
    case = ConvCase("", (2, 4, 9, 8), (6, 2, 3, 3), 2, 1, 1, 2)
    a = case.integers()
    y = fastconv.conv2d(
        a.input, a.weight, a.bias, np.int64(2), (np.int32(1), np.uint8(1)), np.int16(1), np.int64(2)
    )
    cases.assert_exact(y, cases.expected_conv(case, a))
    y = fastconv.conv2d(a.input, a.weight, a.bias, stride=np.array([2, 2]), padding=1, groups=2)
    cases.assert_exact(y, cases.expected_conv(case, a))


# ---- exactly, against the reference -------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_integers_are_exact(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, _ = cases.integer_problem(case)
    y = cases.conv(case, arrays, algorithm="direct")
    cases.assert_exact(y, expected, case)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert y.flags.writeable
    assert y.shape == case.output_shape


@pytest.mark.parametrize("case", [c for c in CONV_CASES if not c.may_use_winograd], ids=str)
def test_auto_is_exact_where_nothing_can_round(case, threads):
    arrays, expected, _ = cases.integer_problem(case)
    cases.assert_exact(cases.conv(case, arrays), expected, case)


@given(case=cases.conv_cases(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_drawn_integers_are_exact(case, threads, seed):
    a = case.integers(seed)
    with cases.thread_count(threads):
        y = cases.conv(case, a, algorithm="direct")
    cases.assert_exact(y, cases.expected_conv(case, a), case)


# ---- within the promised accuracy ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_normal_data_is_accurate(case, dtype, threads):
    case = case.replace(dtype=dtype)
    a = case.normal()
    for algorithm in ("auto", "direct"):
        y = cases.conv(case, a, algorithm=algorithm)
        cases.check_conv(case, a, y, algorithm)


@pytest.mark.parametrize("start", range(0, 1000, CHUNK))
def test_thousand_random_problems(start):
    """All arguments at random, awkward arrays, any thread count, prepacked or not, out= or not."""
    for problem in cases.random_problems(CHUNK, start):
        arrays = problem.case.normal(problem.seed)
        y = cases.run_problem(problem, arrays)
        cases.check_conv(problem.case, arrays, y, problem.algorithm)


# ---- algorithms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 2},
        {"weight": (64, 64, 1, 1)},
        {"weight": (64, 64, 2, 3)},
        {"weight": (64, 1, 3, 3), "groups": 64},
    ],
    ids=str,
)
def test_winograd_is_refused_where_it_does_not_apply(changes):
    case = ConvCase("", (1, 64, 14, 14), (64, 64, 3, 3)).replace(**changes)
    with pytest.raises(ValueError, match="algorithm"):
        cases.conv(case, case.normal(), algorithm="winograd")


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_winograd_is_accurate_or_refused(dtype, data_format, threads):
    case = ConvCase("", (2, 24, 29, 30), (40, 24, 3, 3), padding=1, activation="relu")
    case = case.replace(dtype=dtype, data_format=data_format)
    try:
        plan = fastconv.conv2d_plan(
            case.input_shape, case.weight, **case.geometry, dtype=dtype, algorithm="winograd"
        )
    except ValueError as refused:
        assert "algorithm" in str(refused)  # noqa: PT017  a build without it says so, and so:
        with pytest.raises(ValueError, match="algorithm"):
            cases.conv(case, case.normal(), algorithm="winograd")
        return
    assert plan.algorithm == "winograd"
    a = case.normal()
    cases.check_conv(case, a, cases.conv(case, a, algorithm="winograd"), "winograd")


# ---- NaN and Inf --------------------------------------------------------------------------------

SPECIAL_CASES = [
    ConvCase("plain", (2, 3, 9, 11), (5, 3, 3, 3), padding=1),
    ConvCase("strided", (2, 3, 9, 11), (5, 3, 3, 2), stride=(2, 3), padding=2),
    ConvCase("dilated", (1, 3, 12, 13), (4, 3, 3, 3), dilation=(2, 3), padding="same"),
    ConvCase("grouped", (2, 6, 9, 8), (9, 2, 3, 3), groups=3, padding=1),
    ConvCase("depthwise", (2, 5, 9, 20), (5, 1, 3, 3), groups=5, padding=1),
    ConvCase("depthwise_stride2", (2, 5, 9, 20), (5, 1, 3, 3), groups=5, padding=1, stride=2),
    ConvCase("pointwise", (2, 9, 5, 7), (17, 9, 1, 1)),
    ConvCase("many_channels", (1, 32, 14, 14), (32, 32, 3, 3), padding=1),
    ConvCase("wide", (1, 2, 3, 67), (3, 2, 3, 3), padding=1),
    ConvCase("relu", (2, 3, 9, 11), (5, 3, 3, 3), padding=1, activation="relu"),
]


def _with_specials(case: ConvCase) -> cases.ConvArrays:
    """Small integers, zeros among the weights, a NaN and both infinities in the input."""
    a = case.integers()
    flat = a.input.reshape(-1)
    rng = np.random.default_rng(1)
    flat[rng.integers(0, flat.size, 4)] = [np.nan, np.inf, -np.inf, np.inf]
    flat[0], flat[-1] = np.nan, np.inf
    return a


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", SPECIAL_CASES, ids=str)
def test_nan_and_inf_reach_exactly_their_outputs(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    a = _with_specials(case)
    with np.errstate(invalid="ignore"):
        expected = cases.expected_conv(case, a)
    assert 0 < np.isnan(expected).sum() < expected.size
    cases.assert_exact(cases.conv(case, a, algorithm="direct"), expected, case)


@pytest.mark.parametrize("case", SPECIAL_CASES, ids=str)
def test_auto_loses_no_nan(case):
    a = _with_specials(case)
    with np.errstate(invalid="ignore"):
        expected = cases.expected_conv(case, a)
    y = cases.conv(case, a)
    assert not np.isfinite(y[~np.isfinite(expected)]).any()


def test_nan_in_a_weight_stays_in_its_filter():
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3))
    a = case.integers()
    a.weight[2, 1, 0, 2] = np.nan
    y = cases.conv(case, a, algorithm="direct")
    assert np.isnan(y[:, 2]).all()
    assert not np.isnan(np.delete(y, 2, axis=1)).any()


# ---- empty, unbatched, extreme ------------------------------------------------------------------


def test_no_channels_give_the_bias():
    bias = np.array([1, -2, 3, 0.5], np.float32)
    x, w = np.zeros((2, 0, 5, 6), np.float32), np.zeros((4, 0, 3, 3), np.float32)
    y = fastconv.conv2d(x, w, bias)
    assert y.shape == (2, 4, 3, 4)
    assert (y == bias[:, None, None]).all()
    assert (fastconv.conv2d(x, w) == 0).all()
    y = fastconv.conv2d(x, w, bias, activation="relu")
    assert (y == np.maximum(bias, 0)[:, None, None]).all()


@pytest.mark.parametrize("data_format", FORMATS)
def test_unbatched_is_a_batch_of_one(data_format):
    case = ConvCase("", (3, 7, 8), (5, 3, 3, 3), padding=1, data_format=data_format)
    a = case.integers()
    batched = fastconv.conv2d(a.input[None], a.weight, a.bias, **case.geometry)
    y = cases.conv(case, a)
    assert y.ndim == 3
    cases.assert_exact(y, batched[0])


@pytest.mark.parametrize(
    ("shape", "kernel", "arguments"),
    [
        ((1, 1, 4, 4), (5, 5), {}),
        ((1, 1, 4, 4), (1, 5), {}),
        ((1, 1, 4, 4), (3, 3), {"dilation": 2}),
        ((1, 1, 1, 4), (4, 1), {"padding": 1}),
        ((0, 1, 2, 2), (3, 3), {}),
    ],
    ids=str,
)
def test_an_output_below_one_raises(shape, kernel, arguments):
    with pytest.raises(ValueError, match=r"(?i)kernel|output"):
        fastconv.conv2d(
            np.ones(shape, np.float32), np.ones((1, 1, *kernel), np.float32), **arguments
        )


@pytest.mark.parametrize("big", [2**31, 2**40, 2**62])
def test_a_stride_may_be_huge_if_it_is_never_taken(big):
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    w = np.ones((1, 1, 3, 3), np.float32)
    assert fastconv.conv2d(x, w, stride=big).tolist() == [[[[54.0]]]]
    gradients = fastconv.conv2d_backward(np.ones((1, 1, 1, 1), np.float32), x, w, stride=big)
    assert gradients[0].sum() == 9
    assert gradients[1].tolist() == [[x[0, 0, :3, :3].tolist()]]


@pytest.mark.parametrize("big", [2**31, 2**40, 2**62])
def test_a_dilation_may_be_huge_if_the_kernel_is_one_pixel(big):
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    y = fastconv.conv2d(x, np.full((1, 1, 1, 1), 2, np.float32), dilation=big)
    cases.assert_exact(y, 2 * x)


def test_an_image_may_be_huge_if_it_is_never_copied():
    """2**60 pixels that are one number in memory; a stride as large as they leaves two a side."""
    x = np.broadcast_to(np.float32(3), (1, 1, 2**30, 2**30))
    y = fastconv.conv2d(x, np.full((1, 1, 2, 2), 2, np.float32), stride=2**29)
    assert y.tolist() == [[[[24.0, 24.0], [24.0, 24.0]]]]
