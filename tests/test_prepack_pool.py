"""Promise: an operator with a pool gives the bits of the convolution and then the pool."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
import guard
from cases import CONV_CASES, ConvCase
from fastconv import reference

POOLS = {"max": 2, "avg": ("avg", 2)}
DTYPES = ("float32", "float64")


def pack(case, a, **kwargs):
    function = cases.function(case, "conv{}d_prepack")
    return function(a.weight, a.bias, **case.geometry, activation=case.activation, **kwargs)


def two_calls(case, a, name, **kwargs):
    pool = cases.function(case, name + "_pool{}d")
    return pool(pack(case, a, **kwargs)(a.input), 2, data_format=case.data_format)


def check(case, a, name, **kwargs):
    wanted = two_calls(case, a, name, **kwargs)
    got = pack(case, a, pool=POOLS[name], **kwargs)(a.input)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    assert got.tobytes() == wanted.tobytes(), (case, name, kwargs)


def poolable(case):
    return min(case.output[-case.axes :]) >= 2


# One for each way to pool: Winograd's three kinds of tiles, channels in the lanes, raw pixels, and
# bands (depthwise, narrow groups, pointwise, strided pointwise, dilated, several of one image).
ROADS = (
    ConvCase("tiles_of_4", (1, 64, 23, 30), (64, 64, 3, 3), padding=1, activation="relu"),
    ConvCase("tiles_of_2", (1, 256, 6, 5), (70, 256, 3, 3), padding=1),
    ConvCase("tiles_5x5", (3, 16, 13, 14), (24, 16, 5, 5), padding=2, activation="relu"),
    ConvCase("lines", (1, 64, 23, 30), (64, 64, 1, 5), padding=(0, 2), activation="relu"),
    ConvCase("lines_down", (1, 64, 31, 130), (64, 64, 7, 1), padding=(3, 0)),
    ConvCase("channel_lanes", (1, 20, 33, 31), (33, 20, 3, 3), stride=2, activation="relu"),
    ConvCase("small_images", (9, 20, 9, 10), (33, 20, 2, 4), activation="relu"),
    ConvCase("raw_pixels", (2, 1, 28, 28), (32, 1, 5, 5), padding="same", activation="relu"),
    ConvCase("raw_pixels_blocks", (2, 3, 71, 133), (17, 3, 3, 3), padding=1),
    ConvCase("raw_pixels_stride", (1, 3, 75, 64), (16, 3, 7, 7), stride=2, padding=3, bias=False),
    ConvCase("depthwise", (2, 24, 37, 43), (24, 1, 3, 3), padding=1, groups=24, activation="relu"),
    ConvCase("groups", (2, 24, 19, 33), (24, 4, 3, 3), padding=1, groups=6),
    ConvCase("wide_groups", (1, 64, 15, 15), (64, 32, 3, 3), padding=1, groups=2),
    ConvCase("pointwise", (3, 24, 20, 21), (40, 24, 1, 1), activation="relu"),
    ConvCase("pointwise_stride", (3, 24, 20, 21), (40, 24, 1, 1), stride=2),
    ConvCase("dilated", (1, 16, 40, 37), (16, 16, 3, 3), padding=3, dilation=3, activation="relu"),
    ConvCase("bands", (1, 8, 700, 301), (8, 1, 3, 3), padding=1, groups=8, activation="relu"),
    ConvCase("dilated_bands", (1, 16, 300, 320), (16, 16, 3, 3), padding=2, dilation=2),
    ConvCase("images_in_bands", (40, 8, 70, 70), (8, 1, 3, 3), padding=1, groups=8),
    ConvCase("unbatched", (16, 13, 14), (24, 16, 3, 3), activation="relu"),
)
SMALL = [case for case in ROADS if "bands" not in str(case)]


LAYOUTS = tuple(itertools.product(("NCHW", "NHWC"), DTYPES))


@pytest.mark.parametrize(
    ("case", "data_format", "dtype"),
    # The largest maps meet each format and each type once.
    [(c, *layout) for c in ROADS for layout in (LAYOUTS if c in SMALL else LAYOUTS[::3])],
    ids=str,
)
def test_every_road(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    a = case.normal()
    # Only Winograd's tiles make "direct" another road.
    for algorithm in ("auto", "direct") if "tiles" in str(case) else ("auto",):
        full = pack(case, a, algorithm=algorithm)(a.input)
        for name, pool in POOLS.items():
            wanted = getattr(fastconv, name + "_pool2d")(full, 2, data_format=data_format)
            got = pack(case, a, pool=pool, algorithm=algorithm)(a.input)
            assert got.shape == wanted.shape
            assert got.dtype == wanted.dtype
            assert got.tobytes() == wanted.tobytes(), (name, algorithm)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("case", [c for c in CONV_CASES if poolable(c)], ids=str)
def test_every_convolution(case, name, threads):
    for dtype, data_format in itertools.product(DTYPES, ("NCHW", "NHWC")):
        case = case.replace(dtype=dtype, data_format=data_format)
        check(case, case.normal(), name)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("last", [0, 1])
def test_one_and_three_dimensions(axes, last, name, threads):
    size = (2001,) if axes == 1 else (9, 12, 13)
    for channels, outputs, kernel in ((3, 5, 3), (16, 16, 3), (8, 24, 1)):
        weight = (outputs, channels, *[kernel] * axes)
        case = ConvCase("", (2, channels, *size), weight, padding=kernel // 2, activation="relu")
        case = case.replace(data_format=cases.FORMATS[axes][last])
        check(case, case.normal(), name)


def test_a_kernel_through_time(threads):
    case = ConvCase("", (1, 64, 19, 40, 40), (64, 64, 3, 1, 1), padding=(1, 0, 0))
    case = case.replace(data_format="NCDHW")
    check(case, case.normal(), "max")


@pytest.mark.parametrize(
    "case",
    [
        ConvCase("strided", (1, 4, 200_001), (8, 4, 9), stride=2, padding=4, data_format="NCL"),
        ConvCase("winograd", (1, 64, 5331), (64, 64, 5), padding=2, data_format="NCL"),
    ],
    ids=str,
)
def test_a_long_signal_is_cut_into_bands(case, threads):
    check(case, case.normal(), "max")


@pytest.mark.parametrize("case", ROADS[:8], ids=str)
def test_integers_are_exact(case, threads):
    """Against the reference, which shares nothing with the two calls above."""
    case = case.replace(activation=None)
    a = case.integers(limit=2)
    full = cases.expected_conv(case, a)
    for name, pool in POOLS.items():
        wanted = cases.function(case, name + "_pool{}d", reference)(full, 2)
        got = pack(case, a, pool=pool, algorithm="direct")(a.input)
        cases.assert_exact(got, wanted, (case, name))


@given(
    sizes=st.tuples(*[st.integers(2, 40)] * 2),
    channels=st.integers(1, 20),
    outputs=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    batch=st.integers(0, 3),
    last=st.booleans(),
    name=st.sampled_from(list(POOLS)),
)
def test_any_shape(sizes, channels, outputs, kernel, stride, batch, last, name):
    case = ConvCase(
        "",
        (batch, channels, *sizes),
        (outputs, channels, kernel, kernel),
        stride=stride,
        padding=kernel // 2,
        data_format="NHWC" if last else "NCHW",
        activation="relu",
    )
    if poolable(case):
        check(case, case.normal(), name)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", ROADS, ids=str)
def test_nan_ties_and_zeros_of_both_signs(case, data_format, threads):
    """Small integers with -0 tie everywhere; NaN and infinity reach the windows that see them."""
    case = case.replace(data_format=data_format)
    a = case.integers(limit=1)
    x, w = a.input.copy(), a.weight.copy()
    x[x == 0] = -0.0
    x.flat[8] = np.nan
    x.flat[-1] = -np.inf
    w[: len(w) // 2] = 0  # and negative bias: maxima of -0 and of one value
    a = cases.ConvArrays(x, w, a.bias, a.grad_output)
    for activation, name in itertools.product((None, "relu"), POOLS):
        changed = case.replace(activation=activation)
        wanted = two_calls(changed, a, name)
        got = pack(changed, a, pool=POOLS[name])(a.input)
        np.testing.assert_array_equal(got, wanted)
        numbers = ~np.isnan(got)
        assert not numbers.all()
        np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(wanted[numbers]))


@pytest.mark.parametrize("case", ROADS, ids=str)
def test_bits_do_not_depend_on_threads(case):
    a = case.normal()
    results = set()
    for n in (1, 2, 3):
        with cases.thread_count(n):
            results.add(pack(case, a, pool=2)(a.input).tobytes())
    assert len(results) == 1


def test_float16_is_rounded_at_the_end():
    case = ConvCase("", (2, 16, 14, 14), (24, 16, 3, 3), activation="relu", dtype="float16")
    a = case.normal().astype("float16")
    wide = a.astype("float32")
    for name, pool in POOLS.items():
        got = pack(case, a, pool=pool)(a.input)
        assert got.dtype == np.float16
        assert got.tobytes() == two_calls(case, wide, name).astype(np.float16).tobytes()


@pytest.mark.parametrize("how", cases.AWKWARD)
@pytest.mark.parametrize("case", SMALL[::3], ids=str)
def test_awkward_inputs(case, how):
    a = case.normal()
    wanted = two_calls(case, a, "max")
    got = pack(case, a, pool=2)(cases.AWKWARD[how](a.input))
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("how", cases.AWKWARD_OUT)
@pytest.mark.parametrize("case", SMALL[::3], ids=str)
def test_out(case, how):
    for data_format, name in itertools.product(("NCHW", "NHWC"), POOLS):
        changed = case.replace(data_format=data_format)
        a = changed.normal()
        wanted = two_calls(changed, a, name, algorithm="direct")
        out = cases.AWKWARD_OUT[how](np.full(wanted.shape, np.nan, wanted.dtype))
        packed = pack(changed, a, pool=POOLS[name], algorithm="direct")
        assert packed(a.input, out=out) is out
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("how", guard.MAKERS)
@pytest.mark.parametrize("case", SMALL[::2], ids=str)
def test_nothing_outside_the_arrays_is_touched(case, how, side):
    for data_format, name in itertools.product(("NCHW", "NHWC"), POOLS):
        changed = case.replace(data_format=data_format)
        a = changed.normal()
        wanted = two_calls(changed, a, name)
        out = guard.empty(wanted.shape, np.float32, side)
        pack(changed, a, pool=POOLS[name])(guard.MAKERS[how](a.input, side), out=out)
        np.testing.assert_array_equal(out, wanted)


@pytest.mark.parametrize(
    ("input", "weight"),
    [((0, 3, 6, 7), (4, 3, 3, 3)), ((2, 3, 6, 7), (0, 3, 3, 3)), ((2, 0, 6, 7), (4, 0, 3, 3))],
)
def test_empty_problems(input, weight):
    case = ConvCase("", input, weight, bias=True)
    for name in POOLS:
        check(case, case.normal(), name)


def test_several_inputs_share_the_operator():
    base = ConvCase("", (1, 24, 8, 8), (33, 24, 3, 3), padding=1)
    a = base.normal()
    packed = pack(base, a, pool=2)
    for n, h, w in ((1, 8, 8), (16, 3, 3), (1, 60, 61), (1, 2, 200), (40, 7, 7), (1, 8, 8)):
        x = base.replace(input=(n, 24, h, w)).normal().input
        wanted = fastconv.max_pool2d(pack(base, a)(x), 2)
        assert packed(x).tobytes() == wanted.tobytes()


W = np.ones((4, 2, 3, 3), np.float32)


def test_the_pair_means_what_the_number_does():
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 9)).astype(np.float32)
    results = [
        fastconv.conv2d_prepack(W, pool=p)(x) for p in (2, np.int64(2), ("max", 2), ["max", 2])
    ]
    assert len({y.tobytes() for y in results}) == 1


@pytest.mark.parametrize(
    "pool",
    [0, 1, 3, -2, 2.0, True, False, "max", "2", (2, 2), ("avg",), ("avg", 3), ("min", 2), (), b"2",
     ("avg", "2"), 2**70, {"max": 2}, (2, "max"), np.ones((2, 2)), object()],
    ids=repr,
)  # fmt: skip
def test_other_pools_are_refused(pool):
    for axes in (1, 2, 3):
        prepack = getattr(fastconv, f"conv{axes}d_prepack")
        with pytest.raises(ValueError, match="pool"):
            prepack(np.ones((4, 2, *[3] * axes), np.float32), pool=pool)


def test_a_result_too_small_to_pool_is_refused():
    packed = fastconv.conv2d_prepack(W, pool=2)
    assert packed(np.ones((1, 2, 4, 4), np.float32)).shape == (1, 4, 1, 1)
    for size in ((1, 2, 3, 9), (1, 2, 9, 3)):
        with pytest.raises(ValueError, match="pool"):
            packed(np.ones(size, np.float32))


def test_out_must_have_the_pooled_shape():
    packed = fastconv.conv2d_prepack(W, pool=2)
    with pytest.raises(ValueError, match="out"):
        packed(np.ones((1, 2, 8, 8), np.float32), out=np.empty((1, 4, 6, 6), np.float32))


def test_there_is_no_backward():
    packed = fastconv.conv2d_prepack(W, pool=2)
    x = np.ones((1, 2, 8, 8), np.float32)
    with pytest.raises(ValueError, match="pool"):
        packed.backward(packed(x), x)


def test_repr_tells_the_pool():
    assert "max pool 2" in repr(fastconv.conv2d_prepack(W, pool=2))
    assert "avg pool 2" in repr(fastconv.conv2d_prepack(W, pool=("avg", 2)))
    assert "pool" not in repr(fastconv.conv2d_prepack(W))
