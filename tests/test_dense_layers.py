"""Promise: dense layers over few samples are convolutions like any other, and as exact.

With few pixels in all, forward reads rows of the input and of the weight side by side instead of
transposing the weight; the weight's gradient goes along rows of the input.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import ConvCase, make_case

CASES = [
    *(make_case(batch, 133, (1, 1), 37, (1, 1)) for batch in (1, 2, 5, 6, 7, 12, 13)),
    make_case(1, 64, (1, 1), 8, (1, 1)),
    make_case(3, 256, (1, 1), 65, (1, 1)),
    make_case(12, 203, (1, 1), 37, (1, 1)),
    make_case(1, 5003, (1, 1), 11, (1, 1)),
    # one pixel, whole vectors and tails of them
    *(
        make_case(1, channels, (1, 1), outputs, (1, 1))
        for channels, outputs in ((8, 8), (10, 240), (17, 33), (31, 15), (48, 100), (96, 1030))
    ),
    make_case(50, 200, (1, 1), 40, (1, 1)),
    make_case(129, 64, (1, 1), 9, (1, 1)),
    # channels-last images of a few pixels
    make_case(1, 130, (3, 3), 20, (1, 1)),
    make_case(2, 77, (1, 4), 33, (1, 1)),
    ConvCase("grouped", (4, 260, 1, 1), (36, 130, 1, 1), groups=2),
]
FORMATS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")


@pytest.mark.parametrize(
    ("batch", "name"), [(1, "dot products"), (12, "dot products"), (13, "direct"), (200, "direct")]
)
def test_the_plan_names_the_algorithm(batch, name):
    plan = fastconv.conv2d_plan((batch, 300, 1, 1), (40, 300, 1, 1))
    assert plan.algorithm == name
    forced = fastconv.conv2d_plan((batch, 300, 1, 1), (40, 300, 1, 1), algorithm="direct")
    assert forced.algorithm == "direct"


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, dtype, data_format, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, gradients = cases.integer_problem(case)
    cases.assert_exact(cases.conv(case, arrays), expected, case)
    relu = case.replace(activation="relu")
    cases.assert_exact(cases.conv(relu, arrays), np.maximum(expected, 0), relu)
    for result, exact in zip(cases.backward(case, arrays), gradients, strict=True):
        cases.assert_exact(result, exact, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_normal_data_is_accurate(case, dtype):
    case = case.replace(dtype=dtype)
    a = case.normal()
    cases.check_conv(case, a, cases.conv(case, a), "direct")
    cases.check_backward(case, a, cases.backward(case, a))


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_outside_the_arrays_is_touched(case, side):
    arrays, expected, gradients = cases.integer_problem(case)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        out = guard.empty(case.output_shape, np.float32, side)
        cases.assert_exact(cases.conv(case, guarded, out=out), expected, case)
        cases.assert_exact(cases.backward(case, guarded)[1], gradients[1], case)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES[:10], ids=str)
def test_nan_and_inf_reach_exactly_their_outputs(case, value):
    for where in (0, -1):
        a = case.integers()
        a.weight.reshape(-1)[where] = value
        with np.errstate(invalid="ignore"):
            expected = cases.expected_conv(case, a)
        np.testing.assert_array_equal(np.isfinite(cases.conv(case, a)), np.isfinite(expected))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bits_do_not_depend_on_threads(case):
    a = case.normal()
    with cases.thread_count(1):
        y, gradients = cases.conv(case, a), cases.backward(case, a)
    with cases.thread_count(2):
        assert cases.conv(case, a).tobytes() == y.tobytes()
        for one, same in zip(cases.backward(case, a), gradients, strict=True):
            assert one.tobytes() == same.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_and_columns_of_an_image_may_lie_in_any_order(dtype):
    case = make_case(1, 130, (2, 4), 9, (1, 1)).replace(data_format="NHWC", dtype=dtype)
    arrays, expected, gradients = cases.integer_problem(case)

    def both_ways(image):
        return image, np.ascontiguousarray(image.swapaxes(1, 2)).swapaxes(1, 2)

    for x, dy in itertools.product(both_ways(arrays.input), both_ways(arrays.grad_output)):
        mixed = dataclasses.replace(arrays, input=x, grad_output=dy)
        cases.assert_exact(cases.conv(case, mixed), expected, case)
        for result, exact in zip(cases.backward(case, mixed), gradients, strict=True):
            cases.assert_exact(result, exact, case)


@pytest.mark.parametrize("padding", [((0, 0), (0, 2)), ((0, 1), (0, 0)), ((1, 0), (2, 0)), 1])
@pytest.mark.parametrize("data_format", FORMATS)
def test_padded_pixels_are_zeros(data_format, padding):
    case = ConvCase("padded", (1, 130, 1, 2), (9, 130, 1, 1), padding=padding)
    case = case.replace(data_format=data_format)
    arrays, expected, gradients = cases.integer_problem(case)
    for side in guard.SIDES:
        guarded = arrays.map(lambda a, side=side: None if a is None else guard.array(a, side))
        cases.assert_exact(cases.conv(case, guarded), expected, case)
        for result, exact in zip(cases.backward(case, guarded), gradients, strict=True):
            cases.assert_exact(result, exact, case)
