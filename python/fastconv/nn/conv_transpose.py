"""Transposed convolution layers: learned upsampling.

Where a convolution reads a window of x for each pixel of y, its transpose adds a copy of the kernel
weighed by the pixel onto a window of y for each pixel of x; windows `stride` apart that overlap
add up. As a linear map it is the convolution's transpose, so its gradient by x is a convolution.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv.nn.affine import Affine, Gradients, check_groups
from fastconv.nn.base import Array, Size, spatial
from fastconv.nn.init import Seed, he_normal

__all__ = ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _ConvTranspose(Affine):
    """Transposed convolution over `dims` axes."""

    dims: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Any = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        *,
        activation: str | None = None,
        rng: Seed = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        check_groups(in_channels, out_channels, groups)
        kernel = spatial(kernel_size, self.dims, "kernel_size")
        # Windows lie `stride` apart, so a pixel of y is reached by one tap in prod(stride).
        reach = math.prod(kernel) / math.prod(spatial(stride, self.dims, "stride"))
        shape = (in_channels, out_channels // groups, *kernel)
        weight = he_normal(shape, in_channels // groups * reach, rng, dtype)
        super().__init__(weight, out_channels, bias, activation)
        self.geometry = (stride, padding, output_padding, groups, dilation)

    def _map(self, x: Array, bias: Array | None, activation: str | None) -> Array:
        conv = getattr(self.ops, f"conv_transpose{self.dims}d")
        y: Array = conv(x, self.weight.data, bias, *self.geometry)
        return np.maximum(y, 0, out=y) if activation else y

    def _gradients(
        self, grad_output: Array, x: Array, output_mask: tuple[bool, bool, bool]
    ) -> Gradients:
        backward = getattr(self.ops, f"conv_transpose{self.dims}d_backward")
        gradients: Gradients = backward(
            grad_output, x, self.weight.data, *self.geometry, output_mask=output_mask
        )
        return gradients


class ConvTranspose1d(_ConvTranspose):
    """1-D transposed convolution, (N, C, L) to (N, O, OL); see `ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.ConvTranspose1d(16, 8, 4, stride=2, padding=1, rng=0)(np.zeros((1, 16, 50))).shape
    (1, 8, 100)
    """

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """2-D transposed convolution, plus bias, optionally then ReLU.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O; both must be divisible by `groups`.
    kernel_size : int or tuple of int
        KH, KW.
    stride, padding, output_padding, groups, dilation
        As for `fastconv.conv_transpose2d`; ``'same'`` gives `stride` times the input's size.
    bias, activation, rng, dtype
        As for `Conv2d`.

    Attributes
    ----------
    weight : Parameter
        (C, O/groups, KH, KW).
    bias : Parameter or None
        (O,).

    Examples
    --------
    A fixed filter of ones, three wide and two apart: the overlaps add up.

    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ConvTranspose2d(1, 1, 3, stride=2)
    >>> layer.weight.data[...] = 1
    >>> layer(np.array([[[[1, 2], [3, 4]]]], np.float32))[0, 0]
    array([[ 1.,  1.,  3.,  2.,  2.],
           [ 1.,  1.,  3.,  2.,  2.],
           [ 4.,  4., 10.,  6.,  6.],
           [ 3.,  3.,  7.,  4.,  4.],
           [ 3.,  3.,  7.,  4.,  4.]], dtype=float32)
    """

    dims = 2


class ConvTranspose3d(_ConvTranspose):
    """3-D transposed convolution, (N, C, D, H, W) to (N, O, OD, OH, OW); see `ConvTranspose2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.ConvTranspose3d(2, 3, 2, stride=2, rng=0)(np.zeros((1, 2, 2, 3, 4))).shape
    (1, 3, 4, 6, 8)
    """

    dims = 3
