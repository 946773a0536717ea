"""The fully connected layer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastconv.nn.affine import Affine, Gradients
from fastconv.nn.base import Array
from fastconv.nn.init import Seed, he_normal

__all__ = ["Linear"]


class Linear(Affine):
    """Fully connected layer, y = x @ weight.T + bias, optionally then ReLU.

    Parameters
    ----------
    in_features, out_features : int
        Lengths of x's and y's last axis.
    bias : bool
        Whether there is a bias; it starts at zero.
    activation : None or 'relu'
        ReLU in the product's own store.
    rng : int, numpy.random.Generator or None
        Draws the initial weights, normal of variance 2 / in_features.
    dtype : dtype
        Of the parameters: float32 or float64.

    Attributes
    ----------
    weight : Parameter
        (out_features, in_features).
    bias : Parameter or None
        (out_features,).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Linear(3, 2, rng=0)
    >>> layer.weight.data[...] = [[1, 0, 0], [1, 1, 1]]
    >>> layer(np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    array([[ 1.,  6.],
           [ 4., 15.]], dtype=float32)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        activation: str | None = None,
        rng: Seed = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        weight = he_normal((out_features, in_features), in_features, rng, dtype)
        super().__init__(weight, out_features, bias, activation)

    # The product is a convolution of N images of one pixel.

    def _map(self, x: Array, bias: Array | None, activation: str | None) -> Array:
        if x.ndim != 2:
            raise ValueError(f"input: expected (N, in_features), got shape {x.shape}")
        kernels = as_pixels(self.weight.data)
        y: Array = self.ops.conv2d(as_pixels(x), kernels, bias, activation=activation)
        return y[:, :, 0, 0]

    def _gradients(
        self, grad_output: Array, x: Array, output_mask: tuple[bool, bool, bool]
    ) -> Gradients:
        grad_images, grad_kernels, grad_bias = self.ops.conv2d_backward(
            as_pixels(grad_output),
            as_pixels(x),
            as_pixels(self.weight.data),
            output_mask=output_mask,
        )
        grad_input = None if grad_images is None else grad_images[:, :, 0, 0]
        return grad_input, grad_kernels[:, :, 0, 0], grad_bias


def as_pixels(rows: Array) -> Array:
    """(N, F) as (N, F, 1, 1), a view."""
    return rows[:, :, None, None]
