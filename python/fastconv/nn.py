"""Layers, a loss and optimisers for small convolutional networks, on fastconv's functions.

A layer is a function y = f(x; parameters) together with its transposed derivative: given
the gradient of a scalar loss L by y, ``backward`` stores dL/d(parameter) in each parameter's
``grad`` and returns dL/dx. A network is a list of layers, and training is

    loss = criterion(network(images), labels)
    network.backward(criterion.backward())
    optimiser.step()

There is no graph and no tensor type: everything is a NumPy array, channels first (N, C, H, W).

Layers compute through ``ops``, which is the package fastconv unless said otherwise;
`Layer.with_ops` gives the same network on, for instance, `fastconv.reference`. Linear layers
are 1x1 convolutions of 1x1 images, so that one thread pool serves the whole network: a BLAS
of its own would wake up between our kernels and take their cores.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

import fastconv

__all__ = [
    "SGD",
    "Adam",
    "AvgPool2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "Layer",
    "Linear",
    "MaxPool2d",
    "Ops",
    "Parameter",
    "ReLU",
    "Sequential",
    "Softmax",
    "summary",
]

Array = npt.NDArray[Any]
Pair = int | tuple[int, int]
Padding = int | str | tuple[Any, Any]
Seed = int | np.random.Generator | None
T = TypeVar("T")


class Ops(Protocol):
    """What a layer needs to compute with; the modules fastconv and fastconv.reference fit.

    Examples
    --------
    >>> import fastconv
    >>> from fastconv import nn
    >>> ops: nn.Ops = fastconv
    """

    @property
    def conv2d(self) -> Callable[..., Any]: ...
    @property
    def conv2d_backward(self) -> Callable[..., Any]: ...
    @property
    def max_pool2d(self) -> Callable[..., Any]: ...
    @property
    def max_pool2d_backward(self) -> Callable[..., Any]: ...
    @property
    def avg_pool2d(self) -> Callable[..., Any]: ...
    @property
    def avg_pool2d_backward(self) -> Callable[..., Any]: ...


class Parameter:
    """An array that is learned, and the gradient of the loss by it.

    Parameters
    ----------
    data : array_like
        Initial values; kept as a C-contiguous array.

    Attributes
    ----------
    data : ndarray
        The values, changed in place by an optimiser.
    grad : ndarray or None
        The gradient, of the same shape; each ``backward`` replaces it, None before the first.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.ones((2, 3)))
    >>> p
    Parameter(shape=(2, 3), dtype=float64)
    >>> p.grad is None
    True
    """

    __slots__ = ("data", "grad")

    def __init__(self, data: npt.ArrayLike) -> None:
        self.data: Array = np.ascontiguousarray(data)
        self.grad: Array | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    def flat(self) -> Array:
        """The values as one row that shares their memory."""
        if not self.data.flags.c_contiguous:  # someone assigned a view: reshape would copy it
            self.data = np.ascontiguousarray(self.data)
        return self.data.reshape(-1)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


def _he_normal(shape: tuple[int, ...], fan_in: int, rng: Seed, dtype: npt.DTypeLike) -> Parameter:
    """Normal weights of variance 2 / fan_in, which keeps a ReLU network's scale (He et al., 2015).

    Drawn in float64 whatever `dtype` is, so that one seed means one network.
    """
    std = math.sqrt(2.0 / max(1, fan_in))
    return Parameter((np.random.default_rng(rng).standard_normal(shape) * std).astype(dtype))


def _activation(name: str | None) -> str | None:
    if name not in (None, "relu"):
        raise ValueError(f"activation: expected None or 'relu', got {name!r}")
    return name


def _saved(value: T | None) -> T:
    """What forward kept."""
    if value is None:
        raise RuntimeError("backward needs a forward before it")
    return value


class Layer:
    """Base of all layers: a map of arrays, its derivative, and the parameters of both.

    Subclasses define `forward` and `backward`, and `parameters` if they have any.

    Attributes
    ----------
    ops : Ops
        Where the layer's functions come from; the package fastconv by default.
    training : bool
        True at first; `Dropout` acts only then. See `train` and `eval`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> class Double(nn.Layer):
    ...     def forward(self, x):
    ...         return 2 * x
    ...     def backward(self, grad_output, input_grad=True):
    ...         return 2 * grad_output
    >>> nn.Sequential(Double(), Double())(np.array([1.0, 2.0]))
    array([4., 8.])
    """

    ops: Ops = fastconv
    training: bool = True

    def forward(self, x: Array) -> Array:
        """Compute the layer's output and keep what `backward` needs of it."""
        raise NotImplementedError

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """Store the parameters' gradients and return the input's.

        Parameters
        ----------
        grad_output : ndarray
            Gradient of the loss by the last output, of that output's shape.
        input_grad : bool
            False allows the layer to skip its input's gradient and return None; the layer
            that faces the data needs none.
        """
        raise NotImplementedError

    def parameters(self) -> list[Parameter]:
        """The layer's parameters, in a fixed order."""
        return []

    def leaves(self) -> list[Layer]:
        """The layers that compute: this one, or what a container holds."""
        return [self]

    def train(self, mode: bool = True) -> Self:
        """Switch to training (or, with False, to inference) and return the layer."""
        for leaf in self.leaves():
            leaf.training = mode
        return self

    def eval(self) -> Self:
        """Switch to inference and return the layer."""
        return self.train(False)

    def with_ops(self, ops: Ops) -> Self:
        """A deep copy (parameters, random state) that computes with other functions.

        Examples
        --------
        >>> import numpy as np
        >>> from fastconv import nn, reference
        >>> layer = nn.Conv2d(1, 2, 3, rng=0)
        >>> x = np.ones((1, 1, 5, 5), np.float32)
        >>> np.allclose(layer(x), layer.with_ops(reference)(x), rtol=1e-5)
        True
        """
        # A module cannot be copied: the memo says that these are copied already.
        twin = copy.deepcopy(self, {id(leaf.ops): leaf.ops for leaf in self.leaves()})
        for leaf in twin.leaves():
            leaf.ops = ops
        return twin

    def __call__(self, x: Array) -> Array:
        return self.forward(x)


