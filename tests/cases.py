"""The problems that the tests share, how to fill them, and what to compare them with.

A case is a value: it names shapes (always as N C H W, or C H W unbatched; `data_format` says how
the arrays are then laid out) and every argument of the function. How many spatial axes there are
follows from the weight's shape. Three sources of cases:

* `CONV_CASES` and `POOL_CASES`, picked by hand, one for each way to go wrong;
* `conv_cases()` and `pool_cases()`, hypothesis strategies, which shrink;
* `random_problems(n)` and `random_pools(n)`, drawn alike from a seed, the same on every machine.

Two ways to fill them. Small integers make every product and sum exact in float32, so results
compare with `==` and any wrong element shows, however small (the idea is oneDNN's benchdnn's).
N(0, 1) data shows how far rounding goes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

import fastconv
from fastconv import reference

Shape = tuple[int, ...]
Padding = Any  # int, (h, w), ((top, bottom), (left, right)) or a name
Array = np.ndarray

# What DESIGN promises, relative to the output's RMS. float64 has 29 more bits of mantissa; its
# reference rounds as well, so that both sides' errors are allowed for.
DIRECT = {"float32": 5e-6, "float64": 5e-14}
# Kernels that Winograd's algorithm knows, without axes of one tap (where a stride is nothing).
SERVED = ([2], [3], [5], [7], [2, 2], [3, 3], [5, 5])

WINOGRAD = {"float32": 3e-5, "float64": 5e-13}

THREAD_COUNTS = (1, 3)


@contextlib.contextmanager
def thread_count(n: int) -> Iterator[None]:
    """Run a block with n threads, and then with as many as before."""
    before = fastconv.get_num_threads()
    fastconv.set_num_threads(n)
    try:
        yield
    finally:
        fastconv.set_num_threads(before)


# ---- arithmetic of shapes, written apart from the package's own ---------------------------------


def each(value: Any, axes: int) -> tuple[Any, ...]:
    return (value,) * axes if np.isscalar(value) else tuple(value)


def pair(value: Any) -> tuple[Any, Any]:
    return each(value, 2)


def explicit_padding(
    padding: Padding, sizes: Shape, kernel: Shape, stride: Any, dilation: Any
) -> tuple[tuple[int, int], ...]:
    """((top, bottom), (left, right)), whatever form the padding has."""
    axes = len(sizes)
    if padding == "valid":
        return ((0, 0),) * axes
    if padding in ("same", "same_lower"):
        both = []
        steps = zip(sizes, kernel, each(stride, axes), each(dilation, axes), strict=True)
        for size, k, s, d in steps:
            total = max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
            small, large = total // 2, total - total // 2
            both.append((small, large) if padding == "same" else (large, small))
        return tuple(both)
    return tuple(pair(p) for p in each(padding, axes))


def output_size(
    size: int, k: int, s: int, p: tuple[int, int], d: int, ceil_mode: bool = False
) -> int:
    span = size + p[0] + p[1] - d * (k - 1) - 1
    if not ceil_mode:
        return span // s + 1
    out = -(-span // s) + 1
    return out - 1 if (out - 1) * s >= size + p[0] else out  # it would start in the end padding


def channel_axis(data_format: str) -> int:
    """Where the channels lie in an array of the channels-first twin of data_format."""
    return 1 - len(data_format)


def to_format(a: Array, data_format: str) -> Array:
    """A channels-first array as a C-contiguous array in data_format."""
    if data_format[1] == "C":
        return a
    return np.ascontiguousarray(np.moveaxis(a, channel_axis(data_format), -1))


def from_format(a: Array, data_format: str) -> Array:
    """The channels-first view of an array in data_format."""
    return a if data_format[1] == "C" else np.moveaxis(a, -1, channel_axis(data_format))


def shape_in(shape: Shape, data_format: str) -> Shape:
    if data_format[1] == "C":
        return tuple(shape)
    at = channel_axis(data_format)
    return (*shape[:at], *shape[at + 1 :], shape[at])


# ---- convolution --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ConvArrays:
    input: Array
    weight: Array
    bias: Array | None
    grad_output: Array

    def astype(self, dtype: str) -> ConvArrays:
        return ConvArrays(*(None if a is None else a.astype(dtype) for a in self))

    def map(self, function: Callable[[Array], Array]) -> ConvArrays:
        return ConvArrays(*(None if a is None else function(a) for a in self))

    def __iter__(self) -> Iterator[Array | None]:
        return iter((self.input, self.weight, self.bias, self.grad_output))


@dataclasses.dataclass(frozen=True)
class ConvCase:
    name: str
    input: Shape
    weight: Shape
    stride: Any = 1
    padding: Padding = 0
    dilation: Any = 1
    groups: int = 1
    data_format: str = "NCHW"
    dtype: str = "float32"
    bias: bool = True
    activation: str | None = None

    def __str__(self) -> str:
        return self.name

    def replace(self, **changes: Any) -> ConvCase:
        return dataclasses.replace(self, **changes)

    @property
    def axes(self) -> int:
        return len(self.weight) - 2

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        return explicit_padding(
            self.padding, self.input[-self.axes :], self.weight[2:], self.stride, self.dilation
        )

    @property
    def output(self) -> Shape:
        spatial = (
            output_size(size, k, s, p, d)
            for size, k, s, p, d in zip(
                self.input[-self.axes :],
                self.weight[2:],
                each(self.stride, self.axes),
                self.pads,
                each(self.dilation, self.axes),
                strict=True,
            )
        )
        return (*self.input[: -self.axes - 1], self.weight[0], *spatial)

    @property
    def input_shape(self) -> Shape:
        return shape_in(self.input, self.data_format)

    @property
    def output_shape(self) -> Shape:
        return shape_in(self.output, self.data_format)

    @property
    def batch(self) -> int:
        return self.input[0] if len(self.input) == self.axes + 2 else 1

    @property
    def geometry(self) -> dict[str, Any]:
        """The keyword arguments that forward, backward, prepack and plan share."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
            "data_format": self.data_format,
        }

    @property
    def macs(self) -> int:
        per_output = math.prod(self.weight[1:])
        return per_output * math.prod(self.output)

    @property
    def may_use_winograd(self) -> bool:
        """Whether an algorithm with irrational points may serve it, so that integers may round."""
        kernel, stride = self.weight[2:], each(self.stride, self.axes)
        axes = [(k, s) for k, s in zip(kernel, stride, strict=True) if k > 1]
        return self._fills_winograd and any(
            [k for k, _ in some] in SERVED and all(s == 1 for _, s in some)
            for some in (axes, axes[-2:], axes[-1:])  # all: 3x1x3 in space
        )

    @property
    def gradient_may_use_winograd(self) -> bool:
        """The same of gradients; that of the input is a convolution for each phase of a stride."""
        phases = []
        dilations = each(self.dilation, self.axes)
        for k, s, d in zip(self.weight[2:], each(self.stride, self.axes), dilations, strict=True):
            step = s // math.gcd(s, d)
            phases.append({-(-(k - first) // step) for first in range(min(step, k))})
        kernels = ([k for k in taps if k > 1] for taps in itertools.product(*phases))
        some = any(part in SERVED for k in kernels for part in (k, k[-2:], k[-1:]))
        return self.may_use_winograd or (some and self._fills_winograd)

    @property
    def _fills_winograd(self) -> bool:
        return min(self.weight[1], self.weight[0] // max(self.groups, 1)) >= 8

    def terms(self) -> tuple[int, int, int]:
        """How many products an element of the output, grad_input and grad_weight sums, at most."""
        taps = math.prod(self.weight[2:])
        pixels = math.prod(self.output[-self.axes :])
        per_group = self.weight[0] // max(self.groups, 1)
        return self.weight[1] * taps, per_group * taps, self.batch * pixels

    def fill(self, draw: Callable[[Shape], Array]) -> ConvArrays:
        """Arrays in the case's data format, from a function that draws a channels-first one."""
        return ConvArrays(
            to_format(draw(self.input), self.data_format),
            draw(self.weight),
            draw(self.weight[:1]) if self.bias else None,
            to_format(draw(self.output), self.data_format),
        )

    def integers(self, seed: int = 0, limit: int = 3) -> ConvArrays:
        rng = np.random.default_rng(seed)
        arrays = self.fill(lambda shape: rng.integers(-limit, limit + 1, shape))
        return arrays.astype(self.dtype)

    def normal(self, seed: int = 0) -> ConvArrays:
        """N(0, 1), rounded to float32 so that each dtype holds the same numbers."""
        rng = np.random.default_rng(seed)
        arrays = self.fill(lambda shape: rng.standard_normal(shape).astype(np.float32))
        return arrays.astype(self.dtype)


def make_case(
    batch: int,
    channels: int,
    image: Shape,
    outputs: int,
    kernel: Shape,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> ConvCase:
    """A case of one group, named after its numbers."""
    size = "x".join(map(str, image))
    name = f"{batch}x{channels}x{size}o{outputs}k{kernel}s{stride}p{padding}d{dilation}"
    shape, weight = (batch, channels, *image), (outputs, channels, *kernel)
    return ConvCase(name, shape, weight, stride, padding, dilation)


def function(case: Any, name: str = "conv{}d", module: Any = fastconv) -> Callable[..., Any]:
    """conv1d, conv2d or conv3d, or a relative of theirs."""
    return getattr(module, name.format(case.axes))


def conv(case: ConvCase, a: ConvArrays, **kwargs: Any) -> Array:
    return function(case)(
        a.input, a.weight, a.bias, **case.geometry, activation=case.activation, **kwargs
    )


def backward(case: ConvCase, a: ConvArrays, **kwargs: Any) -> tuple[Array | None, ...]:
    gradients = function(case, "conv{}d_backward")
    return gradients(a.grad_output, a.input, a.weight, **case.geometry, **kwargs)


def expected_conv(case: ConvCase, a: ConvArrays) -> Array:
    """The output in float64, by the reference; the activation by hand."""
    y = function(case, module=reference)(
        *(None if x is None else x.astype(np.float64) for x in tuple(a)[:3]), **case.geometry
    )
    return np.maximum(y, 0) if case.activation == "relu" else y


def expected_backward(case: ConvCase, a: ConvArrays) -> tuple[Array, Array, Array]:
    """grad_input, grad_weight and grad_bias in float64, by the reference."""
    wide = a.astype("float64")
    gradients = function(case, "conv{}d_backward", reference)
    return gradients(wide.grad_output, wide.input, wide.weight, **case.geometry)


@functools.lru_cache(maxsize=512)
def integer_problem(case: ConvCase) -> tuple[ConvArrays, Array, tuple[Array, Array, Array]]:
    """Integer data with its exact answers, made once for all thread counts that run it."""
    arrays = case.integers()
    answers = expected_conv(case, arrays), expected_backward(case, arrays)
    for a in (*arrays, answers[0], *answers[1]):
        if a is not None:
            a.flags.writeable = False
    return arrays, *answers


# ---- transposed convolution ---------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class TransposeCase:
    """A transposed convolution; its weight is (I, O/groups, K...)."""

    name: str
    input: Shape
    weight: Shape
    stride: Any = 1
    padding: Padding = 0
    output_padding: Any = 0
    groups: int = 1
    dilation: Any = 1
    data_format: str = "NCHW"
    dtype: str = "float32"
    bias: bool = True

    def __str__(self) -> str:
        return self.name

    def replace(self, **changes: Any) -> TransposeCase:
        return dataclasses.replace(self, **changes)

    @property
    def axes(self) -> int:
        return len(self.weight) - 2

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.weight[1] * self.groups

    @property
    def output(self) -> Shape:
        sizes = self.input[-self.axes :]
        strides, dilations = each(self.stride, self.axes), each(self.dilation, self.axes)
        if self.padding in ("same", "same_lower"):
            spatial = [n * s for n, s in zip(sizes, strides, strict=True)]
        else:
            pads = explicit_padding(self.padding, sizes, self.weight[2:], 1, 1)
            extra = each(self.output_padding, self.axes)
            spatial = [
                (n - 1) * s - sum(p) + d * (k - 1) + 1 + e
                for n, s, p, d, k, e in zip(
                    sizes, strides, pads, dilations, self.weight[2:], extra, strict=True
                )
            ]
        return (*self.input[: -self.axes - 1], self.channels, *spatial)

    @property
    def input_shape(self) -> Shape:
        return shape_in(self.input, self.data_format)

    @property
    def output_shape(self) -> Shape:
        return shape_in(self.output, self.data_format)

    @property
    def geometry(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "groups": self.groups,
            "dilation": self.dilation,
            "data_format": self.data_format,
        }

    def integers(self, seed: int = 0, limit: int = 3) -> ConvArrays:
        rng = np.random.default_rng(seed)
        bias = (self.channels,) if self.bias else None
        shapes = (self.input_shape, self.weight, bias, self.output_shape)
        return ConvArrays(
            *(None if shape is None else rng.integers(-limit, limit + 1, shape) for shape in shapes)
        ).astype(self.dtype)


def transpose(case: TransposeCase, a: ConvArrays, module: Any = fastconv, **kwargs: Any) -> Array:
    call = function(case, "conv_transpose{}d", module)
    return call(a.input, a.weight, a.bias, **case.geometry, **kwargs)


def transpose_backward(
    case: TransposeCase, a: ConvArrays, module: Any = fastconv, **kwargs: Any
) -> tuple[Array, Array, Array]:
    call = function(case, "conv_transpose{}d_backward", module)
    return call(a.grad_output, a.input, a.weight, **case.geometry, **kwargs)


# ---- pools --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PoolCase:
    """One max pool and one average pool: each takes the arguments that it knows."""

    name: str
    input: Shape
    kernel_size: Any
    stride: Any = None
    padding: Padding = 0
    dilation: Any = 1  # max only: with dilation there is no average pool of the case
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    data_format: str = "NCHW"
    dtype: str = "float32"

    def __str__(self) -> str:
        return self.name

    def replace(self, **changes: Any) -> PoolCase:
        return dataclasses.replace(self, **changes)

    @property
    def has_average(self) -> bool:
        return pair(self.dilation) == (1, 1)

    @property
    def strides(self) -> tuple[int, int]:
        return pair(self.kernel_size if self.stride is None else self.stride)

    @property
    def pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return explicit_padding(
            self.padding, self.input[-2:], pair(self.kernel_size), self.strides, self.dilation
        )

    @property
    def output(self) -> Shape:
        spatial = (
            output_size(size, k, s, p, d, self.ceil_mode)
            for size, k, s, p, d in zip(
                self.input[-2:],
                pair(self.kernel_size),
                self.strides,
                self.pads,
                pair(self.dilation),
                strict=True,
            )
        )
        return (*self.input[:-2], *spatial)

    @property
    def every_window_has_a_pixel(self) -> bool:
        """False where a dilated window straddles a small input: its maximum is the padding's."""
        return all(
            any(0 <= o * s - p[0] + tap * d < size for tap in range(k))
            for size, k, s, p, d, out in zip(
                self.input[-2:],
                pair(self.kernel_size),
                self.strides,
                self.pads,
                pair(self.dilation),
                self.output[-2:],
                strict=True,
            )
            for o in range(out)
        )

    @property
    def max_args(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "ceil_mode": self.ceil_mode,
            "data_format": self.data_format,
        }

    @property
    def avg_args(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "ceil_mode": self.ceil_mode,
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
            "data_format": self.data_format,
        }

    @property
    def input_shape(self) -> Shape:
        return shape_in(self.input, self.data_format)

    @property
    def output_shape(self) -> Shape:
        return shape_in(self.output, self.data_format)

    def integers(self, seed: int = 0) -> tuple[Array, Array]:
        """input, with many ties, and grad_output."""
        rng = np.random.default_rng(seed)
        arrays = (rng.integers(-4, 5, shape) for shape in (self.input, self.output))
        x, g = (to_format(a, self.data_format).astype(self.dtype) for a in arrays)
        return x, g

    def normal(self, seed: int = 0) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        arrays = (rng.standard_normal(s).astype(np.float32) for s in (self.input, self.output))
        x, g = (to_format(a, self.data_format).astype(self.dtype) for a in arrays)
        return x, g


# ---- comparisons --------------------------------------------------------------------------------


def assert_exact(actual: Array, expected: Array, what: object = "") -> None:
    """The same shape and, element for element, the same value."""
    assert type(actual) is np.ndarray, f"{what}: {type(actual)}"
    assert actual.shape == expected.shape, f"{what}: {actual.shape} != {expected.shape}"
    if not np.array_equal(actual, expected, equal_nan=True):
        wrong = ~((actual == expected) | (np.isnan(actual) & np.isnan(expected)))
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} elements differ, first at {at}: "
            f"{actual[at]} != {expected[at]}"
        )


def assert_accurate(
    actual: Array, expected: Array, bound: float, terms: int, what: object = ""
) -> None:
    """The largest error, relative to the RMS of the output, is within the bound.

    N(0, 1) data give a sum of `terms` products the RMS sqrt(terms). The problems drawn at random
    are so small that all of an output may cancel to almost nothing; that is no measure of an error,
    so the RMS counts for no less than what it is on average.
    """
    assert type(actual) is np.ndarray, f"{what}: {type(actual)}"
    assert actual.shape == expected.shape, f"{what}: {actual.shape} != {expected.shape}"
    if not expected.size:
        return
    rms = max(float(np.sqrt(np.mean(np.square(expected)))), math.sqrt(max(terms, 1)))
    error = float(np.max(np.abs(actual.astype(np.float64) - expected)))
    assert error <= bound * rms, f"{what}: error {error / rms:.3g} of the RMS, promised {bound:g}"


def check_conv(case: ConvCase, a: ConvArrays, actual: Array, algorithm: str) -> None:
    """A forward result on N(0, 1) data, within what the algorithm promises."""
    bound = WINOGRAD if algorithm != "direct" and case.may_use_winograd else DIRECT
    assert actual.dtype == case.dtype
    assert_accurate(actual, expected_conv(case, a), bound[case.dtype], case.terms()[0], case)


def check_backward(case: ConvCase, a: ConvArrays, actual: Sequence[Array]) -> None:
    """All three gradients on N(0, 1) data. conv2d_backward may choose Winograd for itself."""
    bound = (WINOGRAD if case.gradient_may_use_winograd else DIRECT)[case.dtype]
    _, per_input, per_weight = case.terms()
    names = ("grad_input", "grad_weight", "grad_bias")
    terms = (per_input, per_weight, per_weight)
    for name, grad, wanted, n in zip(names, actual, expected_backward(case, a), terms, strict=True):
        assert grad.dtype == case.dtype, name
        assert_accurate(grad, wanted, bound, n, f"{name} of {case!r}")


# ---- awkward arrays -----------------------------------------------------------------------------


def _spaced(a: Array) -> Array:
    """Every second element of a larger array that is NaN elsewhere."""
    wide = np.full(tuple(2 * n + 1 for n in a.shape), np.nan, a.dtype)
    view = wide[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _inner(a: Array) -> Array:
    """The middle of a larger array that is NaN around it; the last axis stays dense."""
    wide = np.full(tuple(n + 3 for n in a.shape), np.nan, a.dtype)
    view = wide[tuple(slice(1, 1 + n) for n in a.shape)]
    view[...] = a
    return view


def _reversed(a: Array) -> Array:
    backwards = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[backwards])[backwards]


def _transposed(a: Array) -> Array:
    """The axes rotated in memory: neither C nor Fortran order."""
    order = (*range(1, a.ndim), 0)
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


def _misaligned(a: Array) -> Array:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a: Array) -> Array:
    view = a.copy()
    view.flags.writeable = False
    return view


def _byte_swapped(a: Array) -> Array:
    return a.astype(a.dtype.newbyteorder())


# Each gives an array that equals its argument, with other strides, another offset or byte order.
AWKWARD: dict[str, Callable[[Array], Array]] = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "reversed": _reversed,
    "transposed": _transposed,
    "spaced": _spaced,
    "inner": _inner,
    "misaligned": _misaligned,
    "read_only": _read_only,
    "byte_swapped": _byte_swapped,
}

# The same for an array to be written to.
AWKWARD_OUT = {
    name: AWKWARD[name]
    for name in ("contiguous", "fortran", "reversed", "transposed", "spaced", "inner", "misaligned")
}


# ---- picked by hand -----------------------------------------------------------------------------

CONV_CASES: tuple[ConvCase, ...] = (
    ConvCase("one_pixel", (1, 1, 1, 1), (1, 1, 1, 1)),
    ConvCase("one_row", (1, 1, 1, 17), (1, 1, 1, 3)),
    ConvCase("one_column", (1, 2, 19, 1), (3, 2, 4, 1)),
    ConvCase("odd_sizes", (2, 3, 7, 11), (5, 3, 3, 3)),
    ConvCase("no_bias", (2, 3, 7, 11), (5, 3, 3, 3), bias=False),
    ConvCase("relu", (2, 3, 7, 11), (5, 3, 3, 3), padding=1, activation="relu"),
    ConvCase("relu_no_bias", (2, 3, 9, 8), (6, 3, 2, 3), bias=False, activation="relu"),
    ConvCase("even_kernel", (1, 3, 9, 8), (4, 3, 2, 4), padding=1),
    ConvCase("flat_kernel", (1, 4, 6, 30), (3, 4, 1, 7), padding=(0, 3)),
    ConvCase("tall_kernel", (1, 4, 30, 5), (3, 4, 7, 1), padding=(3, 0)),
    ConvCase("kernel_is_image", (3, 2, 5, 6), (7, 2, 5, 6)),
    ConvCase("kernel_is_padded_image", (2, 2, 3, 4), (3, 2, 5, 6), padding=1),
    # padding, in every form
    ConvCase("pad_int", (2, 2, 6, 7), (3, 2, 3, 3), padding=1),
    ConvCase("pad_pair", (2, 2, 6, 7), (3, 2, 3, 5), padding=(1, 2)),
    ConvCase("pad_list", (2, 2, 6, 7), (3, 2, 3, 5), padding=(2, 1), stride=(1, 2)),
    ConvCase("pad_asymmetric", (2, 2, 6, 7), (3, 2, 3, 3), padding=((1, 2), (0, 3))),
    ConvCase("pad_end_only", (1, 2, 5, 5), (3, 2, 3, 3), padding=((0, 2), (0, 1)), stride=2),
    ConvCase("pad_start_only", (1, 2, 5, 6), (3, 2, 4, 3), padding=((3, 0), (2, 0)), stride=2),
    ConvCase("pad_valid", (2, 3, 8, 9), (4, 3, 3, 3), padding="valid", stride=2),
    ConvCase("pad_beyond_kernel", (1, 2, 4, 3), (3, 2, 3, 3), padding=5),
    ConvCase("pad_beyond_kernel_1x1", (1, 3, 4, 4), (2, 3, 1, 1), padding=2, stride=2),
    ConvCase("pad_wide_strided", (1, 2, 4, 3), (3, 2, 2, 3), padding=((7, 2), (4, 6)), stride=3),
    ConvCase("same", (2, 3, 7, 8), (4, 3, 3, 3), padding="same"),
    ConvCase("same_even_kernel", (2, 3, 7, 8), (4, 3, 2, 4), padding="same"),
    ConvCase("same_stride2_odd", (2, 3, 9, 7), (4, 3, 3, 3), padding="same", stride=2),
    ConvCase("same_stride2_even", (2, 3, 8, 10), (4, 3, 3, 3), padding="same", stride=2),
    ConvCase("same_stride3", (1, 2, 10, 11), (3, 2, 4, 5), padding="same", stride=3),
    ConvCase("same_stride_beyond_kernel", (1, 2, 10, 11), (3, 2, 2, 1), padding="same", stride=4),
    ConvCase("same_dilated", (1, 2, 9, 10), (3, 2, 3, 2), padding="same", dilation=(2, 3)),
    ConvCase("same_lower", (2, 2, 7, 8), (3, 2, 4, 2), padding="same_lower"),
    ConvCase("same_lower_stride2", (2, 2, 8, 10), (3, 2, 3, 3), padding="same_lower", stride=2),
    # stride and dilation
    ConvCase("stride2", (2, 3, 9, 12), (5, 3, 3, 3), stride=2, padding=1),
    ConvCase("stride_pair", (2, 3, 9, 12), (5, 3, 3, 2), stride=(2, 3)),
    ConvCase("stride_beyond_kernel", (1, 2, 13, 12), (3, 2, 2, 2), stride=5),
    ConvCase("stride_beyond_image", (2, 2, 5, 5), (3, 2, 3, 3), stride=9, padding=1),
    ConvCase("stride4_11x11", (1, 3, 31, 33), (5, 3, 11, 11), stride=4, padding=2),
    ConvCase("dilation2", (1, 3, 11, 10), (4, 3, 3, 3), dilation=2, padding=2),
    ConvCase("dilation_pair", (1, 3, 11, 10), (4, 3, 3, 2), dilation=(3, 1)),
    ConvCase("dilation_stride", (2, 3, 14, 13), (4, 3, 3, 3), dilation=2, stride=3, padding=3),
    ConvCase("dilation_beyond_image", (1, 2, 4, 5), (3, 2, 3, 3), dilation=7, padding=7),
    ConvCase("pointwise", (2, 5, 6, 7), (9, 5, 1, 1)),
    ConvCase("pointwise_stride2", (2, 5, 7, 8), (9, 5, 1, 1), stride=2),
    # long sums
    ConvCase("taps_289", (1, 2, 19, 18), (3, 2, 17, 17)),
    ConvCase("taps_289_padded", (2, 1, 10, 20), (2, 1, 17, 17), padding=8, stride=2),
    ConvCase("taps_row_300", (1, 1, 2, 340), (2, 1, 1, 300)),
    ConvCase("channels_300", (1, 300, 3, 5), (20, 300, 1, 1)),
    ConvCase("channels_70", (1, 70, 6, 5), (10, 70, 3, 3), padding=1),
    ConvCase("filters_130", (1, 3, 5, 6), (130, 3, 3, 3), padding=1),
    # groups
    ConvCase("groups2", (2, 4, 7, 8), (6, 2, 3, 3), groups=2, padding=1),
    ConvCase("groups3_odd", (2, 9, 7, 5), (15, 3, 3, 2), groups=3, stride=2),
    ConvCase("groups_narrow", (1, 32, 9, 9), (32, 4, 3, 3), groups=8, padding=1),
    ConvCase("groups_pointwise", (1, 12, 5, 6), (18, 4, 1, 1), groups=3),
    ConvCase("depthwise", (2, 7, 9, 10), (7, 1, 3, 3), groups=7, padding=1),
    ConvCase("depthwise_stride2", (2, 7, 9, 10), (7, 1, 3, 3), groups=7, padding=1, stride=2),
    ConvCase("depthwise_5x5", (1, 5, 12, 37), (5, 1, 5, 5), groups=5, padding=2),
    ConvCase("depthwise_dilated", (1, 5, 12, 11), (5, 1, 3, 3), groups=5, dilation=2),
    ConvCase("depthwise_multiplier", (2, 3, 8, 9), (9, 1, 3, 3), groups=3, padding="same"),
    ConvCase("depthwise_narrowing", (1, 8, 8, 9), (4, 2, 3, 3), groups=4),
    # nothing in it
    ConvCase("no_batch", (0, 3, 6, 6), (4, 3, 3, 3)),
    ConvCase("no_channels", (2, 0, 6, 6), (4, 0, 3, 3)),
    ConvCase("no_channels_relu", (2, 0, 6, 6), (4, 0, 3, 3), activation="relu"),
    ConvCase("no_filters", (2, 3, 6, 6), (0, 3, 3, 3)),
    # unbatched
    ConvCase("unbatched", (3, 7, 8), (5, 3, 3, 3), padding=1),
    ConvCase("unbatched_groups", (6, 7, 8), (4, 3, 3, 3), groups=2, stride=2),
    # wide enough for every tile and its tails
    ConvCase("wide_65", (1, 3, 3, 65), (9, 3, 3, 3), padding=1),
    ConvCase("wide_129", (1, 2, 2, 129), (17, 2, 2, 2)),
    ConvCase("tall_70", (1, 3, 70, 2), (4, 3, 3, 2)),
    ConvCase("tile_tails", (2, 17, 13, 13), (33, 17, 3, 3), padding=1),
    ConvCase("tile_tails_pointwise", (2, 33, 7, 9), (49, 33, 1, 1)),
    ConvCase("large_batch", (37, 2, 5, 5), (3, 2, 3, 3)),
    # layers of real networks, made small
    ConvCase("resnet_conv1", (1, 3, 33, 33), (16, 3, 7, 7), stride=2, padding=3),
    ConvCase("resnet_3x3", (1, 32, 14, 14), (32, 32, 3, 3), padding=1),
    ConvCase("resnet_3x3_stride2", (1, 32, 15, 14), (48, 32, 3, 3), padding=1, stride=2),
    ConvCase("resnet_1x1", (2, 64, 14, 14), (48, 64, 1, 1)),
    ConvCase("resnet_7x7_map", (1, 128, 7, 7), (64, 128, 3, 3), padding=1),
    ConvCase("mobilenet_dw", (1, 40, 15, 15), (40, 1, 3, 3), groups=40, stride=2, padding=1),
    ConvCase("efficient_dw", (1, 24, 14, 14), (24, 1, 5, 5), padding="same", groups=24, stride=2),
    ConvCase("resnext_grouped", (1, 64, 8, 8), (64, 8, 3, 3), groups=8, padding=1),
    ConvCase("atrous", (1, 24, 14, 14), (24, 24, 3, 3), dilation=4, padding=4),
    ConvCase("digits_5x5", (3, 1, 28, 28), (30, 1, 5, 5)),
    ConvCase("digits_5x5_same", (2, 8, 14, 14), (32, 8, 5, 5), padding="same"),
)  # fmt: skip

POOL_CASES: tuple[PoolCase, ...] = (
    PoolCase("one_pixel", (1, 1, 1, 1), 1),
    PoolCase("halves", (2, 3, 8, 10), 2),
    PoolCase("halves_odd", (2, 3, 9, 11), 2),
    PoolCase("halves_ceil", (2, 3, 9, 11), 2, ceil_mode=True),
    PoolCase("kernel_pair", (1, 2, 9, 11), (2, 3)),
    PoolCase("kernel_row", (1, 2, 5, 37), (1, 4)),
    PoolCase("kernel_column", (1, 2, 37, 5), (4, 1)),
    PoolCase("overlap", (2, 3, 9, 12), 3, stride=2, padding=1),
    PoolCase("overlap_stride1", (1, 5, 7, 9), 3, stride=1, padding=1),
    PoolCase("stride_pair", (1, 5, 7, 9), 3, stride=(1, 2), padding=1),
    PoolCase("stride_beyond_kernel", (1, 2, 13, 12), 2, stride=5),
    PoolCase("stride_beyond_kernel_ceil", (1, 2, 13, 12), 2, stride=5, ceil_mode=True),
    PoolCase("spatial_pyramid_13", (1, 4, 20, 20), 13, stride=1, padding=6),
    PoolCase("global", (2, 6, 7, 7), 7),
    PoolCase("pad_pair", (1, 2, 7, 9), (3, 5), stride=2, padding=(1, 2)),
    PoolCase("pad_asymmetric", (1, 2, 7, 9), 3, stride=2, padding=((0, 1), (2, 1))),
    PoolCase("pad_beyond_half", (1, 2, 6, 7), 4, stride=3, padding=3),
    PoolCase("pad_kernel2", (2, 3, 6, 7), 2, stride=2, padding=1),
    PoolCase("pad_ceil", (1, 2, 8, 7), 3, stride=2, padding=1, ceil_mode=True),
    PoolCase("pad_ceil_drops_last", (1, 2, 6, 6), 2, stride=3, padding=1, ceil_mode=True),
    PoolCase("pad_asymmetric_ceil", (1, 2, 8, 7), 3, stride=2, padding=((1, 0), (0, 2)),
             ceil_mode=True),
    PoolCase("valid", (1, 2, 8, 7), 3, stride=2, padding="valid"),
    PoolCase("same", (1, 2, 8, 7), 3, stride=2, padding="same"),
    PoolCase("same_even", (1, 2, 8, 7), 2, stride=1, padding="same"),
    PoolCase("same_lower", (1, 2, 8, 7), 3, stride=2, padding="same_lower"),
    PoolCase("without_pad", (1, 2, 7, 9), 3, stride=2, padding=1, count_include_pad=False),
    PoolCase("without_pad_ceil", (1, 2, 8, 9), 3, stride=2, padding=1, ceil_mode=True,
             count_include_pad=False),
    PoolCase("without_pad_asymmetric", (1, 2, 7, 9), 3, padding=((0, 2), (1, 0)),
             count_include_pad=False),
    PoolCase("divisor", (1, 2, 7, 9), 3, stride=2, padding=1, divisor_override=4),
    PoolCase("beyond_input_ceil", (1, 20, 2, 12), 3, stride=2, ceil_mode=True),
    PoolCase("beyond_both_ceil", (2, 17, 10, 12), (12, 13), stride=3, ceil_mode=True),
    PoolCase("beyond_padding_ceil", (1, 3, 2, 9), 5, stride=3, padding=((1, 0), (0, 2)),
             ceil_mode=True),
    PoolCase("divisor_ceil", (1, 2, 8, 9), 3, stride=2, ceil_mode=True, divisor_override=7),
    PoolCase("dilated", (1, 3, 9, 11), 3, stride=1, dilation=2),
    PoolCase("dilated_padded", (1, 3, 9, 11), (2, 3), stride=2, dilation=(3, 2), padding=(1, 2)),
    PoolCase("dilated_ceil", (1, 3, 10, 11), 2, stride=3, dilation=2, ceil_mode=True),
    PoolCase("dilated_same", (1, 3, 10, 11), 3, stride=2, dilation=2, padding="same"),
    PoolCase("unbatched", (3, 8, 9), 3, stride=2, padding=1),
    PoolCase("no_batch", (0, 3, 8, 9), 2),
    PoolCase("no_channels", (2, 0, 8, 9), 3, stride=2),
    PoolCase("wide_131", (1, 1, 4, 131), 2),
    PoolCase("wide_overlap", (1, 2, 5, 70), 3, stride=1, padding=1),
    PoolCase("many_channels", (1, 67, 6, 6), 3, stride=2),
    PoolCase("large_batch", (19, 3, 6, 6), 2),
)  # fmt: skip


# ---- drawn --------------------------------------------------------------------------------------


class Picker:
    """Where a drawn case's numbers come from: a seeded generator, or hypothesis's `draw`."""

    def __init__(
        self,
        integer: Callable[[int, int], int],
        choice: Callable[[Sequence[Any]], Any],
    ) -> None:
        self.integer = integer
        self.choice = choice


# Some sizes straddle the tiles' rows and vectors; most are tiny, so that thousands run in seconds.
_CHANNELS = (1, 2, 3, 1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 33)
_KERNELS = (1, 2, 3, 3, 4, 5, 7)
_EXTENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 33, 50)
_MOST_MACS = 1_000_000


