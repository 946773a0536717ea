"""Convolution and pooling in pure NumPy: the definitions, written to be read.

Every function here computes what its namesake in ``fastconv`` computes, from NumPy alone.  It is
the text to read before the kernels, the oracle they are tested against, and a fair picture of how
fast the im2col method can be in NumPy.  What it spends is memory: the column matrix is KH·KW times
as large as the input (for stride 1), and the compiled kernels never build it.

Notation: a batch of N samples, C input and O output channels, input planes H x W, kernels KH x KW,
output planes OH x OW; s is the stride, d the dilation, t and l the padding at the top and left.

**Windows.**  Output pixel (p, q) looks at the input through a window of KH·KW taps; its tap (i, j)
lies on input pixel (p·s + i·d - t, q·s + j·d - l).  Pixels outside the plane are padding.  One axis
of size H, padded by p0 and p1, has room for ::

    OH = floor((H + p0 + p1 - d·(KH - 1) - 1) / s) + 1          windows.

**Convolution** weighs the pixels of a window with a kernel and adds them up over the channels::

    y[n, o, p, q] = b[o] + Σ_c Σ_i Σ_j  w[o, c, i, j] · x[n, c, p·s + i·d - t, q·s + j·d - l]

with x = 0 in the padding.  As everywhere in deep learning this is a cross-correlation; for the
convolution of mathematics, which flips the kernel, pass ``weight[:, :, ::-1, ::-1]``.  With G
groups the channels fall into G equal parts, and each part is a convolution of its own.

**im2col** turns the sum over (c, i, j) into a matrix product.  Write every window as a column::

    X[n, (c, i, j), (p, q)] = x[n, c, p·s + i·d - t, q·s + j·d - l]     so that     Y = W X + b

where row o of W is kernel o, flattened.  im2col is linear in x; its transpose is **col2im**, which
adds every entry of a column back onto the pixel that it came from.

**Gradients.**  Given dy, the gradient of a loss with respect to y, the chain rule reads ::

    dW = Σ_n dY[n] X[n]ᵀ        dX = Wᵀ dY,   dx = col2im(dX)        db = Σ_n Σ_p Σ_q dy

**Transposed convolution** makes the input gradient a function of its own: y = col2im(Wᵀ X).  Its
gradients are im2col's products again, with input and output in each other's places.

**Max pooling** takes the largest pixel of each window and channel; padding is -∞ and is never
chosen.  Its gradient goes to the chosen pixel alone.  **Average pooling** adds the window up and
divides by a count; its gradient is spread evenly over the window.

The internals work for any number of spatial axes; only the public functions say "1d", "2d", "3d".
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "col2im",
    "conv1d",
    "conv1d_backward",
    "conv2d",
    "conv2d_backward",
    "conv3d",
    "conv3d_backward",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
    "convolution_matrix",
    "im2col",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "normalise_padding",
]

Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = tuple[int, ...]
Index: TypeAlias = tuple[Any, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]
Window: TypeAlias = tuple[Size, Size | None, Padding, Size, bool]  # kernel size to ceil_mode

# ---------------------------------------------------------------------------------------------
# Windows: where the taps lie.  Everything below is written in terms of these.


class _Axis(NamedTuple):
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


class _Windows(NamedTuple):
    """The windows of one convolution or pooling."""

    axes: tuple[_Axis, ...]

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


def _windows(
    size: Ints,
    kernel_size: Size,
    stride: Size,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool = False,
) -> _Windows:
    """Check the arguments that place the windows, and place them."""
    count = len(size)
    kernel = _ints("kernel_size", kernel_size, count, minimum=1)
    strides = _ints("stride", stride, count, minimum=1)
    dilations = _ints("dilation", dilation, count, minimum=1)
    pads = normalise_padding(padding, size, kernel, strides, dilations)
    if min(size) < 1:
        raise ValueError(f"input: expected spatial sizes of at least 1, but got {size}")
    axes = zip(size, kernel, strides, pads, dilations, strict=True)
    windows = _Windows(tuple(_Axis(n, k, s, *pad, d, ceil_mode) for n, k, s, pad, d in axes))
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
    sizes = _shape("size", size)
    if isinstance(padding, str):
        kernel = _ints("kernel_size", kernel_size, len(sizes), minimum=1)
        strides = _ints("stride", stride, len(sizes), minimum=1)
        dilations = _ints("dilation", dilation, len(sizes), minimum=1)
        axes = zip(sizes, kernel, strides, dilations, strict=True)
        return tuple(_named_padding(padding, *axis) for axis in axes)
    entries = tuple(padding) if isinstance(padding, Iterable) else (padding,)
    if not all(isinstance(entry, Iterable) for entry in entries):
        return tuple((p, p) for p in _ints("padding", padding, len(sizes), minimum=0))
    if len(entries) != len(sizes):
        raise ValueError(
            f"padding: expected {len(sizes)} pairs (before, after), but got {padding!r}"
        )
    pairs = [_ints("padding", entry, 2, minimum=0) for entry in entries]
    return tuple((before, after) for before, after in pairs)


def _named_padding(
    name: str, size: int, kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    """'valid', 'same' or 'same_lower' as (before, after) on one axis."""
    _check_option("padding", name, ("valid", "same", "same_lower"))
    if name == "valid":
        return 0, 0
    output = -(-size // stride)
    total = max((output - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    smaller, larger = total // 2, total - total // 2
    return (smaller, larger) if name == "same" else (larger, smaller)


# ---------------------------------------------------------------------------------------------
# Columns: im2col, its transpose col2im, and the whole convolution as one matrix.


def im2col(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """Write every window of `input` as a column.

    Parameters
    ----------
    input : array of shape (N, C, H, W), any dtype
        Any number of spatial axes will do: (N, C, L) and (N, C, D, H, W) work alike.
    kernel_size, stride, dilation : int or (h, w)
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'

    Returns
    -------
    array of shape (N, C·KH·KW, OH·OW), dtype of `input`
        Rows run over (channel, tap), columns over the output pixels, both in row-major order.

    Raises
    ------
    ValueError, TypeError
        If an argument has an impossible value, or no window fits.

    Notes
    -----
    The layout is that of ``torch.nn.functional.unfold``.  The method is due to K. Chellapilla,
    S. Puri and P. Simard, "High performance convolutional neural networks for document
    processing", 2006.

    Examples
    --------
    >>> x = np.arange(9).reshape(1, 1, 3, 3)
    >>> im2col(x, 2)
    array([[[0, 1, 3, 4],
            [1, 2, 4, 5],
            [3, 4, 6, 7],
            [4, 5, 7, 8]]])
    """
    x = _as_array(input)
    windows = _windows(_spatial("input", x.shape), kernel_size, stride, padding, dilation)
    return _merge(_gather(x, windows), len(windows.size))


def col2im(
    columns: npt.ArrayLike,
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Array:
    """Add every entry of `columns` onto the pixel that `im2col` took it from.

    This is the transpose of `im2col`, not its inverse: a pixel that k windows share comes back k
    times as large.

    Parameters
    ----------
    columns : array of shape (N, C·KH·KW, OH·OW), any numeric dtype
    input_size : sequence of int
        (N, C, H, W), the shape of the array that `im2col` was given.
    kernel_size, stride, padding, dilation
        As for `im2col`.

    Returns
    -------
    array of shape (N, C, H, W), dtype of `columns`

    Raises
    ------
    ValueError, TypeError
        If an argument has an impossible value, or `columns` has another shape than `im2col` gives.

    Notes
    -----
    The layout is that of ``torch.nn.functional.fold``.

    Examples
    --------
    How many of the four 2 x 2 windows hold each pixel?

    >>> col2im(np.ones((1, 4, 4), dtype=int), (1, 1, 3, 3), 2)
    array([[[[1, 2, 1],
             [2, 4, 2],
             [1, 2, 1]]]])
    """
    cols = _as_array(columns)
    shape = _shape("input_size", input_size)
    windows = _windows(_spatial("input_size", shape), kernel_size, stride, padding, dilation)
    batch, channels = shape[:2]
    taps, pixels = math.prod(windows.kernel), math.prod(windows.output)
    _check_shape("columns", cols.shape, (batch, channels * taps, pixels))
    return _scatter(cols.reshape(batch, channels, *windows.kernel, *windows.output), windows)


def _gather(input: Array, windows: _Windows) -> Array:
    """im2col before its axes are merged: (N, C, H, W) -> (N, C, KH, KW, OH, OW)."""
    padded = _pad(input, windows, 0)
    columns = np.empty((*input.shape[:2], *windows.kernel, *windows.output), input.dtype)
    for tap, window in windows.taps():
        columns[:, :, *tap] = padded[:, :, *window]
    return columns


def _scatter(columns: Array, windows: _Windows) -> Array:
    """The transpose of `_gather`: (N, C, KH, KW, OH, OW) -> (N, C, H, W)."""
    padded = np.zeros((*columns.shape[:2], *windows.padded_size), columns.dtype)
    for tap, window in windows.taps():
        padded[:, :, *window] += columns[:, :, *tap]
    return padded[:, :, *windows.interior]


def _pad(input: Array, windows: _Windows, value: float) -> Array:
    """Lay the planes of `input` on a border of `value`; the planes themselves if there is none."""
    if windows.padded_size == windows.size:
        return input
    padded = np.full((*input.shape[:2], *windows.padded_size), value, input.dtype)
    padded[:, :, *windows.interior] = input
    return padded


def _merge(columns: Array, axes: int) -> Array:
    """(N, C, KH, KW, OH, OW) -> (N, C·KH·KW, OH·OW), for `axes` spatial axes."""
    rows, pixels = columns.shape[1 : 2 + axes], columns.shape[2 + axes :]
    return columns.reshape(len(columns), math.prod(rows), math.prod(pixels))


def convolution_matrix(
    weight: npt.ArrayLike,
    input_size: Sequence[int],
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Array:
    """The dense matrix M of a convolution: ``y.ravel() == M @ x.ravel()`` for one sample x.

    Written straight from the definition, entry by entry, and sharing no step with `im2col`, it
    shows what kind of matrix a convolution is, and checks the rest: its transpose is the input
    gradient, ``dx.ravel() == M.T @ dy.ravel()``.

    Parameters
    ----------
    weight : array of shape (O, C/groups, KH, KW), any dtype
    input_size : sequence of int
        (C, H, W), the shape of one sample.
    stride, padding, dilation, groups
        As for `conv2d`.

    Returns
    -------
    array of shape (O·OH·OW, C·H·W), dtype of `weight`

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Examples
    --------
    A row of four pixels under the kernel [1, 2] is multiplied by a banded Toeplitz matrix:

    >>> convolution_matrix(np.array([[[[1, 2]]]]), (1, 1, 4))
    array([[1, 2, 0, 0],
           [0, 1, 2, 0],
           [0, 0, 1, 2]])
    """
    w = _as_array(weight)
    sample = _shape("input_size", input_size)
    windows = _conv_windows((1, *sample), w.shape, stride, padding, dilation, groups)
    matrix = np.zeros((w.shape[0], *windows.output, *sample), w.dtype)
    outputs, inputs = _group_slices(w.shape[0], groups), _group_slices(sample[0], groups)
    for pixel in itertools.product(*map(range, windows.output)):
        for tap in itertools.product(*map(range, windows.kernel)):
            source = tuple(
                p * axis.stride + i * axis.dilation - axis.before
                for p, i, axis in zip(pixel, tap, windows.axes, strict=True)
            )
            if all(0 <= at < n for at, n in zip(source, windows.size, strict=True)):
                for o, c in zip(outputs, inputs, strict=True):
                    entry: Index = (o, *pixel, c, *source)
                    kernel: Index = (o, slice(None), *tap)
                    matrix[entry] = w[kernel]
    return matrix.reshape(w.shape[0] * math.prod(windows.output), math.prod(sample))


def _group_slices(channels: int, groups: int) -> list[slice]:
    """The channels of each group."""
    each = channels // groups
    return [slice(g * each, (g + 1) * each) for g in range(groups)]


# ---------------------------------------------------------------------------------------------
# Convolution.


def conv2d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Convolve a batch of images with a bank of kernels.

    Parameters
    ----------
    input : float array of shape (N, C, H, W), or (C, H, W) for a single sample
        (N, H, W, C) or (H, W, C) if `data_format` is 'NHWC'.
    weight : float array of shape (O, C/groups, KH, KW), in both data formats
    bias : float array of shape (O,), optional
    stride, dilation : int or (h, w)
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Zeros around the input; see `normalise_padding`.
    groups : int
        Number of equal parts into which the channels fall, each convolved on its own.
    data_format : 'NCHW' or 'NHWC'
    activation : None or 'relu'
        Applied to the result.
    algorithm : 'auto', 'direct' or 'winograd'
        Checked and otherwise ignored: here there is one algorithm, im2col.
    out : array, optional
        Receives the result; must have its shape and dtype and not overlap an input.

    Returns
    -------
    array of shape (N, O, OH, OW), or unbatched or channels-last as `input` is
        The dtype is NumPy's promotion of the arrays'; float16 is computed in float32.

    Raises
    ------
    ValueError
        If shapes do not fit together, no window fits, or an option is unknown.
    TypeError
        If an array is not float16, float32 or float64, or a size is not an integer.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv2d``: cross-correlation.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> right_minus_left = np.array([[[[-1.0, 0.0, 1.0]]]])
    >>> conv2d(x, right_minus_left, padding=(0, 1))
    array([[[ 1.,  2., -1.],
            [ 4.,  2., -4.],
            [ 7.,  2., -7.]]])
    """
    options = (stride, padding, dilation, groups, data_format, activation, algorithm)
    return _conv(2, input, weight, bias, *options, out)


