"""The right answer of a workload, in float64 from `fastconv.reference`.

Taken one sample at a time, because the reference builds an im2col matrix, and for a batch of large
images in float64 that is many gigabytes.
"""

from __future__ import annotations

from itertools import compress

import numpy as np

from layers import Convolution, Pool
from workload import Array, Data, Work, conv_args, conv_name


def truth(work: Work, data: Data) -> tuple[Array, ...]:
    """What every entrant must return: arrays in NCHW (OIHW for the weight's gradient)."""
    samples = range(work.layer.n)
    if isinstance(work.layer, Pool):
        parts = [_pool(work, data, slice(n, n + 1)) for n in samples]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if work.gradients:
        # From calls without a mask: the reference is an entrant as well, and its mask is tested.
        return tuple(compress(_backward(work.layer, data), work.gradients))
    return (np.concatenate([_forward(work.layer, data, slice(n, n + 1)) for n in samples]),)


def _double(array: Array) -> Array:
    return array.astype(np.float64)


def _forward(layer: Convolution, data: Data, s: slice) -> Array:
    from fastconv import reference

    function = getattr(reference, conv_name(layer))
    out: Array = function(_double(data.input[s]), _double(data.weight), None, *conv_args(layer))
    return out


def _backward(layer: Convolution, data: Data) -> tuple[Array, ...]:
    from fastconv import reference

    function = getattr(reference, conv_name(layer) + "_backward")
    weight = _double(data.weight)
    grad_weight = np.zeros_like(weight)
    grad_input = np.empty(layer.input_shape)
    for n in range(layer.n):
        s = slice(n, n + 1)
        grad_input[s], part, _ = function(
            _double(data.grad_output[s]), _double(data.input[s]), weight, *conv_args(layer)
        )
        grad_weight += part
    return grad_input, grad_weight, _bias_gradient(data.grad_output)


def _bias_gradient(grad_output: Array) -> Array:
    axes = (0, *range(2, grad_output.ndim))
    total: Array = grad_output.sum(axis=axes, dtype=np.float64)
    return total


def _pool(work: Work, data: Data, s: slice) -> tuple[Array, ...]:
    from fastconv import reference

    assert isinstance(work.layer, Pool)
    x, window = _double(data.input[s]), (work.layer.k, work.layer.s, work.layer.p)
    if work.gradients:
        grad = _double(data.grad_output[s])
        if work.op == "avg":
            return (reference.avg_pool2d_backward(grad, x.shape, *window),)
        return (reference.max_pool2d_backward(grad, x, *window),)
    if work.op == "avg":
        return (reference.avg_pool2d(x, *window),)
    result = reference.max_pool2d(x, *window, return_indices=True)
    assert isinstance(result, tuple)
    return result if work.op == "max_indices" else result[:1]
