"""Promise: pixels in the lanes, packed panel by panel or block by block, give exact results.

A block of the reduction is packed for a whole run of pixels, or panel by panel where the weights
of several blocks wait in L2; the first panel of weights packs pixels that lie in rows as it meets
them, others are copied before, every second column by pieces of a vector, zeros for the padding.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import make_case

CASES = [
    # One block of the reduction. Panels of weights of 6, 5 and fewer rows; pixels that fill
    # vectors, the largest panel, and neither.
    *(make_case(1, 20, (1, 64), outputs, (1, 1)) for outputs in (4, 5, 6, 13, 64)),
    *(make_case(2, 7, (1, pixels), 11, (1, 1)) for pixels in (15, 16, 63, 65, 80, 127, 129, 200)),
    make_case(1, 128, (25, 40), 17, (1, 1)),
    # Several blocks, whose weights stay in L2: panel by panel.
    make_case(1, 300, (9, 15), 35, (1, 1)),
    make_case(2, 129, (1, 131), 6, (1, 1)),
    # Several blocks, whose weights do not: block by block, and the sums are met again.
    make_case(1, 700, (5, 27), 400, (1, 1)),
    # Columns that lie apart, with and without padding; fewer of them than half a vector.
    make_case(1, 40, (1, 331), 70, (1, 3), (1, 2), (0, 1)),
    make_case(1, 33, (1, 260), 70, (1, 4), (1, 3), (0, 2)),
    make_case(1, 300, (1, 150), 400, (1, 3), (1, 2)),
    make_case(2, 24, (1, 140), 64, (1, 1), (1, 2)),
    make_case(1, 90, (7, 7), 70, (1, 1), 2),
    make_case(1, 64, (13, 15), 96, (3, 3), 2, 1),
]
FORMATS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")


def conv(case, arrays, **changes):
    return cases.conv(case, arrays, algorithm="direct", **changes)


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "how"),
    [
        ((1, 64, 56, 56), (64, 64, 1, 1), 1, "packed block by block"),
        ((1, 256, 56, 56), (64, 256, 1, 1), 1, "packed panel by panel"),
        ((1, 128, 1, 1999), (512, 128, 1, 1), 1, "packed block by block"),
        ((1, 512, 1, 3199), (512, 512, 1, 3), (1, 2), "packed block by block"),
    ],
)
def test_the_plan_names_the_road(shape, weight, stride, how):
    text = str(fastconv.conv2d_plan(shape, weight, stride, algorithm="direct"))
    if "avx512" in text:  # lanes and the depth of a block depend on the ISA
        assert "output pixels" in text
        assert how in text


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, dtype, data_format, threads):
    case = case.replace(data_format=data_format, dtype=dtype, activation="relu")
    arrays = case.integers()
    expected = cases.expected_conv(case, arrays)
    cases.assert_exact(conv(case, arrays), expected, case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_prepacked_operators_are_accurate_and_do_not_depend_on_threads(case):
    a = case.normal()
    packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry, algorithm="direct")
    with cases.thread_count(1):
        result = packed(a.input)
    cases.check_conv(case, a, result, "direct")
    with cases.thread_count(2):
        np.testing.assert_array_equal(packed(a.input), result)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_outside_the_arrays_is_touched(case, side):
    arrays = case.integers()
    expected = cases.expected_conv(case, arrays)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        out = guard.empty(case.output_shape, np.float32, side)
        cases.assert_exact(conv(case, guarded, out=out), expected, case)
