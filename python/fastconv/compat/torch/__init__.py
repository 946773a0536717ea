"""PyTorch with its convolutions and pools from fastconv.

Change the import and keep the code: ``from fastconv.compat.torch import nn`` is ``torch.nn`` with
the convolution and pooling modules replaced by subclasses of themselves, so that
constructors, ``state_dict``, ``repr`` and ``isinstance`` stay; all other names are PyTorch's own.
Tensors are read and written through NumPy views, nothing is copied. Gradients are autograd's, of
first order.

What fastconv does not compute (other devices, dtypes or layouts, autocast, ``torch.compile``) goes
through PyTorch as before.

>>> from fastconv.compat import torch                                       # doctest: +SKIP
>>> from fastconv.compat.torch import nn                                    # doctest: +SKIP
>>> nn.Conv2d(1, 16, kernel_size=3)(torch.zeros(8, 1, 28, 28)).shape        # doctest: +SKIP
torch.Size([8, 16, 26, 26])
"""

from __future__ import annotations

from typing import Any

import torch

from fastconv.compat.torch import nn

__all__ = ["nn"]


def __getattr__(name: str) -> Any:
    return getattr(torch, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(torch)})
