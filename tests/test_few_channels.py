"""Promise: layers with few channels and small images take roads of their own, and they are exact.

First layers of networks, gradients of their inputs, last layers with few outputs: vectors of pixels
are loaded straight from a padded copy of some rows, forward and in the weights' gradient. Images of
a few pixels share one block.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import ConvCase, make_case

CASES = [
    # rows shorter than a vector, exactly one, a bit more, several blocks of rows
    *(make_case(2, 1, (9, width), 5, (3, 3)) for width in (3, 6, 10, 18, 19, 35, 66)),
    make_case(3, 1, (28, 28), 30, (5, 5)),
    make_case(1, 3, (70, 64), 8, (3, 3), padding=1),
    # stems: the columns fall apart by their residue modulo the stride
    make_case(1, 3, (37, 45), 16, (7, 7), 2, 3),
    make_case(2, 3, (41, 47), 12, (11, 11), 4, 2),
    make_case(2, 3, (32, 36), 24, (4, 4), 4),
    make_case(1, 2, (20, 31), 7, (2, 3), (1, 3), (1, 0)),
    make_case(1, 3, (24, 40), 6, (3, 3), 1, 4, 4),
    make_case(1, 1, (23, 33), 9, (3, 2), 2, 2, (1, 3)),
    # rows of outputs that join, in several blocks, with strides, padding and dilation
    make_case(2, 3, (61, 23), 12, (3, 5), (2, 1), (1, 2)),
    make_case(1, 2, (90, 26), 14, (5, 3), (3, 2), 2, (2, 1)),
    make_case(3, 1, (150, 12), 6, (3, 3)),
    make_case(1, 4, (200, 17), 9, (2, 3), (4, 1), (0, 5), (3, 2)),
    # rows of more vectors than a block of the weights' gradient takes
    make_case(2, 1, (1, 2117), 9, (1, 10), (1, 2)),
    make_case(1, 2, (2, 1100), 17, (2, 3), padding=1),
    # rows that are whole vectors: their gradients are read where they lie
    make_case(2, 1, (9, 34), 11, (3, 3)),
    # few outputs of many channels: the reduction is cut, sums are added to what the output holds
    make_case(1, 64, (12, 20), 3, (3, 3), padding=1),
    make_case(1, 64, (6, 56), 3, (3, 3), padding=1),
    make_case(2, 100, (9, 33), 1, (3, 3), padding=1),
    make_case(1, 40, (11, 18), 2, (5, 5), padding=2),
    # images of a few pixels: several in a block, the last block smaller
    *(make_case(batch, 96, (7, 7), 40, (1, 1)) for batch in (2, 5, 11)),
    make_case(7, 40, (5, 3), 70, (3, 3), 1, 1),
    make_case(9, 300, (4, 4), 33, (1, 1)),
]
# Gradients with roads of their own: phases of strided ones share weights that are turned once, or
# scatter rows of few channels; pointwise ones transpose the array with fewer channels.
GRADIENTS = [
    make_case(2, 40, (13, 11), 24, (3, 3), 2, 1),
    make_case(1, 35, (9, 14), 20, (4, 4), 2, 1),
    make_case(1, 67, (12, 10), 5, (5, 2), (3, 2), 2, (1, 2)),
    make_case(2, 3, (37, 45), 33, (7, 7), 2, 3),
    make_case(1, 2, (70, 131), 40, (3, 4), (2, 3), 1),
    make_case(1, 5, (20, 24), 300, (4, 4), 4),
    make_case(2, 20, (9, 11), 70, (1, 1)),
    make_case(1, 70, (9, 11), 20, (1, 1)),
    make_case(3, 33, (10, 7), 90, (1, 1), 2),
    # pairs of pixels fill the lanes: several images in a block, several blocks of an image, copied
    # channels, odd images
    make_case(2, 24, (12, 10), 40, (1, 1)),
    make_case(1, 70, (18, 46), 20, (1, 1)),
    make_case(2, 16, (30, 34), 37, (1, 1)),
    make_case(5, 40, (6, 6), 90, (1, 1)),
    make_case(2, 50, (32, 32), 24, (1, 1)),
    make_case(2, 8, (8, 8), 8, (1, 1)),
    make_case(3, 24, (9, 11), 41, (1, 1)),
    ConvCase("pairs_grouped", (2, 48, 8, 14), (80, 24, 1, 1), groups=2),
    # 32 outputs, two vectors: tiles of nine rows, of which the first packs runs of pixels as
    # it goes, all of them or all but the last few; rows of pixels that do not join go the old way
    make_case(2, 3, (34, 34), 32, (3, 3), 2, 1),
    make_case(2, 3, (31, 45), 32, (3, 3), 2),
    make_case(1, 2, (29, 17), 32, (3, 3), 2),
    make_case(1, 3, (9, 700), 32, (3, 3), (2, 1), 1),
    make_case(1, 26, (19, 21), 32, (1, 1)),
    make_case(1, 62, (40, 33), 32, (1, 1)),
    make_case(3, 27, (5, 7), 32, (1, 1)),
    make_case(1, 5, (21, 20), 31, (3, 3), 2),
    ConvCase("nine_rows_grouped", (2, 6, 23, 29), (64, 3, 3, 3), stride=2, groups=2),
    # few rows of taps, read where they lie by the weights' gradient unless they reach padding
    make_case(1, 1, (1, 700), 100, (1, 16), (1, 8)),
    make_case(2, 1, (1, 1200), 109, (1, 16), 1, (0, 5)),
    make_case(2, 2, (1, 150), 96, (1, 8), (1, 3), (0, 2)),
    make_case(1, 3, (1, 301), 131, (1, 16), (1, 5), (0, 7)),
    make_case(1, 1, (1, 180), 97, (1, 30), (1, 4), (0, 9)),
    ConvCase(
        "few_rows_grouped", (2, 8, 1, 99), (192, 4, 1, 16), stride=(1, 8), padding=(0, 3), groups=2
    ),
    # many outputs, of whose gradient rows are asked for ahead
    make_case(1, 1, (6, 150), 260, (3, 3), 1, 1),
    make_case(1, 2, (9, 140), 70, (3, 3), 2, 1),
]
FORMATS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")


def conv(case, arrays, **changes):
    return cases.conv(case, arrays, algorithm="direct", **changes)


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "raw"),
    [
        ((1, 3, 224, 224), (64, 3, 3, 3), 1, True),
        ((1, 3, 224, 224), (32, 3, 3, 3), 2, True),
        ((32, 1, 28, 28), (8, 1, 5, 5), 1, True),
        ((1, 64, 56, 56), (3, 64, 3, 3), 1, True),
        ((1, 64, 56, 56), (64, 64, 3, 3), 1, False),
        ((1, 256, 14, 14), (256, 256, 3, 3), 1, False),
    ],
)
def test_the_plan_names_the_road(shape, weight, stride, raw):
    text = str(fastconv.conv2d_plan(shape, weight, stride, 1, algorithm="direct"))
    assert ("output pixels" in text and "padded copy" in text) == raw


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, dtype, data_format, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, gradients = cases.integer_problem(case)
    cases.assert_exact(conv(case, arrays), expected, case)
    relu = case.replace(activation="relu")
    cases.assert_exact(conv(relu, arrays), np.maximum(expected, 0), relu)
    # Winograd may have grad_input; its rounding is tested elsewhere.
    _, grad_weight, grad_bias = cases.backward(case, arrays)
    cases.assert_exact(grad_weight, gradients[1], case)
    cases.assert_exact(grad_bias, gradients[2], case)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_of_integers_are_exact(case, dtype, data_format, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, _, gradients = cases.integer_problem(case)
    for result, expected in zip(cases.backward(case, arrays), gradients, strict=True):
        cases.assert_exact(result, expected, case)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_touch_nothing_outside_the_arrays(case, side):
    arrays, _, gradients = cases.integer_problem(case)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        for result, expected in zip(cases.backward(case, guarded), gradients, strict=True):
            cases.assert_exact(result, expected, case)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_normal_data_is_accurate(case, dtype):
    case = case.replace(dtype=dtype)
    a = case.normal()
    cases.check_conv(case, a, conv(case, a), "direct")
    cases.check_backward(case, a, cases.backward(case, a))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", CASES[:16], ids=str)
def test_nan_and_inf_reach_exactly_their_outputs(case, value):
    a = case.integers()
    for where in (0, -1):  # a corner meets one tap only
        a.input.reshape(-1)[where] = value
    with np.errstate(invalid="ignore"):
        expected, gradients = cases.expected_conv(case, a), cases.expected_backward(case, a)
    np.testing.assert_array_equal(np.isfinite(conv(case, a)), np.isfinite(expected))
    np.testing.assert_array_equal(
        np.isfinite(cases.backward(case, a)[1]), np.isfinite(gradients[1])
    )


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_outside_the_arrays_is_touched(case, side):
    arrays, expected, gradients = cases.integer_problem(case)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        out = guard.empty(case.output_shape, np.float32, side)
        cases.assert_exact(conv(case, guarded, out=out), expected, case)
        cases.assert_exact(cases.backward(case, guarded)[1], gradients[1], case)


GATHERED = [
    make_case(3, 1, (28, 28), 30, (5, 5)),
    make_case(2, 2, (19, 23), 70, (3, 3), padding=1),
    make_case(2, 3, (37, 45), 16, (7, 7), 2, 3),
    make_case(2, 1, (1, 3000), 140, (1, 16), (1, 8)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GATHERED, ids=str)
def test_input_gradients_of_many_outputs(case, dtype, threads):
    case = case.replace(dtype=dtype)
    arrays, _, gradients = cases.integer_problem(case)
    cases.assert_exact(cases.backward(case, arrays)[0], gradients[0], case)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("case", GATHERED, ids=str)
def test_nan_and_inf_reach_exactly_their_input_gradients(case, value):
    a = case.integers()
    a.grad_output.reshape(-1)[[0, -1]] = value
    with np.errstate(invalid="ignore"):
        expected = cases.expected_backward(case, a)[0]
        got = cases.backward(case, a)[0]
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))


@pytest.mark.parametrize("case", GATHERED, ids=str)
def test_input_gradients_do_not_depend_on_batch_and_threads(case):
    a = case.normal()
    with cases.thread_count(1):
        whole = cases.backward(case, a)[0]
    with cases.thread_count(2):
        np.testing.assert_array_equal(cases.backward(case, a)[0], whole)
    for i in range(case.input[0]):
        part = a.map(lambda b, i=i: b[i : i + 1])
        mask = (True, False, False)
        alone, _, _ = fastconv.conv2d_backward(
            part.grad_output, part.input, a.weight, **case.geometry, output_mask=mask
        )
        np.testing.assert_array_equal(whole[i], alone[0])


@pytest.mark.parametrize("case", [c for c in CASES if c.input[0] > 1], ids=str)
def test_a_sample_does_not_depend_on_its_batch(case):
    a = case.normal()
    whole = conv(case, a)
    for i in range(case.input[0]):
        alone = fastconv.conv2d(
            a.input[i : i + 1], a.weight, a.bias, **case.geometry, algorithm="direct"
        )
        np.testing.assert_array_equal(whole[i], alone[0])


@pytest.mark.parametrize("case", CASES + GRADIENTS, ids=str)
def test_gradients_have_the_same_bits_whatever_else_is_wanted(case):
    arrays = case.normal()
    every = cases.backward(case, arrays)
    for mask in itertools.product((False, True), repeat=3):
        some = cases.backward(case, arrays, output_mask=mask)
        for wanted, one, same in zip(mask, every, some, strict=True):
            assert (same is not None) == wanted
            assert not wanted or one.tobytes() == same.tobytes(), mask


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("size", [(34, 34), (31, 45), (64, 97)])
def test_tiles_that_pack_leave_the_bits_alone(size, count):
    """Rows of the gradient that do not join are packed before the tiles."""
    case = make_case(2, 3, size, 32, (3, 3), 2, 1)
    a = case.normal()
    n, c, h, w = a.grad_output.shape
    apart = np.zeros((n, c, h, w + 3), np.float32)[..., :w]
    apart[...] = a.grad_output
    with cases.thread_count(1):
        want = cases.backward(case, a)[1]
    with cases.thread_count(count):
        for grad_output in (a.grad_output, apart):
            got = fastconv.conv2d_backward(
                grad_output, a.input, a.weight, **case.geometry, output_mask=(False, True, False)
            )[1]
            assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_joined_rows_have_the_same_bits_in_views(dtype):
    """Whether rows of the gradient join does not depend on how it lies."""
    case = make_case(3, 1, (28, 28), 30, (5, 5)).replace(dtype=dtype)
    a = case.normal()
    expected = cases.backward(case, a)
    n, c, h, w = a.grad_output.shape
    wide = np.zeros((n, c, h, w + 3), dtype)
    wide[..., :w] = a.grad_output
    last = np.ascontiguousarray(a.grad_output.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for grad_output in (wide[..., :w], last):
        results = fastconv.conv2d_backward(grad_output, a.input, a.weight)
        np.testing.assert_array_equal(results[1], expected[1])