class Conv2d(Layer):
    """2-D convolution (cross-correlation), y = weight * x + bias, optionally then ReLU.

    With g the gradient by y: dL/dbias sums g over images and pixels, dL/dweight correlates x
    with g, and dL/dx correlates g with the flipped weight.

    Parameters
    ----------
    in_channels, out_channels : int
        C and O; both must be divisible by `groups`.
    kernel_size : int or (int, int)
        KH, KW.
    stride, padding, dilation, groups
        As for `fastconv.conv2d`; `padding` may be ``'same'`` or ``'valid'``.
    bias : bool
        Whether there is a bias; it starts at zero.
    activation : None or 'relu'
        ReLU in the convolution's own store, cheaper than a layer of its own.
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

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        activation: str | None = None,
        rng: Seed = None,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups: in_channels ({in_channels}) and out_channels ({out_channels}) "
                f"must be divisible by groups ({groups})"
            )
        kh, kw = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        shape = (out_channels, in_channels // groups, kh, kw)
        self.weight = _he_normal(shape, math.prod(shape[1:]), rng, dtype)
        self.bias = Parameter(np.zeros(out_channels, dtype)) if bias else None
        self.geometry = (stride, padding, dilation, groups)
        self.activation = _activation(activation)
        self._input: Array | None = None
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, O, OH, OW)."""
        bias = None if self.bias is None else self.bias.data
        y: Array = self.ops.conv2d(
            x, self.weight.data, bias, *self.geometry, activation=self.activation
        )
        self._input, self._output = x, y if self.activation else None
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """(N, O, OH, OW) to (N, C, H, W); see `Layer.backward`."""
        x = _saved(self._input)
        if self._output is not None:
            grad_output = grad_output * (self._output > 0)
        mask = (input_grad, True, self.bias is not None)
        grad_input: Array | None
        grad_input, self.weight.grad, grad_bias = self.ops.conv2d_backward(
            grad_output, x, self.weight.data, *self.geometry, output_mask=mask
        )
        if self.bias is not None:
            self.bias.grad = grad_bias
        return grad_input

    def parameters(self) -> list[Parameter]:
        """`weight`, then `bias` if there is one."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


class Linear(Layer):
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
        self.weight = _he_normal((out_features, in_features), in_features, rng, dtype)
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None
        self.activation = _activation(activation)
        self._input: Array | None = None
        self._output: Array | None = None

    def forward(self, x: Array) -> Array:
        """(N, in_features) to (N, out_features)."""
        if x.ndim != 2:
            raise ValueError(f"input: expected (N, in_features), got shape {x.shape}")
        bias = None if self.bias is None else self.bias.data
        images, kernels = x[:, :, None, None], self.weight.data[:, :, None, None]
        y: Array = self.ops.conv2d(images, kernels, bias, activation=self.activation)[:, :, 0, 0]
        self._input, self._output = x, y if self.activation else None
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """(N, out_features) to (N, in_features); see `Layer.backward`."""
        x = _saved(self._input)
        if self._output is not None:
            grad_output = grad_output * (self._output > 0)
        grad_images, grad_kernels, grad_bias = self.ops.conv2d_backward(
            grad_output[:, :, None, None],
            x[:, :, None, None],
            self.weight.data[:, :, None, None],
            output_mask=(input_grad, True, self.bias is not None),
        )
        self.weight.grad = grad_kernels[:, :, 0, 0]
        if self.bias is not None:
            self.bias.grad = grad_bias
        return None if grad_images is None else grad_images[:, :, 0, 0]

    def parameters(self) -> list[Parameter]:
        """`weight`, then `bias` if there is one."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]


