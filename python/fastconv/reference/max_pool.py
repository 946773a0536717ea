"""Max pooling, and its gradient."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .arguments import (
    Array,
    Ints,
    Layout,
    Padding,
    Size,
    Window,
    as_array,
    check_out,
    check_shape,
    promote,
)
from .columns import pad_planes
from .windows import Windows, pool_windows

__all__ = [
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
]


def _max_pool(
    axes: int,
    input: npt.ArrayLike,
    window: Window,
    return_indices: bool,
    data_format: str,
    out: Array | None,
) -> Array | tuple[Array, Array]:
    """Max pooling over any number of spatial axes."""
    dtype, (x,) = promote(input=input)
    layout = Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = pool_windows(x.shape[2:], *window)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    check_out(out, result_shape, dtype, input)

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
    dtype, (dy, x) = promote(grad_output=grad_output, input=input)
    layout = Layout.of("input", x.shape, data_format, axes)
    x = layout.to_nchw(x)
    windows = pool_windows(x.shape[2:], *window)
    result_shape = layout.from_nchw_shape((*x.shape[:2], *windows.output))
    check_shape("grad_output", dy.shape, result_shape)
    if indices is None:
        _, places = _max_and_indices(x, windows)
    else:
        places = layout.to_nchw(_checked_indices(indices, result_shape, math.prod(windows.size)))
    return layout.from_nchw(_to_places(layout.to_nchw(dy), places, x.shape), dtype)


def _max(input: Array, windows: Windows) -> Array:
    """The maximum of every window, tap by tap; `np.maximum` lets a NaN win."""
    padded = pad_planes(input, windows, -np.inf)
    best = np.full((*input.shape[:2], *windows.output), -np.inf, input.dtype)
    for _, window in windows.taps():
        np.maximum(best, padded[:, :, *window], out=best)
    return best


def _max_and_indices(input: Array, windows: Windows) -> tuple[Array, Array]:
    """The maximum of every window and its place h·W + w in the plane; -∞ and -1 without one.

    A later tap wins only if it is larger, or the first NaN, so the first of equals stays.  The
    plane of the places is padded with -1: whatever comes first replaces a tap on padding, even -∞.
    """
    places = np.arange(math.prod(windows.size)).reshape(1, 1, *windows.size)
    padded, padded_places = pad_planes(input, windows, -np.inf), pad_planes(places, windows, -1)
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
    array = as_array(indices)
    if array.dtype.kind not in "iu":
        raise TypeError(f"indices: expected integers, but got dtype {array.dtype}")
    check_shape("indices", array.shape, shape)
    if array.size and not -1 <= int(array.min()) <= int(array.max()) < plane_size:
        raise ValueError(
            f"indices: expected -1 or places in a plane of {plane_size} pixels, but got values "
            f"from {array.min()} to {array.max()}"
        )
    return array.astype(np.int64, copy=False)


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
