"""The right answer of a workload, in float64 from `fastconv.reference`.

Taken one sample at a time, because the reference builds an im2col matrix, and for a batch of large
images in float64 that is many gigabytes.
"""

from __future__ import annotations

import numpy as np

from layers import Conv, Pool
from workload import Array, Data, Work, conv_args


def truth(work: Work, data: Data) -> tuple[Array, ...]:
    """What every entrant must return: arrays in NCHW (OIHW for the weight's gradient)."""
    samples = range(work.layer.n)
    if isinstance(work.layer, Pool):
        parts = [_pool(work, data, slice(n, n + 1)) for n in samples]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if work.direction != "backward":
        return (np.concatenate([_forward(work.layer, data, slice(n, n + 1)) for n in samples]),)
    return _backward(work.layer, data)


def _double(array: Array) -> Array:
    return array.astype(np.float64)


def _forward(layer: Conv, data: Data, s: slice) -> Array:
    from fastconv import reference

    out: Array = reference.conv2d(
        _double(data.input[s]), _double(data.weight), None, *conv_args(layer)
    )
    return out


def _backward(layer: Conv, data: Data) -> tuple[Array, ...]:
    from fastconv import reference

    weight = _double(data.weight)
    grad_weight = np.zeros_like(weight)
    grad_input = np.empty(layer.input_shape)
    for n in range(layer.n):
        s = slice(n, n + 1)
        grad_input[s], part, _ = reference.conv2d_backward(
            _double(data.grad_output[s]), _double(data.input[s]), weight, *conv_args(layer)
        )
        grad_weight += part
    return grad_input, grad_weight, data.grad_output.sum(axis=(0, 2, 3), dtype=np.float64)


def _pool(work: Work, data: Data, s: slice) -> tuple[Array, ...]:
    from fastconv import reference

    assert isinstance(work.layer, Pool)
    x, window = _double(data.input[s]), (work.layer.k, work.layer.s, work.layer.p)
    if work.direction == "backward":
        grad = _double(data.grad_output[s])
        if work.op == "avg":
            return (reference.avg_pool2d_backward(grad, x.shape, *window),)
        return (reference.max_pool2d_backward(grad, x, *window),)
    if work.op == "avg":
        return (reference.avg_pool2d(x, *window),)
    result = reference.max_pool2d(x, *window, return_indices=True)
    assert isinstance(result, tuple)
    return result if work.op == "max_indices" else result[:1]
