"""Promise: any array gives the same result, no input is modified, no byte outside is touched."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import cases
import fastconv
import guard
from cases import AWKWARD, AWKWARD_OUT, ConvCase, PoolCase
from fastconv import reference

FORMATS = ("NCHW", "NHWC")
DTYPES = ("float32", "float64")

# No channel count reaches Winograd's, so that integers are exact in every algorithm.
ARRAY_CASES = [
    ConvCase("plain", (2, 3, 9, 11), (5, 3, 3, 3), padding=1),
    ConvCase("strided", (2, 3, 9, 11), (5, 3, 3, 2), stride=2, padding=((0, 1), (2, 0))),
    ConvCase("pointwise", (2, 17, 5, 7), (9, 17, 1, 1)),
    ConvCase("grouped", (1, 6, 8, 9), (4, 3, 3, 3), groups=2, dilation=2, padding="same"),
    ConvCase("depthwise", (2, 5, 9, 18), (5, 1, 3, 3), groups=5, padding=1),
    ConvCase("unbatched", (3, 7, 20), (6, 3, 2, 3), activation="relu"),
]
POOL_CASES = [
    PoolCase("halves", (2, 3, 8, 10), 2),
    PoolCase("overlap", (2, 3, 9, 12), 3, stride=2, padding=1, ceil_mode=True),
    PoolCase("stride1", (1, 5, 7, 19), 3, stride=1, padding=1),
    PoolCase("unbatched", (3, 8, 9), (2, 3), stride=(1, 2)),
]


def snapshot(a):
    """The bytes of all the memory behind an array, also between its elements."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a.tobytes()


def check_conv(case, arrays, what):
    """Forward, prepacked and backward are exact and leave their arguments as they were."""
    _, expected, gradients = cases.integer_problem(case)
    before = [snapshot(a) for a in arrays]
    for algorithm in ("direct", "auto"):
        cases.assert_exact(cases.conv(case, arrays, algorithm=algorithm), expected, what)
    packed = fastconv.conv2d_prepack(
        arrays.weight, arrays.bias, **case.geometry, activation=case.activation
    )
    cases.assert_exact(packed(arrays.input), expected, what)
    for grad, wanted in zip(cases.backward(case, arrays), gradients, strict=True):
        cases.assert_exact(grad, wanted, what)
    assert [snapshot(a) for a in arrays] == before, f"{what}: an input was modified"


def pool_calls(case):
    """Name, function of (x, g, out) and the reference's answer, for all four pools."""
    exact = case.replace(divisor_override=8)
    return {
        "max": (
            lambda m, x, g, **out: m.max_pool2d(x, **case.max_args, **out),
            True,
        ),
        "indices": (
            lambda m, x, g, **out: m.max_pool2d(x, **case.max_args, return_indices=True, **out)[1],
            False,
        ),
        "max_backward": (
            lambda m, x, g: m.max_pool2d_backward(g, x, **case.max_args),
            False,
        ),
        "avg": (
            lambda m, x, g, **out: m.avg_pool2d(x, **exact.avg_args, **out),
            True,
        ),
        "avg_backward": (
            lambda m, x, g: m.avg_pool2d_backward(g, case.input_shape, **exact.avg_args),
            False,
        ),
    }


def check_pools(case, x, g, what):
    before = snapshot(x), snapshot(g)
    plain_x, plain_g = case.integers()
    for name, (call, _) in pool_calls(case).items():
        expected = call(reference, plain_x, plain_g)
        cases.assert_exact(call(fastconv, x, g), expected, f"{name} of {what}")
    assert (snapshot(x), snapshot(g)) == before, f"{what}: an input was modified"


