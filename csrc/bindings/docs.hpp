// Docstrings. The first line is the signature that inspect.signature and help() show.
#pragma once

namespace fastconv {

inline constexpr const char* kConv2dDoc =
    R"(conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW", activation=None, algorithm="auto", out=None)
--

2-D convolution (cross-correlation) of a batch of images.

``y[n, o, i, j] = bias[o] + sum(x[n, c, i*sh + r*dh - ph, j*sw + s*dw - pw] * weight[o, c, r, s])``
over the group's channels c and the taps r, s. To convolve in the mathematical sense, flip the
weight: ``weight[:, :, ::-1, ::-1]``.

Parameters
----------
input : array_like, shape (N, C, H, W) or (C, H, W)
    float32, float64 or float16; (N, H, W, C) or (H, W, C) for ``data_format="NHWC"``. Any strides.
weight : array_like, shape (O, C // groups, KH, KW)
    In both data formats. A transposed view of an HWIO array is fine.
bias : array_like, shape (O,), optional
stride, dilation : int or (int, int)
padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
    Zeros around the image. 'same' gives ceil(size / stride) outputs at every stride, the odd pixel
    of padding at the end ('same_lower': at the start).
groups : int
    Blocks of channels that do not see each other. ``groups == C`` is a depthwise convolution.
data_format : {'NCHW', 'NHWC'}
activation : None or 'relu'
    Applied to the result as it is stored.
algorithm : {'auto', 'direct', 'winograd'}
    'direct' never uses Winograd's algorithm; 'winograd' raises where it does not apply: it needs a
    kernel of 2x2, 3x3, 5x5, or 2, 3, 5 or 7 in one row or column, stride 1, and 8 channels in and
    out in each group. 'auto' has a form of it for 3x3 with stride 2, too, as exact as 'direct'.
out : ndarray, optional
    Written and returned. Must have the right shape and dtype and overlap no other argument.

Returns
-------
ndarray, shape (N, O, OH, OW) or as `data_format` and `input` say
    ``OH = (H + top + bottom - dh * (KH - 1) - 1) // sh + 1``. The dtype is NumPy's promotion of the
    arrays' dtypes; float16 is computed in float32.

Raises
------
TypeError
    For integer, complex or object arrays, and arguments of the wrong type.
ValueError
    For shapes and values that do not fit; the message names the argument.
MemoryError
    If the result could not be held by this machine.

Notes
-----
The definition is that of ``torch.nn.functional.conv2d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
>>> edges = np.array([[[[1, -1]]]], dtype=np.float32)
>>> fastconv.conv2d(x, edges).shape
(1, 1, 4, 3)
>>> fastconv.conv2d(x, edges)[0, 0, 0]
array([-1., -1., -1.], dtype=float32)
)";

inline constexpr const char* kConv2dBackwardDoc =
    R"(conv2d_backward(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW", output_mask=(True, True, True))
--

Gradients of `conv2d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv2d``; has that result's shape.
input, weight, stride, padding, dilation, groups, data_format
    As they were given to `conv2d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked. The dtype is NumPy's promotion of
    the three arrays' dtypes.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.ops.aten.convolution_backward``.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.ones((1, 1, 3, 3), np.float32)
>>> w = np.ones((1, 1, 2, 2), np.float32)
>>> g = np.ones((1, 1, 2, 2), np.float32)
>>> dx, dw, db = fastconv.conv2d_backward(g, x, w)
>>> dx[0, 0]
array([[1., 2., 1.],
       [2., 4., 2.],
       [1., 2., 1.]], dtype=float32)
>>> float(db[0])
4.0
)";

inline constexpr const char* kConv2dPrepackDoc =
    R"(conv2d_prepack(weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW", activation=None, algorithm="auto", pool=None)
--

A convolution with constant weights, rearranged once for the kernels.

Parameters
----------
weight, bias, stride, padding, dilation, groups, data_format, activation, algorithm
    As for `conv2d`. The arrays are copied; later changes to them have no effect.
pool : None, 2, ("max", 2) or ("avg", 2)
    What is applied to the result, after the activation: windows of 2 by 2 with stride 2, of which the
    maximum (for 2, too) or the average is kept. An odd last row or column is dropped.

