"""Promise: a packed convolution is conv2d with its weights prepared, for inputs of every size."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

import cases
import fastconv
from cases import CONV_CASES, ConvCase

DTYPES = ("float32", "float64")
FORMATS = ("NCHW", "NHWC")


def pack(case, a, **kwargs):
    return fastconv.conv2d_prepack(
        a.weight, a.bias, **case.geometry, activation=case.activation, **kwargs
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_integers_are_exact(case, data_format, dtype, threads):
    case = case.replace(data_format=data_format, dtype=dtype)
    arrays, expected, _ = cases.integer_problem(case)
    packed = pack(case, arrays, algorithm="direct")
    for _ in range(2):  # the first use packs, the second finds it packed
        y = packed(arrays.input)
        cases.assert_exact(y, expected, case)
        assert y.dtype == dtype
        assert y.flags.c_contiguous


@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_normal_data_is_accurate(case, threads):
    a = case.normal()
    for algorithm in ("auto", "direct"):
        cases.check_conv(case, a, pack(case, a, algorithm=algorithm)(a.input), algorithm)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in CONV_CASES if not c.may_use_winograd], ids=str)
def test_backward_is_that_of_the_function(case, dtype, threads):
    case = case.replace(dtype=dtype, activation=None)
    arrays, _, expected = cases.integer_problem(case)
    packed = pack(case, arrays)
    for grad, wanted in zip(
        packed.backward(arrays.grad_output, arrays.input), expected, strict=True
    ):
        cases.assert_exact(grad, wanted, case)
        assert grad.dtype == dtype


@pytest.mark.parametrize("axes", [1, 3])
def test_backward_in_one_and_three_dimensions(axes):
    case = ConvCase("", (2, 4, *[6] * axes), (6, 2, *[3] * axes), 2, 1, groups=2)
    case = case.replace(data_format=cases.FORMATS[axes][1])
    arrays, _, expected = cases.integer_problem(case)
    packed = cases.function(case, "conv{}d_prepack")(arrays.weight, **case.geometry)
    for grad, wanted in zip(
        packed.backward(arrays.grad_output, arrays.input), expected, strict=True
    ):
        cases.assert_exact(grad, wanted, case)


@pytest.mark.parametrize("mask", list(itertools.product((True, False), repeat=3)), ids=str)
def test_backward_has_a_mask(mask):
    case = ConvCase("", (2, 4, 7, 8), (6, 2, 3, 3), groups=2, padding=1, stride=2)
    arrays, _, expected = cases.integer_problem(case)
    gradients = pack(case, arrays).backward(arrays.grad_output, arrays.input, output_mask=mask)
    assert type(gradients) is tuple
    for wanted, grad, exact in zip(mask, gradients, expected, strict=True):
        assert (grad is not None) == wanted
        if wanted:
            cases.assert_exact(grad, exact)


def test_backward_uses_the_weights_that_were_packed():
    case = ConvCase("", (1, 2, 5, 6), (3, 2, 3, 3))
    a = case.integers()
    wanted = cases.backward(case, a)[0]
    weight = a.weight.copy()
    packed = fastconv.conv2d_prepack(weight)
    weight[...] = 0
    cases.assert_exact(packed.backward(a.grad_output, a.input)[0], wanted)


def test_backward_of_an_activated_operator_starts_before_the_activation():
    """With the gradient masked by the output's sign it is the gradient of the whole."""
    case = ConvCase("", (1, 2, 5, 6), (3, 2, 3, 3), activation="relu")
    a = case.normal()
    packed = pack(case, a)
    masked = a.grad_output * (packed(a.input) > 0)
    pairs = zip(
        packed.backward(masked, a.input),
        fastconv.conv2d_backward(masked, a.input, a.weight),
        strict=True,
    )
    for grad, wanted in pairs:
        assert grad.tobytes() == wanted.tobytes()


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ((), TypeError, "grad_output|argument"),
        ((None, "x"), TypeError, "grad_output"),
        (("g", "x"), (TypeError, ValueError), "grad_output"),
        (("x", "x"), ValueError, "grad_output"),
        (("g", "x", None), TypeError, "output_mask"),
        (("g", "x", (True,)), ValueError, "output_mask"),
    ],
    ids=str,
)
def test_bad_backward_calls_name_the_argument(args, error, words):
    named = {"x": np.ones((1, 4, 5, 5), np.float32), "g": np.ones((1, 6, 4, 4), np.float32)}
    packed = fastconv.conv2d_prepack(np.ones((6, 4, 3, 3), np.float32))
    with pytest.raises(error, match=words):
        packed.backward(*(named.get(a, a) if isinstance(a, str) else a for a in args))


def test_one_object_serves_inputs_of_every_size():
    """The input's size picks the algorithm at the call; each of them packs in its own way."""
    base = ConvCase("", (1, 24, 8, 8), (33, 24, 3, 3), padding=1)
    a = base.normal()
    packed = pack(base, a)
    sizes = [(1, 8, 8), (16, 3, 3), (1, 60, 61), (2, 1, 1), (1, 2, 200), (40, 7, 7), (1, 8, 8)]
    for n, h, w in sizes * 2:
        case = base.replace(input=(n, 24, h, w))
        b = case.normal(seed=n)
        b = cases.ConvArrays(b.input, a.weight, a.bias, b.grad_output)
        cases.check_conv(case, b, packed(b.input), "auto")
    unbatched = base.replace(input=(24, 9, 10))
    b = cases.ConvArrays(unbatched.normal().input, a.weight, a.bias, unbatched.normal().grad_output)
    cases.check_conv(unbatched, b, packed(b.input), "auto")


