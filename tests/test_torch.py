"""Promise: fastconv equals float64 PyTorch on 1,000 random problems, awkward arrays and all.

An oracle that shares nothing with this repository. Skipped where PyTorch is not installed;
test_conv and test_grad check the same problems against `fastconv.reference`.
"""

from __future__ import annotations

import numpy as np
import pytest

import cases
import fastconv
from cases import POOL_CASES, PoolCase

torch = pytest.importorskip("torch")
F = torch.nn.functional

CHUNK = 100


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensor(a, data_format="NCHW", requires_grad=False):
    """A float64 tensor, channels first and batched, of an array in any layout."""
    a = cases.from_format(a.astype(np.float64), data_format)
    return torch.tensor(a if a.ndim == len(data_format) else a[None], requires_grad=requires_grad)


def array(t, case):
    """The array in the case's layout."""
    a = t.detach().numpy()
    a = a if len(case.input) == len(case.data_format) else a[0]
    return cases.to_format(a, case.data_format)


TORCH_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TORCH_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def torch_conv(case, a):
    """Output and the three gradients, in float64."""
    x = tensor(a.input, case.data_format, requires_grad=True)
    w = torch.tensor(a.weight.astype(np.float64), requires_grad=True)
    bias = np.zeros(len(a.weight)) if a.bias is None else a.bias.astype(np.float64)
    b = torch.tensor(bias, requires_grad=True)
    padded = F.pad(x, [end for pad in reversed(case.pads) for end in pad])
    stride, dilation = (cases.each(n, case.axes) for n in (case.stride, case.dilation))
    y = TORCH_CONV[case.axes](padded, w, b, stride, 0, dilation, case.groups)
    gx, gw, gb = torch.autograd.grad(y, (x, w, b), tensor(a.grad_output, case.data_format))
    y = torch.relu(y) if case.activation == "relu" else y
    return array(y, case), (array(gx, case), gw.numpy(), gb.numpy())


RUNS = [(start, 2) for start in range(0, 1000, CHUNK)] + [
    (start, axes) for axes in (1, 3) for start in range(0, 300, CHUNK)
]


@pytest.mark.parametrize(("start", "axes"), RUNS)
def test_random_convolutions(start, axes):
    """A thousand images, and 300 signals and volumes each."""
    for problem in cases.random_problems(CHUNK, start, axes):
        case = problem.case
        arrays = case.normal(problem.seed)
        expected, gradients = torch_conv(case, arrays)

        y = cases.run_problem(problem, arrays)
        winograd = problem.algorithm != "direct" and case.may_use_winograd
        bound = (cases.WINOGRAD if winograd else cases.DIRECT)[case.dtype]
        terms = case.terms()
        cases.assert_accurate(y, expected, bound, terms[0], problem)

        bound = (cases.WINOGRAD if case.gradient_may_use_winograd else cases.DIRECT)[case.dtype]
        for grad, wanted, n in zip(
            cases.run_problem_backward(problem, arrays),
            gradients,
            (terms[1], terms[2], terms[2]),
            strict=True,
        ):
            cases.assert_accurate(grad, wanted, bound, n, problem)


def torch_transpose(case, a):
    """Output and gradients in float64, or None: torch takes symmetric padding only."""
    pads = None
    if case.padding not in ("same", "same_lower"):
        sizes = case.input[-case.axes :]
        pads = cases.explicit_padding(case.padding, sizes, case.weight[2:], 1, 1)
    if pads is None or any(before != after for before, after in pads):
        return None
    x = tensor(a.input, case.data_format, requires_grad=True)
    w = torch.tensor(a.weight.astype(np.float64), requires_grad=True)
    bias = np.zeros(case.channels) if a.bias is None else a.bias.astype(np.float64)
    b = torch.tensor(bias, requires_grad=True)
    stride, extra, dilation = (
        cases.each(n, case.axes) for n in (case.stride, case.output_padding, case.dilation)
    )
    padding = [before for before, _ in pads]
    y = TORCH_TRANSPOSE[case.axes](x, w, b, stride, padding, extra, case.groups, dilation)
    gx, gw, gb = torch.autograd.grad(y, (x, w, b), tensor(a.grad_output, case.data_format))
    return array(y, case), (array(gx, case), gw.numpy(), gb.numpy())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_random_transposed_convolutions(axes):
    """Small integers, so that results are equal."""
    compared = 0
    for case in cases.random_transposes(200, axes):
        a = case.integers()
        expected = torch_transpose(case, a)
        if expected is None:
            continue
        compared += 1
        cases.assert_exact(cases.transpose(case, a), expected[0], case)
        for grad, wanted in zip(cases.transpose_backward(case, a), expected[1], strict=True):
            cases.assert_exact(grad, wanted, case)
    assert compared > 60


def torch_pool_arguments(case):
    """The case's padding as torch takes it, or None: torch's is symmetric and at most half."""
    for (before, after), k in zip(case.pads, cases.pair(case.kernel_size), strict=True):
        if before != after or before > k // 2:
            return None
    return tuple(before for before, _ in case.pads)


def same_nan(actual, expected):
    return np.array_equal(np.isnan(actual), np.isnan(expected))


