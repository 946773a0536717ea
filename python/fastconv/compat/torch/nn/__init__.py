"""``torch.nn`` with convolution and pooling modules that compute with fastconv.

Each is a subclass of PyTorch's module of the same name and overrides its computation alone. All
names that are not defined here are PyTorch's own.
"""

from __future__ import annotations

from typing import Any

import torch.nn
from torch import Tensor

from fastconv.compat.torch.nn import functional

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "functional",
]


def __getattr__(name: str) -> Any:
    return getattr(torch.nn, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(torch.nn)})


class _Conv:
    """The computation of Conv1d, Conv2d and Conv3d."""

    def _conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            pads = self._reversed_padding_repeated_twice
            input, padding = functional.pad(input, pads, mode=self.padding_mode), 0
        conv = getattr(functional, f"conv{len(self.kernel_size)}d")
        y: Tensor = conv(input, weight, bias, self.stride, padding, self.dilation, self.groups)
        return y


class Conv1d(_Conv, torch.nn.Conv1d):
    """See `torch.nn.Conv1d`."""


class Conv2d(_Conv, torch.nn.Conv2d):
    """See `torch.nn.Conv2d`."""


class Conv3d(_Conv, torch.nn.Conv3d):
    """See `torch.nn.Conv3d`."""


class _ConvTranspose:
    """The computation of ConvTranspose1d, ConvTranspose2d and ConvTranspose3d."""

    def forward(self: Any, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        dims = len(self.kernel_size)
        shape = (self.stride, self.padding, self.kernel_size, dims, self.dilation)
        output_padding = self._output_padding(input, output_size, *shape)
        y: Tensor = getattr(functional, f"conv_transpose{dims}d")(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            output_padding,
            self.groups,
            self.dilation,
        )
        return y


class ConvTranspose1d(_ConvTranspose, torch.nn.ConvTranspose1d):
    """See `torch.nn.ConvTranspose1d`."""


class ConvTranspose2d(_ConvTranspose, torch.nn.ConvTranspose2d):
    """See `torch.nn.ConvTranspose2d`."""


class ConvTranspose3d(_ConvTranspose, torch.nn.ConvTranspose3d):
    """See `torch.nn.ConvTranspose3d`."""


class _MaxPool:
    """The window of MaxPool1d, MaxPool2d and MaxPool3d."""

    def _window(self: Any) -> tuple[Any, ...]:
        window = (self.kernel_size, self.stride, self.padding, self.dilation)
        return (*window, self.ceil_mode, self.return_indices)


class MaxPool1d(_MaxPool, torch.nn.MaxPool1d):
    """See `torch.nn.MaxPool1d`."""

    def forward(self, input: Tensor) -> Any:
        return functional.max_pool1d(input, *self._window())


class MaxPool2d(_MaxPool, torch.nn.MaxPool2d):
    """See `torch.nn.MaxPool2d`."""

    def forward(self, input: Tensor) -> Any:
        return functional.max_pool2d(input, *self._window())


class MaxPool3d(_MaxPool, torch.nn.MaxPool3d):
    """See `torch.nn.MaxPool3d`."""

    def forward(self, input: Tensor) -> Any:
        return functional.max_pool3d(input, *self._window())


class _AvgPool:
    """The window of AvgPool1d, AvgPool2d and AvgPool3d."""

    def _window(self: Any) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        window = {name: getattr(self, name) for name in names}
        if hasattr(self, "divisor_override"):  # not in one dimension
            window["divisor_override"] = self.divisor_override
        return window


class AvgPool1d(_AvgPool, torch.nn.AvgPool1d):
    """See `torch.nn.AvgPool1d`."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool1d(input, **self._window())


class AvgPool2d(_AvgPool, torch.nn.AvgPool2d):
    """See `torch.nn.AvgPool2d`."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool2d(input, **self._window())


class AvgPool3d(_AvgPool, torch.nn.AvgPool3d):
    """See `torch.nn.AvgPool3d`."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.avg_pool3d(input, **self._window())