def test_out_by_position_and_by_keyword():
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    packed = pack(case, arrays)
    for call in (
        lambda out: packed(arrays.input, out),
        lambda out: packed(arrays.input, out=out),
        lambda out: packed(input=arrays.input, out=out),
    ):
        out = np.full(case.output, np.nan, np.float32)
        assert call(out) is out
        cases.assert_exact(out, expected)
    cases.assert_exact(packed(arrays.input, None), expected)


def test_weights_are_taken_when_they_are_packed():
    """Changing the arrays afterwards changes nothing, used already or not."""
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    for use_first in (False, True):
        w, b = arrays.weight.copy(), arrays.bias.copy()
        packed = fastconv.conv2d_prepack(w, b, padding=1)
        if use_first:
            cases.assert_exact(packed(arrays.input), expected)
        w[...], b[...] = np.nan, np.nan
        cases.assert_exact(packed(arrays.input), expected)
        for size in ((1, 3, 30, 31), (7, 3, 4, 4)):
            assert np.isfinite(packed(np.ones(size, np.float32))).all()


def test_weights_may_go_before_their_convolution():
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    packed = fastconv.conv2d_prepack(arrays.weight.copy(), arrays.bias.copy(), padding=1)
    rubbish = [np.full(n, np.nan, np.float32) for n in (135, 5, 135, 5)]
    cases.assert_exact(packed(arrays.input), expected, len(rubbish))
    y = packed(arrays.input)
    del packed
    cases.assert_exact(y, expected)


def test_awkward_weights():
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    for how, make in cases.AWKWARD.items():
        packed = fastconv.conv2d_prepack(make(arrays.weight), make(arrays.bias), padding=1)
        cases.assert_exact(packed(make(arrays.input)), expected, how)
    lists = fastconv.conv2d_prepack(arrays.weight.tolist(), arrays.bias.tolist(), padding=1)
    y = lists(arrays.input)
    assert y.dtype == np.float64
    cases.assert_exact(y, expected)


@pytest.mark.parametrize("weight_dtype", ["float16", *DTYPES])
def test_the_input_takes_part_in_the_promotion(weight_dtype):
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    a = case.integers(limit=1)
    expected = cases.expected_conv(case, a)
    packed = fastconv.conv2d_prepack(
        a.weight.astype(weight_dtype), a.bias.astype(weight_dtype), padding=1
    )
    for input_dtype in ("float64", "float32", "float16", "float64"):
        y = packed(a.input.astype(input_dtype))
        assert y.dtype == np.result_type(weight_dtype, input_dtype)
        cases.assert_exact(y, expected)


def test_float64_weights_lose_nothing_to_a_float32_input():
    w = np.full((1, 1, 1, 1), 1 + 2.0**-40)
    packed = fastconv.conv2d_prepack(w)
    assert packed(np.ones((1, 1, 1, 1), np.float32)).item() == 1 + 2.0**-40
    assert packed(np.ones((1, 1, 1, 1), np.float64)).item() == 1 + 2.0**-40


def test_threads_may_use_one_object_at_once():
    """Also for the first time: the packing is made once, and nobody sees half of it."""
    cases_ = [
        ConvCase("", (n, 24, h, w), (40, 24, 3, 3), padding=1)
        for n, h, w in ((1, 20, 20), (8, 6, 6), (2, 33, 5))
    ]
    a = cases_[0].normal()
    inputs = [case.normal(seed=1).input for case in cases_]
    single = fastconv.conv2d_prepack(a.weight, a.bias, padding=1)
    expected = [single(x).tobytes() for x in inputs]
    for _ in range(15):
        packed = fastconv.conv2d_prepack(a.weight, a.bias, padding=1)
        barrier = threading.Barrier(6)
        wrong = []

        def use(i, packed=packed, barrier=barrier, wrong=wrong):
            barrier.wait(60)
            for k in range(3):
                at = (i + k) % 3
                if packed(inputs[at]).tobytes() != expected[at]:
                    wrong.append(at)

        threads = [threading.Thread(target=use, args=(i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert wrong == []


def test_it_says_what_it_is():
    case = ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    packed = pack(case, case.normal())
    assert type(packed).__name__ == "PackedConv2d"
    assert callable(packed)
    assert repr(packed)
    assert type(packed) is fastconv.PackedConv2d


def test_no_channels_and_no_filters():
    packed = fastconv.conv2d_prepack(np.zeros((4, 0, 3, 3), np.float32), np.arange(4.0, dtype="f4"))
    y = packed(np.zeros((2, 0, 5, 5), np.float32))
    assert y[0, :, 0, 0].tolist() == [0, 1, 2, 3]
    packed = fastconv.conv2d_prepack(np.zeros((0, 3, 3, 3), np.float32))
    assert packed(np.zeros((2, 3, 5, 5), np.float32)).shape == (2, 0, 3, 3)
