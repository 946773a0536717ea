"""What convolutions and dense layers share: y = A(weight) x + bias, optionally then ReLU."""

from __future__ import annotations

import numpy as np

from fastconv.nn.activations import checked_activation, through_relu
from fastconv.nn.base import Array, Layer, Parameter, saved

__all__ = ["Affine", "check_groups"]

Gradients = tuple[Array | None, Array | None, Array | None]


class Affine(Layer):
    """A layer that is linear in its input, in its weight and in its bias.

    Subclasses define the map, `_map`, and its three gradients, `_gradients`.

    Attributes
    ----------
    weight : Parameter
    bias : Parameter or None
        One value for each output channel; starts at zero.
    activation : None or 'relu'
        ReLU in the map's own store, cheaper than a layer of its own.
    """

    def __init__(self, weight: Parameter, outputs: int, bias: bool, activation: str | None) -> None:
        self.weight = weight
        self.bias = Parameter(np.zeros(outputs, weight.data.dtype)) if bias else None
        self.activation = checked_activation(activation)
        self._input: Array | None = None
        self._output: Array | None = None

    def _map(self, x: Array, bias: Array | None, activation: str | None) -> Array:
        raise NotImplementedError

    def _gradients(
        self, grad_output: Array, x: Array, output_mask: tuple[bool, bool, bool]
    ) -> Gradients:
        """By input, weight and bias, None where masked."""
        raise NotImplementedError

    def apply(self, x: Array, activation: str | None) -> Array:
        """The map with this activation; `backward` then is the map's alone."""
        self._input, self._output = x, None
        return self._map(x, None if self.bias is None else self.bias.data, activation)

    def forward(self, x: Array) -> Array:
        """See the class."""
        y = self.apply(x, self.activation)
        self._output = y if self.activation else None
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """See `Layer.backward`."""
        return self.map_backward(through_relu(grad_output, self._output), input_grad)

    def map_backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """`backward` of the map alone: the gradient has been through the activation already."""
        x = saved(self._input)
        mask = (input_grad, True, self.bias is not None)
        grad_input, self.weight.grad, grad_bias = self._gradients(grad_output, x, mask)
        if self.bias is not None:
            self.bias.grad = grad_bias
        return grad_input


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Refuse channels that do not fall into equal groups."""
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"groups: in_channels ({in_channels}) and out_channels ({out_channels}) "
            f"must be divisible by groups ({groups})"
        )