def conv2d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv2d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv2d`'s result
        The gradient of the loss with respect to that result.
    input, weight, stride, padding, dilation, groups, data_format
        As they were given to `conv2d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input : array of the shape of `input`
    grad_weight : array of shape (O, C/groups, KH, KW), in both data formats
    grad_bias : array of shape (O,)
        None where `output_mask` is false.  The dtype is NumPy's promotion of the three arrays'.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; also if `grad_output` has not the shape of the result.

    Notes
    -----
    The chain rule applied to the definition; see the head of this module.

    Examples
    --------
    >>> x = np.arange(9.0).reshape(1, 3, 3)
    >>> weight = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> dx, dw, db = conv2d_backward(np.ones((1, 2, 2)), x, weight)
    >>> dx
    array([[[ 1.,  3.,  2.],
            [ 4., 10.,  6.],
            [ 3.,  7.,  4.]]])
    >>> dw, db
    (array([[[[ 8., 12.],
             [20., 24.]]]]), array([4.]))
    """
    options = (stride, padding, dilation, groups, data_format, output_mask)
    return _conv_backward(2, grad_output, input, weight, *options)


def conv1d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Convolve a batch of signals with a bank of kernels: `conv2d` with one spatial axis.

    Parameters
    ----------
    input : float array of shape (N, C, L), or (C, L) for a single sample
        (N, L, C) or (L, C) if `data_format` is 'NLC'.
    weight : float array of shape (O, C/groups, K), in both data formats
    bias : float array of shape (O,), optional
    stride, dilation : int
    padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
    groups, activation, algorithm, out
        As for `conv2d`.
    data_format : 'NCL' or 'NLC'

    Returns
    -------
    array of shape (N, O, OL), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv1d``: cross-correlation.

    Examples
    --------
    >>> conv1d(np.array([[1.0, 2.0, 4.0, 8.0]]), np.array([[[-1.0, 1.0]]]))
    array([[1., 2., 4.]])
    """
    options = (stride, padding, dilation, groups, data_format, activation, algorithm)
    return _conv(1, input, weight, bias, *options, out)


