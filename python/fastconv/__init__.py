"""The fastest convolution and pooling for NumPy arrays on a CPU.

``import fastconv``, pass arrays, get arrays. Names and arguments follow ``torch.nn.functional``.

>>> import numpy as np, fastconv
>>> x = np.ones((1, 3, 8, 8), np.float32)
>>> w = np.ones((4, 3, 3, 3), np.float32)
>>> fastconv.conv2d(x, w, padding="same", activation="relu").shape
(1, 4, 8, 8)
"""

from __future__ import annotations

import importlib
from types import ModuleType

from fastconv import _openmp  # noqa: F401  (before all that loads the core)
from fastconv._core import (
    PackedConv1d,
    PackedConv2d,
    PackedConv3d,
    Plan,
    avg_pool1d,
    avg_pool1d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    avg_pool3d,
    avg_pool3d_backward,
    conv1d,
    conv1d_backward,
    conv1d_plan,
    conv1d_prepack,
    conv2d,
    conv2d_backward,
    conv2d_plan,
    conv2d_prepack,
    conv3d,
    conv3d_backward,
    conv3d_plan,
    conv3d_prepack,
    conv_transpose1d,
    conv_transpose1d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    conv_transpose3d,
    conv_transpose3d_backward,
    get_num_threads,
    max_pool1d,
    max_pool1d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_pool3d,
    max_pool3d_backward,
    set_num_threads,
)
from fastconv.info import show_config

__version__ = "0.1.0"

__all__ = [
    "PackedConv1d",
    "PackedConv2d",
    "PackedConv3d",
    "Plan",
    "__version__",
    "avg_pool1d",
    "avg_pool1d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "avg_pool3d",
    "avg_pool3d_backward",
    "conv1d",
    "conv1d_backward",
    "conv1d_plan",
    "conv1d_prepack",
    "conv2d",
    "conv2d_backward",
    "conv2d_plan",
    "conv2d_prepack",
    "conv3d",
    "conv3d_backward",
    "conv3d_plan",
    "conv3d_prepack",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "conv_transpose3d",
    "conv_transpose3d_backward",
    "get_num_threads",
    "max_pool1d",
    "max_pool1d_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool3d",
    "max_pool3d_backward",
    "set_num_threads",
    "show_config",
]

# Imported when first used, so that `import fastconv` stays a matter of milliseconds.
_SUBMODULES = frozenset({"grad", "nn", "reference"})


def __getattr__(name: str) -> ModuleType:
    if name in _SUBMODULES:
        return importlib.import_module(f"fastconv.{name}")
    raise AttributeError(f"module 'fastconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES})