# ---- strides, alignment, byte order -------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("how", AWKWARD)
@pytest.mark.parametrize("case", ARRAY_CASES, ids=str)
def test_awkward_arrays(case, how, data_format, dtype):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, _, _ = cases.integer_problem(case)
    arrays = arrays.map(np.copy)
    for i, name in enumerate(("input", "weight", "bias", "grad_output")):
        one = list(arrays)
        one[i] = AWKWARD[how](one[i])
        check_conv(case, cases.ConvArrays(*one), f"{how} {name} of {case!r}")
    check_conv(case, arrays.map(AWKWARD[how]), f"{how} arrays of {case!r}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("how", AWKWARD)
@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_awkward_arrays_in_pools(case, how, data_format, dtype):
    case = case.replace(data_format=data_format, dtype=dtype)
    x, g = case.integers()
    check_pools(case, AWKWARD[how](x), AWKWARD[how](g), f"{how} arrays of {case!r}")


@pytest.mark.parametrize("how", AWKWARD)
def test_awkward_indices(how):
    case = PoolCase("", (2, 3, 9, 12), 3, stride=2, padding=1)
    x, g = case.integers()
    _, indices = reference.max_pool2d(x, **case.max_args, return_indices=True)
    if how in ("spaced", "inner"):  # those put NaN around
        awkward = np.repeat(indices, 2, axis=-1)[..., ::2]
    else:
        awkward = AWKWARD[how](indices)
    dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=awkward)
    cases.assert_exact(dx, reference.max_pool2d_backward(g, x, **case.max_args))


@pytest.mark.parametrize("how", list(itertools.product(AWKWARD, repeat=2)), ids="-".join)
def test_awkward_arrays_mix(how):
    """An awkward input with a differently awkward weight."""
    case = ARRAY_CASES[0]
    arrays, expected, _ = cases.integer_problem(case)
    y = fastconv.conv2d(
        AWKWARD[how[0]](arrays.input), AWKWARD[how[1]](arrays.weight), arrays.bias, **case.geometry
    )
    cases.assert_exact(y, expected)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(4))), ids=str)
def test_every_order_of_the_axes_in_memory(axes):
    """HWIO weights, channels-last inputs passed as NCHW views, and all the others."""
    case = ConvCase("", (2, 5, 7, 9), (6, 5, 3, 2), padding=1, stride=(1, 2))
    arrays, expected, gradients = cases.integer_problem(case)
    back = np.argsort(axes)
    x, w, g = (
        np.ascontiguousarray(a.transpose(axes)).transpose(back)
        for a in (arrays.input, arrays.weight, arrays.grad_output)
    )
    cases.assert_exact(fastconv.conv2d(x, w, arrays.bias, **case.geometry), expected)
    for grad, wanted in zip(
        fastconv.conv2d_backward(g, x, w, **case.geometry), gradients, strict=True
    ):
        cases.assert_exact(grad, wanted)
    pool = PoolCase("", (2, 5, 7, 9), 3, stride=2, padding=1)
    px, pg = pool.integers()
    px, pg = (np.ascontiguousarray(a.transpose(axes)).transpose(back) for a in (px, pg))
    check_pools(pool, px, pg, axes)


def test_hwio_weight_as_a_transposed_view():
    case = ConvCase("", (2, 3, 8, 8), (5, 3, 3, 3), padding="same", data_format="NHWC")
    arrays, expected, _ = cases.integer_problem(case)
    hwio = np.ascontiguousarray(arrays.weight.transpose(2, 3, 1, 0))
    y = fastconv.conv2d(arrays.input, hwio.transpose(3, 2, 0, 1), arrays.bias, **case.geometry)
    cases.assert_exact(y, expected)