def conv1d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv1d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv1d`'s result
    input, weight, stride, padding, dilation, groups, data_format
        As they were given to `conv1d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input, grad_weight, grad_bias : array, or None where `output_mask` is false

    Raises
    ------
    ValueError, TypeError
        As `conv2d_backward`.

    Notes
    -----
    The chain rule applied to the definition; see the head of this module.

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0, 4.0]]), np.array([[[10.0, 100.0]]])
    >>> conv1d_backward(np.ones((1, 2)), x, weight)
    (array([[ 10., 110., 100.]]), array([[[3., 6.]]]), array([2.]))
    """
    options = (stride, padding, dilation, groups, data_format, output_mask)
    return _conv_backward(1, grad_output, input, weight, *options)


def conv3d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    activation: str | None = None,
    algorithm: str = "auto",
    out: Array | None = None,
) -> Array:
    """Convolve a batch of volumes with a bank of kernels: `conv2d` with three spatial axes.

    Parameters
    ----------
    input : float array of shape (N, C, D, H, W), or (C, D, H, W) for a single sample
        (N, D, H, W, C) or (D, H, W, C) if `data_format` is 'NDHWC'.
    weight : float array of shape (O, C/groups, KD, KH, KW), in both data formats
    bias : float array of shape (O,), optional
    stride, dilation : int or (d, h, w)
    padding : int, (d, h, w), a pair (before, after) for each axis, 'valid', 'same' or 'same_lower'
    groups, activation, algorithm, out
        As for `conv2d`.
    data_format : 'NCDHW' or 'NDHWC'

    Returns
    -------
    array of shape (N, O, OD, OH, OW), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv3d``: cross-correlation.

    Examples
    --------
    >>> conv3d(np.ones((1, 2, 3, 3)), np.ones((1, 1, 2, 2, 2)))
    array([[[[8., 8.],
             [8., 8.]]]])
    """
    options = (stride, padding, dilation, groups, data_format, activation, algorithm)
    return _conv(3, input, weight, bias, *options, out)


def conv3d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv3d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv3d`'s result
    input, weight, stride, padding, dilation, groups, data_format
        As they were given to `conv3d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input, grad_weight, grad_bias : array, or None where `output_mask` is false

    Raises
    ------
    ValueError, TypeError
        As `conv2d_backward`.

    Notes
    -----
    The chain rule applied to the definition; see the head of this module.

    Examples
    --------
    >>> x, weight = np.ones((1, 2, 2, 3)), np.ones((1, 1, 2, 2, 2))
    >>> dx, dw, db = conv3d_backward(np.ones((1, 1, 1, 2)), x, weight)
    >>> dx[0, 0]
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """
    options = (stride, padding, dilation, groups, data_format, output_mask)
    return _conv_backward(3, grad_output, input, weight, *options)


def _conv(
    axes: int,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    data_format: str,
    activation: str | None,
    algorithm: str,
    out: Array | None,
) -> Array:
    """The convolution with that many spatial axes: Y = W X + b."""
    _check_option("activation", activation, (None, "relu"))
    _check_option("algorithm", algorithm, ("auto", "direct", "winograd"))
    dtype, (x, w, b) = _promote(input=input, weight=weight, bias=bias)
    layout = _Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _conv_windows(x.shape, w.shape, stride, padding, dilation, groups)
    _check_bias(b, w.shape, len(w))
    result_shape = layout.from_nchw_shape((len(x), len(w), *windows.output))
    _check_out(out, result_shape, dtype, input, weight, bias)

    y = _correlate(x, w, windows, groups)
    if b is not None:
        y += b.reshape(-1, *[1] * axes)
    if activation == "relu":
        np.maximum(y, 0, out=y)
    return layout.from_nchw(y, dtype, out)