Returns
-------
PackedConv2d
    ``packed(input, out=None)`` gives what ``conv2d(input, weight, ...)`` gives, and with ``pool=2``
    what ``max_pool2d(conv2d(input, weight, ...), 2)`` gives, to the bit in float32 and float64
    (float16 is rounded once, at the end). The array in between is never stored as a whole. It may be
    called from several threads at once. An operator that pools has no ``backward``.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`. ValueError for any other `pool`, and by the call if the result has less than 2 rows or
    columns to pool.

Examples
--------
>>> import numpy as np, fastconv
>>> w = np.ones((8, 3, 3, 3), np.float32)
>>> packed = fastconv.conv2d_prepack(w, padding="same", activation="relu")
>>> packed(np.ones((2, 3, 16, 16), np.float32)).shape
(2, 8, 16, 16)
>>> block = fastconv.conv2d_prepack(w, padding="same", activation="relu", pool=2)
>>> block(np.ones((2, 3, 16, 16), np.float32)).shape
(2, 8, 8, 8)
)";

inline constexpr const char* kPackedBackwardDoc =
    R"(Gradients of the convolution with respect to its input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the convolution's result. If the operator has an
    activation, that is the result before it: pass ``grad_output * (output > 0)`` for 'relu'.
input : array_like
    What the operator was called with.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    As from `conv2d_backward` with the operator's own weight and options.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d_backward`. ValueError if the operator has a `pool`, whose winners it does not keep.

Examples
--------
>>> import numpy as np, fastconv
>>> packed = fastconv.conv2d_prepack(np.ones((1, 1, 2, 2), np.float32))
>>> g, x = np.ones((1, 1, 1, 2), np.float32), np.ones((1, 1, 2, 3), np.float32)
>>> packed.backward(g, x, output_mask=(True, False, True))
(array([[[[1., 2., 1.],
         [1., 2., 1.]]]], dtype=float32), None, array([2.], dtype=float32))
)";

inline constexpr const char* kConv2dPlanDoc =
    R"(conv2d_plan(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW", dtype="float32", algorithm="auto", prepacked=False)
--

What `conv2d` would do for arrays of these shapes, without doing it.

Parameters
----------
input_shape, weight_shape : tuple of int
stride, padding, dilation, groups, data_format, algorithm
    As for `conv2d`.
dtype : dtype_like
    float32, float64 or float16 (which is computed in float32).
prepacked : bool
    Plan for `conv2d_prepack`'s operator instead.

Returns
-------
Plan
    ``.algorithm``, ``.isa``, ``.threads``, ``.workspace_bytes``, ``.flops`` (multiplications and
    additions), ``.bytes`` (input, weight and output, once each); ``str(plan)`` is a table.

Raises
------
TypeError, ValueError
    As `conv2d`.

Examples
--------
>>> import fastconv
>>> plan = fastconv.conv2d_plan((1, 64, 56, 56), (64, 64, 3, 3), padding=1)
>>> plan.flops
231211008
)";

inline constexpr const char* kConv1dDoc =
    R"(conv1d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCL", activation=None, algorithm="auto", out=None)
--

1-D convolution (cross-correlation) of a batch of signals.

``y[n, o, i] = bias[o] + sum(x[n, c, i*s + r*d - p] * weight[o, c, r])``
over the group's channels c and the taps r. To convolve in the mathematical sense, flip the weight:
``weight[:, :, ::-1]``.

Parameters
----------
input : array_like, shape (N, C, L) or (C, L)
    float32, float64 or float16; (N, L, C) or (L, C) for ``data_format="NLC"``.
weight : array_like, shape (O, C // groups, K)
    In both data formats.
bias : array_like, shape (O,), optional
stride, dilation : int
padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
data_format : {'NCL', 'NLC'}
groups, activation, algorithm, out
    As for `conv2d`.

Returns
-------
ndarray, shape (N, O, OL) or as `data_format` and `input` say

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.conv1d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[[1, 2, 4, 8]]], np.float32)
>>> fastconv.conv1d(x, np.array([[[-1, 1]]], np.float32))
array([[[1., 2., 4.]]], dtype=float32)
)";

inline constexpr const char* kConv1dBackwardDoc =
    R"(conv1d_backward(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCL", output_mask=(True, True, True))
--

Gradients of `conv1d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv1d``; has that result's shape.
input, weight, stride, padding, dilation, groups, data_format
    As they were given to `conv1d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.array([[[1, 2, 4]]], np.float32), np.array([[[10, 100]]], np.float32)
