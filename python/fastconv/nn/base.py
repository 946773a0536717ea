"""What every layer is: a map of arrays, its transposed derivative, and the parameters of both."""

from __future__ import annotations

import copy
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

import fastconv

__all__ = ["Layer", "Parameter", "saved", "spatial"]

Array: TypeAlias = npt.NDArray[Any]
Size: TypeAlias = int | tuple[int, ...]
T = TypeVar("T")


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

    def __repr__(self) -> str:
        return f"Parameter(shape={self.data.shape}, dtype={self.data.dtype})"


class Layer:
    """Base of all layers: a map of arrays, its derivative, and the parameters of both.

    Subclasses define `forward` and `backward`; a `Parameter` that they keep as an attribute is
    found by itself.

    Attributes
    ----------
    ops : module
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

    ops: Any = fastconv
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

    def named_parameters(self) -> dict[str, Parameter]:
        """The layer's parameters by the names of their attributes, in a fixed order."""
        return {name: p for name, p in vars(self).items() if isinstance(p, Parameter)}

    def parameters(self) -> list[Parameter]:
        """The layer's parameters, in a fixed order."""
        return list(self.named_parameters().values())

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

    def with_ops(self, ops: Any) -> Self:
        """A deep copy (parameters, random state) that computes with another module's functions.

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


def saved(value: T | None) -> T:
    """What forward kept."""
    if value is None:
        raise RuntimeError("backward needs a forward before it")
    return value


def spatial(size: Size, dims: int, name: str) -> tuple[int, ...]:
    """One size for each of `dims` axes, from one for all or a tuple of them."""
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    if len(sizes) != dims:
        raise ValueError(f"{name}: expected an int or {dims} ints, got {size!r}")
    return sizes
