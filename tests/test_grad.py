"""Promise: conv2d_backward and fastconv.grad are the exact gradients of conv2d."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cases
import fastconv
from cases import CONV_CASES, ConvCase

DTYPES = ("float32", "float64")
FORMATS = ("NCHW", "NHWC")
NAMES = ("grad_input", "grad_weight", "grad_bias")
CHUNK = 100

# conv2d_backward has no `algorithm`: where it may choose Winograd, integers may round.
EXACT_CASES = [c for c in CONV_CASES if not c.gradient_may_use_winograd]
ROUNDED_CASES = [c for c in CONV_CASES if c.gradient_may_use_winograd]


def inner_product(a, b):
    return float(np.sum(a.astype(np.float64) * b.astype(np.float64)))


def test_gradients_by_hand():
    x = np.array([[[[1, 2, 3, 4]]]], np.float32)
    w = np.array([[[[10, 100]]]], np.float32)
    g = np.array([[[[1, 2, 3]]]], np.float32)
    gx, gw, gb = fastconv.conv2d_backward(g, x, w)
    assert gx.tolist() == [[[[10, 120, 230, 300]]]]
    assert gw.tolist() == [[[[14, 20]]]]
    assert gb.tolist() == [6]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", EXACT_CASES, ids=str)
def test_integers_are_exact(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype, activation=None)
    arrays, _, expected = cases.integer_problem(case)
    for name, grad, wanted in zip(NAMES, cases.backward(case, arrays), expected, strict=True):
        cases.assert_exact(grad, wanted, f"{name} of {case!r}")
        assert grad.dtype == dtype
        assert grad.flags.c_contiguous
        assert grad.flags.writeable


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", ROUNDED_CASES, ids=str)
def test_normal_data_is_accurate(case, data_format, threads):
    case = case.replace(data_format=data_format, activation=None)
    a = case.normal()
    cases.check_backward(case, a, cases.backward(case, a))


@pytest.mark.parametrize("start", range(0, 1000, CHUNK))
def test_thousand_random_problems(start):
    for problem in cases.random_problems(CHUNK, start):
        case = problem.case.replace(activation=None)
        arrays = case.normal(problem.seed)
        cases.check_backward(case, arrays, cases.run_problem_backward(problem, arrays))


@given(case=cases.conv_cases(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_drawn_problems_obey_the_adjoint_identities(case, threads, seed):
    """<conv(x, w), g> = <x, grad_input> = <w, grad_weight> and <1, g> = <1, grad_bias>, exactly.

    A convolution is linear in its input and in its weight, so these identities define its
    gradients; no reference is asked.
    """
    case = case.replace(activation=None, bias=False)
    a = case.integers(seed)
    with cases.thread_count(threads):
        y = cases.conv(case, a, algorithm="direct")
        gx, gw, gb = cases.backward(case, a)
    wanted = inner_product(y, a.grad_output)
    slack = 1e-4 * max(1.0, abs(wanted)) if case.gradient_may_use_winograd else 0.0
    assert abs(inner_product(gx, a.input) - wanted) <= slack
    assert abs(inner_product(gw, a.weight) - wanted) <= slack
    channels_first = cases.from_format(a.grad_output, case.data_format)
    cases.assert_exact(gb, np.moveaxis(channels_first, -3, 0).reshape(len(gb), -1).sum(axis=1))


@pytest.mark.parametrize("case", EXACT_CASES, ids=str)
def test_adjoint_identities(case):
    case = case.replace(activation=None, bias=False)
    a = case.integers(seed=5)
    wanted = inner_product(cases.conv(case, a, algorithm="direct"), a.grad_output)
    gx, gw, _ = cases.backward(case, a)
    assert inner_product(gx, a.input) == wanted
    assert inner_product(gw, a.weight) == wanted


STRIDED_POINTWISE = [
    ConvCase("one_image_at_a_time", (3, 300, 61, 60), (70, 300, 1, 1), stride=2),
    ConvCase("several_images", (7, 40, 63, 62), (64, 40, 1, 1), stride=2),
    ConvCase("some_channels_at_a_time", (8, 200, 61, 121), (64, 200, 1, 1), stride=2),
    ConvCase("many_outputs", (3, 37, 31, 30), (200, 37, 1, 1), stride=2),
    ConvCase("wide_rows", (1, 35, 5, 1201), (150, 35, 1, 1), stride=(2, 3)),
    ConvCase("rows_only", (2, 19, 10, 9), (65, 19, 1, 1), stride=(3, 1)),
    ConvCase("columns_only", (2, 19, 9, 13), (65, 19, 1, 1), stride=(1, 2)),
    ConvCase("stride_3", (2, 19, 10, 41), (65, 19, 1, 1), stride=3),
    ConvCase("grouped", (2, 10, 9, 35), (132, 5, 1, 1), stride=2, groups=2),
    ConvCase("stride_beyond_image", (2, 20, 1, 1), (64, 20, 1, 1), stride=2),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", STRIDED_POINTWISE, ids=str)
def test_strided_pointwise_layers(case, dtype, threads):
    """The pixels that are met, side by side, and zeros between them in grad_input."""
    case = case.replace(dtype=dtype)
    arrays, _, expected = cases.integer_problem(case)
    for name, grad, exact in zip(NAMES, cases.backward(case, arrays), expected, strict=True):
        cases.assert_exact(grad, exact, f"{name} of {case!r}")


FINITE_CASES = [
    ConvCase("plain", (2, 2, 4, 5), (3, 2, 3, 3), padding=1),
    ConvCase("strided", (1, 2, 6, 5), (2, 2, 3, 2), stride=(2, 3), padding=((1, 0), (0, 2))),
    ConvCase("dilated", (1, 2, 7, 6), (2, 2, 2, 3), dilation=(3, 2), padding="same"),
    ConvCase("grouped", (1, 4, 4, 4), (6, 2, 3, 3), groups=2, padding=2),
    ConvCase("depthwise", (2, 3, 5, 4), (3, 1, 3, 3), groups=3, stride=2, padding="same_lower"),
]


@pytest.mark.parametrize("case", FINITE_CASES, ids=str)
def test_finite_differences(case):
    """d<y, g>/dx by central differences; y is linear in each argument, so only rounding is left."""
    case = case.replace(dtype="float64")
    a = case.normal()
    step = 0.5
    for array, grad in zip((a.input, a.weight, a.bias), cases.backward(case, a), strict=True):
        numeric = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            kept = array[at]
            array[at] = kept + step
            above = np.sum(cases.conv(case, a) * a.grad_output)
            array[at] = kept - step
            below = np.sum(cases.conv(case, a) * a.grad_output)
            array[at] = kept
            numeric[at] = (above - below) / (2 * step)
        np.testing.assert_allclose(grad, numeric, rtol=1e-10, atol=1e-10)


# ---- output_mask --------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", list(itertools.product((True, False), repeat=3)), ids=str)
def test_output_mask(mask):
    case = ConvCase("", (2, 4, 7, 8), (6, 2, 3, 3), groups=2, padding=1, stride=2)
    arrays, _, expected = cases.integer_problem(case)
    gradients = cases.backward(case, arrays, output_mask=mask)
    assert type(gradients) is tuple
    assert len(gradients) == 3
    for name, wanted, grad, exact in zip(NAMES, mask, gradients, expected, strict=True):
        if wanted:
            cases.assert_exact(grad, exact, name)
        else:
            assert grad is None, name


def test_output_mask_may_be_a_list():
    case = ConvCase("", (1, 2, 5, 5), (3, 2, 3, 3))
    gradients = cases.backward(case, case.integers(), output_mask=[False, True, False])
    assert [g is None for g in gradients] == [True, False, True]


# ---- shapes and dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
def test_unbatched(data_format):
    case = ConvCase("", (3, 7, 8), (5, 3, 3, 3), padding=1, data_format=data_format)
    a = case.integers()
    batched = fastconv.conv2d_backward(
        a.grad_output[None], a.input[None], a.weight, **case.geometry
    )
    gx, gw, gb = cases.backward(case, a)
    assert gx.shape == a.input.shape
    cases.assert_exact(gx, batched[0][0])
    cases.assert_exact(gw, batched[1])
    cases.assert_exact(gb, batched[2])


def test_an_empty_batch_has_zero_weight_gradients():
    case = ConvCase("", (0, 3, 6, 6), (4, 3, 3, 3))
    gx, gw, gb = cases.backward(case, case.integers())
    assert gx.shape == (0, 3, 6, 6)
    cases.assert_exact(gw, np.zeros((4, 3, 3, 3)))
    cases.assert_exact(gb, np.zeros(4))


def test_pixels_that_no_window_sees_have_zero_gradient():
    x, w = np.ones((1, 1, 9, 9), np.float32), np.ones((1, 1, 2, 2), np.float32)
    gx, _, _ = fastconv.conv2d_backward(np.ones((1, 1, 2, 2), np.float32), x, w, stride=5)
    seen = np.zeros((9, 9))
    for i, j in itertools.product((0, 1, 5, 6), repeat=2):
        seen[i, j] = 1
    cases.assert_exact(gx[0, 0], seen)


@pytest.mark.parametrize("dtypes", list(itertools.product(("float16", *DTYPES), repeat=3)), ids=str)
def test_dtypes_promote(dtypes):
    case = ConvCase("", (1, 2, 4, 4), (3, 2, 3, 3), padding=1)
    a = case.integers(limit=1)
    g, x, w = (array.astype(d) for array, d in
               zip((a.grad_output, a.input, a.weight), dtypes, strict=True))  # fmt: skip
    expected = cases.expected_backward(case, a)
    for grad, wanted in zip(fastconv.conv2d_backward(g, x, w, padding=1), expected, strict=True):
        assert grad.dtype == np.result_type(*dtypes)
        cases.assert_exact(grad, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [5, 8, 30])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (2, 5)])
def test_strided_layers_whose_kernels_lie_apart(kernel, size, groups, dtype, threads):
    """Some of the outputs or of the channels of larger weights, or all outputs the same ones."""
    case = ConvCase("", (2, groups * 40, size, size), (groups * 18, 40, *kernel), 2, 1)
    case = case.replace(groups=groups, dtype=dtype)
    arrays = case.integers()
    w = arrays.weight
    more_outputs = np.repeat(w, 2, axis=0)
    more_outputs[1::2] = 7
    more_channels = np.concatenate([w, np.full_like(w, 7)], axis=1)
    same = np.broadcast_to(w[:1], w.shape)
    for view in (more_outputs[::2], more_channels[:, : w.shape[1]], same):
        copied = dataclasses.replace(arrays, weight=np.ascontiguousarray(view))
        grad_input, *_ = cases.backward(case, dataclasses.replace(arrays, weight=view))
        wanted, *_ = cases.backward(case, copied)
        cases.assert_exact(grad_input, wanted, case)
        if size < 10:  # of larger planes phases may go through Winograd's algorithm, which rounds
            cases.assert_exact(wanted, cases.expected_backward(case, copied)[0], case)


VIEWS = {
    "wider": lambda x: np.pad(x, [(0, 0)] * 3 + [(0, 5)], constant_values=7)[..., :-5],
    "reversed": lambda x: x[:, :, ::-1].copy()[:, :, ::-1],
    "same": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "case",
    [
        ConvCase("", (1, 3, 6, 26), (17, 3, 1, 1)),
        ConvCase("", (1, 3, 16, 26), (16, 3, 1, 1), (3, 1)),
        ConvCase("", (3, 15, 16, 26), (85, 3, 1, 1), (3, 1), groups=5),
        ConvCase("", (3, 6, 3, 35), (32, 6, 1, 1)),
        ConvCase("", (2, 5, 9, 20), (8, 5, 1, 1)),
        ConvCase("", (2, 4, 7, 39), (12, 4, 3, 3), padding=1),
    ],
    ids=str,
)
def test_rows_of_the_input_that_lie_apart(case, view, dtype, threads):
    """Few outputs: vectors of pixels run on over rows where these join, and only there."""
    case = case.replace(dtype=dtype)
    arrays = case.integers()
    x = VIEWS[view](arrays.input)
    copied = dataclasses.replace(arrays, input=np.ascontiguousarray(x))
    found = cases.backward(case, dataclasses.replace(arrays, input=x))
    for grad, wanted in zip(found, cases.expected_backward(case, copied), strict=True):
        cases.assert_exact(grad, wanted, case)


def test_nan_reaches_exactly_its_gradients(threads):
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1, stride=2)
    a = case.integers()
    a.grad_output[0, 2, 1, 3] = np.nan
    for grad, wanted in zip(cases.backward(case, a), cases.expected_backward(case, a), strict=True):
        assert 0 < np.isnan(wanted).sum() < wanted.size
        cases.assert_exact(grad, wanted)


# ---- fastconv.grad: torch.nn.grad's functions ---------------------------------------------------

GRAD_CASES = [c for c in EXACT_CASES if 0 not in c.input and len(c.input) == 4]


@pytest.mark.parametrize("case", GRAD_CASES, ids=str)
def test_grad_module(case):
    arrays, _, (gx, gw, _) = cases.integer_problem(case)
    geometry = (case.stride, case.padding, case.dilation, case.groups)
    g = arrays.grad_output
    y = fastconv.grad.conv2d_input(case.input, arrays.weight, g, *geometry)
    cases.assert_exact(y, gx, case)
    assert y.dtype == g.dtype
    y = fastconv.grad.conv2d_weight(arrays.input, case.weight, g, *geometry)
    cases.assert_exact(y, gw, case)
    assert y.dtype == g.dtype


def test_grad_module_takes_keywords_and_lists():
    case = ConvCase("", (2, 4, 7, 8), (6, 2, 3, 3), groups=2, padding=1, stride=2)
    arrays, _, (gx, gw, _) = cases.integer_problem(case)
    named = {"grad_output": arrays.grad_output, "stride": 2, "padding": 1, "groups": 2}
    cases.assert_exact(
        fastconv.grad.conv2d_input(input_size=[2, 4, 7, 8], weight=arrays.weight, **named), gx
    )
    cases.assert_exact(
        fastconv.grad.conv2d_weight(input=arrays.input, weight_size=[6, 2, 3, 3], **named), gw
    )


def test_grad_module_knows_sizes_that_the_output_leaves_open():
    """A stride of 2 makes 5 outputs from 9 or 10 columns: only input_size can tell."""
    w = np.ones((1, 1, 1, 1), np.float32)
    g = np.ones((1, 1, 1, 5), np.float32)
    for width in (9, 10):
        y = fastconv.grad.conv2d_input((1, 1, 1, width), w, g, stride=2)
        assert y.ravel().tolist() == [1.0, 0.0] * (width // 2) + [1.0] * (width % 2)