>>> dx, dw, db = fastconv.conv1d_backward(np.ones((1, 1, 2), np.float32), x, w)
>>> dx, dw, db
(array([[[ 10., 110., 100.]]], dtype=float32), array([[[3., 6.]]], dtype=float32), array([2.], dtype=float32))
)";

inline constexpr const char* kConv1dPrepackDoc =
    R"(conv1d_prepack(weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCL", activation=None, algorithm="auto", pool=None)
--

A 1-D convolution with constant weights, rearranged once for the kernels.

Parameters
----------
weight, bias, stride, padding, dilation, groups, data_format, activation, algorithm
    As for `conv1d`. The arrays are copied; later changes to them have no effect.
pool : None, 2, ("max", 2) or ("avg", 2)
    What is applied to the result: windows of 2; see `conv2d_prepack`.

Returns
-------
PackedConv1d
    ``packed(input, out=None)`` gives what ``conv1d(input, weight, ...)`` gives. It may be called from
    several threads at once.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> packed = fastconv.conv1d_prepack(np.ones((8, 3, 5), np.float32), padding="same")
>>> packed(np.ones((2, 3, 100), np.float32)).shape
(2, 8, 100)
)";

inline constexpr const char* kConv1dPlanDoc =
    R"(conv1d_plan(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCL", dtype="float32", algorithm="auto", prepacked=False)
--

What `conv1d` would do for arrays of these shapes, without doing it.

Parameters
----------
input_shape, weight_shape : tuple of int
stride, padding, dilation, groups, data_format, algorithm
    As for `conv1d`.
dtype : dtype_like
    float32, float64 or float16 (which is computed in float32).
prepacked : bool
    Plan for `conv1d_prepack`'s operator instead.

Returns
-------
Plan
    As from `conv2d_plan`.

Raises
------
TypeError, ValueError
    As `conv2d`.

Examples
--------
>>> import fastconv
>>> fastconv.conv1d_plan((1, 80, 3000), (512, 80, 3), padding=1).flops
737280000
)";

inline constexpr const char* kConv3dDoc =
    R"(conv3d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCDHW", activation=None, algorithm="auto", out=None)
--

3-D convolution (cross-correlation) of a batch of volumes.

`conv2d` with a third spatial axis, the depth. To convolve in the mathematical sense, flip the
weight: ``weight[:, :, ::-1, ::-1, ::-1]``.

Parameters
----------
input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    float32, float64 or float16; (N, D, H, W, C) or (D, H, W, C) for ``data_format="NDHWC"``.
weight : array_like, shape (O, C // groups, KD, KH, KW)
    In both data formats.
bias : array_like, shape (O,), optional
stride, dilation : int or (int, int, int)
padding : int, (int, int, int), three (before, after) pairs, 'valid', 'same' or 'same_lower'
data_format : {'NCDHW', 'NDHWC'}
groups, activation, algorithm, out
    As for `conv2d`.

Returns
-------
ndarray, shape (N, O, OD, OH, OW) or as `data_format` and `input` say

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.conv3d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((3, 2, 2, 2, 2), np.float32)
>>> y = fastconv.conv3d(x, w)
>>> y.shape, float(y[0, 0, 0, 0, 0])
((1, 3, 3, 4, 5), 16.0)
)";

inline constexpr const char* kConv3dBackwardDoc =
    R"(conv3d_backward(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCDHW", output_mask=(True, True, True))
--

Gradients of `conv3d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv3d``; has that result's shape.
input, weight, stride, padding, dilation, groups, data_format
    As they were given to `conv3d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((3, 2, 2, 2, 2), np.float32)
>>> dx, dw, db = fastconv.conv3d_backward(np.ones((1, 3, 3, 4, 5), np.float32), x, w)
>>> dx.shape, dw.shape, float(db[0])
((1, 2, 4, 5, 6), (3, 2, 2, 2, 2), 60.0)
)";

inline constexpr const char* kConv3dPrepackDoc =
    R"(conv3d_prepack(weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCDHW", activation=None, algorithm="auto", pool=None)
--

A 3-D convolution with constant weights, rearranged once for the kernels.

Parameters
----------
weight, bias, stride, padding, dilation, groups, data_format, activation, algorithm
    As for `conv3d`. The arrays are copied; later changes to them have no effect.
pool : None, 2, ("max", 2) or ("avg", 2)
    What is applied to the result: windows of 2 by 2 by 2; see `conv2d_prepack`.

