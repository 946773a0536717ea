"""Autograd functions over fastconv: tensors in, NumPy views across, tensors out.

A view shares the tensor's memory, whatever its strides, so nothing is copied in either direction.
Gradients are of first order; PyTorch refuses to differentiate them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

import fastconv

__all__ = ["AvgPool", "Convolution", "MaxPool"]


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def _tensor(array: np.ndarray[Any, Any] | None) -> Tensor | None:
    return None if array is None else torch.from_numpy(array)


class Convolution(Function):
    """conv1d to conv3d and conv_transpose1d to conv_transpose3d, by name."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        name: str,
        geometry: tuple[Any, ...],
    ) -> Tensor | None:
        ctx.save_for_backward(input, weight)
        ctx.name, ctx.geometry = name, geometry
        y = getattr(fastconv, name)(_array(input), _array(weight), _array(bias), *geometry)
        return _tensor(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = map(_array, ctx.saved_tensors)
        gradients = getattr(fastconv, f"{ctx.name}_backward")(
            _array(grad_output),
            input,
            weight,
            *ctx.geometry,
            output_mask=ctx.needs_input_grad[:3],
        )
        return (*map(_tensor, gradients), None, None)


class MaxPool(Function):
    """max_pool1d to max_pool3d, by name: values, and indices where they are needed."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, name: str, window: tuple[Any, ...], return_indices: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        ctx.name, ctx.window = name, window
        pool = getattr(fastconv, name)
        if not (return_indices or ctx.needs_input_grad[0]):
            return _tensor(pool(_array(input), *window)), None
        values, indices = (torch.from_numpy(a) for a in pool(_array(input), *window, True))
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(input, indices)
        return values, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_values: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        input, indices = map(_array, ctx.saved_tensors)
        backward = getattr(fastconv, f"{ctx.name}_backward")
        grad = backward(_array(grad_values), input, *ctx.window, indices=indices)
        return _tensor(grad), None, None, None


class AvgPool(Function):
    """avg_pool1d to avg_pool3d, by name."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, name: str, window: tuple[Any, ...]) -> Tensor | None:
        ctx.name, ctx.window, ctx.shape = name, window, input.shape
        return _tensor(getattr(fastconv, name)(_array(input), *window))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        backward = getattr(fastconv, f"{ctx.name}_backward")
        return _tensor(backward(_array(grad_output), tuple(ctx.shape), *ctx.window)), None, None
