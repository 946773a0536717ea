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
    'direct' never uses Winograd's algorithm; 'winograd' raises where it does not apply.
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
    R"(conv2d_prepack(weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *, data_format="NCHW", activation=None, algorithm="auto")
--

A convolution with constant weights, rearranged once for the kernels.

Parameters
----------
weight, bias, stride, padding, dilation, groups, data_format, activation, algorithm
    As for `conv2d`. The arrays are copied; later changes to them have no effect.

Returns
-------
PackedConv2d
    ``packed(input, out=None)`` gives what ``conv2d(input, weight, ...)`` gives. It may be called from
    several threads at once.

Raises
------
TypeError, ValueError, MemoryError
    As `conv2d`.

Examples
--------
>>> import numpy as np, fastconv
>>> w = np.ones((8, 3, 3, 3), np.float32)
>>> packed = fastconv.conv2d_prepack(w, padding="same", activation="relu")
>>> packed(np.ones((2, 3, 16, 16), np.float32)).shape
(2, 8, 16, 16)
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