def check_max_pool(case, x, g, what):
    """Values and gradients for any padding, by padding with -inf; indices where torch has them."""
    (top, bottom), (left, right) = case.pads
    plain = tensor(x, case.data_format, requires_grad=True)
    padded = F.pad(plain, (left, right, top, bottom), value=-np.inf)
    kernel, stride = cases.pair(case.kernel_size), case.strides
    padding = torch_pool_arguments(case)
    if case.ceil_mode and padding is None:
        return  # torch would take the padding's end for the image's
    source, rest = (plain, padding) if padding is not None else (padded, 0)
    y, indices = F.max_pool2d(
        source, kernel, stride, rest, cases.pair(case.dilation), case.ceil_mode, True
    )
    expected = array(y, case)
    cases.assert_exact(fastconv.max_pool2d(x, **case.max_args), expected, what)
    ours, places = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    cases.assert_exact(ours, expected, what)
    if padding is not None and case.every_window_has_a_pixel:
        cases.assert_exact(places, array(indices, case), what)
    if case.every_window_has_a_pixel:
        (dx,) = torch.autograd.grad(y, plain, tensor(g, case.data_format))
        wanted = array(dx, case)
        dx = fastconv.max_pool2d_backward(g, x, **case.max_args)
        cases.assert_exact(dx, wanted, what)


def check_avg_pool(case, x, g, what):
    padding = torch_pool_arguments(case)
    if padding is None or not case.has_average:
        return
    plain = tensor(x, case.data_format, requires_grad=True)
    y = F.avg_pool2d(
        plain,
        cases.pair(case.kernel_size),
        case.strides,
        padding,
        case.ceil_mode,
        case.count_include_pad,
        case.divisor_override,
    )
    (dx,) = torch.autograd.grad(y, plain, tensor(g, case.data_format))
    close = {"rtol": 0, "atol": {"float32": 2e-6, "float64": 5e-15}[case.dtype] * 9}
    ours = fastconv.avg_pool2d(x, **case.avg_args)
    np.testing.assert_allclose(ours, array(y, case), err_msg=repr(what), **close)
    ours = fastconv.avg_pool2d_backward(g, x.shape, **case.avg_args)
    np.testing.assert_allclose(ours, array(dx, case), err_msg=repr(what), **close)


@pytest.mark.parametrize("start", range(0, 1000, CHUNK))
def test_thousand_random_pools(start):
    for problem in cases.random_pools(CHUNK, start):
        case = problem.case
        x, g = case.integers(problem.seed)
        x, g = cases.AWKWARD[problem.awkward[0]](x), cases.AWKWARD[problem.awkward[1]](g)
        with cases.thread_count(problem.threads):
            check_max_pool(case, x, g, problem)
            check_avg_pool(case, x, g, problem)


@pytest.mark.parametrize("case", [c for c in POOL_CASES if 0 not in c.input], ids=str)
def test_pools_picked_by_hand(case):
    x, g = case.integers()
    check_max_pool(case, x, g, case)
    check_avg_pool(case, x, g, case)


def test_enough_pools_are_compared():
    """The random pools include enough that torch can do."""
    drawn = [problem.case for problem in cases.random_pools(1000)]
    comparable = [c for c in drawn if torch_pool_arguments(c) is not None]
    assert len(comparable) > 400
    assert sum(c.ceil_mode for c in comparable) > 100
    assert sum(c.has_average and not c.count_include_pad for c in comparable) > 100


def test_nan_in_max_pool():
    """torch lets NaN win, too; of several it names the last, and fastconv the first."""
    case = PoolCase("", (1, 3, 9, 10), 3, stride=2, padding=1)
    x, _ = case.integers()
    x[0, 0, 4, 4] = x[0, 1, 0, 0] = x[0, 2, 8, 9] = np.nan
    y, indices = F.max_pool2d(tensor(x), 3, 2, 1, return_indices=True)
    ours, places = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    assert same_nan(ours, y.numpy())
    cases.assert_exact(ours, y.numpy())
    cases.assert_exact(places, indices.numpy())


def test_torch_tensors_are_array_likes():
    case = cases.ConvCase("", (2, 3, 9, 11), (5, 3, 3, 3), padding=1)
    arrays, expected, _ = cases.integer_problem(case)
    x, w, b = (torch.tensor(a) for a in tuple(arrays)[:3])
    cases.assert_exact(fastconv.conv2d(x, w, b, padding=1), expected)
    last = x.to(memory_format=torch.channels_last)
    cases.assert_exact(fastconv.conv2d(last, w, b, padding=1), expected)


def test_grad_module_is_torchs():
    case = cases.ConvCase("", (2, 4, 9, 8), (6, 2, 3, 3), stride=2, padding=1, groups=2)
    a = case.integers()
    g, x, w = (torch.tensor(array) for array in (a.grad_output, a.input, a.weight))
    geometry = (2, 1, 1, 2)
    cases.assert_exact(
        fastconv.grad.conv2d_input(case.input, a.weight, a.grad_output, *geometry),
        torch.nn.grad.conv2d_input(case.input, w, g, *geometry).numpy(),
    )
    cases.assert_exact(
        fastconv.grad.conv2d_weight(a.input, case.weight, a.grad_output, *geometry),
        torch.nn.grad.conv2d_weight(x, case.weight, g, *geometry).numpy(),
    )
