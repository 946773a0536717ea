"""Convolution, and its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .arguments import (
    Array,
    Ints,
    Layout,
    Padding,
    Size,
    check_bias,
    check_dimensions,
    check_option,
    check_out,
    check_shape,
    promote,
    to_int,
    to_mask,
)
from .columns import gather, scatter
from .windows import Windows, windows_of

__all__ = ["conv1d", "conv1d_backward", "conv2d", "conv2d_backward", "conv3d", "conv3d_backward"]


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
    check_option("activation", activation, (None, "relu"))
    check_option("algorithm", algorithm, ("auto", "direct", "winograd"))
    dtype, (x, w, b) = promote(input=input, weight=weight, bias=bias)
    layout = Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = conv_windows(x.shape, w.shape, stride, padding, dilation, groups)
    check_bias(b, w.shape, len(w))
    result_shape = layout.from_nchw_shape((len(x), len(w), *windows.output))
    check_out(out, result_shape, dtype, input, weight, bias)

    y = correlate(x, w, windows, groups)
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
    want_input, want_weight, want_bias = to_mask(output_mask)
    dtype, (dy, x, w) = promote(grad_output=grad_output, input=input, weight=weight)
    layout = Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = conv_windows(x.shape, w.shape, stride, padding, dilation, groups)
    check_shape("grad_output", dy.shape, layout.from_nchw_shape((len(x), len(w), *windows.output)))
    dy = layout.to_nchw(dy)

    dx = dw = db = None
    if want_input:
        dx = layout.from_nchw(correlate_input_grad(dy, w, windows, groups), dtype)
    if want_weight:
        dw = correlate_weight_grad(dy, x, w.shape, windows, groups).astype(dtype, copy=False)
    if want_bias:
        db = sum_positions(dy).astype(dtype, copy=False)
    return dx, dw, db


def correlate(input: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """Y = W X, one product for every sample and group."""
    batch = len(input)
    rows, pixels = math.prod(weight.shape[1:]), math.prod(windows.output)
    columns = gather(input, windows).reshape(batch, groups, rows, pixels)
    filters = weight.reshape(groups, len(weight) // groups, rows)
    product: Array = np.matmul(filters, columns)
    return product.reshape(batch, len(weight), *windows.output)


def correlate_input_grad(grad_output: Array, weight: Array, windows: Windows, groups: int) -> Array:
    """dX = Wᵀ dY, dx = col2im(dX)."""
    batch, channels = len(grad_output), weight.shape[1] * groups
    rows, pixels = math.prod(weight.shape[1:]), math.prod(windows.output)
    filters = weight.reshape(groups, len(weight) // groups, rows)
    gradient = grad_output.reshape(batch, groups, len(weight) // groups, pixels)
    columns = np.matmul(filters.swapaxes(-1, -2), gradient)
    return scatter(columns.reshape(batch, channels, *windows.kernel, *windows.output), windows)


def correlate_weight_grad(
    grad_output: Array, input: Array, weight_size: Ints, windows: Windows, groups: int
) -> Array:
    """dW = Σ_n dY[n] X[n]ᵀ, one sample at a time."""
    batch, kernels = grad_output.shape[:2]
    rows, pixels = math.prod(weight_size[1:]), math.prod(windows.output)
    columns = gather(input, windows).reshape(batch, groups, rows, pixels)
    gradient = grad_output.reshape(batch, groups, kernels // groups, pixels)
    total = np.zeros((groups, kernels // groups, rows), grad_output.dtype)
    for dy, x in zip(gradient, columns, strict=True):
        total += np.matmul(dy, x.swapaxes(-1, -2))
    return total.reshape(weight_size)


def conv_windows(
    input_size: Ints,
    weight_size: Ints,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
) -> Windows:
    """Check that weight and groups fit an (N, C, H, W) input, and place the windows."""
    check_dimensions(weight_size, input_size, "(out, in/groups, *kernel)")
    parts = to_int("groups", groups, minimum=1)
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
    return windows_of(input_size[2:], weight_size[2:], stride, padding, dilation)


def sum_positions(grad_output: Array) -> Array:
    """db: the sum over samples and pixels."""
    return np.asarray(grad_output.sum(axis=(0, *range(2, grad_output.ndim))))


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
