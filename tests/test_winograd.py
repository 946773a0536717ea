"""Promise: Winograd's algorithm is chosen where it wins, forced or forbidden by name, accurate.

The largest error on N(0, 1) data over the output's RMS is promised to stay below 3e-5 in float32,
for up to 512 channels.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import ConvCase

FORMATS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")
VOLUME = {"data_format": "NCDHW"}

CASES = [
    ConvCase("one_tile", (1, 8, 4, 4), (8, 8, 3, 3), padding=1),
    ConvCase("one_pixel", (1, 8, 3, 3), (8, 8, 3, 3)),
    ConvCase("one_row", (2, 9, 1, 37), (11, 9, 3, 3), padding=1),
    ConvCase("one_column", (2, 9, 37, 1), (11, 9, 3, 3), padding=1),
    ConvCase("odd", (3, 17, 13, 11), (19, 17, 3, 3), padding=1, activation="relu"),
    ConvCase("no_padding", (1, 24, 15, 18), (40, 24, 3, 3), bias=False),
    ConvCase("asymmetric", (1, 16, 10, 9), (33, 16, 3, 3), padding=((0, 3), (2, 1))),
    ConvCase("pad_beyond_image", (1, 8, 3, 2), (8, 8, 3, 3), padding=7),
    ConvCase("batch_of_small", (9, 32, 7, 7), (48, 32, 3, 3), padding=1),
    ConvCase("runs_of_tiles", (1, 12, 9, 300), (10, 12, 3, 3), padding=1),
    ConvCase("groups", (2, 40, 12, 9), (64, 10, 3, 3), padding=1, groups=4),
    ConvCase("channel_blocks", (1, 530, 6, 6), (70, 530, 3, 3), padding=1),
    ConvCase("many_blocks", (2, 16, 61, 58), (20, 16, 3, 3), padding=1),
    ConvCase("5x5", (2, 9, 11, 14), (13, 9, 5, 5), padding=2, activation="relu"),
    ConvCase("5x5_no_padding", (1, 20, 5, 5), (40, 20, 5, 5)),
    ConvCase("5x5_groups", (1, 24, 17, 8), (24, 12, 5, 5), padding=((4, 0), (1, 2)), groups=2),
    ConvCase("dilated", (2, 17, 13, 11), (19, 17, 3, 3), padding=2, dilation=2, activation="relu"),
    ConvCase("dilated_evenly", (1, 24, 24, 24), (40, 24, 3, 3), padding=4, dilation=4),
    # Images whose channels share a vector of 16, and some that cannot.
    ConvCase("pairs", (6, 8, 13, 11), (19, 8, 3, 3), padding=1, activation="relu"),
    ConvCase("pairs_5x5", (34, 8, 14, 14), (32, 8, 5, 5), padding=2),
    ConvCase("pairs_dilated", (4, 8, 15, 29), (70, 8, 3, 3), padding=2, dilation=(2, 3)),
    ConvCase("pairs_of_lines", (2, 8, 5, 61), (10, 8, 1, 3), padding=(0, 1)),
    ConvCase("no_pairs", (5, 8, 9, 8), (17, 8, 3, 3), padding=1),
    ConvCase("no_pairs_of_groups", (4, 16, 9, 8), (32, 8, 3, 3), padding=1, groups=2),
    ConvCase("dilated_wide", (2, 9, 7, 151), (10, 9, 3, 3), padding=(2, 5), dilation=(1, 5)),
    ConvCase("dilated_too_wide", (1, 8, 5, 301), (9, 8, 3, 3), padding=2, dilation=2),
    ConvCase("dilated_columns", (1, 9, 10, 35), (18, 9, 3, 3), padding=(1, 3), dilation=(1, 3)),
    ConvCase("dilated_beyond_output", (3, 8, 13, 17), (8, 8, 3, 3), dilation=(6, 7)),
    ConvCase("dilated_beyond_image", (1, 8, 3, 5), (8, 8, 3, 3), padding=9, dilation=9),
    ConvCase("dilated_groups", (2, 40, 12, 9), (64, 10, 3, 3), padding=3, dilation=3, groups=4),
    ConvCase("dilated_5x5", (1, 9, 15, 14), (13, 9, 5, 5), padding=((4, 1), (0, 6)), dilation=3),
    ConvCase("depth", (2, 16, 4, 9, 11), (19, 16, 3, 3, 3), padding=1, activation="relu", **VOLUME),
    ConvCase("depth_strided", (1, 48, 7, 6, 9), (17, 48, 2, 3, 3), stride=(2, 1, 1), **VOLUME),
    ConvCase("depth_dilated", (1, 32, 9, 8, 8), (24, 16, 3, 5, 5), padding=2, dilation=(3, 1, 2),
             groups=2, **VOLUME),
    ConvCase("depth_blocks", (1, 208, 3, 6, 6), (70, 208, 3, 3, 3), padding=1, **VOLUME),
    ConvCase("2x2", (2, 9, 13, 11), (12, 9, 2, 2), padding=1, activation="relu"),
    ConvCase("2x2_no_padding", (1, 24, 14, 18), (40, 24, 2, 2), bias=False),
    ConvCase("2x2_dilated", (2, 16, 15, 12), (11, 16, 2, 2), padding=(0, 3), dilation=(2, 3)),
    ConvCase("row_2", (2, 17, 13, 11), (19, 17, 1, 2), padding=(0, 1)),
    ConvCase("column_2", (1, 9, 14, 6), (13, 9, 2, 1), padding=((1, 0), (0, 0))),
    ConvCase("row_3", (2, 17, 13, 11), (19, 17, 1, 3), padding=(0, 1), activation="relu"),
    ConvCase("row_5", (1, 9, 6, 14), (13, 9, 1, 5), padding=(1, 2)),
    ConvCase("row_7", (3, 24, 9, 18), (40, 24, 1, 7), padding=(0, 3)),
    ConvCase("row_of_rows", (1, 12, 30, 9), (10, 12, 1, 7), padding=(2, 9), stride=(1, 1)),
    ConvCase("column_3", (2, 17, 13, 11), (19, 17, 3, 1), padding=(1, 0), activation="relu"),
    ConvCase("column_5", (1, 9, 14, 6), (13, 9, 5, 1), padding=((3, 1), (0, 1))),
    ConvCase("column_7", (3, 24, 18, 9), (40, 24, 7, 1), padding=(3, 0), bias=False),
    ConvCase("column_strided_across", (2, 24, 18, 9), (16, 24, 7, 1), stride=(1, 2)),
    ConvCase("lines_groups", (2, 40, 12, 9), (64, 10, 1, 5), padding=(0, 2), groups=4),
    ConvCase("lines_dilated", (2, 9, 13, 31), (11, 9, 1, 7), padding=(0, 6), dilation=(1, 3)),
    ConvCase("lines_dilated_across", (2, 9, 13, 31), (11, 9, 5, 1), dilation=(2, 3)),
    ConvCase("lines_channel_blocks", (1, 530, 2, 16), (70, 530, 1, 3), padding=(0, 1)),
    ConvCase("lines_depth", (1, 32, 5, 9, 11), (19, 32, 3, 7, 1), padding=1, **VOLUME),
    ConvCase("time", (2, 24, 9, 4, 7), (40, 24, 3, 1, 1), padding=(1, 0, 0), **VOLUME),
    ConvCase("time_strided_across", (1, 9, 14, 5, 6), (10, 9, 7, 1, 1), stride=(1, 2, 1), **VOLUME),
    ConvCase("time_and_width", (2, 17, 9, 4, 11), (12, 17, 3, 1, 3), padding=(1, 0, 1), **VOLUME),
    ConvCase("sound", (2, 16, 333), (24, 16, 7), padding=3, data_format="NCL"),
    ConvCase("unbatched", (8, 9, 9), (8, 8, 3, 3), padding=1),
    ConvCase("no_batch", (0, 8, 9, 9), (8, 8, 3, 3), padding=1),
]  # fmt: skip


def named(name):
    return next(case for case in CASES if str(case) == name)


def laid_out(case, data_format, dtype):
    depth = data_format.replace("HW", {1: "L", 2: "HW", 3: "DHW"}[case.axes])
    return case.replace(data_format=depth, dtype=dtype)


def winograd(case, a, **kwargs):
    return cases.conv(case, a, algorithm="winograd", **kwargs)


def prepacked(case, a):
    return cases.function(case, "conv{}d_prepack")(
        a.weight, a.bias, **case.geometry, activation=case.activation, algorithm="winograd"
    )


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forced(case, data_format, dtype, threads):
    case = laid_out(case, data_format, dtype)
    a = case.normal()
    cases.check_conv(case, a, winograd(case, a), "winograd")
    cases.check_conv(case, a, prepacked(case, a)(a.input), "winograd")


@pytest.mark.parametrize("case", [c for c in CASES if c.batch > 0], ids=str)
def test_same_bits_for_every_thread_count(case):
    a = case.normal()
    packed = prepacked(case, a)
    with cases.thread_count(1):
        expected = winograd(case, a).tobytes(), packed(a.input).tobytes()
    for n in (2, 3, 7):
        with cases.thread_count(n):
            assert (winograd(case, a).tobytes(), packed(a.input).tobytes()) == expected, n


@pytest.mark.parametrize("name", cases.AWKWARD)
@pytest.mark.parametrize("case", [named("odd"), named("no_padding")], ids=str)
def test_awkward_arrays(case, name):
    a = case.normal()
    expected = winograd(case, a)
    assert winograd(case, a.map(cases.AWKWARD[name])).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", cases.AWKWARD_OUT)
@pytest.mark.parametrize("case", [named("odd"), named("no_padding")], ids=str)
def test_awkward_out(case, name):
    a = case.normal()
    expected = winograd(case, a)
    out = cases.AWKWARD_OUT[name](np.full(case.output, np.nan, np.float32))
    assert winograd(case, a, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_a_point_is_a_point():
    """A unit impulse and a unit tap at every place: an error of position, sign or overlap shows."""
    case = ConvCase("", (1, 8, 9, 10), (8, 8, 3, 3), padding=1, bias=False)
    for tap in range(9):
        a = case.normal()
        a.weight[...] = 0
        a.weight[range(8), range(8), tap // 3, tap % 3] = 1
        np.testing.assert_allclose(winograd(case, a), cases.expected_conv(case, a), atol=1e-5)


# ---- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "bound"),
    [
        (ConvCase("64", (1, 64, 28, 28), (64, 64, 3, 3), padding=1), 3e-5),
        (ConvCase("512", (1, 512, 28, 28), (64, 512, 3, 3), padding=1), 3e-5),
        (ConvCase("512_small", (1, 512, 7, 7), (64, 512, 3, 3), padding=1), 3e-5),
        (ConvCase("512_5x5", (1, 512, 14, 14), (32, 512, 5, 5), padding=2), 3e-5),
        (ConvCase("512_2x2", (1, 512, 28, 28), (64, 512, 2, 2), padding=1), 3e-5),
        (ConvCase("512_row_3", (4, 512, 17, 17), (64, 512, 1, 3), padding=(0, 1)), 3e-5),
        (ConvCase("512_row_5", (4, 512, 17, 17), (64, 512, 1, 5), padding=(0, 2)), 3e-5),
        (ConvCase("512_row_7", (4, 512, 17, 17), (64, 512, 1, 7), padding=(0, 3)), 3e-5),
        (ConvCase("512_column_7", (4, 512, 17, 17), (64, 512, 7, 1), padding=(3, 0)), 3e-5),
    ],
    ids=str,
)
def test_error(case, bound, threads):
    a = case.normal(seed=5)
    expected = cases.expected_conv(case, a)
    rms = np.sqrt(np.mean(np.square(expected)))
    for y in (winograd(case, a), prepacked(case, a)(a.input)):
        assert np.abs(y - expected).max() / rms <= bound
    wide = a.astype("float64")
    y = winograd(case.replace(dtype="float64"), wide)
    assert np.abs(y - expected).max() / rms <= 5e-14


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "case",
    [named(n) for n in ("odd", "5x5", "dilated", "row_3", "column_3")],
    ids=str,
)
def test_special_values_reach_what_they_should(case, special):
    case = case.replace(activation=None)
    a = case.normal()
    a.input[1, 3, 6, 5] = special
    with np.errstate(invalid="ignore"):
        wanted = ~np.isfinite(cases.expected_conv(case, a))
    assert wanted.any()
    assert (~np.isfinite(winograd(case, a)))[wanted].all()


# ---- stride 2 -----------------------------------------------------------------------------------
#
# Chosen by 'auto' alone. Its transforms are sums, so integers are exact and the bound is that of
# the direct convolution.

STRIDED = [
    ConvCase("even", (1, 64, 32, 28), (80, 64, 3, 3), padding=1, activation="relu"),
    ConvCase("odd", (3, 67, 21, 19), (125, 67, 3, 3), padding=1),
    ConvCase("no_padding", (1, 80, 33, 31), (128, 80, 3, 3), bias=False),
    ConvCase("asymmetric", (2, 64, 29, 24), (80, 64, 3, 3), padding=((0, 1), (2, 0))),
    ConvCase("pad_beyond_kernel", (1, 128, 13, 18), (128, 128, 3, 3), padding=4),
    ConvCase("groups", (2, 128, 28, 24), (128, 64, 3, 3), padding=1, groups=2),
    ConvCase("channel_blocks", (1, 530, 16, 16), (70, 530, 3, 3), padding=1),
    ConvCase("output_blocks", (1, 64, 24, 24), (530, 64, 3, 3), padding=1),
    ConvCase("many_blocks", (2, 64, 91, 78), (64, 64, 3, 3), padding=1),
    ConvCase("depth", (1, 32, 5, 30, 31), (128, 32, 3, 3, 3), padding=1, **VOLUME),
]  # fmt: skip
STRIDED = [case.replace(stride=2) for case in STRIDED]


def strided(case, a):
    return cases.conv(case, a), cases.function(case, "conv{}d_prepack")(
        a.weight, a.bias, **case.geometry, activation=case.activation
    )(a.input)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", STRIDED, ids=str)
def test_stride_2(case, data_format, dtype, threads):
    case = laid_out(case, data_format, dtype)
    plan = cases.function(case, "conv{}d_plan")
    for prepacked in (False, True):
        chosen = plan(
            case.input_shape, case.weight, **case.geometry, dtype=dtype, prepacked=prepacked
        )
        assert chosen.algorithm == "winograd"
    a = case.integers()
    for y in strided(case, a):
        cases.assert_exact(y, cases.expected_conv(case, a), case)
    a = case.normal()
    for y in strided(case, a):
        cases.check_conv(case, a, y, "auto")


@pytest.mark.parametrize("case", STRIDED, ids=str)
def test_stride_2_has_the_same_bits_for_every_thread_count(case):
    a = case.normal()
    with cases.thread_count(1):
        expected = [y.tobytes() for y in strided(case, a)]
    for n in (2, 3, 7):
        with cases.thread_count(n):
            assert [y.tobytes() for y in strided(case, a)] == expected, n


@pytest.mark.parametrize("name", cases.AWKWARD)
def test_stride_2_of_awkward_arrays(name):
    case = STRIDED[1]
    a = case.normal()
    _, expected = strided(case, a)
    y, packed = strided(case, a.map(cases.AWKWARD[name]))
    assert packed.tobytes() == expected.tobytes()
    cases.check_conv(case, a, y, "auto")  # weights that lie apart may be another algorithm's


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", STRIDED[:5], ids=str)
def test_stride_2_between_guard_pages(case, side):
    a = case.integers()
    expected = cases.expected_conv(case, a)
    guarded = a.map(lambda array: guard.array(array, side))
    for y in strided(case, guarded):
        cases.assert_exact(y, expected, case)


def test_stride_2_pools_in_the_store(threads):
    case = STRIDED[0]
    a = case.normal()
    pack = {"padding": case.padding, "stride": 2}
    whole = fastconv.conv2d_prepack(a.weight, a.bias, **pack)(a.input)
    y = fastconv.conv2d_prepack(a.weight, a.bias, **pack, pool=2)(a.input)
    np.testing.assert_array_equal(y, fastconv.max_pool2d(whole, 2))


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_stride_2_passes_special_values_on(special):
    case = STRIDED[1]
    a = case.normal()
    a.input[1, 3, 6, 5] = special
    with np.errstate(invalid="ignore"):
        wanted = ~np.isfinite(cases.expected_conv(case, a))
    for y in strided(case, a):
        assert (~np.isfinite(y))[wanted].all()


# ---- choosing -----------------------------------------------------------------------------------


def plan_of(case, **kwargs):
    return fastconv.conv2d_plan(
        case.input_shape, case.weight, **case.geometry, dtype=case.dtype, **kwargs
    )


@pytest.mark.parametrize(
    ("image", "weight", "unpacked", "packed"),
    [
        # resnet50 and vgg16
        ((1, 64, 56, 56), (64, 64, 3, 3), "winograd", "winograd"),
        ((1, 128, 28, 28), (128, 128, 3, 3), "winograd", "winograd"),
        ((1, 256, 14, 14), (256, 256, 3, 3), "winograd", "winograd"),
        ((16, 512, 7, 7), (512, 512, 3, 3), "winograd", "winograd"),
        ((1, 512, 7, 7), (512, 512, 3, 3), "winograd", "winograd"),  # weights serve a few tiles
        ((1, 64, 7, 7), (64, 64, 3, 3), "winograd", "winograd"),
        ((1, 512, 28, 28), (512, 512, 3, 3), "winograd", "winograd"),
        ((1, 64, 224, 224), (64, 64, 3, 3), "winograd", "winograd"),
        # too few channels for the transforms to pay
        ((1, 3, 224, 224), (64, 3, 3, 3), "direct", "direct"),
        ((1, 64, 224, 224), (3, 64, 3, 3), "direct", "direct"),
        ((8, 1, 28, 28), (8, 1, 5, 5), "direct", "direct"),
        # too few tiles for the weights
        ((1, 512, 1, 1), (512, 512, 3, 3), "direct", "direct"),
        ((1, 64, 1, 1), (64, 64, 3, 3), "direct", "direct"),
        # 5x5
        ((1, 64, 28, 28), (64, 64, 5, 5), "winograd", "winograd"),
        # 2x2
        ((1, 128, 28, 28), (128, 128, 2, 2), "winograd", "winograd"),
        ((16, 512, 7, 7), (512, 512, 2, 2), "direct", "winograd"),
        # one row or column
        ((1, 128, 17, 17), (128, 128, 1, 7), "winograd", "winograd"),
        ((1, 128, 17, 17), (192, 128, 7, 1), "winograd", "winograd"),
        ((1, 384, 8, 8), (384, 384, 1, 3), "winograd", "winograd"),
        ((1, 64, 35, 35), (64, 64, 5, 1), "winograd", "winograd"),
        ((1, 8, 35, 35), (8, 8, 1, 3), "direct", "direct"),
        ((1, 512, 1, 2), (512, 512, 1, 3), "direct", "direct"),
        # kernels and strides that it knows nothing of
        ((1, 64, 56, 56), (64, 64, 1, 9), "direct", "direct"),
        ((1, 64, 56, 56), (64, 64, 1, 1), "direct", "direct"),
        ((1, 64, 56, 56), (64, 64, 7, 7), "direct", "direct"),
        ((1, 64, 56, 56), (64, 64, 3, 5), "direct", "direct"),
    ],
)
def test_choice(image, weight, unpacked, packed):
    case = ConvCase("", image, weight, padding=(weight[2] // 2, weight[3] // 2))
    assert plan_of(case).algorithm == unpacked
    assert plan_of(case, prepacked=True).algorithm == packed
    assert plan_of(case, algorithm="direct").algorithm == "direct"


@pytest.mark.parametrize(
    ("image", "weight", "unpacked", "packed"),
    [
        # resnet50
        ((1, 128, 56, 56), (128, 128, 3, 3), "winograd", "winograd"),
        ((1, 256, 28, 28), (256, 256, 3, 3), "winograd", "winograd"),
        # half of the tiles beyond the image
        ((1, 64, 9, 9), (64, 64, 3, 3), "direct", "direct"),
        # too few channels
        ((1, 3, 224, 224), (32, 3, 3, 3), "direct", "direct"),
        ((1, 16, 112, 112), (32, 16, 3, 3), "direct", "direct"),
        ((1, 64, 56, 56), (64, 64, 5, 5), "direct", "direct"),
        ((1, 64, 56, 56), (64, 64, 1, 3), "direct", "direct"),
    ],
)
def test_choice_with_stride_2(image, weight, unpacked, packed):
    case = ConvCase("", image, weight, padding=(weight[2] // 2, weight[3] // 2), stride=2)
    assert plan_of(case).algorithm == unpacked
    assert plan_of(case, prepacked=True).algorithm == packed


@pytest.mark.parametrize("changes", [{"stride": 3}, {"stride": (1, 2)}])
def test_other_strides_are_direct(changes):
    case = ConvCase("", (1, 64, 56, 56), (64, 64, 3, 3)).replace(**changes)
    assert plan_of(case).algorithm == "direct"
    assert plan_of(case.replace(stride=2, dilation=2)).algorithm == "direct"


@pytest.mark.parametrize("changes", [{"stride": 2}, {"stride": (1, 2)}])
def test_strides_are_refused_by_name(changes):
    case = ConvCase("", (1, 64, 56, 56), (64, 64, 3, 3)).replace(**changes)
    with pytest.raises(ValueError, match="algorithm"):
        plan_of(case, algorithm="winograd")


def test_dilations_are_chosen():
    for dilation in (2, 4, (1, 2)):
        case = ConvCase("", (1, 64, 56, 56), (64, 64, 3, 3), dilation=dilation)
        assert plan_of(case).algorithm == "winograd"
    case = ConvCase("", (1, 16, 8, 8), (16, 16, 3, 3), padding=40, dilation=40)
    assert plan_of(case).algorithm == "direct"  # most of each tile would be padding


def test_kernels_with_depth():
    """The reduction is over whole vectors of channels at one depth tap after the other."""
    x = np.ones((1, 24, 4, 8, 8), np.float32)
    with pytest.raises(ValueError, match="multiple of 16 input channels"):
        fastconv.conv3d(x, np.ones((16, 24, 3, 3, 3), np.float32), algorithm="winograd")
    with pytest.raises(ValueError, match="multiple of 16 input channels"):
        fastconv.conv3d_prepack(np.ones((16, 24, 3, 3, 3), np.float32), algorithm="winograd")


@pytest.mark.parametrize("weight", [(8, 7, 3, 3), (7, 8, 3, 3), (16, 8, 3, 3)])
def test_too_few_channels_are_refused_before_the_first_call(weight):
    groups = 4 if weight[0] == 16 else 1
    with pytest.raises(ValueError, match="algorithm: 'winograd' needs 8"):
        fastconv.conv2d_prepack(np.ones(weight, np.float32), groups=groups, algorithm="winograd")


@pytest.mark.parametrize("prepacked", [False, True])
@pytest.mark.parametrize("case", [c for c in CASES if c.axes == 2], ids=str)
def test_choice_does_not_depend_on_threads(case, prepacked):
    chosen = set()
    for n in (1, 2, 5):
        with cases.thread_count(n):
            plan = plan_of(case, prepacked=prepacked)
            chosen.add((plan.algorithm, *[line for line in str(plan).splitlines() if "F(" in line]))
    assert len(chosen) == 1


@pytest.mark.parametrize("channels", [8, 64, 500, 2000, 20000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("prepacked", [False, True])
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (1, 3), (7, 1)])
def test_workspace_is_bounded_for_any_number_of_channels(channels, dtype, kernel, prepacked):
    case = ConvCase("", (64, channels, 500, 900), (channels, channels, *kernel), dtype=dtype)
    for n in (1, 2):
        with cases.thread_count(n):
            plan = plan_of(case, prepacked=prepacked, algorithm="winograd")
            assert plan.workspace_bytes <= (16 << 20) * plan.threads


# ---- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("kernel", [3, 5])
def test_gradient_of_the_input(kernel, padding, dtype, threads):
    """Padding beyond k - 1 makes the gradient's own padding negative: it crops."""
    case = ConvCase("", (2, 33, 30, 29), (40, 33, kernel, kernel), padding=padding, dtype=dtype)
    a = case.normal()
    grad, _, _ = cases.backward(case, a, output_mask=(True, False, False))
    wanted = cases.expected_backward(case, a)[0]
    cases.assert_accurate(grad, wanted, cases.WINOGRAD[dtype], case.terms()[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (4, 2, 1), (5, 2, 2), (6, 3, 0), ((3, 1), 2, 0)]
)
def test_gradient_of_a_strided_input(kernel, stride, padding, data_format, dtype, threads):
    """Its phases are kernels of fewer taps, and every s-th element is written."""
    weight = (64, 64, *cases.pair(kernel))
    case = ConvCase("", (1, 64, 33, 36), weight, stride=stride, padding=padding, dtype=dtype)
    case = case.replace(data_format=data_format)
    a = case.normal()
    grad, _, _ = cases.backward(case, a, output_mask=(True, False, False))
    wanted = cases.expected_backward(case, a)[0]
    cases.assert_accurate(grad, wanted, cases.WINOGRAD[dtype], case.terms()[1])


