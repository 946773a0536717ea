"""Promise: depthwise and narrow-group convolutions take their own road, and it is exact.

The cases are small, but each drives another branch: both kinds of lanes, rows shorter and longer
than a vector, one block and several, every size of kernel that has code of its own and those that
have none, more groups than fill the lanes and fewer.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import ConvCase

SQUARE = [
    ((3, 3), 1, 1),
    ((3, 3), 2, 1),
    ((5, 5), 1, 1),
    ((5, 5), 2, 1),
    ((7, 7), 1, 1),
    ((7, 7), 2, 1),
]
OTHERS = [
    ((1, 5), 1, 1),
    ((5, 1), (2, 1), 1),
    ((3, 3), 1, 2),
    ((3, 3), (1, 2), 1),
    ((2, 4), 3, (2, 1)),
    ((1, 1), 2, 1),
    ((3, 2), 4, 1),
]
CHANNELS = [(1, 1), (1, 3), (2, 2), (4, 5), (16, 6)]  # of a group, in and out
SIZES = [(7, 7, 37), (9, 20, 3), (33, 41, 18), (3, 140, 2)]  # height, width, groups
DTYPES = ("float32", "float64")
FORMATS = ("NCHW", "NHWC")


def make_case(size, channels, window, padding=1, **changes) -> ConvCase:
    (height, width, groups), (c, o), (kernel, stride, dilation) = size, channels, window
    name = f"{height}x{width}g{groups}c{c}o{o}k{kernel}s{stride}d{dilation}p{padding}"
    shape, weight = (2, groups * c, height, width), (groups * o, c, *kernel)
    return ConvCase(name, shape, weight, stride, padding, dilation, groups).replace(**changes)


def all_cases() -> list[ConvCase]:
    """Every window with depthwise channels, the others in turn."""
    problems = [
        *itertools.product(SIZES, CHANNELS[:2], SQUARE + OTHERS, (0, 2)),
        *itertools.product(SIZES, CHANNELS[2:], SQUARE[::3] + OTHERS[::2], (1,)),
    ]
    drawn = (make_case(*problem) for problem in problems)
    return [c for c in drawn if min(c.output) > 0 and (c.weight[1] == 1 or c.weight[-2:] != (1, 1))]


# Narrow groups, channels in the lanes: vectors full and not, one and several, sums of one block of
# pixels and of several, taps along a row in one tile and in two, strides that leave pixels out.
NARROW_GROUPS = [
    ((16, 16), (3, 3), 1),
    ((8, 8), (3, 3), 2),
    ((12, 20), (4, 4), 1),
    ((32, 24), (3, 4), (2, 1)),
    ((9, 17), (1, 7), 1),
    ((16, 8), (2, 3), (1, 2)),
    ((31, 32), (3, 3), 3),
    ((16, 16), (5, 5), 2),
    ((10, 12), (3, 2), 1),
]
NARROW = [
    ConvCase(
        f"{h}x{w}c{c}o{o}k{kernel}s{stride}p{padding}",
        (3, 3 * c, h, w),
        (3 * o, c, *kernel),
        stride,
        padding,
        groups=3,
    )
    for (h, w), ((c, o), kernel, stride), padding in itertools.product(
        [(14, 14), (7, 8), (23, 30), (1, 12), (40, 3)], NARROW_GROUPS, (0, 1, ((0, 2), (3, 0)))
    )
]
NARROW = [case for case in NARROW if min(case.output) > 0]
NARROW.append(ConvCase("70x66c16", (2, 32, 70, 66), (32, 16, 3, 3), padding=1, groups=2))  # totals

CASES = all_cases()
SOME = CASES[::7]


def plan_of(case: ConvCase, **changes):
    return fastconv.conv2d_plan(
        case.input_shape, case.weight, **case.geometry, dtype=case.dtype, **changes
    )


# ---- the choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "weight", "groups", "algorithm"),
    [
        ((1, 32, 112, 112), (32, 1, 3, 3), 32, "depthwise"),
        ((1, 960, 7, 7), (960, 1, 3, 3), 960, "depthwise"),
        ((1, 16, 20, 20), (64, 1, 5, 5), 16, "depthwise"),
        ((1, 128, 56, 56), (128, 4, 3, 3), 32, "depthwise"),
        ((1, 512, 14, 14), (512, 16, 3, 3), 32, "depthwise"),
        ((1, 1, 64, 64), (1, 1, 7, 7), 1, "depthwise"),
        ((1, 1, 8, 8), (1, 1, 3, 3), 1, "direct"),  # a small call
        ((1, 64, 14, 14), (64, 32, 7, 7), 2, "direct"),
        ((1, 240, 28, 28), (240, 8, 1, 1), 30, "direct"),  # a product of matrices
        ((1, 1, 28, 28), (32, 1, 5, 5), 1, "direct"),
        ((1, 4, 80, 80), (4, 1, 40, 40), 4, "direct"),  # too long for a single chain of additions
    ],
)
def test_the_plan_names_it(shape, weight, groups, algorithm):
    arguments = {"padding": (weight[2] // 2, weight[3] // 2), "groups": groups}
    for prepacked in (False, True):
        plan = fastconv.conv2d_plan(shape, weight, **arguments, prepacked=prepacked)
        assert plan.algorithm == algorithm
    assert (
        fastconv.conv2d_plan(shape, weight, **arguments, algorithm="direct").algorithm == "direct"
    )


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("batch", [1, 1000])
@pytest.mark.parametrize("image", [(7, 7), (112, 112), (3, 100_000), (100_000, 3)], ids=str)
def test_workspace_is_bounded(image, batch, data_format):
    for channels, window in itertools.product(CHANNELS, SQUARE + OTHERS):
        case = make_case((*image, 40), channels, window, 3, data_format=data_format)
        plan = plan_of(case.replace(input=(batch, *case.input[1:])))
        assert plan.workspace_bytes <= (1 << 20) * plan.threads, case


# ---- gradients in one sweep ---------------------------------------------------------------------

# dy is read once for all gradients. Planes small enough, and groups enough, for any vector length:
PLANES = [(7, 7, 37), (14, 13, 18), (5, 16, 33), (28, 28, 17), (1, 9, 20), (3, 2, 19)]
SWEPT = [
    ConvCase(
        f"{h}x{w}g{groups}k{kernel}s{stride}d{dilation}p{padding}",
        (3, groups, h, w),
        (groups, 1, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )
    for (h, w, groups), (kernel, stride, dilation), padding in itertools.product(
        PLANES, SQUARE[:4] + OTHERS, (0, 1, ((0, 1), (0, 1)), ((3, 0), (1, 4)))
    )
]
SWEPT = [case for case in SWEPT if min(case.output) > 0]
# As many outputs in a row as inputs: pixels in the lanes, in one block of rows and in several, the
# last vector of a row full and not.
SAME = [
    ConvCase(
        f"{h}x{w}g{groups}k{kernel}d{dilation}same",
        (2, groups, h, w),
        (groups, 1, *kernel),
        padding="same",
        dilation=dilation,
        groups=groups,
    )
    for (h, w, groups), (kernel, dilation) in itertools.product(
        [(9, 48, 5), (33, 46, 3), (71, 112, 2), (2, 16, 18), (1, 32, 3)],
        [((3, 3), 1), ((5, 5), 1), ((7, 7), 1), ((3, 5), (1, 2)), ((5, 2), 1)],
    )
]
# Half as many, stride 2: rows and columns of taps that meet dY before, behind and beside a pixel.
HALVED = [
    ConvCase(
        f"{h}x{w}g{groups}k{kernel}s2p{padding}",
        (2, groups, h, w),
        (groups, 1, *kernel),
        2,
        padding,
        groups=groups,
    )
    for (h, w, groups), (kernel, padding) in itertools.product(
        [(9, 96, 5), (34, 92, 3), (75, 224, 2), (2, 32, 18), (1, 64, 3)],
        [((3, 3), 1), ((5, 5), 2), ((3, 5), (1, 2)), ((5, 3), ((2, 2), (0, 1))), ((5, 5), (0, 2))],
    )
]
SAME += [case for case in HALVED if min(case.output) > 0]
# 3 x 3 taps with all sums in registers: rows of one vector, rows of two planes in one (the last
# plane alone), and rows of two. Twice: names of even and of odd length stand for both dtypes.
ROLLED = [(7, 7, 37), (8, 8, 2), (14, 14, 19), (2, 16, 3), (3, 15, 16), (13, 28, 5), (2, 32, 17)]
ROLLED += [(27, 55, 18), (6, 6, 5), (9, 13, 34), (25, 31, 3)]
SAME += [
    ConvCase(
        f"{h}x{w}g{groups}k3s{stride}p{padding}{again}",
        (2, groups, h, w),
        (groups, 1, 3, 3),
        stride,
        padding,
        groups=groups,
    )
    for (h, w, groups), (stride, padding), again in itertools.product(
        ROLLED, [(1, 1), (2, 1), (2, ((1, 0), (1, 0)))], ("", "_")
    )
]
# Stride 2 with even and odd columns in one vector: one strip of a row and several, rows that no tap
# reaches, padding up to all but one of the taps.
STRIDED = [
    ConvCase(
        f"{h}x{w}g{groups}k{kernel}s2p{padding}",
        (2, groups, h, w),
        (groups, 1, kernel, kernel),
        2,
        padding,
        groups=groups,
    )
    for (h, w, groups), kernel, padding in itertools.product(
        [(14, 14, 19), (5, 16, 2), (28, 29, 33), (9, 40, 3), (75, 67, 2), (6, 7, 5), (200, 191, 2)],
        (3, 4, 5),
        (0, 1, 2, ((4, 0), (0, 3)), ((0, 3), (4, 1))),
    )
    if kernel > 4 or isinstance(padding, int)
]
SAME += STRIDED
SWEPT += SAME
SWEPT += NARROW
MASKS = [m for m in itertools.product((True, False), repeat=3) if any(m)]


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", SWEPT, ids=str)
def test_gradients_in_one_sweep_are_exact(case, data_format, threads):
    case = case.replace(data_format=data_format, dtype=DTYPES[len(case.name) % 2])
    arrays, _, gradients = cases.integer_problem(case)
    for name, grad, wanted in zip("xwb", cases.backward(case, arrays), gradients, strict=True):
        cases.assert_exact(grad, wanted, f"gradient {name} of {case!r}")


@pytest.mark.parametrize("how", [None, *sorted(cases.AWKWARD)])
@pytest.mark.parametrize("case", SWEPT[::11] + SAME[::4] + NARROW[::5] + SOME[::5], ids=str)
def test_a_gradient_has_the_same_bits_whatever_else_is_wanted(case, how):
    arrays = case.normal()
    if how is not None:
        arrays = arrays.map(lambda a: None if a is None else cases.AWKWARD[how](a))
    every = cases.backward(case, arrays)
    for mask in MASKS:
        some = cases.backward(case, arrays, output_mask=mask)
        for wanted, one, same in zip(mask, every, some, strict=True):
            assert (same is not None) == wanted
            if wanted:
                assert one.tobytes() == same.tobytes(), (case, mask)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", SWEPT[::7], ids=str)
def test_threads_leave_gradients_in_one_sweep_alone(case, data_format):
    case = case.replace(data_format=data_format, input=(19, *case.input[1:]))
    a = case.normal()
    with cases.thread_count(1):
        alone = cases.backward(case, a)
    with cases.thread_count(3):
        together = cases.backward(case, a)
    for one, same in zip(alone, together, strict=True):
        assert one.tobytes() == same.tobytes(), case


@pytest.mark.parametrize("case", SAME[::3], ids=str)
def test_gradients_of_planes_that_are_one_in_memory(case):
    """Their distance is 0, which must not look like a second plane that is not there."""
    once = case.normal().map(lambda a: np.broadcast_to(a[:, :1], a.shape) if a.ndim == 4 else a)
    copied = once.map(np.ascontiguousarray)
    for one, same in zip(cases.backward(case, once), cases.backward(case, copied), strict=True):
        assert one.tobytes() == same.tobytes(), case


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", SWEPT[::9] + SAME[::2] + NARROW[::4], ids=str)
def test_gradients_in_one_sweep_stay_inside(case, side):
    arrays, _, gradients = cases.integer_problem(case)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        for grad, wanted in zip(cases.backward(case, guarded), gradients, strict=True):
            cases.assert_exact(grad, wanted, case)


# ---- exact --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CASES + NARROW, ids=str)
def test_integers_are_exact(case, data_format, threads):
    case = case.replace(data_format=data_format, dtype=DTYPES[len(case.name) % 2])
    assert (
        plan_of(case).algorithm == "depthwise"
        or max(case.output[1], case.input[1]) > 16 * case.groups
    )
    arrays, expected, gradients = cases.integer_problem(case)
    cases.assert_exact(cases.conv(case, arrays), expected, case)
    relu = case.replace(activation="relu")
    cases.assert_exact(cases.conv(relu, arrays), np.maximum(expected, 0), relu)
    for name, grad, wanted in zip("xwb", cases.backward(case, arrays), gradients, strict=True):
        cases.assert_exact(grad, wanted, f"gradient {name} of {case!r}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", SOME + NARROW[::3], ids=str)
def test_normal_data_is_accurate(case, dtype):
    case = case.replace(dtype=dtype)
    a = case.normal()
    cases.check_conv(case, a, cases.conv(case, a), "direct")
    cases.check_backward(case, a, cases.backward(case, a))


@pytest.mark.parametrize("how", sorted(cases.AWKWARD))
@pytest.mark.parametrize("case", SOME[::3] + NARROW[::5], ids=str)
def test_any_strides(case, how):
    arrays, expected, gradients = cases.integer_problem(case)
    awkward = arrays.map(lambda a: None if a is None else cases.AWKWARD[how](a))
    cases.assert_exact(cases.conv(case, awkward), expected, case)
    for grad, wanted in zip(cases.backward(case, awkward), gradients, strict=True):
        cases.assert_exact(grad, wanted, case)
    if how in cases.AWKWARD_OUT:
        out = cases.AWKWARD_OUT[how](np.full(case.output_shape, np.nan, np.float32))
        cases.assert_exact(np.ascontiguousarray(cases.conv(case, arrays, out=out)), expected, case)


@pytest.mark.parametrize(
    "case",
    [
        ConvCase("depthwise", (8, 3, 256, 256), (3, 1, 3, 3), padding=1, groups=3),
        ConvCase("narrow", (8, 32, 80, 80), (32, 16, 3, 3), padding=1, groups=2),
    ],
    ids=str,
)
def test_a_long_sum_stays_accurate(case):
    """A weight of the gradient sums ten thousands of products or more: not in a single chain."""
    a = case.normal().map(lambda x: None if x is None else np.abs(x))
    _, grad, _ = fastconv.conv2d_backward(
        a.grad_output, a.input, a.weight, **case.geometry, output_mask=(False, True, False)
    )
    wide = a.astype("float64")
    _, wanted, _ = fastconv.conv2d_backward(
        wide.grad_output, wide.input, wide.weight, **case.geometry, output_mask=(False, True, False)
    )
    assert np.abs(grad / wanted - 1).max() < 1e-6


# ---- rows that roll by --------------------------------------------------------------------------

# One, two and four rows in a vector of 16 or 8 numbers, the last vector of a plane full and not;
# strips of a row, the last one moved back and not; planes in one block of rows and in several; as
# many planes as are taken together, and some over.
ROLLING_SIZES = [(4, 4, 26), (5, 3, 13), (2, 6, 25), (14, 14, 13), (16, 16, 3), (1, 9, 5)]
ROLLING_SIZES += [(3, 8, 13), (8, 31, 3), (6, 33, 2), (70, 40, 1), (12, 63, 14), (9, 1, 7)]
ROLLING_SIZES += [(200, 7, 1)]
ROLLING = [
    make_case(size, (1, outputs), window, padding)
    for size, outputs, window, padding in itertools.product(
        ROLLING_SIZES, (1, 2), SQUARE[:5], (0, 1, 2, ((3, 0), (0, 4)))
    )
]
ROLLING = [case for case in ROLLING if min(case.output) > 0]


@pytest.mark.parametrize("case", ROLLING, ids=str)
def test_rolling_rows_are_exact(case, threads):
    arrays, expected, _ = cases.integer_problem(case)
    cases.assert_exact(cases.conv(case, arrays), expected, case)
    relu = case.replace(activation="relu")
    cases.assert_exact(cases.conv(relu, arrays), np.maximum(expected, 0), relu)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", ROLLING[::3], ids=str)
def test_rolling_rows_stay_inside(case, side):
    arrays, expected, _ = cases.integer_problem(case)
    guarded = arrays.map(lambda a: None if a is None else guard.array(a, side))
    out = guard.empty(case.output_shape, np.float32, side)
    cases.assert_exact(cases.conv(case, guarded, out=out), expected, case)


@pytest.mark.parametrize("how", sorted(cases.AWKWARD))
@pytest.mark.parametrize("case", ROLLING[::5], ids=str)
def test_rolling_rows_of_any_strides(case, how):
    arrays, expected, _ = cases.integer_problem(case)
    awkward = arrays.map(lambda a: None if a is None else cases.AWKWARD[how](a))
    cases.assert_exact(cases.conv(case, awkward), expected, case)


@pytest.mark.parametrize("case", ROLLING[::3], ids=str)
def test_rolling_rows_mix_no_nan_into_other_pixels(case):
    a = case.integers()
    a.input.reshape(-1)[:: max(1, a.input.size // 3)] = np.nan
    with np.errstate(invalid="ignore"):
        cases.assert_exact(cases.conv(case, a), cases.expected_conv(case, a), case)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [7, 40])
def test_rolling_rows_of_volumes(width, stride, threads):
    """A kernel of one plane of taps: the planes of a volume are convolved one by one."""
    rng = np.random.default_rng(5)
    x = rng.integers(-4, 5, (2, 5, 4, 9, width)).astype(np.float32)
    w = rng.integers(-3, 4, (5, 1, 1, 3, 3)).astype(np.float32)
    geometry = {"stride": (2, stride, stride), "padding": (0, 1, 1), "groups": 5}
    y = fastconv.conv3d(x, w, **geometry)
    for d in range(y.shape[2]):
        plane = fastconv.conv2d(x[:, :, 2 * d], w[:, :, 0], stride=stride, padding=1, groups=5)
        cases.assert_exact(y[:, :, d], plane)


# ---- NaN and Inf --------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", SOME + SAME + NARROW, ids=str)
def test_nan_and_inf_reach_exactly_their_outputs(case, data_format):
    case = case.replace(data_format=data_format)
    a = case.integers()
    flat = a.input.reshape(-1)
    flat[[0, flat.size // 2, -1]] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected, (_, grad_weight, _) = (
            cases.expected_conv(case, a),
            cases.expected_backward(case, a),
        )
        plain = cases.pair(case.stride) == cases.pair(case.dilation) == (1, 1)
        assert not (plain and np.isfinite(expected).all())  # others may skip those pixels
        cases.assert_exact(cases.conv(case, a), expected, case)
        cases.assert_exact(cases.backward(case, a)[1], grad_weight, case)
        a = case.integers()
        a.grad_output.reshape(-1)[[0, -1]] = np.nan, np.inf
        for grad, wanted in zip(
            cases.backward(case, a), cases.expected_backward(case, a), strict=True
        ):
            cases.assert_exact(grad, wanted, case)


BESIDE = [
    make_case(size, (1, outputs), window, padding)
    for size, outputs, window, padding in itertools.product(
        [(7, 7, 3), (14, 14, 2), (9, 37, 2), (3, 140, 2)],
        (1, 2),
        SQUARE[:5],
        (0, 1, ((3, 0), (0, 4))),
    )
]
BESIDE = [case for case in BESIDE if min(case.output) > 0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", BESIDE, ids=str)
def test_what_lies_beside_rows_neither_counts_nor_changes(case, dtype):
    """Rows are read and written by vectors that reach over their ends."""
    case = case.replace(dtype=dtype)
    arrays, expected, _ = cases.integer_problem(case)
    inside = (..., slice(1, -1), slice(5, -3), slice(2, -1))
    around = [(0, 0), (1, 1), (5, 3), (2, 1)]
    x = np.pad(arrays.input, around, constant_values=np.nan)[inside]
    frame = np.full_like(np.pad(expected, around), 7, dtype=dtype)
    cases.assert_exact(
        cases.conv(case, dataclasses.replace(arrays, input=x), out=frame[inside]), expected
    )
    frame[inside] = 7
    assert (frame == 7).all()


# ---- memory and threads -------------------------------------------------------------------------


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", SOME + NARROW[::4], ids=str)
def test_nothing_outside_the_arrays_is_touched(case, side):
    arrays, expected, gradients = cases.integer_problem(case)
    for make in guard.MAKERS.values():
        guarded = arrays.map(lambda a, make=make: None if a is None else make(a, side))
        out = guard.empty(case.output_shape, np.float32, side)
        cases.assert_exact(cases.conv(case, guarded, out=out), expected, case)
        for grad, wanted in zip(cases.backward(case, guarded), gradients, strict=True):
            cases.assert_exact(grad, wanted, case)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", SOME[::2] + NARROW[::6], ids=str)
def test_threads_leave_every_bit_alone(case, data_format):
    case = case.replace(data_format=data_format, input=(9, *case.input[1:]))
    a = case.normal()
    results = []
    for n in (1, 2, 5):
        with cases.thread_count(n):
            results.append((cases.conv(case, a), *cases.backward(case, a)))
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            assert one.tobytes() == same.tobytes(), case


def test_prepacked_is_the_same_to_the_bit():
    for case in SOME:
        a = case.normal()
        packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry)
        assert packed(a.input).tobytes() == cases.conv(case, a).tobytes(), case


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)])
@pytest.mark.parametrize("size", [(40, 37), (9, 6), (150, 70)])
def test_planes_whose_columns_lie_apart(size, kernel, stride, dtype):
    """The colours of an image that come last, and results that are to lie so."""
    rng = np.random.default_rng(3)
    image = rng.integers(-4, 5, (2, *size, 3)).astype(dtype)
    w = rng.integers(-4, 5, (6, 1, kernel, kernel)).astype(dtype)
    bias = rng.integers(-4, 5, 6).astype(dtype)
    settings = {"stride": stride, "padding": kernel // 2, "groups": 3}
    x = image.transpose(0, 3, 1, 2)
    expected = fastconv.reference.conv2d(x, w, bias, **settings)
    np.testing.assert_array_equal(fastconv.conv2d(x, w, bias, **settings), expected)
    for source in (x, np.ascontiguousarray(x)):
        n, c, h, width = expected.shape
        out = np.full((n, h, width, c), np.nan, dtype).transpose(0, 3, 1, 2)
        fastconv.conv2d(source, w, bias, **settings, out=out)
        np.testing.assert_array_equal(out, expected)