def _pick_padding(pick: Picker, limits: Shape) -> Padding:
    form = pick.choice(("int", "int", "pair", "ends", "ends", "valid", "same", "same_lower"))
    if form == "int":
        return pick.integer(0, min(limits))
    if form == "pair":
        return tuple(pick.integer(0, n) for n in limits)
    if form == "ends":
        return tuple((pick.integer(0, n), pick.integer(0, n)) for n in limits)
    return form


def _pick_pair(pick: Picker, low: int, high: int, axes: int = 2) -> Any:
    """An int or a pair of them."""
    if pick.choice((True, False)):
        return pick.integer(low, high)
    return tuple(pick.integer(low, high) for _ in range(axes))


def _pick_extent(pick: Picker, needed: int, axes: int = 2) -> int:
    """A size that gives at least one output."""
    return max(pick.choice(_EXTENTS[: 9 if axes == 3 else None]), needed)


def _needed(padding: Padding, kernel: Shape, dilation: Any) -> Shape:
    """The smallest image, never empty, on which the padded kernel fits."""
    ones = (1,) * len(kernel)
    ends = explicit_padding(padding, ones, kernel, 1, dilation)
    if padding in ("same", "same_lower"):
        return ones
    return tuple(
        max(d * (k - 1) + 1 - sum(p), 1)
        for k, d, p in zip(kernel, each(dilation, len(kernel)), ends, strict=True)
    )