class MaxPool2d(Layer):
    """Maximum of each window; the gradient goes to the window's first maximum.

    Parameters
    ----------
    kernel_size, stride, padding, dilation, ceil_mode
        As for `fastconv.max_pool2d`; `stride` None means `kernel_size`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.MaxPool2d(2)
    >>> layer(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> layer.backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))[0, 0]
    array([[0., 0., 0., 0.],
           [0., 1., 0., 2.],
           [0., 0., 0., 0.],
           [0., 3., 0., 4.]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        dilation: Pair = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.window = (kernel_size, stride, padding, dilation, ceil_mode)
        self._input: Array | None = None
        self._indices: Array | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW)."""
        self._input, self._indices = x, None
        y: Array
        if self.training:
            y, self._indices = self.ops.max_pool2d(x, *self.window, True)
        else:
            y = self.ops.max_pool2d(x, *self.window)
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """(N, C, OH, OW) to (N, C, H, W); see `Layer.backward`."""
        x = _saved(self._input)
        grad: Array = self.ops.max_pool2d_backward(
            grad_output, x, *self.window, indices=self._indices
        )
        return grad


class AvgPool2d(Layer):
    """Mean of each window; the gradient is shared equally among its pixels.

    Parameters
    ----------
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        As for `fastconv.avg_pool2d`; `stride` None means `kernel_size`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> layer = nn.AvgPool2d(2)
    >>> layer(np.arange(16.0).reshape(1, 1, 4, 4))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.window = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
        self._input_shape: tuple[int, ...] | None = None

    def forward(self, x: Array) -> Array:
        """(N, C, H, W) to (N, C, OH, OW)."""
        self._input_shape = x.shape
        y: Array = self.ops.avg_pool2d(x, *self.window)
        return y

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """(N, C, OH, OW) to (N, C, H, W); see `Layer.backward`."""
        grad: Array = self.ops.avg_pool2d_backward(
            grad_output, _saved(self._input_shape), *self.window
        )
        return grad


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
        self._output = np.maximum(x, 0)
        return self._output

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array:
        """See `Layer.backward`."""
        # A product with the mask: np.where is seven times slower here.
        grad: Array = grad_output * (_saved(self._output) > 0)
        return grad


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
        return grad_output.reshape(_saved(self._input_shape))


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
        y = _saved(self._output)
        grad: Array = y * (grad_output - (grad_output * y).sum(self.dim, keepdims=True))
        return grad


class Sequential(Layer):
    """Layers one after another.

    Parameters
    ----------
    *layers : Layer
        In the order of computation; a Sequential may hold others.
    ops : Ops, optional
        The functions that all these layers shall compute with.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> rng = np.random.default_rng(0)
    >>> network = nn.Sequential(
    ...     nn.Conv2d(1, 4, 3, activation="relu", rng=rng),
    ...     nn.MaxPool2d(2),
    ...     nn.Flatten(),
    ...     nn.Linear(4 * 3 * 3, 10, rng=rng),
    ... )
    >>> y = network(np.zeros((5, 1, 8, 8), np.float32))
    >>> y.shape, len(network), len(network.parameters())
    ((5, 10), 4, 4)
    >>> network.backward(np.ones_like(y), input_grad=False)
    """

    def __init__(self, *layers: Layer, ops: Ops | None = None) -> None:
        self.layers = layers
        if ops is not None:
            for leaf in self.leaves():
                leaf.ops = ops

    def forward(self, x: Array) -> Array:
        """The last layer's output."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad_output: Array, input_grad: bool = True) -> Array | None:
        """See `Layer.backward`; without `input_grad`, stops at the first layer with parameters."""
        learned = [i for i, layer in enumerate(self.layers) if layer.parameters()]
        first = 0 if input_grad else min(learned, default=len(self.layers))
        grad: Array | None = grad_output
        for i in range(len(self.layers) - 1, first - 1, -1):
            assert grad is not None
            grad = self.layers[i].backward(grad, input_grad or i > first)
        return grad if input_grad else None

    def parameters(self) -> list[Parameter]:
        """All the layers' parameters, in the layers' order."""
        return [p for layer in self.layers for p in layer.parameters()]

    def leaves(self) -> list[Layer]:
        """See `Layer.leaves`."""
        return [leaf for layer in self.layers for leaf in layer.leaves()]

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __getitem__(self, index: int) -> Layer:
        return self.layers[index]


