"""Windows: where the taps lie. Everything else is written in terms of these."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .arguments import (
    Array,
    Index,
    Ints,
    Padding,
    Pairs,
    Size,
    check_option,
    to_ints,
    to_shape,
)

__all__ = ["normalise_padding"]


class Axis(NamedTuple):
    """The windows along one spatial axis."""

    size: int  # of the input: H or W
    kernel: int  # taps: KH or KW
    stride: int
    before: int  # padding
    after: int
    dilation: int
    ceil_mode: bool = False
    windows: int | None = None  # as many as a transposed convolution says; else what fits

    @property
    def span(self) -> int:
        """The number of pixels from the first tap of a window to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def output(self) -> int:
        """The number of windows: OH or OW.

        `ceil_mode` admits a last window that sticks out of the padding, but none that starts in
        the padding at the end.
        """
        if self.windows is not None:
            return self.windows
        room = self.size + self.before + self.after - self.span
        if not self.ceil_mode:
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        return count - 1 if (count - 1) * self.stride >= self.before + self.size else count

    @property
    def padded_size(self) -> int:
        """The size that holds every pixel and every tap."""
        return max(self.before + self.size, (self.output - 1) * self.stride + self.span)

    @property
    def interior(self) -> slice:
        """The part of the padded axis that is the input itself."""
        return slice(self.before, self.before + self.size)

    def seen_by(self, tap: int) -> slice:
        """What tap i of all the windows sees of the padded axis: every s-th pixel from i·d on."""
        first = tap * self.dilation
        return slice(first, first + (self.output - 1) * self.stride + 1, self.stride)

    def counts(self, include_pad: bool) -> Array:
        """How many pixels each window holds, with or without padding pixels."""
        before, after = (self.before, self.after) if include_pad else (0, 0)
        start = np.arange(self.output) * self.stride - self.before
        end = np.minimum(start + self.kernel, self.size + after)
        return np.asarray(end - np.maximum(start, -before))


class Windows(NamedTuple):
    """The windows of one convolution or pooling."""

    axes: tuple[Axis, ...]

    @property
    def size(self) -> Ints:
        """(H, W)."""
        return tuple(axis.size for axis in self.axes)

    @property
    def kernel(self) -> Ints:
        """(KH, KW)."""
        return tuple(axis.kernel for axis in self.axes)

    @property
    def output(self) -> Ints:
        """(OH, OW)."""
        return tuple(axis.output for axis in self.axes)

    @property
    def padded_size(self) -> Ints:
        """Size of the padded plane."""
        return tuple(axis.padded_size for axis in self.axes)

    @property
    def interior(self) -> Index:
        """The part of the padded plane that is the input itself."""
        return tuple(axis.interior for axis in self.axes)

    def taps(self) -> Iterator[tuple[Index, Index]]:
        """Each tap (i, j), in row-major order, with the part of the padded plane that it sees."""
        for tap in itertools.product(*map(range, self.kernel)):
            yield tap, tuple(axis.seen_by(i) for axis, i in zip(self.axes, tap, strict=True))


def windows_of(
    size: Ints,
    kernel_size: Size,
    stride: Size,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool = False,
) -> Windows:
    """Check the arguments that place the windows, and place them."""
    count = len(size)
    kernel = to_ints("kernel_size", kernel_size, count, minimum=1)
    strides = to_ints("stride", stride, count, minimum=1)
    dilations = to_ints("dilation", dilation, count, minimum=1)
    pads = normalise_padding(padding, size, kernel, strides, dilations)
    if min(size) < 1:
        raise ValueError(f"input: expected spatial sizes of at least 1, but got {size}")
    axes = zip(size, kernel, strides, pads, dilations, strict=True)
    windows = Windows(tuple(Axis(n, k, s, *pad, d, ceil_mode) for n, k, s, pad, d in axes))
    if min(windows.output) < 1:
        raise ValueError(
            f"Given input size: {size}, kernel_size: {kernel}, padding: {pads}, dilation: "
            f"{dilations}. Calculated output size: {windows.output}. Output size is too small"
        )
    return windows


def normalise_padding(
    padding: Padding, size: Sequence[int], kernel_size: Size, stride: Size = 1, dilation: Size = 1
) -> Pairs:
    """Padding in any of its spellings, as ((top, bottom), (left, right)).

    Parameters
    ----------
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        'valid' is none.  'same' is as much as makes the output ceil(size / stride) pixels, with
        the odd pixel at the end; 'same_lower' has it at the start.
    size : sequence of int
        Spatial size of the input, (H, W).  Its length says how many spatial axes there are.
    kernel_size, stride, dilation : int or one int per axis
        Only 'same' and 'same_lower' depend on these.

    Returns
    -------
    tuple of (int, int)
        Pixels before and after the input, for every spatial axis.

    Raises
    ------
    ValueError
        If a number is negative, the count of numbers is wrong or the name is unknown.
    TypeError
        If an entry is not an integer.

    Notes
    -----
    'same' is defined as in TensorFlow and as ONNX's SAME_UPPER, 'same_lower' as ONNX's SAME_LOWER.

    Examples
    --------
    >>> normalise_padding((1, 2), (5, 5), 3)
    ((1, 1), (2, 2))
    >>> normalise_padding("same", (5, 6), (3, 2)), normalise_padding("same_lower", (5, 6), (3, 2))
    (((1, 1), (0, 1)), ((1, 1), (1, 0)))
    """
    sizes = to_shape("size", size)
    if isinstance(padding, str):
        kernel = to_ints("kernel_size", kernel_size, len(sizes), minimum=1)
        strides = to_ints("stride", stride, len(sizes), minimum=1)
        dilations = to_ints("dilation", dilation, len(sizes), minimum=1)
        axes = zip(sizes, kernel, strides, dilations, strict=True)
        return tuple(_named_padding(padding, *axis) for axis in axes)
    entries = tuple(padding) if isinstance(padding, Iterable) else (padding,)
    if not all(isinstance(entry, Iterable) for entry in entries):
        return tuple((p, p) for p in to_ints("padding", padding, len(sizes), minimum=0))
    if len(entries) != len(sizes):
        raise ValueError(
            f"padding: expected {len(sizes)} pairs (before, after), but got {padding!r}"
        )
    pairs = [to_ints("padding", entry, 2, minimum=0) for entry in entries]
    return tuple((before, after) for before, after in pairs)


def _named_padding(
    name: str, size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """'valid', 'same' or 'same_lower' as (before, after) on one axis."""
    check_option("padding", name, ("valid", "same", "same_lower"))
    if name == "valid":
        return 0, 0
    output = -(-size // stride)
    total = max((output - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    smaller, larger = total // 2, total - total // 2
    return (smaller, larger) if name == "same" else (larger, smaller)


def pool_windows(
    size: Ints,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool,
) -> Windows:
    """Place pooling windows; none may fit into the padding as a whole."""
    strides = kernel_size if stride is None else stride
    windows = windows_of(size, kernel_size, strides, padding, dilation, bool(ceil_mode))
    for axis in windows.axes:
        if max(axis.before, axis.after) >= axis.span:
            raise ValueError(
                f"padding: expected less than the effective kernel size {axis.span}, but got "
                f"{(axis.before, axis.after)}"
            )
    return windows