Returns
-------
PackedConv3d
    ``packed(input, out=None)`` gives what ``conv3d(input, weight, ...)`` gives. It may be called from
    several threads at once.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> packed = fastconv.conv3d_prepack(np.ones((8, 3, 3, 3, 3), np.float32), padding="same")
>>> packed(np.ones((2, 3, 4, 16, 16), np.float32)).shape
(2, 8, 4, 16, 16)
)";

inline constexpr const char* kConv3dPlanDoc =
    R"(conv3d_plan(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCDHW", dtype="float32", algorithm="auto", prepacked=False)
--

What `conv3d` would do for arrays of these shapes, without doing it.

Parameters
----------
input_shape, weight_shape : tuple of int
stride, padding, dilation, groups, data_format, algorithm
    As for `conv3d`.
dtype : dtype_like
    float32, float64 or float16 (which is computed in float32).
prepacked : bool
    Plan for `conv3d_prepack`'s operator instead.

Returns
-------
Plan
    As from `conv2d_plan`.

Raises
------
TypeError, ValueError
    As `conv2d`.

Examples
--------
>>> import fastconv
>>> fastconv.conv3d_plan((1, 3, 16, 112, 112), (64, 3, 3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3)).flops
2832334848
)";

inline constexpr const char* kConvTranspose1dDoc =
    R"(conv_transpose1d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCL", out=None)
--

1-D transposed convolution: each element of the input is spread over the output by the kernel.

It is the gradient of `conv1d` with respect to its input (of cross-correlation: the kernel is laid
down as it is, not flipped), and what decoders upsample with.

Parameters
----------
input : array_like, shape (N, I, L) or (I, L)
    float32, float64 or float16; (N, L, I) or (L, I) for ``data_format="NLC"``.
weight : array_like, shape (I, O // groups, K)
    In both data formats.
bias : array_like, shape (O,), optional
stride, dilation : int
padding : int, ((before, after),), 'valid', 'same' or 'same_lower'
    How much of the result is cut off at its ends. 'valid' is none; 'same' makes the output
    ``size * stride``, and cuts the odd element at the end ('same_lower': at the start).
output_padding : int
    Elements more at the end, below the stride or the dilation; they tell apart the sizes that a
    strided convolution makes one. 0 with 'same'.
groups : int
    Blocks of channels that do not see each other.
data_format : {'NCL', 'NLC'}
out : ndarray, optional
    Written and returned. Must have the right shape and dtype and overlap no other argument.

Returns
-------
ndarray
    Of the sizes ``(size - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.conv_transpose1d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.array([[[1, 2]]], np.float32), np.array([[[1, 10, 100]]], np.float32)
>>> fastconv.conv_transpose1d(x, w, stride=2)
array([[[  1.,  10., 102.,  20., 200.]]], dtype=float32)
)";

inline constexpr const char* kConvTranspose1dBackwardDoc =
    R"(conv_transpose1d_backward(grad_output, input, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCL", output_mask=(True, True, True))
--

Gradients of `conv_transpose1d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv_transpose1d``; has that result's shape.
input, weight, stride, padding, output_padding, groups, dilation, data_format
    As they were given to `conv_transpose1d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.array([[[1, 2]]], np.float32), np.array([[[1, 10, 100]]], np.float32)
>>> dx, dw, db = fastconv.conv_transpose1d_backward(np.ones((1, 1, 5), np.float32), x, w, stride=2)
>>> dx, dw, db
(array([[[111., 111.]]], dtype=float32), array([[[3., 3., 3.]]], dtype=float32), array([5.], dtype=float32))
)";

inline constexpr const char* kConvTranspose2dDoc =
    R"(conv_transpose2d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCHW", out=None)
--

2-D transposed convolution: each element of the input is spread over the output by the kernel.

It is the gradient of `conv2d` with respect to its input (of cross-correlation: the kernel is laid
down as it is, not flipped), and what decoders upsample with.

Parameters
----------
input : array_like, shape (N, I, H, W) or (I, H, W)
    float32, float64 or float16; (N, H, W, I) or (H, W, I) for ``data_format="NHWC"``.