@pytest.mark.parametrize("axis", range(4))
def test_broadcast_arrays(axis):
    """A stride of zero: the same memory is many pixels."""
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    a = case.integers()

    def broadcast(array):
        one = array[tuple(slice(0, 1) if i == axis else slice(None) for i in range(4))]
        return np.broadcast_to(one, array.shape)

    a = cases.ConvArrays(*map(broadcast, (a.input, a.weight)), a.bias, broadcast(a.grad_output))
    cases.assert_exact(cases.conv(case, a), cases.expected_conv(case, a))
    for grad, wanted in zip(cases.backward(case, a), cases.expected_backward(case, a), strict=True):
        cases.assert_exact(grad, wanted)
    y, indices = fastconv.max_pool2d(a.input, 2, return_indices=True)
    expected = reference.max_pool2d(a.input, 2, return_indices=True)
    cases.assert_exact(y, expected[0])
    cases.assert_exact(indices, expected[1])


def test_overlapping_windows_as_an_input():
    """A sliding-window view: elements share memory in a way that no copy would have."""
    line = np.arange(40, dtype=np.float32)
    x = np.lib.stride_tricks.sliding_window_view(line, 12)[None, None]
    w = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    cases.assert_exact(fastconv.conv2d(x, w), fastconv.conv2d(x.copy(), w))


# ---- things that are not arrays yet -------------------------------------------------------------


class WithArray:
    """Has __array__ and nothing else."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a if dtype is None else self.a.astype(dtype)


class WithDLPack:
    """Has DLPack's two methods and nothing else."""

    def __init__(self, a):
        self.a = a

    def __dlpack__(self, **kwargs):
        return self.a.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


class WithInterface:
    """Has __array_interface__ and nothing else."""

    def __init__(self, a):
        self.a = a
        self.__array_interface__ = a.__array_interface__


class Subclass(np.ndarray):
    pass


WRAPPERS = {
    "__array__": WithArray,
    "dlpack": WithDLPack,
    "interface": WithInterface,
    "memoryview": memoryview,
    "subclass": lambda a: a.view(Subclass),
}


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_array_likes(wrap, dtype):
    case = ARRAY_CASES[0].replace(dtype=dtype)
    arrays, expected, gradients = cases.integer_problem(case)
    wrapped = cases.ConvArrays(*(WRAPPERS[wrap](a.copy()) for a in arrays))
    y = cases.conv(case, wrapped)
    cases.assert_exact(y, expected)
    assert y.dtype == dtype
    for grad, wanted in zip(cases.backward(case, wrapped), gradients, strict=True):
        cases.assert_exact(grad, wanted)
    pool = POOL_CASES[1].replace(dtype=dtype)
    x, g = pool.integers()
    for call, _ in pool_calls(pool).values():
        expected = call(reference, x, g)
        cases.assert_exact(call(fastconv, WRAPPERS[wrap](x), WRAPPERS[wrap](g)), expected)


def test_lists_are_float64_as_in_numpy():
    case = ARRAY_CASES[0].replace(dtype="float64")
    arrays, expected, gradients = cases.integer_problem(case)
    lists = cases.ConvArrays(*(a.tolist() for a in arrays))
    y = cases.conv(case, lists)
    assert y.dtype == np.float64
    cases.assert_exact(y, expected)
    for grad, wanted in zip(cases.backward(case, lists), gradients, strict=True):
        cases.assert_exact(grad, wanted)
    tuples = tuple(map(tuple, [[1.0, 5.0], [2.0, 3.0]]))
    assert fastconv.max_pool2d((tuples,), 2).tolist() == [[[5.0]]]
    with pytest.raises(TypeError, match="input"):
        fastconv.conv2d([[[1, 2], [3, 4]]], np.ones((1, 1, 1, 1), np.float32))


# ---- dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    "dtypes", list(itertools.product(("float16", "float32", "float64"), repeat=3)), ids="-".join
)
def test_dtypes_promote(dtypes, data_format):
    case = ConvCase("", (2, 3, 7, 9), (5, 3, 3, 3), padding=1, data_format=data_format)
    a = case.integers(limit=1)
    expected = cases.expected_conv(case, a)
    x, w, b = (
        array.astype(d) for array, d in zip((a.input, a.weight, a.bias), dtypes, strict=True)
    )
    y = fastconv.conv2d(x, w, b, **case.geometry)
    cases.assert_exact(y, expected)
    assert y.dtype == np.result_type(*dtypes)
    y = fastconv.conv2d_prepack(w, b, **case.geometry)(x)
    cases.assert_exact(y, expected)
    assert y.dtype == np.result_type(*dtypes)
    assert fastconv.conv2d(x, w, **case.geometry).dtype == np.result_type(*dtypes[:2])