def _conv_backward(
    axes: int,
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    data_format: str,
    output_mask: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """The three gradients of `_conv`."""
    want_input, want_weight, want_bias = _mask(output_mask)
    dtype, (dy, x, w) = _promote(grad_output=grad_output, input=input, weight=weight)
    layout = _Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _conv_windows(x.shape, w.shape, stride, padding, dilation, groups)
    _check_shape("grad_output", dy.shape, layout.from_nchw_shape((len(x), len(w), *windows.output)))
    dy = layout.to_nchw(dy)

    dx = dw = db = None
    if want_input:
        dx = layout.from_nchw(_correlate_input_grad(dy, w, windows, groups), dtype)
    if want_weight:
        dw = _correlate_weight_grad(dy, x, w.shape, windows, groups).astype(dtype, copy=False)
    if want_bias:
        db = _sum_positions(dy).astype(dtype, copy=False)
    return dx, dw, db


def _correlate(input: Array, weight: Array, windows: _Windows, groups: int) -> Array:
    """Y = W X, one product for every sample and group."""
    batch = len(input)
    rows, pixels = math.prod(weight.shape[1:]), math.prod(windows.output)
    columns = _gather(input, windows).reshape(batch, groups, rows, pixels)
    filters = weight.reshape(groups, len(weight) // groups, rows)
    product: Array = np.matmul(filters, columns)
    return product.reshape(batch, len(weight), *windows.output)


def _correlate_input_grad(
    grad_output: Array, weight: Array, windows: _Windows, groups: int
) -> Array:
    """dX = Wᵀ dY, dx = col2im(dX)."""
    batch, channels = len(grad_output), weight.shape[1] * groups
    rows, pixels = math.prod(weight.shape[1:]), math.prod(windows.output)
    filters = weight.reshape(groups, len(weight) // groups, rows)
    gradient = grad_output.reshape(batch, groups, len(weight) // groups, pixels)
    columns = np.matmul(filters.swapaxes(-1, -2), gradient)
    return _scatter(columns.reshape(batch, channels, *windows.kernel, *windows.output), windows)


def _correlate_weight_grad(
    grad_output: Array, input: Array, weight_size: Ints, windows: _Windows, groups: int
) -> Array:
    """dW = Σ_n dY[n] X[n]ᵀ, one sample at a time."""
    batch, kernels = grad_output.shape[:2]
    rows, pixels = math.prod(weight_size[1:]), math.prod(windows.output)
    columns = _gather(input, windows).reshape(batch, groups, rows, pixels)
    gradient = grad_output.reshape(batch, groups, kernels // groups, pixels)
    total = np.zeros((groups, kernels // groups, rows), grad_output.dtype)
    for dy, x in zip(gradient, columns, strict=True):
        total += np.matmul(dy, x.swapaxes(-1, -2))
    return total.reshape(weight_size)


def _conv_windows(
    input_size: Ints,
    weight_size: Ints,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> _Windows:
    """Check that weight and groups fit an (N, C, H, W) input, and place the windows."""
    _check_dimensions(weight_size, input_size, "(out, in/groups, *kernel)")
    parts = _int("groups", groups, minimum=1)
    if weight_size[0] % parts:
        raise ValueError(
            f"Given groups={parts}, expected weight to be divisible by {parts} at dimension 0, "
            f"but got weight of size {weight_size} instead"
        )
    if weight_size[1] * parts != input_size[1]:
        raise ValueError(
            f"Given groups={parts}, weight of size {weight_size}, expected input{input_size} to "
            f"have {weight_size[1] * parts} channels, but got {input_size[1]} channels instead"
        )
    return _windows(input_size[2:], weight_size[2:], stride, padding, dilation)


# ---------------------------------------------------------------------------------------------
# Transposed convolution: the input gradient of a convolution, as a function of its own.


def conv_transpose2d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCHW",
    out: Array | None = None,
) -> Array:
    """Spread every pixel of the input over the output, weighed with a kernel; overlaps add up.

    It is the transpose of the matrix that `conv2d` multiplies with, hence its input gradient as a
    function of its own; decoders upsample with it.

    Parameters
    ----------
    input : float array of shape (N, I, H, W), or (I, H, W) for a single sample
        (N, H, W, I) or (H, W, I) if `data_format` is 'NHWC'.
    weight : float array of shape (I, O/groups, KH, KW), in both data formats
    bias : float array of shape (O,), optional
    stride, dilation : int or (h, w)
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Pixels cut off the result.  'valid' is none; 'same' leaves ``size * stride`` of them, and
        cuts the odd pixel off the end ('same_lower': off the start).
    output_padding : int or (h, w)
        More pixels at the end, fewer than the stride or the dilation; 0 with 'same'.
    groups : int
        Number of equal parts into which the channels fall.
    data_format : 'NCHW' or 'NHWC'
    out : array, optional
        Receives the result; must have its shape and dtype and not overlap an input.

    Returns
    -------
    array of shape (N, O, OH, OW), or unbatched or channels-last as `input` is
        ``OH = (H - 1)·s - t - b + d·(KH - 1) + 1 + output_padding``, t and b cut off the ends.

    Raises
    ------
    ValueError
        If shapes do not fit together, nothing is left of the result, or an option is unknown.
    TypeError
        If an array is not float16, float32 or float64, or a size is not an integer.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv_transpose2d``.

    Examples
    --------
    >>> x = np.array([[[1.0, 2.0], [3.0, 4.0]]])
    >>> conv_transpose2d(x, np.ones((1, 1, 2, 2)), stride=2)
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.],
            [3., 3., 4., 4.],
            [3., 3., 4., 4.]]])
    """
    options = (stride, padding, output_padding, groups, dilation, data_format)
    return _conv_transpose(2, input, weight, bias, *options, out)


def conv_transpose2d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv_transpose2d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv_transpose2d`'s result
    input, weight, stride, padding, output_padding, groups, dilation, data_format
        As they were given to `conv_transpose2d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input, grad_weight, grad_bias : array, or None where `output_mask` is false

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`; also if `grad_output` has not the shape of the result.

    Notes
    -----
    With y the transposed convolution of x, <y, g> = <x, `conv2d` of g>: so the roles of input and
    output change places, and the gradients are those of `conv2d`.

    Examples
    --------
    >>> x, weight = np.array([[[1.0, 2.0], [3.0, 4.0]]]), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = conv_transpose2d_backward(np.ones((1, 4, 4)), x, weight, stride=2)
    >>> dx
    array([[[4., 4.],
            [4., 4.]]])
    >>> dw, db
    (array([[[[10., 10.],
             [10., 10.]]]]), array([16.]))
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, output_mask)
    return _conv_transpose_backward(2, grad_output, input, weight, *options)


def conv_transpose1d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCL",
    out: Array | None = None,
) -> Array:
    """`conv_transpose2d` with one spatial axis.

    Parameters
    ----------
    input : float array of shape (N, I, L), or (I, L) for a single sample
        (N, L, I) or (L, I) if `data_format` is 'NLC'.
    weight : float array of shape (I, O/groups, K), in both data formats
    bias : float array of shape (O,), optional
    stride, output_padding, dilation : int
    padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
    groups, out
        As for `conv_transpose2d`.
    data_format : 'NCL' or 'NLC'

    Returns
    -------
    array of shape (N, O, OL), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv_transpose1d``.

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0, 100.0]]])
    >>> conv_transpose1d(x, weight, stride=2)
    array([[  1.,  10., 102.,  20., 200.]])
    >>> conv_transpose1d(x, weight, stride=2, padding="same")
    array([[  1.,  10., 102.,  20.]])
    """
    options = (stride, padding, output_padding, groups, dilation, data_format)
    return _conv_transpose(1, input, weight, bias, *options, out)


def conv_transpose1d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCL",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv_transpose1d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv_transpose1d`'s result
    input, weight, stride, padding, output_padding, groups, dilation, data_format
        As they were given to `conv_transpose1d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input, grad_weight, grad_bias : array, or None where `output_mask` is false

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`; also if `grad_output` has not the shape of the result.

    Notes
    -----
    With y the transposed convolution of x, <y, g> = <x, `conv1d` of g>: so the roles of input and
    output change places, and the gradients are those of `conv1d`.

    Examples
    --------
    >>> x, weight = np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0, 100.0]]])
    >>> conv_transpose1d_backward(np.ones((1, 5)), x, weight, stride=2)
    (array([[111., 111.]]), array([[[3., 3., 3.]]]), array([5.]))
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, output_mask)
    return _conv_transpose_backward(1, grad_output, input, weight, *options)


def conv_transpose3d(
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCDHW",
    out: Array | None = None,
) -> Array:
    """`conv_transpose2d` with three spatial axes.

    Parameters
    ----------
    input : float array of shape (N, I, D, H, W), or (I, D, H, W) for a single sample
        (N, D, H, W, I) or (D, H, W, I) if `data_format` is 'NDHWC'.
    weight : float array of shape (I, O/groups, KD, KH, KW), in both data formats
    bias : float array of shape (O,), optional
    stride, output_padding, dilation : int or (d, h, w)
    padding : int, (d, h, w), a pair (before, after) for each axis, 'valid', 'same' or 'same_lower'
    groups, out
        As for `conv_transpose2d`.
    data_format : 'NCDHW' or 'NDHWC'

    Returns
    -------
    array of shape (N, O, OD, OH, OW), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.conv_transpose3d``.

    Examples
    --------
    >>> conv_transpose3d(np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 2, 2)))
    array([[[[1., 3., 2.],
             [1., 3., 2.]]]])
    """
    options = (stride, padding, output_padding, groups, dilation, data_format)
    return _conv_transpose(3, input, weight, bias, *options, out)


def conv_transpose3d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size = 1,
    padding: Padding = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    data_format: str = "NCDHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[Array | None, Array | None, Array | None]:
    """The gradients of a loss with respect to what `conv_transpose3d` was given.

    Parameters
    ----------
    grad_output : float array of the shape of `conv_transpose3d`'s result
    input, weight, stride, padding, output_padding, groups, dilation, data_format
        As they were given to `conv_transpose3d`.
    output_mask : three bools
        Which of the three gradients to compute.

    Returns
    -------
    grad_input, grad_weight, grad_bias : array, or None where `output_mask` is false

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`; also if `grad_output` has not the shape of the result.

    Notes
    -----
    With y the transposed convolution of x, <y, g> = <x, `conv3d` of g>: so the roles of input and
    output change places, and the gradients are those of `conv3d`.

    Examples
    --------
    >>> x, weight = np.array([[[[1.0, 2.0]]]]), np.ones((1, 1, 1, 2, 2))
    >>> dx, dw, db = conv_transpose3d_backward(np.ones((1, 1, 2, 3)), x, weight)
    >>> dx, dw, db
    (array([[[[4., 4.]]]]), array([[[[[3., 3.],
              [3., 3.]]]]]), array([6.]))
    """
    options = (stride, padding, output_padding, groups, dilation, data_format, output_mask)
    return _conv_transpose_backward(3, grad_output, input, weight, *options)


def _conv_transpose(
    axes: int,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    data_format: str,
    out: Array | None,
) -> Array:
    """The transposed convolution with that many spatial axes: Y = col2im(Wᵀ X) + b."""
    dtype, (x, w, b) = _promote(input=input, weight=weight, bias=bias)
    layout = _Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _transposed_windows(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation
    )
    outputs = w.shape[1] * groups
    _check_bias(b, w.shape, outputs)
    result_shape = layout.from_nchw_shape((len(x), outputs, *windows.size))
    _check_out(out, result_shape, dtype, input, weight, bias)

    y = _correlate_input_grad(x, w, windows, groups)
    if b is not None:
        y += b.reshape(-1, *[1] * axes)
    return layout.from_nchw(y, dtype, out)


def _conv_transpose_backward(
    axes: int,
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    weight: npt.ArrayLike,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    data_format: str,
    output_mask: Sequence[bool],
) -> tuple[Array | None, Array | None, Array | None]:
    """The three gradients of `_conv_transpose`: dX = W im2col(dY), dW = X im2col(dY)ᵀ."""
    want_input, want_weight, want_bias = _mask(output_mask)
    dtype, (dy, x, w) = _promote(grad_output=grad_output, input=input, weight=weight)
    layout = _Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _transposed_windows(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation
    )
    result_shape = (len(x), w.shape[1] * groups, *windows.size)
    _check_shape("grad_output", dy.shape, layout.from_nchw_shape(result_shape))
    dy = layout.to_nchw(dy)

    dx = dw = db = None
    if want_input:
        dx = layout.from_nchw(_correlate(dy, w, windows, groups), dtype)
    if want_weight:
        dw = _correlate_weight_grad(x, dy, w.shape, windows, groups).astype(dtype, copy=False)
    if want_bias:
        db = _sum_positions(dy).astype(dtype, copy=False)
    return dx, dw, db


def _transposed_windows(
    input_size: Ints,
    weight_size: Ints,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> _Windows:
    """The windows of the convolution that leads from the result back to the input."""
    _check_dimensions(weight_size, input_size, "(in, out/groups, *kernel)")
    parts = _int("groups", groups, minimum=1)
    if weight_size[0] % parts:
        raise ValueError(
            f"Given groups={parts}, expected weight to be divisible by {parts} at dimension 0, "
            f"but got weight of size {weight_size} instead"
        )
    if weight_size[0] != input_size[1]:
        raise ValueError(
            f"Given transposed=1, weight of size {weight_size}, expected input{input_size} to "
            f"have {weight_size[0]} channels, but got {input_size[1]} channels instead"
        )
    pixels, kernel = input_size[2:], weight_size[2:]
    if min(pixels) < 1:
        raise ValueError(f"input: expected spatial sizes of at least 1, but got {pixels}")
    strides = _ints("stride", stride, len(pixels), minimum=1)
    dilations = _ints("dilation", dilation, len(pixels), minimum=1)
    extra = _ints("output_padding", output_padding, len(pixels), minimum=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ValueError(
            f"output_padding: must be smaller than either stride or dilation, but got {extra}"
        )
    same = isinstance(padding, str) and padding != "valid"
    if same and any(extra):
        raise ValueError(f"output_padding: must be 0 with 'same' padding, but got {extra}")
    spread = [
        n * s if same else (n - 1) * s + d * (k - 1) + 1 + e
        for n, k, s, d, e in zip(pixels, kernel, strides, dilations, extra, strict=True)
    ]
    pads = normalise_padding(padding, spread, kernel, strides, dilations)
    size = [n if same else n - sum(pad) for n, pad in zip(spread, pads, strict=True)]
    if min(size) < 1:
        raise ValueError(
            f"Given input size per channel: {pixels}. Calculated output size per channel: {size}. "
            "Output size is too small; padding takes it all away"
        )
    axes = zip(size, kernel, strides, pads, dilations, pixels, strict=True)
    return _Windows(
        tuple(
            _Axis(n, k, s, before, after, d, windows=count)
            for n, k, s, (before, after), d, count in axes
        )
    )


def _check_dimensions(weight_size: Ints, input_size: Ints, axes: str) -> None:
    """The weight has as many axes as the batched input, and a kernel that is not empty."""
    if len(weight_size) != len(input_size):
        raise ValueError(
            f"weight: expected {len(input_size)} dimensions {axes}, but got weight of size "
            f"{weight_size}"
        )
    if min(weight_size[2:]) < 1:
        raise ValueError(
            f"weight: expected a kernel size of at least 1, but got weight of size {weight_size}"
        )


def _check_bias(bias: Array | None, weight_size: Ints, outputs: int) -> None:
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"Given weight of size {weight_size}, expected bias to be 1-dimensional with "
            f"{outputs} elements, but got bias of size {bias.shape} instead"
        )


def _sum_positions(grad_output: Array) -> Array:
    """db: the sum over samples and pixels."""
    return np.asarray(grad_output.sum(axis=(0, *range(2, grad_output.ndim))))


# ---------------------------------------------------------------------------------------------
# Max pooling.


def max_pool2d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "NCHW",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest pixel of every window.

    Parameters
    ----------
    input : float array of shape (N, C, H, W), or (C, H, W) for a single sample
        (N, H, W, C) or (H, W, C) if `data_format` is 'NHWC'.
    kernel_size, stride, dilation : int or (h, w)
        The stride is the kernel size if it is None.
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Less than the d·(k - 1) + 1 pixels that a window spans.  Padding is -∞ and never chosen.
    ceil_mode : bool
        Admit a last window that sticks out, unless it would start in the padding at the end.
    return_indices : bool
        Return the place of the maximum, too.
    data_format : 'NCHW' or 'NHWC'
    out : array, optional
        Receives the maxima; must have their shape and dtype and not overlap `input`.

    Returns
    -------
    output : array of shape (N, C, OH, OW), or unbatched or channels-last as `input` is
        Has the dtype of `input`.
    indices : int64 array of the same shape, only if `return_indices`
        The place h·W + w of the maximum in its plane: the first in row-major order of equals.
        A NaN in the window is its maximum, the first NaN if there are several.  A window that
        meets no pixel at all (a dilated one may straddle the input) gives -∞ and index -1.

    Raises
    ------
    ValueError
        If no window fits, a padding is too wide, or an option is unknown.
    TypeError
        If `input` is not float16, float32 or float64, or a size is not an integer.

    Notes
    -----
    The definition is that of ``torch.nn.functional.max_pool2d``, except for two indices: torch
    gives the last NaN's, and one outside the plane where a window meets no pixel.

    Examples
    --------
    >>> x = np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 2.0, 2.0]]])
    >>> max_pool2d(x, 2, return_indices=True)
    (array([[[5., 2.]]]), array([[[1, 2]]]))
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(2, input, window, return_indices, data_format, out)