weight : array_like, shape (I, O // groups, KH, KW)
    In both data formats.
bias : array_like, shape (O,), optional
stride, dilation : int or (int, int)
padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
    How much of the result is cut off at its ends. 'valid' is none; 'same' makes the output
    ``size * stride``, and cuts the odd element at the end ('same_lower': at the start).
output_padding : int or (int, int)
    Elements more at the end, below the stride or the dilation; they tell apart the sizes that a
    strided convolution makes one. 0 with 'same'.
groups : int
    Blocks of channels that do not see each other.
data_format : {'NCHW', 'NHWC'}
out : ndarray, optional
    Written and returned. Must have the right shape and dtype and overlap no other argument.

Returns
-------
ndarray
    Of the sizes ``(size - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.conv_transpose2d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.array([[[1, 2]]], np.float32), np.ones((1, 1, 2, 3), np.float32)
>>> fastconv.conv_transpose2d(x, w, stride=2)
array([[[1., 1., 3., 2., 2.],
        [1., 1., 3., 2., 2.]]], dtype=float32)
>>> fastconv.conv_transpose2d(x, w, stride=2, padding="same").shape
(1, 2, 4)
)";

inline constexpr const char* kConvTranspose2dBackwardDoc =
    R"(conv_transpose2d_backward(grad_output, input, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCHW", output_mask=(True, True, True))
--

Gradients of `conv_transpose2d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv_transpose2d``; has that result's shape.
input, weight, stride, padding, output_padding, groups, dilation, data_format
    As they were given to `conv_transpose2d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.array([[[1, 2]]], np.float32), np.ones((1, 1, 2, 3), np.float32)
>>> g = np.ones((1, 2, 5), np.float32)
>>> dx, dw, db = fastconv.conv_transpose2d_backward(g, x, w, stride=2)
>>> dx, float(dw[0, 0, 0, 0]), float(db[0])
(array([[[6., 6.]]], dtype=float32), 3.0, 10.0)
)";

inline constexpr const char* kConvTranspose3dDoc =
    R"(conv_transpose3d(input, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCDHW", out=None)
--

3-D transposed convolution: each element of the input is spread over the output by the kernel.

It is the gradient of `conv3d` with respect to its input (of cross-correlation: the kernel is laid
down as it is, not flipped), and what decoders upsample with.

Parameters
----------
input : array_like, shape (N, I, D, H, W) or (I, D, H, W)
    float32, float64 or float16; (N, D, H, W, I) or (D, H, W, I) for ``data_format="NDHWC"``.
weight : array_like, shape (I, O // groups, KD, KH, KW)
    In both data formats.
bias : array_like, shape (O,), optional
stride, dilation : int or (int, int, int)
padding : int, (int, int, int), three (before, after) pairs, 'valid', 'same' or 'same_lower'
    How much of the result is cut off at its ends. 'valid' is none; 'same' makes the output
    ``size * stride``, and cuts the odd element at the end ('same_lower': at the start).
output_padding : int or (int, int, int)
    Elements more at the end, below the stride or the dilation; they tell apart the sizes that a
    strided convolution makes one. 0 with 'same'.
groups : int
    Blocks of channels that do not see each other.
data_format : {'NCDHW', 'NDHWC'}
out : ndarray, optional
    Written and returned. Must have the right shape and dtype and overlap no other argument.

Returns
-------
ndarray
    Of the sizes ``(size - 1) * stride - before - after + dilation * (kernel - 1) + output_padding + 1``.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.conv_transpose3d``.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((2, 3, 2, 2, 2), np.float32)
>>> y = fastconv.conv_transpose3d(x, w, stride=2)
>>> y.shape, float(y[0, 0, 0, 0, 0])
((1, 3, 8, 10, 12), 2.0)
)";

inline constexpr const char* kConvTranspose3dBackwardDoc =
    R"(conv_transpose3d_backward(grad_output, input, weight, stride=1, padding=0, output_padding=0, groups=1, dilation=1, *, data_format="NCDHW", output_mask=(True, True, True))
--

Gradients of `conv_transpose3d` with respect to input, weight and bias.

Parameters
----------
grad_output : array_like
    Gradient of the loss with respect to the result of ``conv_transpose3d``; has that result's shape.
input, weight, stride, padding, output_padding, groups, dilation, data_format
    As they were given to `conv_transpose3d`.
output_mask : (bool, bool, bool)
    Which of the three gradients to compute.

Returns
-------
(grad_input, grad_weight, grad_bias) : tuple of ndarray or None
    Of the shapes of input, weight and (O,); None where masked.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> x, w = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((2, 3, 2, 2, 2), np.float32)
