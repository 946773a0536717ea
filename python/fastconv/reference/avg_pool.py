"""Average pooling, and its gradient."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .arguments import (
    Array,
    Layout,
    Padding,
    Size,
    Window,
    check_out,
    check_shape,
    promote,
    to_int,
    to_shape,
)
from .columns import pad_planes, scatter
from .windows import Windows, pool_windows

__all__ = [
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
]


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
    dtype, (x,) = promote(input=input)
    layout = Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = pool_windows(x.shape[2:], *window)
    divisor = _divisor(windows, count_include_pad, divisor_override, x.dtype)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    check_out(out, result_shape, dtype, input)

    padded = pad_planes(x, windows, 0)
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
    dtype, (dy,) = promote(grad_output=grad_output)
    shape = to_shape("input_size", input_size)
    layout = Layout.of("input_size", shape, data_format, axes)
    batch, channels, *size = layout.to_nchw_shape(shape)
    windows = pool_windows(tuple(size), *window)
    divisor = _divisor(windows, count_include_pad, divisor_override, dy.dtype)
    result_shape = layout.from_nchw_shape((batch, channels, *windows.output))
    check_shape("grad_output", dy.shape, result_shape)

    share = (layout.to_nchw(dy) / divisor).reshape(
        batch, channels, *[1] * len(size), *windows.output
    )
    columns = np.broadcast_to(share, (batch, channels, *windows.kernel, *windows.output))
    return layout.from_nchw(scatter(columns, windows), dtype)


def _divisor(
    windows: Windows, count_include_pad: bool, divisor_override: int | None, dtype: np.dtype[Any]
) -> Array:
    """What the sum of each window is divided by: an array of shape (OH, OW), or of no axes."""
    if divisor_override is not None:
        divisor = to_int("divisor_override", divisor_override)
        if divisor == 0:
            raise ValueError("divisor_override: divisor must be not zero")
        return np.array(divisor, dtype)
    counts = [axis.counts(count_include_pad) for axis in windows.axes]
    return np.asarray(functools.reduce(np.multiply.outer, counts), dtype)


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
