"""Transposed convolution: the input gradient of a convolution, as a function of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy.typing as npt

from .arguments import (
    Array,
    Ints,
    Layout,
    Padding,
    Size,
    check_bias,
    check_dimensions,
    check_out,
    check_shape,
    promote,
    to_int,
    to_ints,
    to_mask,
)
from .conv import correlate, correlate_input_grad, correlate_weight_grad, sum_positions
from .windows import Axis, Windows, normalise_padding

__all__ = [
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
]


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
    dtype, (x, w, b) = promote(input=input, weight=weight, bias=bias)
    layout = Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _transposed_windows(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation
    )
    outputs = w.shape[1] * groups
    check_bias(b, w.shape, outputs)
    result_shape = layout.from_nchw_shape((len(x), outputs, *windows.size))
    check_out(out, result_shape, dtype, input, weight, bias)

    y = correlate_input_grad(x, w, windows, groups)
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
    want_input, want_weight, want_bias = to_mask(output_mask)
    dtype, (dy, x, w) = promote(grad_output=grad_output, input=input, weight=weight)
    layout = Layout.of("input", x.shape, data_format, axes=axes)
    x = layout.to_nchw(x)
    windows = _transposed_windows(
        x.shape, w.shape, stride, padding, output_padding, groups, dilation
    )
    result_shape = (len(x), w.shape[1] * groups, *windows.size)
    check_shape("grad_output", dy.shape, layout.from_nchw_shape(result_shape))
    dy = layout.to_nchw(dy)

    dx = dw = db = None
    if want_input:
        dx = layout.from_nchw(correlate(dy, w, windows, groups), dtype)
    if want_weight:
        dw = correlate_weight_grad(x, dy, w.shape, windows, groups).astype(dtype, copy=False)
    if want_bias:
        db = sum_positions(dy).astype(dtype, copy=False)
    return dx, dw, db


def _transposed_windows(
    input_size: Ints,
    weight_size: Ints,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
) -> Windows:
    """The windows of the convolution that leads from the result back to the input."""
    check_dimensions(weight_size, input_size, "(in, out/groups, *kernel)")
    parts = to_int("groups", groups, minimum=1)
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
    strides = to_ints("stride", stride, len(pixels), minimum=1)
    dilations = to_ints("dilation", dilation, len(pixels), minimum=1)
    extra = to_ints("output_padding", output_padding, len(pixels), minimum=0)
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
    return Windows(
        tuple(
            Axis(n, k, s, before, after, d, windows=count)
            for n, k, s, (before, after), d, count in axes
        )
    )


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