>>> g = np.ones((1, 3, 8, 10, 12), np.float32)
>>> dx, dw, db = fastconv.conv_transpose3d_backward(g, x, w, stride=2)
>>> dx.shape, dw.shape, float(db[0])
((1, 2, 4, 5, 6), (2, 3, 2, 2, 2), 960.0)
)";

inline constexpr const char* kMaxPool2dDoc =
    R"(max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, data_format="NCHW", out=None)
--

The maximum of each window.

Parameters
----------
input : array_like, shape (N, C, H, W) or (C, H, W)
    float32, float64 or float16; (N, H, W, C) or (H, W, C) for ``data_format="NHWC"``.
kernel_size, dilation : int or (int, int)
stride : int or (int, int), optional
    Default: `kernel_size`.
padding : int, (int, int), ((top, bottom), (left, right)), 'valid', 'same' or 'same_lower'
    Below the effective kernel size ``dilation * (kernel_size - 1) + 1``. Padding is -inf: it never
    wins.
ceil_mode : bool
    Round the output size up; a last window that would start in the end padding is dropped.
return_indices : bool
data_format : {'NCHW', 'NHWC'}
out : ndarray, optional

Returns
-------
ndarray, or (ndarray, indices) with `return_indices`
    The first maximum in row-major order wins ties, and a NaN wins over everything. Indices are
    int64 and flat in the plane H * W; a window without a single input element gives -inf and -1.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.max_pool2d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
>>> fastconv.max_pool2d(x, 2)[0, 0]
array([[ 5.,  7.],
       [13., 15.]], dtype=float32)
)";

inline constexpr const char* kMaxPool2dBackwardDoc =
    R"(max_pool2d_backward(grad_output, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, *, indices=None, data_format="NCHW")
--

Gradient of `max_pool2d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `max_pool2d`.
input, kernel_size, stride, padding, dilation, ceil_mode, data_format
    As they were given to `max_pool2d`.
indices : array_like of int, optional
    What ``return_indices=True`` gave; without them the maxima are found again. -1 stands for a
    window without an input element.

Returns
-------
ndarray
    Of the shape of `input`: each element of `grad_output`, added where its window's maximum was.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`; ValueError too for an index outside the plane.

Notes
-----
The definition is that of ``torch.ops.aten.max_pool2d_with_indices_backward``.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[[1, 3], [2, 0]]], np.float32)
>>> fastconv.max_pool2d_backward(np.ones((1, 1, 1), np.float32), x, 2)[0]
array([[0., 1.],
       [0., 0.]], dtype=float32)
)";

inline constexpr const char* kAvgPool2dDoc =
    R"(avg_pool2d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCHW", out=None)
--

The average of each window.

Parameters
----------
input, kernel_size, stride, padding, ceil_mode, data_format, out
    As for `max_pool2d`; padding is zero here.
count_include_pad : bool
    Divide by the window's size with its padding, as far as it lies within the padded input;
    otherwise by the number of input elements.
divisor_override : int, optional
    Divide by this instead; not zero.

Returns
-------
ndarray

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.nn.functional.avg_pool2d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
>>> fastconv.avg_pool2d(x, 2)[0, 0]
array([[ 2.5,  4.5],
       [10.5, 12.5]], dtype=float32)
)";

inline constexpr const char* kAvgPool2dBackwardDoc =
    R"(avg_pool2d_backward(grad_output, input_size, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCHW")
--

