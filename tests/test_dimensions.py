"""Promise: 1-D and 3-D convolutions keep every promise of the 2-D ones, through the same engine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import cases
import fastconv
import guard
from cases import ConvCase

DTYPES = ("float32", "float64")
CHUNK = 100

CASES = [
    # speech and signals
    ConvCase("one_sample", (1, 1, 1), (1, 1, 1)),
    ConvCase("signal", (2, 3, 40), (5, 3, 3)),
    ConvCase("signal_same", (2, 3, 40), (5, 3, 4), padding="same"),
    ConvCase("signal_same_strided", (2, 3, 41), (5, 3, 10), stride=5, padding="same"),
    ConvCase("signal_ends", (2, 3, 17), (5, 3, 3), padding=((3, 1),)),
    ConvCase("signal_tuple", (2, 3, 17), (5, 3, 3), (2,), (1,), (2,)),
    ConvCase("signal_causal", (1, 6, 33), (6, 6, 2), dilation=8, padding=((8, 0),)),
    ConvCase("signal_relu", (1, 8, 50), (17, 8, 3), padding=1, activation="relu"),
    ConvCase("signal_depthwise", (2, 9, 31), (9, 1, 15), padding=7, groups=9),
    ConvCase("signal_grouped", (1, 12, 21), (18, 4, 3), groups=3, stride=2),
    ConvCase("signal_pointwise", (3, 17, 29), (33, 17, 1)),
    ConvCase("signal_pointwise_strided", (2, 9, 131), (64, 9, 1), 2),
    ConvCase("signal_wave", (1, 1, 400), (12, 1, 10), stride=5),
    ConvCase("signal_long_kernel", (1, 2, 700), (3, 2, 300)),
    ConvCase("signal_unbatched", (3, 19), (4, 3, 5), padding=2),
    ConvCase("signal_no_batch", (0, 3, 19), (4, 3, 5)),
    ConvCase("signal_no_channels", (2, 0, 19), (4, 0, 5)),
    # volumes and video
    ConvCase("one_voxel", (1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
    ConvCase("volume", (2, 3, 5, 6, 7), (4, 3, 3, 3, 3)),
    ConvCase("volume_same", (2, 3, 5, 6, 7), (4, 3, 3, 2, 4), padding="same"),
    ConvCase("volume_same_lower", (1, 2, 6, 7, 5), (3, 2, 2, 3, 4), 2, "same_lower"),
    ConvCase("volume_triples", (1, 2, 7, 9, 8), (3, 2, 3, 2, 4), (2, 1, 3), (1, 0, 2), (1, 3, 2)),
    ConvCase("volume_ends", (1, 2, 4, 5, 6), (3, 2, 2, 3, 3), 2, ((1, 0), (0, 2), (3, 1))),
    ConvCase("volume_deep_stride", (1, 2, 9, 4, 4), (3, 2, 2, 3, 3), (4, 1, 1)),
    ConvCase("volume_pad_beyond_kernel", (1, 2, 2, 3, 2), (3, 2, 2, 2, 2), padding=3),
    ConvCase("volume_relu", (1, 4, 4, 6, 6), (17, 4, 3, 3, 3), padding=1, activation="relu"),
    ConvCase("volume_depthwise", (2, 5, 4, 6, 7), (5, 1, 3, 3, 3), padding=1, groups=5),
    ConvCase("volume_grouped", (1, 6, 4, 6, 5), (9, 2, 3, 3, 3), groups=3, stride=2, padding=1),
    ConvCase("volume_pointwise", (2, 17, 3, 4, 5), (33, 17, 1, 1, 1)),
    ConvCase("volume_pointwise_strided", (2, 5, 5, 6, 7), (9, 5, 1, 1, 1), stride=2),
    ConvCase("volume_pointwise_uneven", (2, 9, 5, 6, 35), (64, 9, 1, 1, 1), (2, 1, 2)),
    ConvCase("video_spatial", (1, 7, 4, 14, 14), (16, 7, 1, 3, 3), padding=(0, 1, 1)),
    ConvCase("video_temporal", (1, 8, 9, 7, 7), (16, 8, 3, 1, 1), padding=(1, 0, 0)),
    ConvCase("video_stem", (1, 3, 6, 20, 20), (12, 3, 3, 7, 7), (1, 2, 2), (1, 3, 3)),
    ConvCase("volume_unbatched", (3, 4, 5, 6), (4, 3, 2, 3, 3), padding=1),
    ConvCase("volume_no_batch", (0, 3, 4, 4, 4), (4, 3, 3, 3, 3)),
    ConvCase("volume_no_channels", (2, 0, 4, 4, 4), (4, 0, 3, 3, 3)),
]  # fmt: skip
CASES = [
    case.replace(name=f"{case}-{data_format}", data_format=data_format)
    for case in CASES
    for data_format in cases.FORMATS[case.axes]
]


# ---- by hand ------------------------------------------------------------------------------------


def test_a_signal_by_hand():
    x = np.arange(1, 6, dtype=np.float32).reshape(1, 1, 5)
    w = np.array([[[1, 10, 100]]], np.float32)
    assert fastconv.conv1d(x, w).tolist() == [[[321, 432, 543]]]
    assert fastconv.conv1d(x, w, np.array([0.5], np.float32), 2, 1).tolist() == [
        [[210.5, 432.5, 54.5]]
    ]
    assert fastconv.conv1d(x, w, dilation=2).tolist() == [[[531]]]
    assert fastconv.conv1d(x[0], w, padding="same").tolist() == [[210, 321, 432, 543, 54]]


def test_a_volume_by_hand():
    """Eight taps worth 1, 2, 4, ... name the voxels that they fell on."""
    w = (2.0 ** np.arange(8)).reshape(1, 1, 2, 2, 2).astype(np.float32)
    x = np.zeros((1, 1, 2, 2, 2), np.float32)
    x[0, 0, 1, 0, 1] = 1
    assert fastconv.conv3d(x, w).item() == 2.0**5
    y = fastconv.conv3d(x, w, padding=1)
    assert y.shape == (1, 1, 3, 3, 3)
    assert y[0, 0, 2, 1, 2] == 1  # the voxel under the first tap
    assert y[0, 0, 1, 0, 1] == 2.0**7  # and under the last


# ---- against the reference ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_are_exact(case, dtype, threads):
    case = case.replace(dtype=dtype)
    arrays, expected, _ = cases.integer_problem(case)
    y = cases.conv(case, arrays, algorithm="direct")
    cases.assert_exact(y, expected, case)
    assert y.dtype == dtype
    assert y.flags.c_contiguous
    assert y.shape == case.output_shape


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_of_integers_are_exact(case, threads):
    case = case.replace(activation=None)
    arrays, _, expected = cases.integer_problem(case)
    for grad, wanted in zip(cases.backward(case, arrays), expected, strict=True):
        cases.assert_exact(grad, wanted, case)


@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("start", range(0, 300, CHUNK))
def test_random_problems(start, axes):
    """All arguments at random, awkward arrays, any thread count, prepacked or not, out= or not."""
    for problem in cases.random_problems(CHUNK, start, axes):
        arrays = problem.case.normal(problem.seed)
        y = cases.run_problem(problem, arrays)
        cases.check_conv(problem.case, arrays, y, problem.algorithm)
        plain = problem.case.replace(activation=None)
        cases.check_backward(plain, arrays, cases.run_problem_backward(problem, arrays))


@pytest.mark.parametrize("axes", [1, 3])
@given(data=st.data(), threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_drawn_problems_obey_the_adjoint_identities(axes, data, threads, seed):
    case = data.draw(cases.conv_cases(axes)).replace(activation=None, bias=False)
    assume(not case.gradient_may_use_winograd)
    a = case.integers(seed)
    with cases.thread_count(threads):
        y = cases.conv(case, a, algorithm="direct")
        gx, gw, _ = cases.backward(case, a)
    wanted = float(np.sum(y.astype(np.float64) * a.grad_output))
    assert float(np.sum(gx.astype(np.float64) * a.input)) == wanted
    assert float(np.sum(gw.astype(np.float64) * a.weight)) == wanted


# ---- one engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if c.axes == 1], ids=str)
def test_a_signal_is_an_image_of_one_row(case):
    a = case.normal()
    at = -2 if case.data_format == "NCL" else -3
    kwargs = {name: (1, *cases.each(getattr(case, name), 1)) for name in ("stride", "dilation")} | {
        "padding": ((0, 0), *case.pads),
        "groups": case.groups,
        "activation": case.activation,
    }
    data_format = {"NCL": "NCHW", "NLC": "NHWC"}[case.data_format]
    weight = a.weight[:, :, None]
    image = fastconv.conv2d(
        np.expand_dims(a.input, at),
        weight,
        a.bias,
        **kwargs,
        data_format=data_format,
        algorithm="direct",
    )
    y = cases.conv(case, a, algorithm="direct")
    assert np.squeeze(image, at).tobytes() == y.tobytes()


@pytest.mark.parametrize("case", cases.CONV_CASES[::4], ids=str)
def test_an_image_is_a_volume_of_one_slice(case):
    a = case.normal()
    geometry = {
        "stride": (1, *cases.pair(case.stride)),
        "dilation": (1, *cases.pair(case.dilation)),
        "padding": ((0, 0), *case.pads),
        "groups": case.groups,
        "activation": case.activation,
    }
    volume = fastconv.conv3d(
        np.expand_dims(a.input, -3), a.weight[:, :, None], a.bias, **geometry, algorithm="direct"
    )
    y = cases.conv(case, a, algorithm="direct")
    assert np.squeeze(volume, -3).tobytes() == y.tobytes()


@pytest.mark.parametrize("case", [c for c in CASES if 0 not in c.input], ids=str)
def test_prepacked_and_out(case, threads):
    arrays, expected, _ = cases.integer_problem(case)
    prepack = cases.function(case, "conv{}d_prepack")
    packed = prepack(arrays.weight, arrays.bias, **case.geometry, activation=case.activation)
    assert type(packed).__name__ == f"PackedConv{case.axes}d"
    assert f"PackedConv{case.axes}d" in repr(packed)
    out = np.full(case.output_shape, np.nan, case.dtype)
    assert packed(arrays.input, out=out) is out
    cases.assert_exact(out, expected)
    out[...] = np.nan
    assert cases.conv(case, arrays, out=out) is out
    cases.assert_exact(out, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_plan(case):
    plan = cases.function(case, "conv{}d_plan")(case.input_shape, case.weight, **case.geometry)
    assert plan.flops == 2 * case.macs
    assert plan.isa == fastconv.show_config(mode="dicts")["isa"]["chosen"]
    assert "x".join(map(str, case.output[-case.axes :])) in str(plan)


@pytest.mark.parametrize("case", [c for c in CASES if c.data_format[1] == "C"], ids=str)
def test_grad_module(case):
    arrays, _, (gx, gw, _) = cases.integer_problem(case)
    geometry = (case.stride, case.padding, case.dilation, case.groups)
    g = arrays.grad_output
    of_input = cases.function(case, "conv{}d_input", fastconv.grad)
    of_weight = cases.function(case, "conv{}d_weight", fastconv.grad)
    cases.assert_exact(of_input(case.input, arrays.weight, g, *geometry), gx, case)
    cases.assert_exact(of_weight(arrays.input, case.weight, g, *geometry), gw, case)


@pytest.mark.parametrize("side", guard.SIDES)
@pytest.mark.parametrize("case", [c for c in CASES if 0 not in c.input], ids=str)
def test_between_guard_pages(case, side):
    arrays, expected, gradients = cases.integer_problem(case)
    for how, make in guard.MAKERS.items():
        a = arrays.map(lambda x, make=make: make(x, side))
        out = guard.empty(case.output_shape, case.dtype, side)
        cases.assert_exact(cases.conv(case, a, algorithm="direct", out=out), expected, how)
        plain = case.replace(activation=None)
        for grad, wanted in zip(cases.backward(plain, a), gradients, strict=True):
            cases.assert_exact(grad, wanted, how)