def max_pool2d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    indices: npt.ArrayLike | None = None,
    data_format: str = "NCHW",
) -> Array:
    """The gradient of a loss with respect to the input of `max_pool2d`.

    Parameters
    ----------
    grad_output : float array of the shape of `max_pool2d`'s result
        The gradient of the loss with respect to that result.
    input, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As they were given to `max_pool2d`.
    indices : integer array of the shape of `grad_output`, optional
        As returned by `max_pool2d`; found again from `input` if not given.  -1 stands for none.

    Returns
    -------
    array of the shape of `input`
        The dtype is NumPy's promotion of the two float arrays'.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`; also if `grad_output` or `indices` has not the shape of the result, or
        an index lies outside the plane.

    Notes
    -----
    The chain rule: all of a window's gradient goes to its maximum, as in torch.

    Examples
    --------
    >>> x = np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 2.0, 2.0]]])
    >>> max_pool2d_backward(np.array([[[10.0, 20.0]]]), x, 2)
    array([[[ 0., 10., 20.,  0.],
            [ 0.,  0.,  0.,  0.]]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool_backward(2, grad_output, input, window, indices, data_format)


def max_pool1d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "NCL",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element of every window: `max_pool2d` with one spatial axis.

    Parameters
    ----------
    input : float array of shape (N, C, L), or (C, L) for a single sample
        (N, L, C) or (L, C) if `data_format` is 'NLC'.
    kernel_size, stride, dilation : int
    padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
    ceil_mode, return_indices, out
        As for `max_pool2d`.
    data_format : 'NCL' or 'NLC'

    Returns
    -------
    output : array of shape (N, C, OL), or unbatched or channels-last as `input` is
    indices : int64 array of the same shape, only if `return_indices`
        The place of the maximum along L; ties and NaN as in `max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.max_pool1d``.

    Examples
    --------
    >>> max_pool1d(np.array([[1.0, 5.0, 2.0, 0.0]]), 2, return_indices=True)
    (array([[5., 2.]]), array([[1, 2]]))
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(1, input, window, return_indices, data_format, out)


def max_pool1d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    indices: npt.ArrayLike | None = None,
    data_format: str = "NCL",
) -> Array:
    """The gradient of a loss with respect to the input of `max_pool1d`.

    Parameters
    ----------
    grad_output : float array of the shape of `max_pool1d`'s result
    input, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As they were given to `max_pool1d`.
    indices : integer array of the shape of `grad_output`, optional
        As returned by `max_pool1d`; found again from `input` if not given.  -1 stands for none.

    Returns
    -------
    array of the shape of `input`

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d_backward`.

    Notes
    -----
    The chain rule: all of a window's gradient goes to its maximum, as in torch.

    Examples
    --------
    >>> max_pool1d_backward(np.array([[10.0, 20.0]]), np.array([[1.0, 5.0, 2.0, 0.0]]), 2)
    array([[ 0., 10., 20.,  0.]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool_backward(1, grad_output, input, window, indices, data_format)


def max_pool3d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    data_format: str = "NCDHW",
    out: Array | None = None,
) -> Array | tuple[Array, Array]:
    """The largest element of every window: `max_pool2d` with three spatial axes.

    Parameters
    ----------
    input : float array of shape (N, C, D, H, W), or (C, D, H, W) for a single sample
        (N, D, H, W, C) or (D, H, W, C) if `data_format` is 'NDHWC'.
    kernel_size, stride, dilation : int or (d, h, w)
    padding : int, (d, h, w), three pairs (before, after), 'valid', 'same' or 'same_lower'
    ceil_mode, return_indices, out
        As for `max_pool2d`.
    data_format : 'NCDHW' or 'NDHWC'

    Returns
    -------
    output : array of shape (N, C, OD, OH, OW), or unbatched or channels-last as `input` is
    indices : int64 array of the same shape, only if `return_indices`
        The place (d·H + h)·W + w of the maximum in its volume; ties and NaN as in `max_pool2d`.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.max_pool3d``.

    Examples
    --------
    >>> max_pool3d(np.arange(16.0).reshape(1, 2, 2, 4), 2, return_indices=True)
    (array([[[[13., 15.]]]]), array([[[[13, 15]]]]))
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool(3, input, window, return_indices, data_format, out)


def max_pool3d_backward(
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    indices: npt.ArrayLike | None = None,
    data_format: str = "NCDHW",
) -> Array:
    """The gradient of a loss with respect to the input of `max_pool3d`.

    Parameters
    ----------
    grad_output : float array of the shape of `max_pool3d`'s result
    input, kernel_size, stride, padding, dilation, ceil_mode, data_format
        As they were given to `max_pool3d`.
    indices : integer array of the shape of `grad_output`, optional
        As returned by `max_pool3d`; found again from `input` if not given.  -1 stands for none.

    Returns
    -------
    array of the shape of `input`

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d_backward`.

    Notes
    -----
    The chain rule: all of a window's gradient goes to its maximum, as in torch.

    Examples
    --------
    >>> x = np.array([[[[1.0, 3.0], [2.0, 0.0]]]])
    >>> max_pool3d_backward(np.array([[[[10.0]]]]), x, (1, 2, 2))
    array([[[[ 0., 10.],
             [ 0.,  0.]]]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool_backward(3, grad_output, input, window, indices, data_format)


def _max_pool(
    axes: int,
    input: npt.ArrayLike,
    window: Window,
    return_indices: bool,
    data_format: str,
    out: Array | None,
) -> Array | tuple[Array, Array]:
    """Max pooling over any number of spatial axes."""
    dtype, (x,) = _promote(input=input)
    layout = _Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = _pool_windows(x.shape[2:], *window)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    _check_out(out, result_shape, dtype, input)

    if not return_indices:
        return layout.from_nchw(_max(x, windows), dtype, out)
    y, indices = _max_and_indices(x, windows)
    return layout.from_nchw(y, dtype, out), layout.from_nchw(indices, indices.dtype)


def _max_pool_backward(
    axes: int,
    grad_output: npt.ArrayLike,
    input: npt.ArrayLike,
    window: Window,
    indices: npt.ArrayLike | None,
    data_format: str,
) -> Array:
    """Its gradient."""
    dtype, (dy, x) = _promote(grad_output=grad_output, input=input)
    layout = _Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = _pool_windows(x.shape[2:], *window)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    _check_shape("grad_output", dy.shape, result_shape)
    if indices is None:
        _, places = _max_and_indices(x, windows)
    else:
        places = layout.to_nchw(_checked_indices(indices, result_shape, math.prod(windows.size)))
    return layout.from_nchw(_to_places(layout.to_nchw(dy), places, x.shape), dtype)


def _max(input: Array, windows: _Windows) -> Array:
    """The maximum of every window, tap by tap; `np.maximum` lets a NaN win."""
    padded = _pad(input, windows, -np.inf)
    best = np.full((*input.shape[:2], *windows.output), -np.inf, input.dtype)
    for _, window in windows.taps():
        np.maximum(best, padded[:, :, *window], out=best)
    return best


def _max_and_indices(input: Array, windows: _Windows) -> tuple[Array, Array]:
    """The maximum of every window and its place h·W + w in the plane; -∞ and -1 without one.

    A later tap wins only if it is larger, or the first NaN, so the first of equals stays.  The
    plane of the places is padded with -1: whatever comes first replaces a tap on padding, even -∞.
    """
    places = np.arange(math.prod(windows.size)).reshape(1, 1, *windows.size)
    padded, padded_places = _pad(input, windows, -np.inf), _pad(places, windows, -1)
    best = np.full((*input.shape[:2], *windows.output), -np.inf, input.dtype)
    index = np.full(best.shape, -1, np.int64)
    for _, window in windows.taps():
        value, place = padded[:, :, *window], padded_places[:, :, *window]
        larger = (value > best) | (np.isnan(value) & ~np.isnan(best))
        wins = larger | (index < 0)
        np.copyto(best, value, where=wins)
        np.copyto(index, place, where=wins)
    return best, index


def _to_places(grad_output: Array, places: Array, shape: Ints) -> Array:
    """Add each gradient onto its place h·W + w in the planes of an array of `shape`."""
    grad_input = np.zeros(shape, grad_output.dtype)
    planes, plane_size = math.prod(shape[:2]), math.prod(shape[2:])
    start = np.arange(planes).reshape(*shape[:2], *[1] * (len(shape) - 2)) * plane_size
    chosen = places >= 0
    np.add.at(grad_input.reshape(-1), (start + places)[chosen], grad_output[chosen])
    return grad_input


def _checked_indices(indices: npt.ArrayLike, shape: Ints, plane_size: int) -> Array:
    """`indices` as int64, once they are known to fit."""
    array = _as_array(indices)
    if array.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, but got dtype {array.dtype}")
    _check_shape("indices", array.shape, shape)
    if array.size and not -1 <= int(array.min()) <= int(array.max()) < plane_size:
        raise ValueError(
            f"indices: expected -1 or places in a plane of {plane_size} pixels, but got values "
            f"from {array.min()} to {array.max()}"
        )
    return array.astype(np.int64, copy=False)


def _pool_windows(
    size: Ints,
    kernel_size: Size,
    stride: Size | None,
    padding: Padding,
    dilation: Size,
    ceil_mode: bool,
) -> _Windows:
    """Place pooling windows; none may fit into the padding as a whole."""
    strides = kernel_size if stride is None else stride
    windows = _windows(size, kernel_size, strides, padding, dilation, bool(ceil_mode))
    for axis in windows.axes:
        if max(axis.before, axis.after) >= axis.span:
            raise ValueError(
                f"padding: expected less than the effective kernel size {axis.span}, but got "
                f"{(axis.before, axis.after)}"
            )
    return windows


# ---------------------------------------------------------------------------------------------
# Average pooling.


def avg_pool2d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCHW",
    out: Array | None = None,
) -> Array:
    """The mean of every window.

    Parameters
    ----------
    input : float array of shape (N, C, H, W), or (C, H, W) for a single sample
        (N, H, W, C) or (H, W, C) if `data_format` is 'NHWC'.
    kernel_size, stride : int or (h, w)
        The stride is the kernel size if it is None.
    padding : int, (h, w), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
        Zeros around the input, fewer than the kernel size.
    ceil_mode : bool
        Admit a last window that sticks out, unless it would start in the padding at the end.
        The part beyond the padding is never counted.
    count_include_pad : bool
        Divide by the number of pixels and padding zeros in the window, or of pixels alone.
    divisor_override : int, optional
        Divide by this number instead.
    data_format : 'NCHW' or 'NHWC'
    out : array, optional
        Receives the result; must have its shape and dtype and not overlap `input`.

    Returns
    -------
    array of shape (N, C, OH, OW), or unbatched or channels-last as `input` is
        Has the dtype of `input`; float16 is computed in float32.

    Raises
    ------
    ValueError
        If no window fits, a padding is too wide, the divisor is 0, or an option is unknown.
    TypeError
        If `input` is not float16, float32 or float64, or a size is not an integer.

    Notes
    -----
    The definition is that of ``torch.nn.functional.avg_pool2d``.

    Examples
    --------
    >>> x = np.array([[[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 2.0, 2.0]]])
    >>> avg_pool2d(x, 2)
    array([[[3.25, 1.5 ]]])
    >>> avg_pool2d(x, 2, padding=(0, 1), count_include_pad=False)
    array([[[2.  , 3.25, 1.  ]]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(2, input, window, count_include_pad, divisor_override, data_format, out)


def avg_pool2d_backward(
    grad_output: npt.ArrayLike,
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCHW",
) -> Array:
    """The gradient of a loss with respect to the input of `avg_pool2d`.

    Parameters
    ----------
    grad_output : float array of the shape of `avg_pool2d`'s result
        The gradient of the loss with respect to that result.
    input_size : sequence of int
        The shape of the array that `avg_pool2d` was given; the gradient does not depend on more.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
        As they were given to `avg_pool2d`.

    Returns
    -------
    array of shape `input_size`, dtype of `grad_output`

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`; also if `grad_output` has not the shape of the result.

    Notes
    -----
    The chain rule: each pixel of a window gets the window's gradient over its divisor.

    Examples
    --------
    >>> avg_pool2d_backward(np.array([[[4.0, 8.0]]]), (1, 2, 4), 2)
    array([[[1., 1., 2., 2.],
            [1., 1., 2., 2.]]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    divisor = (count_include_pad, divisor_override)
    return _avg_pool_backward(2, grad_output, input_size, window, *divisor, data_format)


def avg_pool1d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCL",
    out: Array | None = None,
) -> Array:
    """The mean of every window: `avg_pool2d` with one spatial axis.

    Parameters
    ----------
    input : float array of shape (N, C, L), or (C, L) for a single sample
        (N, L, C) or (L, C) if `data_format` is 'NLC'.
    kernel_size, stride : int
    padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
    ceil_mode, count_include_pad, divisor_override, out
        As for `avg_pool2d`.
    data_format : 'NCL' or 'NLC'

    Returns
    -------
    array of shape (N, C, OL), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.avg_pool1d``.

    Examples
    --------
    >>> avg_pool1d(np.array([[1.0, 5.0, 2.0, 0.0]]), 2)
    array([[3., 1.]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(1, input, window, count_include_pad, divisor_override, data_format, out)


def avg_pool1d_backward(
    grad_output: npt.ArrayLike,
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCL",
) -> Array:
    """The gradient of a loss with respect to the input of `avg_pool1d`.

    Parameters
    ----------
    grad_output : float array of the shape of `avg_pool1d`'s result
    input_size : sequence of int
        The shape of the array that `avg_pool1d` was given.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
        As they were given to `avg_pool1d`.

    Returns
    -------
    array of shape `input_size`, dtype of `grad_output`

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d_backward`.

    Notes
    -----
    The chain rule: each element of a window gets the window's gradient over its divisor.

    Examples
    --------
    >>> avg_pool1d_backward(np.array([[4.0, 8.0]]), (1, 4), 2)
    array([[2., 2., 4., 4.]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    divisor = (count_include_pad, divisor_override)
    return _avg_pool_backward(1, grad_output, input_size, window, *divisor, data_format)


def avg_pool3d(
    input: npt.ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCDHW",
    out: Array | None = None,
) -> Array:
    """The mean of every window: `avg_pool2d` with three spatial axes.

    Parameters
    ----------
    input : float array of shape (N, C, D, H, W), or (C, D, H, W) for a single sample
        (N, D, H, W, C) or (D, H, W, C) if `data_format` is 'NDHWC'.
    kernel_size, stride : int or (d, h, w)
    padding : int, (d, h, w), three pairs (before, after), 'valid', 'same' or 'same_lower'
    ceil_mode, count_include_pad, divisor_override, out
        As for `avg_pool2d`.
    data_format : 'NCDHW' or 'NDHWC'

    Returns
    -------
    array of shape (N, C, OD, OH, OW), or unbatched or channels-last as `input` is

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d`.

    Notes
    -----
    The definition is that of ``torch.nn.functional.avg_pool3d``.

    Examples
    --------
    >>> avg_pool3d(np.arange(16.0).reshape(1, 2, 2, 4), 2)
    array([[[[6.5, 8.5]]]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(3, input, window, count_include_pad, divisor_override, data_format, out)


def avg_pool3d_backward(
    grad_output: npt.ArrayLike,
    input_size: Sequence[int],
    kernel_size: Size,
    stride: Size | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCDHW",
) -> Array:
    """The gradient of a loss with respect to the input of `avg_pool3d`.

    Parameters
    ----------
    grad_output : float array of the shape of `avg_pool3d`'s result
    input_size : sequence of int
        The shape of the array that `avg_pool3d` was given.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
        As they were given to `avg_pool3d`.

    Returns
    -------
    array of shape `input_size`, dtype of `grad_output`

    Raises
    ------
    ValueError, TypeError
        As `avg_pool2d_backward`.

    Notes
    -----
    The chain rule: each element of a window gets the window's gradient over its divisor.

    Examples
    --------
    >>> avg_pool3d_backward(np.array([[[[8.0]]]]), (1, 2, 2, 2), 2)
    array([[[[1., 1.],
             [1., 1.]],
    <BLANKLINE>
            [[1., 1.],
             [1., 1.]]]])
    """
    window = (kernel_size, stride, padding, 1, ceil_mode)
    divisor = (count_include_pad, divisor_override)
    return _avg_pool_backward(3, grad_output, input_size, window, *divisor, data_format)


def _avg_pool(
    axes: int,
    input: npt.ArrayLike,
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
    data_format: str,
    out: Array | None,
) -> Array:
    """Average pooling over any number of spatial axes."""
    dtype, (x,) = _promote(input=input)
    layout = _Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = _pool_windows(x.shape[2:], *window)
    divisor = _divisor(windows, count_include_pad, divisor_override, x.dtype)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    _check_out(out, result_shape, dtype, input)

    padded = _pad(x, windows, 0)
    total = np.zeros((*x.shape[:2], *windows.output), x.dtype)
    for _, seen in windows.taps():
        total += padded[:, :, *seen]
    return layout.from_nchw(total / divisor, dtype, out)


def _avg_pool_backward(
    axes: int,
    grad_output: npt.ArrayLike,
    input_size: Sequence[int],
    window: Window,
    count_include_pad: bool,
    divisor_override: int | None,
    data_format: str,
) -> Array:
    """Its gradient."""
    dtype, (dy,) = _promote(grad_output=grad_output)
    shape = _shape("input_size", input_size)
    layout = _Layout.of("input_size", shape, data_format, axes)
    batch, channels, *size = layout.to_nchw_shape(shape)
    windows = _pool_windows(tuple(size), *window)
    divisor = _divisor(windows, count_include_pad, divisor_override, dy.dtype)
    result_shape = layout.from_nchw_shape((batch, channels, *windows.output))
    _check_shape("grad_output", dy.shape, result_shape)

    share = (layout.to_nchw(dy) / divisor).reshape(
        batch, channels, *[1] * len(size), *windows.output
    )
    columns = np.broadcast_to(share, (batch, channels, *windows.kernel, *windows.output))
    return layout.from_nchw(_scatter(columns, windows), dtype)


def _divisor(
    windows: _Windows, count_include_pad: bool, divisor_override: int | None, dtype: np.dtype[Any]
) -> Array:
    """What the sum of each window is divided by: an array of shape (OH, OW), or of no axes."""
    if divisor_override is not None:
        divisor = _int("divisor_override", divisor_override)
        if divisor == 0:
            raise ValueError("divisor_override: divisor must be not zero")
        return np.array(divisor, dtype)
    counts = [axis.counts(count_include_pad) for axis in windows.axes]
    return np.asarray(functools.reduce(np.multiply.outer, counts), dtype)


# ---------------------------------------------------------------------------------------------
# Arguments: dtypes, memory layouts and the rest of what is not mathematics.


class _Layout(NamedTuple):
    """How the caller's arrays are laid out, and the way to (N, C, H, W) and back."""

    channels_last: bool
    batched: bool

    @classmethod
    def of(cls, name: str, shape: Ints, data_format: str, axes: int) -> _Layout:
        """The layout of an array of `shape`, the argument called `name`."""
        first, last = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[axes]
        _check_option("data_format", data_format, (first, last))
        if len(shape) not in (axes + 1, axes + 2):
            raise ValueError(
                f"{name}: Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input, but got "
                f"input of size: {shape}"
            )
        return cls(data_format == last, len(shape) == axes + 2)

    def to_nchw(self, array: Array) -> Array:
        """A view of the caller's array as (N, C, H, W)."""
        array = array if self.batched else array[np.newaxis]
        return np.moveaxis(array, -1, 1) if self.channels_last else array

    def from_nchw(self, array: Array, dtype: np.dtype[Any], out: Array | None = None) -> Array:
        """An (N, C, H, W) array as the caller wants it: in `out` if there is one."""
        array = np.moveaxis(array, 1, -1) if self.channels_last else array
        array = array if self.batched else array[0]
        if out is None:
            return np.ascontiguousarray(array, dtype)
        out[...] = array
        return out

    def to_nchw_shape(self, shape: Ints) -> Ints:
        """The caller's shape as (N, C, H, W)."""
        batch, *rest = shape if self.batched else (1, *shape)
        return (batch, rest[-1], *rest[:-1]) if self.channels_last else (batch, *rest)

    def from_nchw_shape(self, shape: Ints) -> Ints:
        """The shape (N, C, H, W) as the caller sees it."""
        batch, channels, *size = shape
        rest = (*size, channels) if self.channels_last else (channels, *size)
        return (batch, *rest) if self.batched else rest


def _promote(**arrays: npt.ArrayLike | None) -> tuple[np.dtype[Any], list[Any]]:
    """The dtype of the result, and the arrays to compute with; a bias may be None."""
    given = {
        name: _as_float(name, a) for name, a in arrays.items() if a is not None or name != "bias"
    }
    dtype = np.result_type(np.float16, *(a.dtype for a in given.values()))
    compute = np.dtype(np.float32) if dtype == np.float16 else dtype
    ready = {name: a.astype(compute, copy=False) for name, a in given.items()}
    return dtype, [ready.get(name) for name in arrays]


def _as_float(name: str, value: npt.ArrayLike | None) -> Array:
    """`value` as an array, which must be float16, float32 or float64."""
    if value is None:
        raise TypeError(f"{name}: expected an array, but got None")
    array = _as_array(value)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return array
    fix = (
        f"treat {name}.real and {name}.imag one after the other"
        if array.dtype.kind == "c"
        else f"convert it first, e.g. np.asarray({name}, dtype=np.float32)"
    )
    raise TypeError(
        f"{name}: expected dtype float16, float32 or float64, but got {array.dtype}; {fix}"
    )


def _as_array(value: Any) -> Array:
    """``np.asarray``, which does not look for DLPack itself."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def _int(name: str, value: Any, minimum: int | None = None) -> int:
    """`value` as an integer."""
    message = f"{name}: expected an int{_at_least(minimum)}, but got {value!r}"
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if minimum is not None and integer < minimum:
        raise ValueError(message)
    return integer


def _ints(name: str, value: Any, count: int, minimum: int | None = None) -> Ints:
    """`value`, one integer for all or a sequence of `count`, as a tuple of `count` integers."""
    message = f"{name}: expected an int or {count} ints{_at_least(minimum)}, but got {value!r}"
    try:
        entries = tuple(value) if isinstance(value, Iterable) else (value,) * count
        integers = tuple(map(operator.index, entries))
    except TypeError:
        raise TypeError(message) from None
    if len(integers) != count or (minimum is not None and any(i < minimum for i in integers)):
        raise ValueError(message)
    return integers


def _at_least(minimum: int | None) -> str:
    return "" if minimum is None else f" of at least {minimum}"


def _shape(name: str, value: Sequence[int]) -> Ints:
    """`value` as a shape: a tuple of integers, none negative."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a sequence of ints, but got {value!r}")
    entries = tuple(value)
    return _ints(name, entries, len(entries), minimum=0)


def _spatial(name: str, shape: Ints) -> Ints:
    """The spatial sizes (H, W) of a shape (N, C, H, W)."""
    if len(shape) < 3:
        raise ValueError(f"{name}: expected (N, C, *spatial), but got {shape}")
    return shape[2:]


def _mask(output_mask: Sequence[bool]) -> tuple[bool, bool, bool]:
    """`output_mask` as three bools."""
    mask = tuple(map(bool, output_mask)) if isinstance(output_mask, Iterable) else ()
    if len(mask) != 3:
        raise ValueError(f"output_mask: expected three bools, but got {output_mask!r}")
    return mask[0], mask[1], mask[2]


def _check_option(name: str, value: object, options: tuple[object, ...]) -> None:
    if not (value is None or isinstance(value, str)) or value not in options:
        raise ValueError(f"{name}: expected one of {options}, but got {value!r}")


def _check_shape(name: str, shape: Ints, expected: Ints) -> None:
    if shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, but got {shape}")


def _check_out(
    out: Array | None, shape: Ints, dtype: np.dtype[Any], *inputs: npt.ArrayLike | None
) -> None:
    """Check that `out` can take a result of this shape and dtype computed from `inputs`."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected a NumPy array, but got {type(out).__name__}")
    _check_shape("out", out.shape, shape)
    if out.dtype != dtype:
        raise ValueError(f"out: expected dtype {dtype}, but got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, but got a read-only one")
    if any(np.shares_memory(out, _as_array(a)) for a in inputs if a is not None):
        raise ValueError("out: expected memory of its own, but it overlaps an input")
