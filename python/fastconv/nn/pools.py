"""Pooling layers."""

from __future__ import annotations

from typing import Any, ClassVar

from fastconv.nn.activations import through_relu
from fastconv.nn.base import Array, Layer, Size, saved

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool", "MaxPool1d", "MaxPool2d", "MaxPool3d"]


class MaxPool(Layer):
    """Max pooling over `dims` axes."""

    dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Any = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.window = (kernel_size, stride, padding, dilation, ceil_mode)
        self._input: Array | None = None
        self._indices: Array | None = None
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW), and likewise for other numbers of axes."""
        pool = getattr(self.ops, f"max_pool{self.dims}d")
        self._input, self._indices = x, None
        y: Array
        if self.training:
            y, self._indices = pool(x, *self.window, True)
        else:
            y = pool(x, *self.window)
        self._output = y
        return y

    def mask(self, grad_output: Array) -> Array:
        """`grad_output` behind the ReLU that made the last input.

        A maximum is positive where the element that it comes from is, and only that one gets its
        gradient. So the mask of a ReLU may as well be applied here, to a smaller array.
        """
        return through_relu(grad_output, saved(self._output))

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """The gradient of each window goes to its first maximum; see `Layer.backward`."""
        x = saved(self._input)
        backward = getattr(self.ops, f"max_pool{self.dims}d_backward")
        grad: Array = backward(grad_output, x, *self.window, indices=self._indices)
        return grad


class MaxPool1d(MaxPool):
    """Maximum of each window of (N, C, L); see `MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.MaxPool1d(2)(np.array([[[1.0, 3.0, 2.0, 0.0]]]))
    array([[[3., 2.]]])
    """

    dims = 1


class MaxPool2d(MaxPool):
    """Maximum of each window; the gradient goes to the window's first maximum.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As for `fastconv.max_pool2d`; `stride` None means `kernel_size`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.MaxPool2d(2)
    >>> layer(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> layer.backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 0., 2.],
           [0., 0., 0., 0.],
           [0., 3., 0., 4.]])
    """

    dims = 2


class MaxPool3d(MaxPool):
    """Maximum of each window of (N, C, D, H, W); see `MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.MaxPool3d(2)(np.arange(8.0).reshape(1, 1, 2, 2, 2)).ravel()
    array([7.])
    """

    dims = 3


class _AvgPool(Layer):
    """Average pooling over `dims` axes."""

    dims: ClassVar[int]

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.window = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        self._input_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW), and likewise for other numbers of axes."""
        self._input_shape = x.shape
        y: Array = getattr(self.ops, f"avg_pool{self.dims}d")(x, *self.window)
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """The gradient of each window is shared by its pixels; see `Layer.backward`."""
        backward = getattr(self.ops, f"avg_pool{self.dims}d_backward")
        grad: Array = backward(grad_output, saved(self._input_shape), *self.window)
        return grad


class AvgPool1d(_AvgPool):
    """Mean of each window of (N, C, L); see `AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AvgPool1d(2)(np.array([[[1.0, 3.0, 2.0, 0.0]]]))
    array([[[2., 1.]]])
    """

    dims = 1


class AvgPool2d(_AvgPool):
    """Mean of each window; the gradient is shared equally among its pixels.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As for `fastconv.avg_pool2d`; `stride` None means `kernel_size`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.AvgPool2d(2)
    >>> layer(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    dims = 2


class AvgPool3d(_AvgPool):
    """Mean of each window of (N, C, D, H, W); see `AvgPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.AvgPool3d(2)(np.arange(8.0).reshape(1, 1, 2, 2, 2)).ravel()
    array([3.5])
    """

    dims = 3