class CrossEntropyLoss:
    """Mean over the batch of -log softmax(logits)[label].

    The gradient by the logits is (softmax(logits) - onehot(labels)) / N.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> criterion = nn.CrossEntropyLoss()
    >>> round(criterion(np.zeros((2, 10)), np.array([3, 7])), 6)
    2.302585
    >>> criterion.backward().shape
    (2, 10)
    """

    def __init__(self) -> None:
        self._probabilities: Array | None = None
        self._labels: Array | None = None

    def forward(self, logits: Array, labels: npt.ArrayLike) -> float:
        """The loss.

        Parameters
        ----------
        logits : ndarray, (N, K)
            Scores of K classes, any real numbers.
        labels : array_like of int, (N,)
            The true classes, 0 to K - 1.
        """
        truth = np.asarray(labels)
        if logits.ndim != 2 or truth.shape != logits.shape[:1] or not logits.size:
            raise ValueError(
                "labels: expected shape (N,) for logits of shape (N, K), N, K > 0; "
                f"got {truth.shape} for {logits.shape}"
            )
        if not np.issubdtype(truth.dtype, np.integer):
            raise TypeError(f"labels: expected integers (classes), got {truth.dtype}")
        if truth.min() < 0 or truth.max() >= logits.shape[1]:
            raise ValueError(f"labels: expected 0 to {logits.shape[1] - 1}")
        shifted = logits - logits.max(1, keepdims=True)
        exp = np.exp(shifted)
        total = exp.sum(1, keepdims=True)
        self._probabilities, self._labels = exp / total, truth
        # -log p = log(total) - shifted stays finite where p itself rounds to 0.
        return float((np.log(total[:, 0]) - shifted[np.arange(len(truth)), truth]).mean())

    def backward(self) -> Array:
        """Gradient of the last loss by its logits, (N, K)."""
        grad, truth = _saved(self._probabilities).copy(), _saved(self._labels)
        grad[np.arange(len(truth)), truth] -= 1
        grad /= len(truth)
        return grad

    def __call__(self, logits: Array, labels: npt.ArrayLike) -> float:
        return self.forward(logits, labels)


# An update is about ten NumPy expressions. Done block by block, all but the first of them find
# their operands in the core's cache (four arrays of 64 KB), and the only scratch is one block.
_BLOCK = 1 << 14


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, size, _BLOCK))


class _Optimiser:
    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        if not lr >= 0.0:
            raise ValueError(f"lr: expected a number >= 0, got {lr}")

    def _zeros(self) -> list[Array]:
        return [np.zeros_like(p.data).reshape(-1) for p in self.parameters]

    def _learned(self) -> Iterator[tuple[int, Array, Array, Array]]:
        """Index, flat values, flat gradient and scratch of each parameter that has a gradient."""
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                scratch = np.empty(min(p.size, _BLOCK), p.data.dtype)
                yield i, p.flat(), p.grad.reshape(-1), scratch