@pytest.mark.parametrize("how", AWKWARD)
@pytest.mark.parametrize("data_format", FORMATS)
def test_float16(data_format, how):
    """Computed in float32: sums that float16 could not hold on the way are rounded only once."""
    case = ConvCase("", (2, 40, 7, 9), (5, 40, 3, 2), padding=1, data_format=data_format)
    a = case.integers(limit=1)
    half = a.astype("float16").map(AWKWARD[how])
    y = cases.conv(case, half)
    assert y.dtype == np.float16
    cases.assert_exact(y, cases.expected_conv(case, a))
    for grad, wanted in zip(
        cases.backward(case, half), cases.expected_backward(case, a), strict=True
    ):
        assert grad.dtype == np.float16
        cases.assert_exact(grad, wanted)


def test_float16_rounds_only_at_the_end():
    x = np.array([2048, 1, 1, -2048], np.float16).reshape(1, 4, 1, 1)
    y = fastconv.conv2d(x, np.ones((1, 4, 1, 1), np.float16))
    assert y.item() == 2.0  # in float16, 2048 + 1 is 2048
    x = np.full((1, 1, 1, 1), 300, np.float16)
    with np.errstate(over="ignore"):
        y = fastconv.conv2d(x, np.full((1, 1, 1, 1), 300, np.float16))
    assert y.item() == np.inf


def test_float16_out():
    case = ConvCase("", (1, 3, 5, 6), (4, 3, 3, 3))
    a = case.integers(limit=1).astype("float16")
    out = np.full(case.output, np.nan, np.float16)
    assert cases.conv(case, a, out=out) is out
    cases.assert_exact(out, cases.expected_conv(case, a))


def test_no_result_is_silently_float64():
    case = ARRAY_CASES[0]
    a = case.normal()
    assert cases.conv(case, a).dtype == np.float32
    assert all(g.dtype == np.float32 for g in cases.backward(case, a))
    x = a.input
    assert fastconv.avg_pool2d(x, 2, divisor_override=3).dtype == np.float32
    assert fastconv.max_pool2d(x, 2).dtype == np.float32


# ---- results ------------------------------------------------------------------------------------


def test_results_are_plain_arrays_of_their_own():
    x = np.ones((1, 1, 4, 4), np.float32)
    one = np.ones((1, 1, 1, 1), np.float32)
    results = [
        fastconv.conv2d(x, one),
        fastconv.conv2d_prepack(one)(x),
        *fastconv.conv2d_backward(x, x, one),
        fastconv.max_pool2d(x, 1),
        *fastconv.max_pool2d(x, 1, return_indices=True),
        fastconv.max_pool2d_backward(x, x, 1),
        fastconv.avg_pool2d(x, 1),
        fastconv.avg_pool2d_backward(x, x.shape, 1),
    ]
    for i, y in enumerate(results):
        assert type(y) is np.ndarray
        assert y.flags.c_contiguous
        assert y.flags.aligned
        assert y.flags.writeable
        assert y.dtype.isnative
        y[...] = 7
        assert (x == 1).all()
        assert (one == 1).all()
        assert not any(np.shares_memory(y, other) for other in results[:i])


def test_a_result_stays_while_others_come_and_go():
    """Recycled memory must not be recycled while a view of it lives."""
    case = ConvCase("", (2, 3, 16, 16), (4, 3, 3, 3), padding=1)
    a = case.integers()
    y = cases.conv(case, a)
    view, expected = y[1, ::2], y[1, ::2].copy()
    del y
    for seed in range(20):
        cases.conv(case, case.integers(seed))
        fastconv.max_pool2d(a.input, 2)
    cases.assert_exact(view, expected)


