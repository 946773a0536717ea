"""Convolution layers.

With g the gradient by y: dL/dbias sums g over images and pixels, dL/dweight correlates x with g,
and dL/dx correlates g with the flipped weight.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv.nn.affine import Affine, Gradients, check_groups
from fastconv.nn.base import Array, Size, spatial
from fastconv.nn.init import Seed, he_normal

__all__ = ["Conv1d", "Conv2d", "Conv3d"]


class _Conv(Affine):
    """Convolution over `dims` axes."""

    dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Any = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        activation: str | None = None,
        rng: Seed = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        check_groups(in_channels, out_channels, groups)
        kernel = spatial(kernel_size, self.dims, "kernel_size")
        shape = (out_channels, in_channels // groups, *kernel)
        weight = he_normal(shape, math.prod(shape[1:]), rng, dtype)
        super().__init__(weight, out_channels, bias, activation)
        self.geometry = (stride, padding, dilation, groups)

    def _map(self, x: Array, bias: Array | None, activation: str | None) -> Array:
        conv = getattr(self.ops, f"conv{self.dims}d")
        y: Array = conv(x, self.weight.data, bias, *self.geometry, activation=activation)
        return y

    def _gradients(
        self, grad_output: Array, x: Array, output_mask: tuple[bool, bool, bool]
    ) -> Gradients:
        backward = getattr(self.ops, f"conv{self.dims}d_backward")
        gradients: Gradients = backward(
            grad_output, x, self.weight.data, *self.geometry, output_mask=output_mask
        )
        return gradients


class Conv1d(_Conv):
    """1-D convolution, (N, C, L) to (N, O, OL); see `Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Conv1d(40, 64, 3, stride=2, padding="same", rng=0)
    >>> layer(np.zeros((8, 40, 100), np.float32)).shape
    (8, 64, 50)
    """

    dims = 1


class Conv2d(_Conv):
    """2-D convolution (cross-correlation), y = weight * x + bias, optionally then ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O; both must be divisible by `groups`.
    kernel_size : int or tuple of int
        KH, KW.
    stride, padding, dilation, groups
        As for `fastconv.conv2d`; `padding` may be ``'same'`` or ``'valid'``.
    bias : bool
        Whether there is a bias; it starts at zero.
    activation : None or 'relu'
        ReLU in the convolution's own store, cheaper than a layer of its own. (`Sequential` does
        so by itself where a `ReLU` follows.)
    rng : int, numpy.random.Generator or None
        Draws the initial weights, normal of variance 2 / (C/groups * KH * KW).
    dtype : dtype
        Of the parameters: float32 or float64.

    Attributes
    ----------
    weight : Parameter
        (O, C/groups, KH, KW).
    bias : Parameter or None
        (O,).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Conv2d(1, 16, 3, rng=0)
    >>> y = layer(np.zeros((8, 1, 28, 28), np.float32))
    >>> y.shape
    (8, 16, 26, 26)
    >>> layer.backward(np.ones_like(y)).shape, layer.weight.grad.shape
    ((8, 1, 28, 28), (16, 1, 3, 3))
    """

    dims = 2


class Conv3d(_Conv):
    """3-D convolution, (N, C, D, H, W) to (N, O, OD, OH, OW); see `Conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Conv3d(3, 8, (1, 3, 3), rng=0)(np.zeros((1, 3, 4, 9, 9), np.float32)).shape
    (1, 8, 4, 7, 7)
    """

    dims = 3