FORMATS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}


def pick_conv(pick: Picker, name: str = "drawn", axes: int = 2) -> ConvCase:
    """Every argument at random, at most _MOST_MACS multiplications."""
    kind = pick.choice(("dense", "dense", "grouped", "depthwise"))
    groups = 1 if kind == "dense" else pick.integer(1, 9 if kind == "depthwise" else 4)
    per_in = 1 if kind == "depthwise" else pick.choice(_CHANNELS)
    per_out = pick.integer(1, 3) if kind == "depthwise" else pick.choice(_CHANNELS)
    if pick.integer(0, 2):
        kernel = tuple(pick.choice(_KERNELS[: 5 if axes == 3 else None]) for _ in range(axes))
        dilation, stride = _pick_pair(pick, 1, 3, axes), _pick_pair(pick, 1, 4, axes)
    else:  # what networks are made of
        kernel = (pick.choice((1, 3, 3, 5)),) * axes
        dilation, stride = 1, pick.choice((1, 1, 2))
    padding = _pick_padding(pick, tuple(k + 1 for k in kernel))
    extents = tuple(_pick_extent(pick, n, axes) for n in _needed(padding, kernel, dilation))
    batch = pick.choice(((1,), (2,), (3,), (5,), ()))
    case = ConvCase(
        name,
        (*batch, groups * per_in, *extents),
        (groups * per_out, per_in, *kernel),
        stride,
        padding,
        dilation,
        groups,
        data_format=pick.choice(FORMATS[axes]),
        dtype=pick.choice(("float32", "float32", "float64")),
        bias=pick.choice((True, False)),
        activation=pick.choice((None, None, "relu")),
    )
    return _lightened(case)


