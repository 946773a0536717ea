"""Layers that hold layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastconv.nn.activations import ReLU
from fastconv.nn.affine import Affine
from fastconv.nn.base import Array, Layer, Parameter
from fastconv.nn.pools import MaxPool

__all__ = ["Sequential"]


class Sequential(Layer):
    """Layers one after another.

    A `ReLU` right after a convolution or a `Linear` is done by that layer as it stores its result,
    which saves a pass over the array; and the gradient of a ReLU right before a max pool is taken
    at the pool's smaller output. Nothing else tells the difference.

    Parameters
    ----------
    *layers : Layer
        In the order of computation; a Sequential may hold others.
    ops : module, optional
        The functions that all these layers shall compute with.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> rng = np.random.default_rng(0)
    >>> network = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3, rng=rng),
    ...     nn.ReLU(),
    ...     nn.MaxPool2d(2),
    ...     nn.Flatten(),
    ...     nn.Linear(4 * 3 * 3, 10, rng=rng),
    ... )
    >>> y = network(np.zeros((5, 1, 8, 8), np.float32))
    >>> y.shape, len(network), list(network.named_parameters())
    ((5, 10), 5, ['0.weight', '0.bias', '4.weight', '4.bias'])
    >>> network.backward(np.ones_like(y), input_grad=False)
    """

    def __init__(self, *layers: Layer, ops: Any = None) -> None:
        self.layers = layers
        if ops is not None:
            for leaf in self.leaves():
                leaf.ops = ops

    def forward(self, x: Array) -> Array:
        """The last layer's output."""
        done: Layer | None = None
        for layer, follower in zip(self.layers, (*self.layers[1:], None), strict=True):
            if layer is done:
                continue
            if isinstance(layer, Affine) and type(follower) is ReLU and layer.activation is None:
                x = follower.keep(layer.apply(x, "relu"))
                done = follower
            else:
                x = layer.forward(x)
        return x

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """See `Layer.backward`; without `input_grad`, stops at the first layer with parameters."""
        learned = [i for i, layer in enumerate(self.layers) if layer.parameters()]
        first = 0 if input_grad else min(learned, default=len(self.layers))
        grad: Array | None = grad_output
        masked = False  # whether grad has been through this layer's ReLU already
        for i in range(len(self.layers) - 1, first - 1, -1):
            assert grad is not None
            layer, wanted = self.layers[i], input_grad or i > first
            if masked:
                grad = layer.map_backward(grad, wanted) if isinstance(layer, Affine) else grad
                masked = False
                continue
            if isinstance(layer, MaxPool) and i > first and _rectifies(self.layers[i - 1]):
                grad, masked = layer.mask(grad), True
            grad = layer.backward(grad, wanted)
        return grad if input_grad else None

    def named_parameters(self) -> dict[str, Parameter]:
        """All the layers' parameters; '0.weight' is the first layer's weight."""
        return {
            f"{i}.{name}": p
            for i, layer in enumerate(self.layers)
            for name, p in layer.named_parameters().items()
        }

    def leaves(self) -> list[Layer]:
        """See `Layer.leaves`."""
        return [leaf for layer in self.layers for leaf in layer.leaves()]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]


def _rectifies(layer: Layer) -> bool:
    """Whether a layer's output is a ReLU's."""
    return type(layer) is ReLU or (isinstance(layer, Affine) and layer.activation == "relu")
