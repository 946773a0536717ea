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
        ReLU of the product, in place.
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

    def _map(self, x: Array, bias: Array | None, activation: str | None) -> Array:
        if x.ndim != 2:
            raise ValueError(f"input: expected (N, in_features), got shape {x.shape}")
        y = self._product(x, self.weight.data.T)
        if bias is not None:
            y += bias
        return np.maximum(y, 0, out=y) if activation else y

    def _gradients(
        self, grad_output: Array, x: Array, output_mask: tuple[bool, bool, bool]
    ) -> Gradients:
        return (
            self._product(grad_output, self.weight.data) if output_mask[0] else None,
            self._product(grad_output.T, x),
            grad_output.sum(0) if output_mask[2] else None,
        )

    def _product(self, a: Array, b: Array) -> Array:
        """a @ b as a 1x1 convolution: b is an image of one row whose channels a's rows weigh.

        Of the two ways to see a product as a convolution this one packs the smaller matrix, a,
        where b holds the layer's weights; images are read as they lie.
        """
        y: Array = self.ops.conv2d(b[None, :, None, :], a[:, :, None, None])
        return y[0, :, 0, :]
