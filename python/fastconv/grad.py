"""Gradients of convolutions from shapes, as in ``torch.nn.grad``.

Each function needs only what its gradient depends on: the gradient of the input no input, the
gradient of the weight no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _core

__all__ = [
    "conv1d_input",
    "conv1d_weight",
    "conv2d_input",
    "conv2d_weight",
    "conv3d_input",
    "conv3d_weight",
]


def _shape_only(shape: Sequence[int], name: str, like: ArrayLike) -> NDArray[Any]:
    """An array of that shape which occupies a single element; its values are never read."""
    if isinstance(shape, (str, bytes)) or not hasattr(shape, "__len__"):
        raise TypeError(f"{name}: expected a shape (a tuple of ints), got {shape!r}")
    # `like` gives the dtype, so that it decides that of the result; if it is no array of floats,
    # the core says so.
    dtype = getattr(like, "dtype", np.dtype(np.float32))
    if not np.issubdtype(dtype, np.floating):
        dtype = np.dtype(np.float32)
    try:
        return np.broadcast_to(np.zeros((), dtype), tuple(shape))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {shape!r} is no shape: {error}") from None


def _input(
    backward: Callable[..., Any],
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    *geometry: Any,
) -> NDArray[Any]:
    nothing = _shape_only(input_size, "input_size", grad_output)
    mask = (True, False, False)
    result: NDArray[Any] = backward(grad_output, nothing, weight, *geometry, output_mask=mask)[0]
    return result


def _weight(
    backward: Callable[..., Any],
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    *geometry: Any,
) -> NDArray[Any]:
    nothing = _shape_only(weight_size, "weight_size", grad_output)
    mask = (False, True, False)
    result: NDArray[Any] = backward(grad_output, input, nothing, *geometry, output_mask=mask)[1]
    return result


def conv1d_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv1d`` with respect to its input.

    Parameters
    ----------
    input_size : tuple of int
        Shape (N, C, L) of the input.
    weight : array_like, shape (O, C // groups, K)
    grad_output : array_like, shape (N, O, OL)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv1d`.

    Returns
    -------
    ndarray, shape `input_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv1d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv1d_input``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> g = np.ones((1, 1, 1), np.float32)
    >>> fastconv.grad.conv1d_input((1, 1, 2), np.array([[[1, 2]]], np.float32), g)
    array([[[1., 2.]]], dtype=float32)
    """
    geometry = (stride, padding, dilation, groups)
    return _input(_core.conv1d_backward, input_size, weight, grad_output, *geometry)


def conv1d_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv1d`` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, L)
    weight_size : tuple of int
        Shape (O, C // groups, K) of the weight.
    grad_output : array_like, shape (N, O, OL)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv1d`.

    Returns
    -------
    ndarray, shape `weight_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv1d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv1d_weight``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> x = np.array([[[1, 2]]], np.float32)
    >>> fastconv.grad.conv1d_weight(x, (1, 1, 2), np.ones((1, 1, 1), np.float32))
    array([[[1., 2.]]], dtype=float32)
    """
    geometry = (stride, padding, dilation, groups)
    return _weight(_core.conv1d_backward, input, weight_size, grad_output, *geometry)


def conv2d_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv2d`` with respect to its input.

    Parameters
    ----------
    input_size : tuple of int
        Shape (N, C, H, W) of the input.
    weight : array_like, shape (O, C // groups, KH, KW)
    grad_output : array_like, shape (N, O, OH, OW)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape `input_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv2d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv2d_input``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> w = np.ones((1, 1, 2, 2), np.float32)
    >>> g = np.ones((1, 1, 1, 1), np.float32)
    >>> fastconv.grad.conv2d_input((1, 1, 2, 2), w, g)[0, 0]
    array([[1., 1.],
           [1., 1.]], dtype=float32)
    """
    geometry = (stride, padding, dilation, groups)
    return _input(_core.conv2d_backward, input_size, weight, grad_output, *geometry)


def conv2d_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv2d`` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, H, W)
    weight_size : tuple of int
        Shape (O, C // groups, KH, KW) of the weight.
    grad_output : array_like, shape (N, O, OH, OW)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv2d`.

    Returns
    -------
    ndarray, shape `weight_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv2d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv2d_weight``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)
    >>> g = np.ones((1, 1, 1, 1), np.float32)
    >>> fastconv.grad.conv2d_weight(x, (1, 1, 2, 2), g)[0, 0]
    array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    geometry = (stride, padding, dilation, groups)
    return _weight(_core.conv2d_backward, input, weight_size, grad_output, *geometry)


def conv3d_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv3d`` with respect to its input.

    Parameters
    ----------
    input_size : tuple of int
        Shape (N, C, D, H, W) of the input.
    weight : array_like, shape (O, C // groups, KD, KH, KW)
    grad_output : array_like, shape (N, O, OD, OH, OW)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv3d`.

    Returns
    -------
    ndarray, shape `input_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv3d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv3d_input``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> w = np.ones((1, 1, 2, 2, 2), np.float32)
    >>> g = np.ones((1, 1, 1, 1, 1), np.float32)
    >>> fastconv.grad.conv3d_input((1, 1, 2, 2, 2), w, g).sum()
    np.float32(8.0)
    """
    geometry = (stride, padding, dilation, groups)
    return _input(_core.conv3d_backward, input_size, weight, grad_output, *geometry)


def conv3d_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> NDArray[Any]:
    """Gradient of ``conv3d`` with respect to its weight.

    Parameters
    ----------
    input : array_like, shape (N, C, D, H, W)
    weight_size : tuple of int
        Shape (O, C // groups, KD, KH, KW) of the weight.
    grad_output : array_like, shape (N, O, OD, OH, OW)
    stride, padding, dilation, groups
        As they were given to `fastconv.conv3d`.

    Returns
    -------
    ndarray, shape `weight_size`

    Raises
    ------
    TypeError, ValueError, MemoryError
        As `fastconv.conv3d`.

    Notes
    -----
    The definition is that of ``torch.nn.grad.conv3d_weight``.

    Examples
    --------
    >>> import numpy as np, fastconv.grad
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    >>> g = np.ones((1, 1, 1, 1, 1), np.float32)
    >>> fastconv.grad.conv3d_weight(x, (1, 1, 2, 2, 2), g)[0, 0, 1]
    array([[4., 5.],
           [6., 7.]], dtype=float32)
    """
    geometry = (stride, padding, dilation, groups)
    return _weight(_core.conv3d_backward, input, weight_size, grad_output, *geometry)
