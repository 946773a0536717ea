"""JAX, jitted for the CPU; gradients by `jax.vjp` under one jit.

NCHW is what a NumPy user has; NHWC, which XLA prefers on a CPU, runs only when named.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import compress
from typing import Any

import jax
import numpy as np

from adapters import Call, Unsupported
from layers import Conv, Convolution
from workload import Array, Data, Work


def setup(threads: int, dtype: str) -> None:
    """XLA takes its threads from the environment, set before the process started."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", dtype == "float64")
    # Every call waits for its result, so a hand-over to another thread would only be cost.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def version() -> str:
    return str(jax.__version__)


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    if not isinstance(work.layer, Convolution):
        raise Unsupported("only its convolutions are compared")
    if variant != "NCHW" and not isinstance(work.layer, Conv):
        raise Unsupported("channels last is for 2-D")
    conv = partial(_conv, layer=work.layer, variant=variant)
    x, weight = _lay(data.input, variant), _lay_weight(data.weight, variant)
    if work.gradients:
        grad = _lay(data.grad_output, variant)
        return [_backward(conv, x, weight, grad, work.gradients, variant)]
    forward = jax.jit(conv)
    return [
        Call(
            lambda: forward(x, weight).block_until_ready(),
            lambda y: (_back(y, variant),),
        )
    ]


def _backward(
    conv: Any, x: Any, weight: Any, grad: Any, mask: tuple[bool, ...], variant: str
) -> Call:
    @jax.jit
    def gradients(x: Any, weight: Any, bias: Any, grad: Any) -> Any:
        shape = [1] * x.ndim
        shape[1 if variant == "NCHW" else -1] = -1
        _, pull = jax.vjp(lambda x, w, b: conv(x, w) + b.reshape(shape), x, weight, bias)
        # What is not returned XLA does not compute, as it does not compute the convolution itself.
        return tuple(compress(pull(grad), mask))

    bias = jax.numpy.zeros(grad.shape[1 if variant == "NCHW" else 3], grad.dtype)

    def run() -> Any:
        result = gradients(x, weight, bias, grad)
        # One computation makes all of them, so waiting for one is waiting for all, and cheaper.
        result[0].block_until_ready()
        return result

    def arrays(result: Any) -> tuple[Array, ...]:
        backs: tuple[Callable[[Any], Array], ...] = (
            partial(_back, variant=variant),
            partial(_back_weight, variant=variant),
            np.asarray,
        )
        wanted = compress(backs, mask)
        return tuple(back(part) for back, part in zip(wanted, result, strict=True))

    return Call(run, arrays)


def _conv(x: Any, weight: Any, *, layer: Convolution, variant: str) -> Any:
    axes = "DHW"[-len(layer.stride) :]
    names = (
        (f"NC{axes}", f"OI{axes}", f"NC{axes}") if variant == "NCHW" else ("NHWC", "HWIO", "NHWC")
    )
    if layer.transposed:
        spans = zip(layer.kernel, layer.dilation, layer.padding, strict=True)
        margins = [d * (k - 1) - p for k, d, p in spans]
        return jax.lax.conv_transpose(
            x,
            weight,
            layer.stride,
            [(margin, margin) for margin in margins],
            layer.dilation,
            names,
            transpose_kernel=True,
        )
    return jax.lax.conv_general_dilated(
        x,
        weight,
        window_strides=layer.stride,
        padding=[(p, p) for p in layer.padding],
        rhs_dilation=layer.dilation,
        dimension_numbers=names,
        feature_group_count=layer.groups,
    )


def _lay(array: Array, variant: str) -> Any:
    return jax.numpy.array(array if variant == "NCHW" else array.transpose(0, 2, 3, 1))


def _lay_weight(weight: Array, variant: str) -> Any:
    return jax.numpy.array(weight if variant == "NCHW" else weight.transpose(2, 3, 1, 0))


def _back(array: Any, variant: str) -> Array:
    result = np.asarray(array)
    return result if variant == "NCHW" else result.transpose(0, 3, 1, 2)


def _back_weight(array: Any, variant: str) -> Array:
    result = np.asarray(array)
    return result if variant == "NCHW" else result.transpose(3, 2, 0, 1)
