"""Promise: conv_transpose spreads its input with the kernel, and knows its gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
import guard
from cases import TransposeCase
from fastconv import reference

DTYPES = ("float32", "float64")
NAMES = ("grad_input", "grad_weight", "grad_bias")

CASES = [
    TransposeCase("one_pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    TransposeCase("plain", (2, 3, 5, 6), (3, 4, 3, 3)),
    TransposeCase("no_bias", (2, 3, 5, 6), (3, 4, 3, 3), bias=False),
    TransposeCase("padded", (2, 3, 5, 6), (3, 4, 3, 3), padding=1),
    TransposeCase("padding_pair", (2, 3, 5, 6), (3, 4, 3, 5), padding=(1, 2)),
    TransposeCase("padding_ends", (1, 3, 5, 6), (3, 4, 3, 3), 2, ((0, 2), (1, 0))),
    TransposeCase("padding_eats_inputs", (1, 2, 6, 7), (2, 3, 2, 2), 1, 3),
    TransposeCase("valid", (1, 3, 5, 6), (3, 4, 3, 2), 2, "valid"),
    TransposeCase("valid_extra", (1, 3, 5, 6), (3, 4, 3, 2), 2, "valid", 1),
    TransposeCase("same", (2, 3, 5, 6), (3, 4, 3, 4), 1, "same"),
    TransposeCase("same_stride2", (2, 3, 5, 6), (3, 4, 3, 4), 2, "same"),
    TransposeCase("same_stride3", (1, 3, 4, 5), (3, 4, 5, 4), 3, "same"),
    TransposeCase("same_lower", (1, 3, 4, 5), (3, 4, 5, 4), 2, "same_lower"),
    TransposeCase("same_stride_beyond_kernel", (1, 3, 4, 5), (3, 4, 2, 1), 4, "same"),
    TransposeCase("same_dilated", (1, 3, 4, 5), (3, 4, 3, 2), 2, "same", dilation=(2, 3)),
    TransposeCase("stride_is_kernel", (1, 8, 7, 7), (8, 4, 2, 2), 2),
    TransposeCase("stride_beyond_kernel", (1, 2, 4, 5), (2, 3, 2, 3), 5),
    TransposeCase("stride_pair", (2, 3, 4, 6), (3, 5, 3, 2), (2, 3), (1, 0)),
    TransposeCase("extra", (1, 3, 4, 5), (3, 4, 3, 3), 2, 1, 1),
    TransposeCase("extra_pair", (1, 3, 4, 5), (3, 4, 3, 3), (2, 3), 1, (0, 2)),
    TransposeCase("extra_beyond_stride", (1, 3, 4, 5), (3, 4, 3, 3), 1, 1, 2, dilation=3),
    TransposeCase("dilated", (1, 3, 5, 4), (3, 4, 3, 3), 1, 2, dilation=2),
    TransposeCase("dilated_strided", (1, 3, 5, 4), (3, 4, 3, 2), (2, 3), 1, dilation=(3, 2)),
    TransposeCase("dilation_is_stride", (1, 3, 5, 4), (3, 4, 3, 3), 2, 1, dilation=2),
    TransposeCase("grouped", (2, 6, 5, 4), (6, 3, 3, 3), 2, 1, groups=2),
    TransposeCase("depthwise", (1, 7, 5, 6), (7, 1, 4, 4), 2, 1, groups=7),
    TransposeCase("doubled", (2, 19, 7, 7), (19, 1, 3, 3), 2, 1, 1, groups=19),
    TransposeCase("doubled_4", (2, 17, 7, 14), (17, 1, 4, 4), 2, 1, groups=17),
    TransposeCase("doubled_5", (3, 18, 9, 20), (18, 1, 5, 5), 2, 2, 1, groups=18),
    TransposeCase("doubled_wide", (1, 3, 5, 40), (3, 1, 4, 4), 2, ((0, 3), (2, 1)), groups=3),
    TransposeCase("doubled_extra", (1, 2, 6, 33), (2, 1, 3, 3), 2, 0, (0, 1), groups=2),
    TransposeCase("multiplied", (1, 3, 5, 6), (3, 2, 3, 3), groups=3),
    TransposeCase("many_channels", (1, 33, 5, 6), (33, 17, 3, 3), 2, 1, 1),
    # the weights of all phases packed on one way over them
    TransposeCase("phases", (3, 19, 5, 6), (19, 80, 3, 3), 2, 1, 1),
    TransposeCase("phases_grouped", (2, 70, 4, 5), (70, 37, 4, 4), 2, 1, groups=2),
    TransposeCase("phases_of_blocks", (1, 150, 3, 4), (150, 33, 5, 3), (3, 2), 1),
    TransposeCase("phases_without_taps", (1, 18, 4, 5), (18, 34, 2, 3), (3, 2), 1, (1, 0)),
    TransposeCase("phases_dilated", (1, 20, 5, 4), (20, 40, 3, 3), 2, 2, dilation=3),
    TransposeCase("phases_volume", (2, 17, 3, 3, 4), (17, 33, 3, 2, 3), 2, 1),
    TransposeCase("pointwise", (2, 17, 5, 6), (17, 33, 1, 1)),
    TransposeCase("pointwise_strided", (2, 5, 4, 6), (5, 9, 1, 1), 3),
    TransposeCase("wide", (1, 2, 3, 67), (2, 3, 3, 4), 2, 1),
    TransposeCase("unbatched", (3, 5, 6), (3, 4, 3, 3), 2, 1, 1),
    TransposeCase("no_batch", (0, 3, 5, 6), (3, 4, 3, 3), 2),
    TransposeCase("no_channels", (2, 0, 4, 5), (0, 4, 3, 3), 2),
    TransposeCase("no_filters", (2, 3, 4, 5), (3, 0, 3, 3), 2),
    TransposeCase("dcgan_first", (2, 20, 1, 1), (20, 16, 4, 4)),
    TransposeCase("dcgan", (2, 16, 4, 4), (16, 8, 4, 4), 2, 1),
    TransposeCase("unet", (1, 16, 7, 7), (16, 8, 2, 2), 2),
    # few channels out of many: all taps are one product, whose rows are shifted and added
    TransposeCase("few", (2, 20, 9, 10), (20, 3, 4, 4), 2, 1),
    TransposeCase("few_blocks", (1, 24, 40, 70), (24, 2, 5, 5), 2, 2, 1),
    TransposeCase("few_chains", (1, 150, 7, 19), (150, 4, 3, 4), (3, 2), 1),
    TransposeCase("few_gaps", (1, 20, 4, 5), (20, 3, 2, 3), 5),
    TransposeCase("few_cropped", (1, 17, 6, 7), (17, 3, 4, 4), 2, 3),
    TransposeCase("few_dilated", (2, 16, 6, 9), (16, 2, 3, 3), 1, 2, dilation=(2, 3)),
    TransposeCase("few_dilated_strided", (1, 16, 6, 9), (16, 5, 3, 4), (2, 3), 1, dilation=(3, 2)),
    TransposeCase("few_grouped", (2, 34, 5, 6), (34, 2, 3, 3), 2, groups=2),
    TransposeCase("few_apart", (2, 18, 32, 28), (18, 1, 5, 5)),
    TransposeCase("few_signal", (2, 130, 700), (130, 1, 16), 8),
    TransposeCase("few_volume", (1, 18, 3, 4, 5), (18, 3, 3, 3, 2), 2, 1),
    TransposeCase("few_volume_deep", (1, 18, 4, 6, 7), (18, 2, 3, 2, 3), (1, 2, 2), (1, 0, 1)),
    TransposeCase("signal", (2, 3, 11), (3, 4, 5), 2, 2, 1),
    TransposeCase("signal_same", (2, 3, 11), (3, 4, 4), 3, "same"),
    TransposeCase("signal_ends", (1, 3, 11), (3, 4, 4), 2, ((1, 2),)),
    TransposeCase("signal_unbatched", (3, 11), (3, 4, 16), 8, 4),
    # wide kernels over few pixels: rows of taps in the lanes
    TransposeCase("wide_kernels", (2, 64, 33), (64, 7, 16), 8, 4),
    TransposeCase("wide_kernels_cropped", (1, 40, 21), (40, 30, 10), 5, 7, 2),
    TransposeCase("wide_kernels_all_padding", (1, 32, 4), (32, 17, 8), 6, 12),
    TransposeCase("wide_kernels_grouped", (2, 80, 5), (80, 3, 33), 3, groups=2),
    TransposeCase("wide_kernels_blocks", (1, 33, 300), (33, 5, 9), 2),
    TransposeCase("wide_kernels_panels", (3, 36, 1, 40), (36, 2, 1, 150), (1, 4), (0, 3)),
    TransposeCase("volume", (1, 3, 3, 4, 5), (3, 4, 2, 3, 3), (1, 2, 2), (0, 1, 1), (0, 1, 0)),
    TransposeCase("volume_same", (1, 3, 3, 4, 5), (3, 4, 3, 3, 2), 2, "same"),
    TransposeCase("volume_grouped", (2, 4, 3, 4, 3), (4, 3, 2, 2, 2), 2, groups=2),
]  # fmt: skip
CASES = [
    case.replace(name=f"{case}-{data_format}", data_format=data_format)
    for case in CASES
    for data_format in cases.FORMATS[case.axes]
]


# ---- worked by hand: these trust no reference ---------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [1, 12, 123, 230, 300]),  # 1 at 0, 2 at 1, 3 at 2, each times (1, 10, 100)
        ({"stride": 2}, [1, 10, 102, 20, 203, 30, 300]),
        ({"stride": 4}, [1, 10, 100, 0, 2, 20, 200, 0, 3, 30, 300]),
        ({"dilation": 2}, [1, 2, 13, 20, 130, 200, 300]),
        ({"padding": 1}, [12, 123, 230]),
        ({"padding": "same"}, [12, 123, 230]),
        ({"padding": ((0, 0), (1, 0))}, [12, 123, 230, 300]),
        ({"stride": 2, "padding": "same"}, [1, 10, 102, 20, 203, 30]),
        ({"stride": 2, "padding": "same_lower"}, [10, 102, 20, 203, 30, 300]),
        ({"stride": 4, "padding": "same"}, [1, 10, 100, 0, 2, 20, 200, 0, 3, 30, 300, 0]),
        ({"stride": 2, "padding": "valid"}, [1, 10, 102, 20, 203, 30, 300]),
        ({"stride": 2, "padding": (0, 1), "output_padding": (0, 1)}, [10, 102, 20, 203, 30, 300]),
        ({"stride": 2, "output_padding": (0, 1)}, [1, 10, 102, 20, 203, 30, 300, 0]),
    ],
    ids=str,
)
def test_by_hand(arguments, expected):
    x = np.array([[[1, 2, 3]]], np.float32)
    w = np.array([[[[1, 10, 100]]]], np.float32)
    arguments = {
        name: (1, value) if name in ("stride", "dilation") else value
        for name, value in arguments.items()
    }
    if arguments.get("padding") == 1:
        arguments["padding"] = (0, 1)
    y = fastconv.conv_transpose2d(x, w, np.array([1000], np.float32), **arguments)
    assert y.tolist() == [[[value + 1000.0 for value in expected]]]
    assert reference.conv_transpose2d(x, w, **arguments).tolist() == [[list(map(float, expected))]]


def test_gradients_by_hand():
    x = np.array([[[1, 2]]], np.float32)
    w = np.array([[[10, 100]]], np.float32)
    g = np.array([[[1, 2, 3, 4]]], np.float32)
    gx, gw, gb = fastconv.conv_transpose1d_backward(g, x, w, stride=2)
    assert gx.tolist() == [[[210, 430]]]
    assert gw.tolist() == [[[7, 10]]]
    assert gb.tolist() == [10]


def test_arguments_go_by_position_in_torchs_order():
    case = TransposeCase("", (2, 4, 5, 6), (4, 3, 3, 3), (2, 3), (1, 0), (1, 2), 2, (1, 2))
    a = case.integers()
    y = fastconv.conv_transpose2d(a.input, a.weight, a.bias, (2, 3), (1, 0), (1, 2), 2, (1, 2))
    cases.assert_exact(y, cases.transpose(case, a.astype("float64"), reference))


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_same_multiplies_the_size_as_keras_does(kernel, stride):
    x, w = np.ones((1, 2, 7, 4), np.float32), np.ones((2, 3, kernel, kernel), np.float32)
    y = fastconv.conv_transpose2d(x, w, stride=stride, padding="same")
    assert y.shape == (1, 3, 7 * stride, 4 * stride)
    y = fastconv.conv_transpose2d(x, w, stride=stride, padding="valid")
    assert y.shape == (1, 3, 6 * stride + kernel, 3 * stride + kernel)


# ---- against the reference ----------------------------------------------------------------------


def expected(case, a):
    wide = a.astype("float64")
    return cases.transpose(case, wide, reference), cases.transpose_backward(case, wide, reference)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, dtype, threads):
    case = case.replace(dtype=dtype)
    a = case.integers()
    wanted, gradients = expected(case, a)
    y = cases.transpose(case, a)
    cases.assert_exact(y, wanted, case)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert y.shape == case.output_shape
    for name, grad, exact in zip(NAMES, cases.transpose_backward(case, a), gradients, strict=True):
        cases.assert_exact(grad, exact, f"{name} of {case!r}")
        assert grad.dtype == dtype


@given(
    case=cases.transpose_cases(),
    threads=st.integers(1, 4),
    seed=st.integers(0, 99),
    awkward=st.tuples(*[st.sampled_from(tuple(cases.AWKWARD))] * 4),
    out=st.sampled_from((None, *cases.AWKWARD_OUT)),
)
def test_drawn_integers_are_exact(case, threads, seed, awkward, out):
    a = case.integers(seed)
    odd = cases.ConvArrays(
        *(None if x is None else cases.AWKWARD[how](x) for how, x in zip(awkward, a, strict=True))
    )
    into = np.full(case.output_shape, np.nan, case.dtype)
    into = None if out is None else cases.AWKWARD_OUT[out](into)
    wanted, gradients = expected(case, a)
    with cases.thread_count(threads):
        y = cases.transpose(case, odd, out=into)
        computed = cases.transpose_backward(case, odd)
    assert out is None or y is into
    cases.assert_exact(y, wanted, case)
    for name, grad, exact in zip(NAMES, computed, gradients, strict=True):
        cases.assert_exact(grad, exact, f"{name} of {case!r}")


# ---- what defines it: it is the transpose -------------------------------------------------------


@given(case=cases.transpose_cases(), seed=st.integers(0, 99))
def test_drawn_problems_obey_the_adjoint_identities(case, seed):
    """<y, g> = <x, grad_input> = <w, grad_weight>, exactly; no reference is asked."""
    case = case.replace(bias=False)
    a = case.integers(seed)
    product = lambda u, v: float(np.sum(u.astype(np.float64) * v.astype(np.float64)))  # noqa: E731
    wanted = product(cases.transpose(case, a), a.grad_output)
    gx, gw, gb = cases.transpose_backward(case, a)
    assert product(gx, a.input) == wanted
    assert product(gw, a.weight) == wanted
    positions = np.moveaxis(cases.from_format(a.grad_output, case.data_format), -case.axes - 1, 0)
    cases.assert_exact(gb, positions.reshape(len(gb), -1).sum(axis=1))


@pytest.mark.parametrize("case", [c for c in CASES if c.data_format[1] == "C"], ids=str)
def test_it_is_the_input_gradient_of_a_convolution(case):
    """<conv_transpose(x), g> = <x, conv(g)>: the same weight, with input and output exchanged."""
    case = case.replace(bias=False)
    a = case.integers()
    conv = cases.function(case)
    padding = case.padding
    y = conv(a.grad_output, a.weight, None, case.stride, padding, case.dilation, case.groups)
    inner = tuple(slice(n) for n in case.input[-case.axes :])  # extra outputs see extra columns
    wanted = float(np.sum(y[(..., *inner)].astype(np.float64) * a.input))
    assert float(np.sum(cases.transpose(case, a).astype(np.float64) * a.grad_output)) == wanted


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
@pytest.mark.parametrize("padding", [0, 1, ((0, 1), (2, 0))])
def test_its_matrix_is_the_transpose(padding, stride):
    case = TransposeCase("", (4, 3, 4), (4, 2, 3, 3), stride, padding, groups=2, bias=False)
    case = case.replace(dtype="float64")
    a = case.integers()
    matrix = reference.convolution_matrix(a.weight, case.output, stride, padding, groups=2)
    wanted = (matrix.T @ a.input.ravel()).reshape(case.output)
    cases.assert_exact(cases.transpose(case, a), wanted)
    cases.assert_exact(cases.transpose(case, a, reference), wanted)


# ---- the promises that every function makes -----------------------------------------------------


def test_no_channels_give_the_bias():
    bias = np.array([1, -2, 3], np.float32)
    y = fastconv.conv_transpose2d(
        np.zeros((2, 0, 4, 5), np.float32), np.zeros((0, 3, 2, 2), np.float32), bias, stride=3
    )
    assert y.shape == (2, 3, 11, 14)
    assert (y == bias[:, None, None]).all()


def test_pixels_that_no_tap_reaches_have_the_bias():
    x, w = np.ones((1, 1, 2, 2), np.float32), np.full((1, 1, 1, 1), 4, np.float32)
    y = fastconv.conv_transpose2d(x, w, np.array([7], np.float32), stride=3)
    assert np.unique(y).tolist() == [7, 11]
    assert (y == 11).sum() == 4


@pytest.mark.parametrize("mask", list(itertools.product((True, False), repeat=3)), ids=str)
def test_output_mask(mask):
    case = TransposeCase("", (2, 4, 5, 6), (4, 3, 3, 3), 2, 1, 1, 2)
    a = case.integers()
    _, gradients = expected(case, a)
    computed = cases.transpose_backward(case, a, output_mask=mask)
    assert type(computed) is tuple
    for wanted, grad, exact in zip(mask, computed, gradients, strict=True):
        assert (grad is not None) == wanted
        if wanted:
            cases.assert_exact(grad, exact)


@pytest.mark.parametrize("dtypes", list(itertools.product(("float16", *DTYPES), repeat=3)), ids=str)
def test_dtypes_promote(dtypes):
    case = TransposeCase("", (1, 2, 3, 3), (2, 3, 2, 2), 2)
    a = case.integers(limit=1)
    x, w, b = (v.astype(d) for v, d in zip(tuple(a)[:3], dtypes, strict=True))
    y = fastconv.conv_transpose2d(x, w, b, stride=2)
    assert y.dtype == np.result_type(*dtypes)
    cases.assert_exact(y, expected(case, a)[0])
    assert reference.conv_transpose2d(x, w, b, stride=2).dtype == y.dtype
    for grad in fastconv.conv_transpose2d_backward(y, x, w, stride=2):
        assert grad.dtype == np.result_type(*dtypes)


@pytest.mark.parametrize(
    "case",
    [
        TransposeCase("square", (2, 40, 17, 18), (40, 24, 4, 4), 2, 1),
        TransposeCase("wide", (2, 40, 1, 150), (40, 70, 1, 16), (1, 8), (0, 4)),
    ],
    ids=str,
)
def test_thread_counts_leave_every_bit_alone(case):
    rng = np.random.default_rng(0)
    a = case.integers().map(lambda v: rng.standard_normal(v.shape).astype(np.float32))
    results = []
    for n in (1, 2, 3):
        with cases.thread_count(n):
            results.append([cases.transpose(case, a), *cases.transpose_backward(case, a)])
    for other in results[1:]:
        assert [v.tobytes() for v in other] == [v.tobytes() for v in results[0]]


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", [c for c in CASES if 0 not in c.input + c.weight], ids=str)
def test_between_guard_pages(case, side):
    arrays = case.integers()
    wanted, gradients = expected(case, arrays)
    for how, make in guard.MAKERS.items():
        a = arrays.map(lambda x, make=make: make(x, side))
        out = guard.empty(case.output_shape, case.dtype, side)
        cases.assert_exact(cases.transpose(case, a, out=out), wanted, how)
        for grad, exact in zip(cases.transpose_backward(case, a), gradients, strict=True):
            cases.assert_exact(grad, exact, how)
