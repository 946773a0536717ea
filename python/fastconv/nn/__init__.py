"""Layers, losses and optimisers for small convolutional networks, on fastconv's functions.

A layer is a function y = f(x; parameters) together with its transposed derivative: given
the gradient of a scalar loss L by y, ``backward`` stores dL/d(parameter) in each parameter's
``grad`` and returns dL/dx. A network is a list of layers, and training is

    loss = criterion(network(images), labels)
    network.backward(criterion.backward())
    optimiser.step()

There is no graph and no tensor type: everything is a NumPy array, channels first (N, C, H, W).

Layers compute through ``ops``, which is the package fastconv unless said otherwise;
`Layer.with_ops` gives the same network on, for instance, `fastconv.reference`. Linear layers
multiply by 1x1 convolutions, so that one thread pool serves the whole network: a BLAS of its own
would wake up between our kernels and take their cores.

Read `base.py` first, then one layer, then `containers.py`.
"""

from __future__ import annotations

from fastconv.nn.activations import ReLU, Sigmoid, Softmax, Tanh
from fastconv.nn.base import Layer, Parameter
from fastconv.nn.containers import Sequential
from fastconv.nn.conv import Conv1d, Conv2d, Conv3d
from fastconv.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from fastconv.nn.dropout import Dropout
from fastconv.nn.linear import Linear
from fastconv.nn.losses import CrossEntropyLoss, MSELoss
from fastconv.nn.optimisers import SGD, Adam
from fastconv.nn.pools import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from fastconv.nn.report import summary
from fastconv.nn.shapes import Flatten, Unflatten, Upsample
from fastconv.nn.storage import load, save

__all__ = [
    "SGD",
    "Adam",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Unflatten",
    "Upsample",
    "load",
    "save",
    "summary",
]