# ---- out= ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("how", AWKWARD_OUT)
@pytest.mark.parametrize("case", ARRAY_CASES, ids=str)
def test_out(case, how, data_format, dtype, threads):
    """Any strides: the elements of `out` are written, and nothing beside them."""
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, _ = cases.integer_problem(case)
    packed = fastconv.conv2d_prepack(
        arrays.weight, arrays.bias, **case.geometry, activation=case.activation
    )
    calls = (
        lambda out: cases.conv(case, arrays, out=out),
        lambda out: cases.conv(case, arrays, out=out, algorithm="direct"),
        lambda out: packed(arrays.input, out=out),
        lambda out: packed(arrays.input, out),
    )
    for call in calls:
        out = AWKWARD_OUT[how](np.full(case.output_shape, 99, dtype))
        assert call(out) is out
        cases.assert_exact(out, expected)
        out[...] = 99  # then everything is as it was made
        assert snapshot(out) == snapshot(AWKWARD_OUT[how](np.full(case.output_shape, 99, dtype)))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("how", AWKWARD_OUT)
@pytest.mark.parametrize("case", POOL_CASES, ids=str)
def test_out_of_pools(case, how, data_format, threads):
    case = case.replace(data_format=data_format)
    x, g = case.integers()
    for name, (call, takes_out) in pool_calls(case).items():
        if not takes_out and name != "indices":
            continue
        expected = call(reference, x, g)
        out = AWKWARD_OUT[how](np.full(case.output_shape, 99, "float32"))
        y = call(fastconv, x, g, out=out)
        cases.assert_exact(y, expected, name)
        if takes_out:
            assert y is out
        else:
            cases.assert_exact(out, reference.max_pool2d(x, **case.max_args))
        out[...] = 99
        untouched = AWKWARD_OUT[how](np.full(case.output_shape, 99, "float32"))
        assert snapshot(out) == snapshot(untouched)