def _lightened(case: ConvCase) -> ConvCase:
    """The case with channels halved until it is cheap."""
    while case.macs > _MOST_MACS:
        per_in, per_out = case.weight[1], case.weight[0] // case.groups
        if max(per_in, per_out) == 1:
            break
        per_in, per_out = -(-per_in // 2), -(-per_out // 2)
        case = case.replace(
            input=(
                *case.input[: -case.axes - 1],
                case.groups * per_in,
                *case.input[-case.axes :],
            ),
            weight=(case.groups * per_out, per_in, *case.weight[2:]),
        )
    return case


def pick_pool(pick: Picker, name: str = "drawn") -> PoolCase:
    """Every argument at random; padding anything below the effective kernel size."""
    kernel = _pick_pair(pick, 1, 5)
    dilation = pick.choice((1, 1, _pick_pair(pick, 1, 3)))
    reach = tuple(d * (k - 1) for k, d in zip(pair(kernel), pair(dilation), strict=True))
    padding = _pick_padding(pick, reach)
    extents = tuple(_pick_extent(pick, n) for n in _needed(padding, pair(kernel), dilation))
    batch = pick.choice(((1,), (2,), (3,), ()))
    return PoolCase(
        name,
        (*batch, pick.choice((1, 2, 3, 5, 17)), *extents),
        kernel,
        pick.choice((None, _pick_pair(pick, 1, 4))),
        padding,
        dilation,
        ceil_mode=pick.choice((False, True)),
        count_include_pad=pick.choice((True, False)),
        divisor_override=pick.choice((None, None, pick.integer(1, 9))),
        data_format=pick.choice(("NCHW", "NHWC")),
        dtype=pick.choice(("float32", "float32", "float64")),
    )


def _hypothesis_picker(draw: Callable[[Any], Any]) -> Picker:
    return Picker(
        lambda low, high: draw(st.integers(low, high)),
        lambda options: draw(st.sampled_from(options)),
    )


def _seeded_picker(seed: int) -> Picker:
    rng = random.Random(seed)
    return Picker(rng.randint, rng.choice)


@st.composite
def conv_cases(draw: Callable[[Any], Any], axes: int = 2) -> ConvCase:
    return pick_conv(_hypothesis_picker(draw), axes=axes)


def pick_transpose(pick: Picker, axes: int) -> TransposeCase:
    """The transpose of a drawn convolution: its input has the size of that one's output."""
    case = pick_conv(pick, axes=axes)
    same = isinstance(case.padding, str) and case.padding != "valid"
    strides, dilations = each(case.stride, axes), each(case.dilation, axes)
    extra = tuple(
        0 if same else pick.integer(0, max(s, d) - 1)
        for s, d in zip(strides, dilations, strict=True)
    )
    transposed = TransposeCase(
        "drawn",
        case.output,
        case.weight,
        case.stride,
        case.padding,
        extra,
        case.groups,
        case.dilation,
        case.data_format,
        case.dtype,
        case.bias,
    )
    # What padding would take away altogether is left.
    return transposed if min(transposed.output) > 0 else transposed.replace(padding=0)


def random_transposes(n: int, axes: int) -> Iterator[TransposeCase]:
    for seed in range(n):
        yield pick_transpose(_seeded_picker(seed), axes)


@st.composite
def transpose_cases(draw: Callable[[Any], Any]) -> TransposeCase:
    return pick_transpose(_hypothesis_picker(draw), draw(st.sampled_from((1, 2, 3))))


@st.composite
def pool_cases(draw: Callable[[Any], Any]) -> PoolCase:
    return pick_pool(_hypothesis_picker(draw))


@dataclasses.dataclass(frozen=True)
class Problem:
    """A case, and how to call it: everything that must not change the answer."""

    case: Any
    seed: int
    threads: int
    algorithm: str
    prepacked: bool
    awkward: tuple[str, str, str, str]
    out: str | None

    def awkward_arrays(self, arrays: ConvArrays) -> ConvArrays:
        return ConvArrays(
            *(
                None if a is None else AWKWARD[name](a)
                for name, a in zip(self.awkward, arrays, strict=True)
            )
        )

    def empty_output(self) -> Array | None:
        """Somewhere to write, full of NaN, or None."""
        if self.out is None:
            return None
        return AWKWARD_OUT[self.out](np.full(self.case.output_shape, np.nan, self.case.dtype))


def _problem(case: Any, seed: int, pick: Picker) -> Problem:
    return Problem(
        case,
        seed,
        threads=pick.integer(1, 4),
        algorithm=pick.choice(("auto", "direct")),
        prepacked=pick.choice((False, False, True)),
        awkward=tuple(pick.choice(tuple(AWKWARD)) for _ in range(4)),
        out=pick.choice((None, None, *AWKWARD_OUT)),
    )


def random_problems(n: int, start: int = 0, axes: int = 2) -> Iterator[Problem]:
    """Problems start .. start + n - 1 of an endless list that is the same on every machine."""
    for seed in range(start, start + n):
        pick = _seeded_picker(seed)
        yield _problem(pick_conv(pick, f"random_{seed}", axes), seed, pick)


def random_pools(n: int, start: int = 0) -> Iterator[Problem]:
    """The same for pools. `prepacked` and `algorithm` mean nothing there."""
    for seed in range(start, start + n):
        pick = _seeded_picker(1_000_000 + seed)
        yield _problem(pick_pool(pick, f"random_pool_{seed}"), seed, pick)


def run_problem(problem: Problem, arrays: ConvArrays) -> Array:
    """The forward result of a problem, called the way it says."""
    case, out = problem.case, problem.empty_output()
    a = problem.awkward_arrays(arrays)
    with thread_count(problem.threads):
        if problem.prepacked:
            packed = function(case, "conv{}d_prepack")(
                a.weight,
                a.bias,
                **case.geometry,
                activation=case.activation,
                algorithm=problem.algorithm,
            )
            result = packed(a.input, out=out)
        else:
            result = conv(case, a, algorithm=problem.algorithm, out=out)
    assert out is None or result is out
    return result


def run_problem_backward(problem: Problem, arrays: ConvArrays) -> tuple[Array, Array, Array]:
    with thread_count(problem.threads):
        return backward(problem.case, problem.awkward_arrays(arrays))
