"""Activations: functions of each element, and softmax."""

from __future__ import annotations

import numpy as np

from fastconv import _core
from fastconv.nn.base import Array, Layer, saved

__all__ = ["ReLU", "Sigmoid", "Softmax", "Tanh", "checked_activation", "through_relu"]


def checked_activation(name: str | None) -> str | None:
    """`name`, if a layer can fuse that activation into its own store."""
    if name not in (None, "relu"):
        raise ValueError(f"activation: expected None or 'relu', got {name!r}")
    return name


def through_relu(grad_output: Array, y: Array | None) -> Array:
    """The gradient behind a ReLU of output y: as it is where y > 0, else 0; y None is no ReLU."""
    return grad_output if y is None else _core.relu_backward(grad_output, y)


class ReLU(Layer):
    """max(0, x), elementwise; the derivative at 0 is taken as 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.ReLU()
    >>> layer(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    >>> layer.backward(np.array([5.0, 5.0, 5.0]))
    array([0., 0., 5.])
    """

    def __init__(self) -> None:
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """Any shape."""
        return self.keep(np.maximum(x, 0))

    def keep(self, y: Array) -> Array:
        """Take y for the last output; for whoever has computed max(0, x) already."""
        self._output = y
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        return through_relu(grad_output, saved(self._output))


class Sigmoid(Layer):
    """1 / (1 + exp(-x)), elementwise; its derivative is y (1 - y).

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Sigmoid()(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """

    def __init__(self) -> None:
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """Any shape."""
        # The same function by tanh, which cannot overflow.
        y = np.tanh(x * 0.5)
        y += 1
        y *= 0.5
        self._output = y
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        y = saved(self._output)
        grad: Array = grad_output * (y * (1 - y))
        return grad


class Tanh(Layer):
    """Hyperbolic tangent, elementwise; its derivative is 1 - y^2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.Tanh()
    >>> layer(np.array([0.0, 1000.0]))
    array([0., 1.])
    >>> layer.backward(np.array([3.0, 3.0]))
    array([3., 0.])
    """

    def __init__(self) -> None:
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """Any shape."""
        self._output = np.tanh(x)
        return self._output

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        y = saved(self._output)
        grad: Array = grad_output * (1 - y * y)
        return grad


class Softmax(Layer):
    """exp(x_i) / sum_j exp(x_j) along one axis.

    With y the output and g its gradient, dL/dx = y (g - sum_j g_j y_j).

    Parameters
    ----------
    dim : int
        The axis of the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> nn.Softmax()(np.array([[1000.0, 1000.0]]))
    array([[0.5, 0.5]])
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """Any shape."""
        # The quotient does not change with the shift, and no exponential exceeds 1.
        e = np.exp(x - x.max(self.dim, keepdims=True))
        self._output = e / e.sum(self.dim, keepdims=True)
        return self._output

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        y = saved(self._output)
        grad: Array = y * (grad_output - (grad_output * y).sum(self.dim, keepdims=True))
        return grad