# Enough channels, outputs and tiles that the weights' gradient goes by Winograd, too.
LARGE = [
    ConvCase("several_panels", (2, 70, 29, 31), (83, 70, 3, 3), padding=1),
    ConvCase("parts_of_tiles", (3, 32, 57, 58), (40, 32, 3, 3), padding=1),
    ConvCase("few_channels", (3, 24, 19, 17), (300, 24, 3, 3), padding=1),
    ConvCase("no_padding", (5, 33, 15, 13), (64, 33, 3, 3)),
    ConvCase("groups", (4, 64, 18, 17), (96, 32, 3, 3), padding=1, groups=2),
    ConvCase("asymmetric", (4, 32, 20, 19), (48, 32, 3, 3), padding=((0, 3), (2, 1))),
    ConvCase("tiny", (16, 64, 2, 2), (64, 64, 3, 3), padding=1),
    ConvCase("5x5", (2, 34, 21, 24), (50, 34, 5, 5), padding=2),
    ConvCase("dilated", (2, 48, 28, 31), (64, 48, 3, 3), padding=2, dilation=2),
    ConvCase("dilated_apart", (4, 64, 19, 20), (48, 64, 3, 3), padding=(3, 5), dilation=(3, 5)),
    ConvCase("2x2", (2, 34, 21, 24), (50, 34, 2, 2), padding=1),
    ConvCase("column_2", (2, 64, 40, 24), (200, 64, 2, 1), padding=(1, 0)),
    ConvCase("row_3", (3, 34, 21, 24), (50, 34, 1, 3), padding=(0, 1)),
    ConvCase("row_5", (3, 140, 17, 21), (83, 140, 1, 5), padding=(0, 2)),
    ConvCase("row_7", (2, 34, 21, 40), (50, 34, 1, 7), padding=(0, 3)),
    ConvCase("column_5", (2, 64, 40, 24), (200, 64, 5, 1), padding=(2, 0)),
    ConvCase("column_7", (4, 130, 17, 17), (192, 130, 7, 1), padding=(3, 0)),
    ConvCase("time", (2, 40, 9, 12, 17), (70, 40, 5, 1, 1), padding=(2, 0, 0), **VOLUME),
    ConvCase("lines_groups", (4, 64, 18, 37), (96, 32, 1, 3), padding=(0, 1), groups=2),
    ConvCase("lines_dilated", (2, 48, 28, 61), (64, 48, 1, 3), padding=(0, 2), dilation=(1, 2)),
    ConvCase("depth", (1, 48, 5, 21, 20), (64, 48, 3, 3, 3), padding=1, **VOLUME),
    ConvCase("depth_groups", (2, 64, 4, 18, 17), (96, 32, 2, 3, 3), groups=2, **VOLUME),
]  # fmt: skip