Gradient of `avg_pool2d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `avg_pool2d`.
input_size : tuple of int
    The shape of the input.
kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
    As they were given to `avg_pool2d`.

Returns
-------
ndarray, shape `input_size`

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Notes
-----
The definition is that of ``torch.ops.aten.avg_pool2d_backward``.

Examples
--------
>>> import numpy as np, fastconv
>>> fastconv.avg_pool2d_backward(np.ones((1, 1, 1), np.float32), (1, 2, 2), 2)[0]
array([[0.25, 0.25],
       [0.25, 0.25]], dtype=float32)
)";

inline constexpr const char* kMaxPool1dDoc =
    R"(max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, data_format="NCL", out=None)
--

The maximum of each window.

Parameters
----------
input : array_like, shape (N, C, L) or (C, L)
    float32, float64 or float16; (N, L, C) or (L, C) for ``data_format="NLC"``.
kernel_size, dilation : int or (int,)
stride : int or (int,), optional
    Default: `kernel_size`.
padding : int, (int,), ((left, right),), 'valid', 'same' or 'same_lower'
    Below the effective kernel size ``dilation * (kernel_size - 1) + 1``. Padding is -inf: it never
    wins.
ceil_mode : bool
    Round the output size up; a last window that would start in the end padding is dropped.
return_indices : bool
data_format : {'NCL', 'NLC'}
out : ndarray, optional

Returns
-------
ndarray, or (ndarray, indices) with `return_indices`
    The first maximum wins ties, and a NaN wins over everything. Indices are
    int64, along L; a window without a single input element gives -inf and -1.

Raises
------
TypeError, ValueError, MemoryError
    As `conv1d`.

Notes
-----
The definition is that of ``torch.nn.functional.max_pool1d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[1, 5, 2, 0]], np.float32)
>>> fastconv.max_pool1d(x, 2)
array([[5., 2.]], dtype=float32)
)";

inline constexpr const char* kMaxPool1dBackwardDoc =
    R"(max_pool1d_backward(grad_output, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, *, indices=None, data_format="NCL")
--

Gradient of `max_pool1d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `max_pool1d`.
input, kernel_size, stride, padding, dilation, ceil_mode, data_format
    As they were given to `max_pool1d`.
indices : array_like of int, optional
    What ``return_indices=True`` gave; without them the maxima are found again. -1 stands for a
    window without an input element.

Returns
-------
ndarray
    Of the shape of `input`: each element of `grad_output`, added where its window's maximum was.

Raises
------
TypeError, ValueError, MemoryError
    As `conv1d`; ValueError too for an index outside the row.

Notes
-----
The chain rule; as in torch, all of a window's gradient goes to its maximum.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[1, 5, 2, 0]], np.float32)
>>> fastconv.max_pool1d_backward(np.ones((1, 2), np.float32), x, 2)
array([[0., 1., 1., 0.]], dtype=float32)
)";

inline constexpr const char* kAvgPool1dDoc =
    R"(avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCL", out=None)
--

The average of each window.

Parameters
----------
input, kernel_size, stride, padding, ceil_mode, data_format, out
    As for `max_pool1d`; padding is zero here.
count_include_pad : bool
    Divide by the window's size with its padding, as far as it lies within the padded input;
    otherwise by the number of input elements.
divisor_override : int, optional
    Divide by this instead; not zero.

Returns
-------
ndarray

Raises
------
TypeError, ValueError, MemoryError
    As `conv1d`.

Notes
-----
The definition is that of ``torch.nn.functional.avg_pool1d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[1, 5, 2, 0]], np.float32)
>>> fastconv.avg_pool1d(x, 2)
array([[3., 1.]], dtype=float32)
)";

inline constexpr const char* kAvgPool1dBackwardDoc =
    R"(avg_pool1d_backward(grad_output, input_size, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCL")
--

Gradient of `avg_pool1d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `avg_pool1d`.
input_size : tuple of int
    The shape of the input.
kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
    As they were given to `avg_pool1d`.

Returns
-------
ndarray, shape `input_size`

Raises
------
TypeError, ValueError, MemoryError
    As `conv1d`.

Notes
-----
The chain rule; as in torch, each element of a window gets the same share.

Examples
--------
>>> import numpy as np, fastconv
>>> fastconv.avg_pool1d_backward(np.ones((1, 2), np.float32), (1, 4), 2)
array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
)";

inline constexpr const char* kMaxPool3dDoc =
    R"(max_pool3d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False, *, data_format="NCDHW", out=None)
--

The maximum of each window.

Parameters
----------
input : array_like, shape (N, C, D, H, W) or (C, D, H, W)
    float32, float64 or float16; (N, D, H, W, C) or (D, H, W, C) for ``data_format="NDHWC"``.
kernel_size, dilation : int or (int, int, int)
stride : int or (int, int, int), optional
    Default: `kernel_size`.
padding : int, (int, int, int), three pairs (before, after), 'valid', 'same' or 'same_lower'
    Below the effective kernel size ``dilation * (kernel_size - 1) + 1``. Padding is -inf: it never
    wins.
ceil_mode : bool
    Round the output size up; a last window that would start in the end padding is dropped.
return_indices : bool
data_format : {'NCDHW', 'NDHWC'}
out : ndarray, optional

Returns
-------
ndarray, or (ndarray, indices) with `return_indices`
    The first maximum in row-major order wins ties, and a NaN wins over everything. Indices are
    int64 and flat in the volume D * H * W; a window without a single input element gives -inf and -1.

Raises
------
TypeError, ValueError, MemoryError
    As `conv3d`.

Notes
-----
The definition is that of ``torch.nn.functional.max_pool3d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
>>> fastconv.max_pool3d(x, 2)
array([[[[13., 15.]]]], dtype=float32)
)";

inline constexpr const char* kMaxPool3dBackwardDoc =
    R"(max_pool3d_backward(grad_output, input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, *, indices=None, data_format="NCDHW")
--

Gradient of `max_pool3d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `max_pool3d`.
input, kernel_size, stride, padding, dilation, ceil_mode, data_format
    As they were given to `max_pool3d`.
