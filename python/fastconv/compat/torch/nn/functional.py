"""``torch.nn.functional`` with convolution and pooling from fastconv.

Each function takes what its namesake in PyTorch takes. All names that are not defined here are
PyTorch's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as torch_functional
from torch import Tensor

from fastconv.compat.torch import autograd

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]


def __getattr__(name: str) -> Any:
    return getattr(torch_functional, name)


def ours(*tensors: Tensor | None) -> bool:
    """Whether fastconv computes on such tensors: plain ones of float32 or float64 on the CPU."""
    if torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return False
    return all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.dtype in (torch.float32, torch.float64)
        and t.device.type == "cpu"
        and t.layout is torch.strided
        and not t.is_neg()
        and not torch._C._functorch.is_functorch_wrapped_tensor(t)
        for t in tensors
        if t is not None
    )


def _conv(dims: int, arguments: tuple[Any, ...]) -> Tensor:
    input, weight, bias, stride, padding, dilation, groups = arguments
    name = f"conv{dims}d"
    strided = any(s != 1 for s in (stride if isinstance(stride, tuple | list) else [stride]))
    # PyTorch refuses 'same' with a stride, in its own words.
    if not ours(input, weight, bias) or (padding == "same" and strided):
        return getattr(torch_functional, name)(*arguments)
    geometry = (stride, padding, dilation, groups)
    return autograd.Convolution.apply(input, weight, bias, name, geometry)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, L) to (N, O, OL)."""
    return _conv(1, (input, weight, bias, stride, padding, dilation, groups))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, H, W) to (N, O, OH, OW)."""
    return _conv(2, (input, weight, bias, stride, padding, dilation, groups))


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """(N, C, D, H, W) to (N, O, OD, OH, OW)."""
    return _conv(3, (input, weight, bias, stride, padding, dilation, groups))


def _conv_transpose(dims: int, arguments: tuple[Any, ...]) -> Tensor:
    input, weight, bias, *geometry = arguments
    name = f"conv_transpose{dims}d"
    if not ours(input, weight, bias):
        return getattr(torch_functional, name)(*arguments)
    return autograd.Convolution.apply(input, weight, bias, name, tuple(geometry))


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """(N, C, L) to (N, O, OL)."""
    geometry = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(1, (input, weight, bias, *geometry))


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """(N, C, H, W) to (N, O, OH, OW)."""
    geometry = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(2, (input, weight, bias, *geometry))


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """(N, C, D, H, W) to (N, O, OD, OH, OW)."""
    geometry = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose(3, (input, weight, bias, *geometry))


def _max_pool(dims: int, input: Tensor, window: tuple[Any, ...], return_indices: bool) -> Any:
    name = f"max_pool{dims}d"
    if not ours(input):
        return getattr(torch_functional, name)(input, *window, return_indices=return_indices)
    values, indices = autograd.MaxPool.apply(input, name, window, return_indices)
    return (values, indices) if return_indices else values


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of (N, C, L)."""
    return _max_pool(1, input, (kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of (N, C, H, W)."""
    return _max_pool(2, input, (kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum of each window of (N, C, D, H, W)."""
    return _max_pool(3, input, (kernel_size, stride, padding, dilation, ceil_mode), return_indices)


def _avg_pool(dims: int, input: Tensor, window: tuple[Any, ...]) -> Tensor:
    name = f"avg_pool{dims}d"
    if not ours(input):
        return getattr(torch_functional, name)(input, *window)
    return autograd.AvgPool.apply(input, name, window)


def avg_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of (N, C, L)."""
    return _avg_pool(1, input, (kernel_size, stride, padding, ceil_mode, count_include_pad))


def avg_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of (N, C, H, W)."""
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(2, input, window)


def avg_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of (N, C, D, H, W)."""
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    return _avg_pool(3, input, window)