class SGD(_Optimiser):
    """Gradient descent: velocity = momentum * velocity + grad; data -= lr * velocity.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to change.
    lr : float
        Learning rate; may be assigned between steps.
    momentum : float
        0 <= momentum < 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([10.0, 20.0])
    >>> nn.SGD([p], lr=0.01).step()
    >>> p.data
    array([0.9, 1.8])
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 0.01, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, lr)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
        self.momentum = momentum
        self._velocity = self._zeros() if momentum else []

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for i, data, grad, scratch in self._learned():
            for b in _blocks(data.size):
                p, g = data[b], grad[b]
                s = scratch[: p.size]
                if self.momentum:
                    v = self._velocity[i][b]
                    v *= self.momentum
                    v += g
                    g = v
                np.multiply(g, self.lr, out=s)
                p -= s


class Adam(_Optimiser):
    """Adam (Kingma and Ba, 2015).

    At step t, with m and v starting at zero::

        m = b1 m + (1 - b1) grad
        v = b2 v + (1 - b2) grad^2
        data -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    parameters : iterable of Parameter
        What to change.
    lr : float
        Learning rate; may be assigned between steps.
    betas : (float, float)
        b1 and b2.
    eps : float
        Keeps the quotient finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([10.0, -20.0])
    >>> nn.Adam([p], lr=0.5).step()
    >>> p.data.round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        if not all(0.0 <= b < 1.0 for b in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        self.betas, self.eps = betas, eps
        self._steps = 0
        self._mean = self._zeros()
        self._square = self._zeros()

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        self._steps += 1
        b1, b2 = self.betas
        c1, c2 = 1.0 - b1**self._steps, math.sqrt(1.0 - b2**self._steps)
        # The formula above, its fraction multiplied by c2, so that the arrays meet no constants
        # but these two.
        rate, eps = self.lr * c2 / c1, self.eps * c2
        for i, data, grad, scratch in self._learned():
            for b in _blocks(data.size):
                p, g, m, v = data[b], grad[b], self._mean[i][b], self._square[i][b]
                s = scratch[: p.size]
                np.subtract(g, m, out=s)
                s *= 1.0 - b1
                m += s
                np.multiply(g, g, out=s)
                s *= 1.0 - b2
                v *= b2
                v += s
                np.sqrt(v, out=s)
                s += eps
                np.divide(m, s, out=s)
                s *= rate
                p -= s


def summary(
    network: Layer, input_shape: tuple[int, ...], mode: str = "stdout"
) -> list[dict[str, Any]] | None:
    """Print a network's layers, output shapes and parameter counts.

    Parameters
    ----------
    network : Layer
        Is not changed: a copy of it computes one sample of zeros.
    input_shape : tuple of int
        Of one sample, without the batch axis: (C, H, W) for an image.
    mode : 'stdout' or 'dicts'
        Print the table, or return it as a list of rows with the keys ``layer``,
        ``output_shape`` and ``parameters``. `Flatten` has no row: it only renames axes.

    Examples
    --------
    >>> from fastconv import nn
    >>> network = nn.Sequential(
    ...     nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 10)
    ... )
    >>> nn.summary(network, (1, 8, 8))
    ----------------------------------------------------------------
            Layer (type)               Output Shape         Param #
    ================================================================
                Conv2d-1              [-1, 2, 6, 6]              20
                  ReLU-2              [-1, 2, 6, 6]               0
                Linear-3                   [-1, 10]             730
    ================================================================
    Total params: 750
    Trainable params: 750
    Non-trainable params: 0
    ----------------------------------------------------------------
    Input size (MB): 0.00
    Forward/backward pass size (MB): 0.00
    Params size (MB): 0.00
    Estimated Total Size (MB): 0.00
    ----------------------------------------------------------------
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    twin = network.with_ops(fastconv).eval()
    learned = twin.parameters()
    dtype = learned[0].data.dtype if learned else np.dtype(np.float32)
    x: Array = np.zeros((1, *input_shape), dtype)
    rows: list[dict[str, Any]] = []
    for leaf in twin.leaves():
        x = leaf.forward(x)
        if not isinstance(leaf, Flatten):
            name = f"{type(leaf).__name__}-{len(rows) + 1}"
            count = sum(p.size for p in leaf.parameters())
            rows.append({"layer": name, "output_shape": (-1, *x.shape[1:]), "parameters": count})
    if mode == "dicts":
        return rows

    def mb(elements: int) -> float:
        return elements * dtype.itemsize / 2**20

    total = sum(row["parameters"] for row in rows)
    inputs, params = mb(math.prod(input_shape)), mb(total)
    # Each output is held once as a value and once as a gradient.
    passes = 2 * mb(sum(math.prod(row["output_shape"][1:]) for row in rows))
    thin, thick = "-" * 64, "=" * 64
    print(thin, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", thick, sep="\n")
    for row in rows:
        shape = str(list(row["output_shape"]))
        print(f"{row['layer']:>20}  {shape:>25} {row['parameters']:>15,}")
    print(thick, f"Total params: {total:,}", f"Trainable params: {total:,}", sep="\n")
    print("Non-trainable params: 0", thin, f"Input size (MB): {inputs:.2f}", sep="\n")
    print(
        f"Forward/backward pass size (MB): {passes:.2f}",
        f"Params size (MB): {params:.2f}",
        sep="\n",
    )
    print(f"Estimated Total Size (MB): {inputs + passes + params:.2f}", thin, sep="\n")
    return None
