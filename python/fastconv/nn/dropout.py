"""Dropout."""

from __future__ import annotations

import numpy as np

from fastconv.nn.base import Array, Layer
from fastconv.nn.init import Seed

__all__ = ["Dropout"]


class Dropout(Layer):
    """While training, zero each element with probability `p` and scale the others by 1 / (1 - p).

    The expectation stays x, so inference is the identity.

    Parameters
    ----------
    p : float
        Probability of dropping an element, 0 <= p < 1.
    rng : int, numpy.random.Generator or None
        Draws the masks.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Dropout(0.5, rng=0)
    >>> layer(np.ones(6, np.float32))
    array([2., 2., 2., 0., 0., 0.], dtype=float32)
    >>> layer.eval()(np.ones(6, np.float32))
    array([1., 1., 1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, p: float = 0.5, *, rng: Seed = None) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"p: expected a probability in [0, 1), got {p}")
        self.p = p
        self.rng = np.random.default_rng(rng)
        self._scale: Array | None = None

    def forward(self, x: Array) -> Array:
        """Any shape."""
        if not self.training:
            self._scale = None
            return x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        self._scale = np.multiply(kept, 1.0 / (1.0 - self.p), dtype=x.dtype)
        y: Array = x * self._scale
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        return grad_output if self._scale is None else grad_output * self._scale
