"""Promise: conv2d_plan says what conv2d will do, in checkable numbers, without doing it."""

from __future__ import annotations

import math

import numpy as np
import pytest

import cases
import fastconv
from cases import CONV_CASES, ConvCase

FIELDS = ("algorithm", "isa", "threads", "workspace_bytes", "flops", "bytes")
CONFIG = fastconv.show_config(mode="dicts")


def plan_of(case, **kwargs):
    return fastconv.conv2d_plan(
        case.input_shape, case.weight, **case.geometry, dtype=case.dtype, **kwargs
    )


def fields(plan):
    return tuple(getattr(plan, name) for name in FIELDS)


@pytest.mark.parametrize("data_format", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CONV_CASES, ids=str)
def test_fields(case, data_format):
    case = case.replace(data_format=data_format)
    plan = plan_of(case)
    assert isinstance(plan.algorithm, str)
    assert plan.algorithm
    assert plan.isa == CONFIG["isa"]["chosen"]
    assert 1 <= plan.threads <= fastconv.get_num_threads()
    assert plan.workspace_bytes >= 0
    batch, channels, height, width = (case.batch, *case.output[-3:])
    per_group, kh, kw = case.weight[1:]
    assert plan.flops == 2 * batch * channels * height * width * per_group * kh * kw
    assert plan.bytes >= 4 * batch * channels * height * width  # the output is written at least
    for name in ("threads", "workspace_bytes", "flops", "bytes"):
        assert type(getattr(plan, name)) is int, name


@pytest.mark.parametrize("case", CONV_CASES[::5], ids=str)
def test_it_is_printed_like_einsum_path(case):
    plan = plan_of(case)
    text = str(plan)
    for word in (plan.algorithm, plan.isa, "threads", "workspace", "flop", "bytes"):
        assert word.lower() in text.lower(), word
    assert len(text.splitlines()) >= 4
    assert repr(plan)


def test_a_plan_is_a_value():
    case = CONV_CASES[3]
    plan = plan_of(case)
    assert fields(plan) == fields(plan_of(case))
    assert str(plan) == str(plan_of(case))
    for name in FIELDS:
        with pytest.raises((AttributeError, TypeError)):
            setattr(plan, name, 1)


def test_shapes_may_be_lists_and_numpy_integers():
    case = ConvCase("", (2, 4, 9, 8), (6, 2, 3, 3), 2, 1, 1, 2)
    wanted = fields(plan_of(case))
    plan = fastconv.conv2d_plan(list(case.input), np.array(case.weight), 2, 1, 1, 2)
    assert fields(plan) == wanted
    x, w = np.empty(case.input, np.float32), np.empty(case.weight, np.float32)
    assert fields(fastconv.conv2d_plan(x.shape, w.shape, [2, 2], (1, 1), groups=2)) == wanted


def test_unbatched_is_a_batch_of_one():
    shape, weight = (3, 20, 21), (5, 3, 3, 3)
    assert fields(fastconv.conv2d_plan(shape, weight)) == fields(
        fastconv.conv2d_plan((1, *shape), weight)
    )


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32"), "f4", ">f4"])
def test_dtype_in_every_form(dtype):
    assert fields(fastconv.conv2d_plan((1, 3, 8, 8), (4, 3, 3, 3), dtype=dtype)) == fields(
        fastconv.conv2d_plan((1, 3, 8, 8), (4, 3, 3, 3))
    )


def test_dtype_counts_in_bytes_only():
    case = ConvCase("", (2, 16, 20, 20), (24, 16, 3, 3), padding=1)
    single = plan_of(case, algorithm="direct")
    double = plan_of(case.replace(dtype="float64"), algorithm="direct")
    assert double.flops == single.flops
    assert double.bytes == 2 * single.bytes
    assert plan_of(case.replace(dtype="float16")).flops == single.flops


def test_threads_follow_the_count_and_the_work():
    large = ConvCase("", (8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    small = ConvCase("", (1, 1, 8, 8), (1, 1, 3, 3))
    openmp = CONFIG["threads"]["openmp"]
    for n in (1, 2, 4):
        with cases.thread_count(n):
            assert plan_of(large).threads == (n if openmp else 1)
            assert plan_of(small).threads == 1


def test_direct_and_winograd_by_name():
    case = ConvCase("", (1, 64, 28, 28), (64, 64, 3, 3), padding=1)
    assert "winograd" not in plan_of(case, algorithm="direct").algorithm
    try:
        plan = plan_of(case, algorithm="winograd")
    except ValueError as refused:
        assert "algorithm" in str(refused)  # noqa: PT017  a build without it
    else:
        assert plan.algorithm == "winograd"
    with pytest.raises(ValueError, match="algorithm"):
        plan_of(case.replace(stride=2), algorithm="winograd")


def test_prepacked_needs_no_more_workspace():
    for case in CONV_CASES:
        packed, plain = plan_of(case, prepacked=True), plan_of(case)
        assert packed.flops == plain.flops
        assert packed.algorithm


def test_vast_problems_are_planned_without_memory():
    """A plan allocates nothing: this one's output would be 4.6 TB."""
    plan = fastconv.conv2d_plan((4096, 64, 2048, 2048), (64, 64, 3, 3), padding=1)
    assert plan.flops == 2 * 4096 * 64 * 2048 * 2048 * 64 * 9


def test_flops_beyond_64_bits_raise():
    with pytest.raises((ValueError, MemoryError), match=r"input|weight|output|overflow"):
        fastconv.conv2d_plan((2**20, 2**20, 2**10, 2**10), (2**20, 2**20, 1, 1))


def test_an_empty_problem_has_no_work():
    plan = fastconv.conv2d_plan((0, 3, 8, 8), (4, 3, 3, 3))
    assert plan.flops == 0
    assert plan.threads == 1


def test_the_output_that_the_plan_counts_is_the_one_that_is_made():
    for problem in cases.random_problems(60):
        case = problem.case
        flops = plan_of(case).flops
        y = cases.conv(case, case.normal())
        assert flops == 2 * y.size * math.prod(case.weight[1:])


PIXELS, CHANNELS = "output pixels", "output channels"


@pytest.mark.parametrize(
    ("shape", "weight", "stride", "lanes"),
    [
        # Weights that fit any L2, so that the table holds on all machines.
        # Many pixels, one tap: they lie in the lanes as they are.
        ((1, 64, 56, 56), (256, 64, 1, 1), 1, PIXELS),
        # Strided windows: pixels would be gathered, weights are transposed once for all of them.
        ((1, 32, 14, 14), (128, 32, 3, 3), 2, CHANNELS),
        ((1, 64, 28, 28), (64, 64, 3, 3), 2, CHANNELS),
        # Nine pixels would leave lanes empty.
        ((1, 128, 3, 3), (128, 128, 1, 1), 1, CHANNELS),
    ],
)
def test_what_lies_in_the_lanes(shape, weight, stride, lanes):
    if CONFIG["isa"]["chosen"] not in ("avx2", "avx512"):
        pytest.skip("the table is for vectors of 8 and 16")
    padding = weight[-1] // 2
    plan = fastconv.conv2d_plan(shape, weight, stride, padding, algorithm="direct")
    assert f"lanes:  {lanes}\n" in str(plan)
