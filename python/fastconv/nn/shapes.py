"""Layers that rearrange or repeat pixels and compute nothing."""

from __future__ import annotations

import math

from fastconv.nn.base import Array, Layer, Size, saved, spatial

__all__ = ["Flatten", "Unflatten", "Upsample"]


class Flatten(Layer):
    """Merge the axes `start_dim` to `end_dim` into one, in row-major order.

    Parameters
    ----------
    start_dim, end_dim : int
        First and last axis merged; by default all but the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Flatten()(np.zeros((100, 32, 7, 7))).shape
    (100, 1568)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim
        self._input_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C * H * W)."""
        self._input_shape = x.shape
        first, last = self.start_dim % x.ndim, self.end_dim % x.ndim
        merged = math.prod(x.shape[first : last + 1])
        return x.reshape(*x.shape[:first], merged, *x.shape[last + 1 :])

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """(N, C * H * W) to (N, C, H, W)."""
        return grad_output.reshape(saved(self._input_shape))


class Unflatten(Layer):
    """Split all axes but the batch into `shape`; undoes `Flatten`.

    Parameters
    ----------
    *shape : int
        C, H, W of one sample.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Unflatten(32, 7, 7)(np.zeros((100, 1568))).shape
    (100, 32, 7, 7)
    """

    def __init__(self, *shape: int) -> None:
        self.shape = shape
        self._input_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        """(N, C * H * W) to (N, C, H, W)."""
        self._input_shape = x.shape
        return x.reshape(len(x), *self.shape)

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """(N, C, H, W) to (N, C * H * W)."""
        return grad_output.reshape(saved(self._input_shape))


class Upsample(Layer):
    """Repeat every pixel `scale_factor` times along each spatial axis (nearest neighbour).

    Its transpose adds up blocks of that size. Both are an average pool's, with divisor 1: forward
    here is the pool's backward, and backward the pool's forward.

    Parameters
    ----------
    scale_factor : int or tuple of int
        Repetitions, for all spatial axes or for each.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Upsample(2)
    >>> layer(np.array([[[[1.0, 2.0]]]]))[0, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    >>> layer.backward(np.ones((1, 1, 2, 4)))
    array([[[[4., 4.]]]])
    """

    def __init__(self, scale_factor: Size = 2) -> None:
        self.scale_factor = scale_factor
        self._input_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, s H, s W), for any number of spatial axes."""
        self._input_shape = x.shape
        dims = x.ndim - 2
        scale = spatial(self.scale_factor, dims, "scale_factor")
        size = (*x.shape[:2], *(n * s for n, s in zip(x.shape[2:], scale, strict=True)))
        spread = getattr(self.ops, f"avg_pool{dims}d_backward")
        y: Array = spread(x, size, scale, divisor_override=1)
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """(N, C, s H, s W) to (N, C, H, W)."""
        dims = len(saved(self._input_shape)) - 2
        scale = spatial(self.scale_factor, dims, "scale_factor")
        grad: Array = getattr(self.ops, f"avg_pool{dims}d")(grad_output, scale, divisor_override=1)
        return grad