def gradient_of_the_weight(case, a):
    return cases.backward(case, a, output_mask=(False, True, False))[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_gradient_of_the_weight(case, data_format, dtype):
    case = laid_out(case, data_format, dtype)
    a = case.normal()
    results = []
    for n in (1, 2, 5):
        with cases.thread_count(n):
            results.append(gradient_of_the_weight(case, a))
    wanted = cases.expected_backward(case, a)[1]
    cases.assert_accurate(results[0], wanted, cases.WINOGRAD[dtype], case.terms()[2])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("case", LARGE, ids=str)
def test_gradients_are_adjoint(case):
    """<conv(x, w), g> = <x, grad_input(g, w)> = <w, grad_weight(x, g)>, in float64."""
    case = case.replace(dtype="float64", bias=False)
    a = case.normal()
    grad_input, grad_weight, _ = cases.backward(case, a)
    wanted = np.vdot(cases.conv(case, a), a.grad_output)
    scale = np.linalg.norm(a.grad_output) * np.linalg.norm(cases.conv(case, a))
    assert abs(np.vdot(a.input, grad_input) - wanted) < 1e-12 * scale
    assert abs(np.vdot(a.weight, grad_weight) - wanted) < 1e-12 * scale


# Planes without taps become rows where they are dense, so that tiles are summed in another order.
UNMERGED = [case for case in LARGE if str(case) != "time"]


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", UNMERGED, ids=str)
def test_gradient_of_the_weight_between_guard_pages(case, side):
    a = case.normal()
    expected = gradient_of_the_weight(case, a)
    for make in guard.MAKERS.values():
        guarded = a.map(lambda array, make=make: None if array is None else make(array, side))
        np.testing.assert_array_equal(gradient_of_the_weight(case, guarded), expected)


# ---- reading and writing ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize(
    "case",
    [
        named(n)
        for n in (
            *("odd", "asymmetric", "2x2", "5x5", "dilated", "dilated_columns", "depth"),
            *("row_5", "row_7", "column_3", "column_7", "lines_dilated", "sound"),
        )
    ],
    ids=str,
)
def test_between_guard_pages(case, side, data_format, dtype, threads):
    case = laid_out(case, data_format, dtype)
    a = case.normal()
    expected = winograd(case, a)
    for make in guard.MAKERS.values():
        out = guard.empty(case.output_shape, dtype, side)
        winograd(case, a.map(lambda array, make=make: make(array, side)), out=out)
        np.testing.assert_array_equal(out, expected)
