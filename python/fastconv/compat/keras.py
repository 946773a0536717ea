"""Keras 3 on its NumPy backend, with convolution and pooling from fastconv.

That backend takes both from JAX. Importing this module replaces them in place, for layers and for
``keras.ops`` alike; models, weights and files stay Keras's own. Change ``tensorflow.keras`` to
``fastconv.compat.keras`` in the imports and keep the rest, or import this module once and go on
with ``keras``. The NumPy backend predicts and does not train; to train, see `fastconv.nn`.

Replaced are `conv`, `depthwise_conv`, `conv_transpose`, `max_pool` and `average_pool` (and with
them `separable_conv`), for one, two and three spatial axes. What fastconv does not compute
(integers, bfloat16) still goes the old way.

Raises
------
ImportError
    Keras is not installed, or is already running on another backend. It chooses its backend when it
    is first imported; if this module comes first, that is NumPy, unless KERAS_BACKEND says
    otherwise.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import fastconv

if "keras" not in sys.modules:
    os.environ.setdefault("KERAS_BACKEND", "numpy")

import keras
from keras import *  # noqa: F403

__all__ = ["restore", "use_fastconv"]

if keras.config.backend() != "numpy":
    raise ImportError(
        f"fastconv.compat.keras needs Keras on its NumPy backend, and it runs on "
        f"{keras.config.backend()!r}: set KERAS_BACKEND=numpy before Keras is first imported"
    )

from keras.src.backend.common import backend_utils
from keras.src.backend.numpy import nn as _backend

# So that `from fastconv.compat.keras.layers import Conv2D` finds keras.layers.
for _name in (
    "activations",
    "datasets",
    "initializers",
    "layers",
    "models",
    "ops",
    "random",
    "utils",
):
    sys.modules[f"{__name__}.{_name}"] = importlib.import_module(f"keras.{_name}")

Array = npt.NDArray[Any]
Sizes = int | Sequence[int]
FORMATS = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}

_originals: dict[str, Callable[..., Any]] = {}


def use_fastconv() -> None:
    """Replace the backend's convolutions and pools; importing this module does so."""
    for function in (conv, depthwise_conv, conv_transpose, max_pool, average_pool):
        name = function.__name__
        _originals.setdefault(name, getattr(_backend, name))
        setattr(_backend, name, function)


def restore() -> None:
    """Give the backend its own functions back."""
    for name, function in _originals.items():
        setattr(_backend, name, function)


def _format(x: Array, data_format: str | None) -> str:
    """fastconv's name of Keras's data format, for an array of that many axes."""
    last = keras.src.backend.standardize_data_format(data_format) == "channels_last"
    return FORMATS[x.ndim - 2][last]


def _ours(*arrays: Any) -> bool:
    """Whether fastconv computes on such arrays."""
    return all(
        isinstance(a, np.ndarray) and a.ndim - 2 in FORMATS and a.dtype.char in "efd"
        for a in arrays
    )


def _sizes(sizes: Sizes) -> int | tuple[int, ...]:
    return sizes if isinstance(sizes, int) else tuple(sizes)


def _oihw(kernel: Array) -> Array:
    """Keras's kernel (KH, KW, I, O) as (O, I, KH, KW), a view."""
    return kernel.transpose(-1, -2, *range(kernel.ndim - 2))


def conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Any:
    """N-D convolution; fewer channels in the kernel than in the input mean groups."""
    x, w = _backend.convert_to_tensor(inputs), _backend.convert_to_tensor(kernel)
    if not _ours(x, w) or not isinstance(padding, str):
        return _originals["conv"](inputs, kernel, strides, padding, data_format, dilation_rate)
    layout = _format(x, data_format)
    channels, reduced = x.shape[layout.index("C")], w.shape[-2]
    if reduced == 0 or channels % reduced:
        raise ValueError(
            "The number of input channels must be evenly divisible by kernel's in_channels. "
            f"Received input channels {channels} and kernel in_channels {reduced}."
        )
    function = getattr(fastconv, f"conv{x.ndim - 2}d")
    geometry = (_sizes(strides), padding.lower(), _sizes(dilation_rate), channels // reduced)
    return function(x, _oihw(w), None, *geometry, data_format=layout)


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Any:
    """N-D convolution of each channel on its own, with M kernels (KH, KW, C, M)."""
    w = _backend.convert_to_tensor(kernel)
    backend_utils.check_conv_input_channels(
        inputs, w, keras.src.backend.standardize_data_format(data_format)
    )
    grouped = w.reshape(*w.shape[:-2], 1, w.shape[-2] * w.shape[-1])
    return conv(inputs, grouped, strides, padding, data_format, dilation_rate)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Sizes = 1,
    padding: str = "valid",
    output_padding: Sizes | None = None,
    data_format: str | None = None,
    dilation_rate: Sizes = 1,
) -> Any:
    """N-D transposed convolution, kernel (KH, KW, O, I).

    Keras says how much the full result is cropped at each end of each axis. A negative number is an
    extension by zeros, which is output padding; it occurs at the end only.
    """
    x, w = _backend.convert_to_tensor(inputs), _backend.convert_to_tensor(kernel)
    backend_utils.check_conv_transpose_input_channels(
        x, w, keras.src.backend.standardize_data_format(data_format)
    )
    pads = backend_utils.compute_conv_transpose_padding_args_for_jax(
        x.shape, w.shape, strides, padding, output_padding, dilation_rate
    )
    dims = x.ndim - 2
    dilation = (dilation_rate,) * dims if isinstance(dilation_rate, int) else dilation_rate
    steps = (strides,) * dims if isinstance(strides, int) else tuple(strides)
    spans = [d * (k - 1) for d, k in zip(dilation, w.shape, strict=False)]
    crops = [(n - a, n - b) for n, (a, b) in zip(spans, pads, strict=True)]
    extensions = tuple(max(0, -end) for _, end in crops)
    if not _ours(x, w) or any(e >= s for e, s in zip(extensions, steps, strict=True)):
        return _originals["conv_transpose"](
            inputs, kernel, strides, padding, output_padding, data_format, dilation_rate
        )
    return getattr(fastconv, f"conv_transpose{dims}d")(
        x,
        _oihw(w),
        None,
        steps,
        tuple((start, max(0, end)) for start, end in crops),
        extensions,
        dilation=tuple(dilation),
        data_format=_format(x, data_format),
    )


def max_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """Maximum of each window; padding never wins."""
    return _pool("max_pool", inputs, pool_size, strides, padding, data_format)


def average_pool(
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """Mean of the pixels in each window; padding does not count."""
    return _pool(
        "average_pool", inputs, pool_size, strides, padding, data_format, count_include_pad=False
    )


def _pool(
    name: str,
    inputs: Any,
    pool_size: Sizes,
    strides: Sizes | None,
    padding: str,
    data_format: str | None,
    **options: Any,
) -> Any:
    x = _backend.convert_to_tensor(inputs)
    if not _ours(x):
        return _originals[name](inputs, pool_size, strides, padding, data_format)
    if padding not in ("same", "valid"):
        raise ValueError(f"Invalid padding '{padding}', must be 'same' or 'valid'.")
    function = getattr(fastconv, f"{name.replace('average', 'avg')}{x.ndim - 2}d")
    window = (_sizes(pool_size), None if strides is None else _sizes(strides), padding)
    return function(x, *window, data_format=_format(x, data_format), **options)


use_fastconv()