def test_out_may_be_a_slice_of_channels():
    """How DenseNet concatenates: each layer writes its own channels of one array."""
    case = ConvCase("", (2, 3, 8, 8), (4, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    for data_format, whole in (
        ("NCHW", np.full((2, 9, 8, 8), 99, np.float32)),
        ("NHWC", np.full((2, 8, 8, 9), 99, np.float32)),
    ):
        channels_first = whole if data_format == "NCHW" else np.moveaxis(whole, -1, 1)
        x = cases.to_format(arrays.input, data_format)
        out = whole[:, 2:6] if data_format == "NCHW" else whole[..., 2:6]
        fastconv.conv2d(x, arrays.weight, arrays.bias, padding=1, data_format=data_format, out=out)
        cases.assert_exact(channels_first[:, 2:6], expected)
        assert (channels_first[:, :2] == 99).all()
        assert (channels_first[:, 6:] == 99).all()


def test_out_overlapping_an_input_raises():
    block = np.ones(1000, np.float32)
    x = block[:36].reshape(1, 1, 6, 6)
    w = block[36:45].reshape(1, 1, 3, 3)
    b = block[45:46]
    for start in (0, 35, 36, 44, 45):
        out = block[start : start + 16].reshape(1, 1, 4, 4)
        with pytest.raises(ValueError, match="out"):
            fastconv.conv2d(x, w, b, out=out)
    assert (block == 1).all()
    fastconv.conv2d(x, w, b, out=block[46:62].reshape(1, 1, 4, 4))
    assert (block[46:62] == 10).all()
    packed = fastconv.conv2d_prepack(w, b)
    for pool in (fastconv.max_pool2d, fastconv.avg_pool2d):
        with pytest.raises(ValueError, match="out"):
            pool(x, 1, out=x)
        with pytest.raises(ValueError, match="out"):
            pool(x, 2, out=block[30:39].reshape(1, 1, 3, 3))
    with pytest.raises(ValueError, match="out"):
        packed(x, out=block[30:46].reshape(1, 1, 4, 4))


def test_out_may_interleave_with_an_input():
    """Its elements lie between the input's, so their bounds overlap and they do not."""
    both = np.zeros((1, 1, 8, 8, 2), np.float32)
    x, out = both[..., 0], both[..., 1]
    x[...] = np.arange(64).reshape(8, 8)
    w = np.ones((1, 1, 3, 3), np.float32)
    expected = fastconv.conv2d(x.copy(), w, padding=1)
    assert fastconv.conv2d(x, w, padding=1, out=out) is out
    cases.assert_exact(out, expected)
    for backwards in (x[..., ::-1, :], both[..., 0][..., ::-1]):
        with pytest.raises(ValueError, match="out: overlaps input"):
            fastconv.conv2d(x, w, padding=1, out=backwards)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f4"])
def test_out_overlaps_in_any_dtype_that_the_input_may_have(dtype):
    """Of the caller's arrays, not of the copies that are computed with."""
    raw = np.zeros(1024, np.uint8)
    x = raw[:128].view(dtype)[:16].reshape(1, 1, 4, 4)
    w = np.ones((1, 1, 1, 1), np.float32)
    result = np.result_type(x, w)
    out = raw[16 : 16 + 16 * result.itemsize].view(result).reshape(x.shape)
    with pytest.raises(ValueError, match="out: overlaps input"):
        fastconv.conv2d(x, w, out=out)
    bias = raw[512 : 512 + x.itemsize].view(dtype)
    out = raw[512 : 512 + 16 * result.itemsize].view(result).reshape(x.shape)
    with pytest.raises(ValueError, match="out: overlaps bias"):
        fastconv.conv2d(np.ones(x.shape, dtype), w, bias, out=out)


def test_out_of_an_empty_batch():
    out = np.zeros((0, 4, 4, 4), np.float32)
    w = np.zeros((4, 3, 3, 3), np.float32)
    assert fastconv.conv2d(np.zeros((0, 3, 6, 6), np.float32), w, out=out) is out


# ---- guard pages --------------------------------------------------------------------------------

GUARD_CASES = [
    *ARRAY_CASES,
    ConvCase("one_pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    ConvCase("same", (1, 3, 7, 13), (4, 3, 5, 5), padding="same", stride=2),
    ConvCase("wide", (1, 2, 3, 67), (7, 2, 3, 3), padding=1),
    ConvCase("wide_5x5", (1, 3, 7, 49), (7, 3, 5, 5)),
    ConvCase("narrow", (1, 3, 17, 1), (7, 3, 3, 1)),
    ConvCase("tails", (1, 33, 5, 9), (35, 33, 2, 2), padding=1),
    ConvCase("pointwise_tails", (2, 35, 3, 7), (51, 35, 1, 1)),
    ConvCase("pointwise_stride2", (1, 19, 7, 9), (17, 19, 1, 1), stride=2),
    ConvCase("long_kernel", (1, 2, 18, 19), (3, 2, 17, 17)),
    ConvCase("depthwise_stride2", (1, 7, 11, 19), (7, 1, 5, 5), groups=7, padding=2, stride=2),
    ConvCase("depthwise_multiplier", (1, 3, 9, 17), (6, 1, 3, 3), groups=3, padding=1),
    ConvCase("stride_beyond_kernel", (1, 3, 13, 14), (5, 3, 2, 2), stride=5),
    ConvCase("winograd_size", (1, 17, 9, 11), (19, 17, 3, 3), padding=1),
]
GUARD_POOLS = [
    *POOL_CASES,
    PoolCase("global", (2, 6, 7, 7), 7),
    PoolCase("pyramid", (1, 3, 11, 13), 9, stride=1, padding=4),
    PoolCase("wide", (1, 1, 3, 67), 2, stride=1),
    PoolCase("dilated", (1, 3, 9, 19), 3, stride=1, dilation=2, padding=2),
    PoolCase("uneven", (1, 2, 8, 7), 3, stride=2, padding=((1, 0), (0, 2)), ceil_mode=True),
    PoolCase("column", (3, 2, 37, 1), (4, 1)),
]


def test_guard_pages_do_guard(run_python):
    """Reading one byte beyond either end kills a process; so the tests below mean something."""
    for side, index in (("end", 60), ("start", -1)):
        done = run_python(
            source=f"""
            import sys; sys.path.insert(0, "tests")
            import ctypes, guard, numpy as np
            a = guard.array(np.arange(15, dtype=np.float32), {side!r})
            assert a.sum() == 105
            print("inside", flush=True)
            ctypes.string_at(a.ctypes.data + {index}, 1)
            print("outside")
            """
        )
        assert done.stdout == "inside\n"
        assert done.returncode == -11  # SIGSEGV


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", GUARD_CASES, ids=str)
def test_conv_between_guard_pages(case, side, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, gradients = cases.integer_problem(case)
    exact = not case.may_use_winograd
    exact_gradients = not case.gradient_may_use_winograd
    for how, make in guard.MAKERS.items():
        a = arrays.map(lambda array, make=make: make(array, side))
        out = guard.empty(case.output_shape, dtype, side)
        packed = fastconv.conv2d_prepack(
            a.weight, a.bias, **case.geometry, activation=case.activation
        )
        cases.assert_exact(cases.conv(case, a, algorithm="direct", out=out), expected, how)
        for y in (cases.conv(case, a, out=out).copy(), packed(a.input, out=out)):
            if exact:
                cases.assert_exact(y, expected, how)
        for grad, wanted in zip(cases.backward(case, a), gradients, strict=True):
            if exact_gradients:
                cases.assert_exact(grad, wanted, how)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", GUARD_POOLS, ids=str)
def test_pools_between_guard_pages(case, side, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    plain_x, plain_g = case.integers()
    for how, make in guard.MAKERS.items():
        x, g = make(plain_x, side), make(plain_g, side)
        for name, (call, takes_out) in pool_calls(case).items():
            if not case.has_average and name.startswith("avg"):
                continue
            expected = call(reference, plain_x, plain_g)
            cases.assert_exact(call(fastconv, x, g), expected, f"{how} {name}")
            if takes_out:
                out = guard.empty(case.output_shape, dtype, side)
                cases.assert_exact(call(fastconv, x, g, out=out), expected, f"{how} {name}")
        _, indices = reference.max_pool2d(plain_x, **case.max_args, return_indices=True)
        dx = fastconv.max_pool2d_backward(g, x, **case.max_args, indices=guard.array(indices, side))
        wanted = reference.max_pool2d_backward(plain_g, plain_x, **case.max_args)
        cases.assert_exact(dx, wanted, how)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("how", ["float16", "byte_swapped", "mixed"])
def test_conversions_between_guard_pages(how, side):
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    plain = case.integers(limit=1)
    swapped = np.dtype(np.float32).newbyteorder()
    dtypes = {
        "float16": ("float16",) * 4,
        "byte_swapped": (swapped,) * 4,
        "mixed": ("float16", "float64", swapped, "float32"),
    }[how]
    a = cases.ConvArrays(
        *(guard.array(array.astype(d), side) for array, d in zip(plain, dtypes, strict=True))
    )
    cases.assert_exact(cases.conv(case, a), cases.expected_conv(case, plain))
    for grad, wanted in zip(
        cases.backward(case, a), cases.expected_backward(case, plain), strict=True
    ):
        cases.assert_exact(grad, wanted)