indices : array_like of int, optional
    What ``return_indices=True`` gave; without them the maxima are found again. -1 stands for a
    window without an input element.

Returns
-------
ndarray
    Of the shape of `input`: each element of `grad_output`, added where its window's maximum was.

Raises
------
TypeError, ValueError, MemoryError
    As `conv3d`; ValueError too for an index outside the volume.

Notes
-----
The definition is that of ``torch.ops.aten.max_pool3d_with_indices_backward``.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.array([[[[1, 3], [2, 0]]]], np.float32)
>>> fastconv.max_pool3d_backward(np.ones((1, 1, 1, 1), np.float32), x, (1, 2, 2))[0, 0]
array([[0., 1.],
       [0., 0.]], dtype=float32)
)";

inline constexpr const char* kAvgPool3dDoc =
    R"(avg_pool3d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCDHW", out=None)
--

The average of each window.

Parameters
----------
input, kernel_size, stride, padding, ceil_mode, data_format, out
    As for `max_pool3d`; padding is zero here.
count_include_pad : bool
    Divide by the window's size with its padding, as far as it lies within the padded input;
    otherwise by the number of input elements.
divisor_override : int, optional
    Divide by this instead; not zero.

Returns
-------
ndarray

Raises
------
TypeError, ValueError, MemoryError
    As `conv3d`.

Notes
-----
The definition is that of ``torch.nn.functional.avg_pool3d``, which allows less padding.

Examples
--------
>>> import numpy as np, fastconv
>>> x = np.arange(16, dtype=np.float32).reshape(1, 2, 2, 4)
>>> fastconv.avg_pool3d(x, 2)
array([[[[6.5, 8.5]]]], dtype=float32)
)";

inline constexpr const char* kAvgPool3dBackwardDoc =
    R"(avg_pool3d_backward(grad_output, input_size, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format="NCDHW")
--

Gradient of `avg_pool3d` with respect to its input.

Parameters
----------
grad_output : array_like
    Has the shape of the result of `avg_pool3d`.
input_size : tuple of int
    The shape of the input.
kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, data_format
    As they were given to `avg_pool3d`.

Returns
-------
ndarray, shape `input_size`

Raises
------
TypeError, ValueError, MemoryError
    As `conv3d`.

Notes
-----
The definition is that of ``torch.ops.aten.avg_pool3d_backward``.

Examples
--------
>>> import numpy as np, fastconv
>>> fastconv.avg_pool3d_backward(np.ones((1, 1, 1, 1), np.float32), (1, 2, 2, 2), 2)[0, 0]
array([[0.125, 0.125],
       [0.125, 0.125]], dtype=float32)
)";

inline constexpr const char* kSetNumThreadsDoc = R"(set_num_threads(n)
--

Set how many threads a call may use.

Parameters
----------
n : int
    At least 1. Results do not depend on it, not even in the last bit.

Raises
------
TypeError, ValueError

Examples
--------
>>> import fastconv
>>> before = fastconv.get_num_threads()
>>> fastconv.set_num_threads(1)
>>> fastconv.get_num_threads()
1
>>> fastconv.set_num_threads(before)
)";

inline constexpr const char* kGetNumThreadsDoc = R"(get_num_threads()
--

How many threads a call may use.

What `set_num_threads` chose; else FASTCONV_NUM_THREADS, else OMP_NUM_THREADS, else the CPUs in the
process's affinity mask and cgroup quota. In a forked child always 1.

Returns
-------
int

Examples
--------
>>> import fastconv
>>> fastconv.get_num_threads() >= 1
True
)";

}  // namespace fastconv
