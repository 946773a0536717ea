"""PyTorch, eager, in three forms.

- NCHW: contiguous tensors, as most code has them.
- NHWC: input, weights and gradients all in the channels_last memory format beforehand.
- packed: channels_last, with the weights in oneDNN's blocked form beforehand. That is an operator
  of its compiler's freezing pass and not something eager code calls, so it runs only when named.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F

from adapters import Call, Unsupported
from layers import Convolution, Pool
from workload import Array, Data, Work, conv_args, conv_name

aten = torch.ops.aten
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def setup(threads: int, dtype: str) -> None:
    torch.set_num_threads(threads)
    # For good: nothing here asks for autograd, and entering it inside a timed call would be cost.
    torch.inference_mode().__enter__()


def version() -> str:
    return str(torch.__version__)


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    def lay(array: Array) -> torch.Tensor:
        form = torch.contiguous_format if variant == "NCHW" else CHANNELS_LAST[array.ndim]
        return torch.from_numpy(array).clone(memory_format=form)

    if variant != "NCHW" and data.input.ndim not in CHANNELS_LAST:
        raise Unsupported("channels_last is for 2-D and 3-D")
    if isinstance(work.layer, Pool):
        pool = _pool_backward if work.gradients else _pool
        return [Call(pool(work, data, lay), _arrays)]
    if work.gradients:
        if variant == "packed":
            raise Unsupported("gradients have no constant weights")
        return [Call(_conv_backward(work.layer, work.gradients, data, lay), _arrays)]
    conv = _packed if variant == "packed" else _conv
    return [Call(conv(work.layer, data, lay), _arrays)]


def _arrays(result: Any) -> tuple[Array, ...]:
    parts = result if isinstance(result, tuple) else (result,)
    # None stands for a gradient that was not wanted.
    return tuple(part.numpy() for part in parts if part is not None)


Lay = Callable[[Array], torch.Tensor]


def _conv(layer: Convolution, data: Data, lay: Lay) -> Callable[[], Any]:
    function = getattr(F, conv_name(layer))
    return partial(function, lay(data.input), lay(data.weight), None, *conv_args(layer))


def _packed(layer: Convolution, data: Data, lay: Lay) -> Callable[[], Any]:
    if data.input.dtype != "float32":
        raise Unsupported("oneDNN has no float64")
    x = lay(data.input)
    padding, stride, dilation = _lists(layer)
    weight = torch.ops.mkldnn._reorder_convolution_weight(
        lay(data.weight), padding, stride, dilation, layer.groups, list(x.shape)
    )
    function = torch.ops.mkldnn._convolution_pointwise.default
    fused: tuple[str, list[float], str] = ("none", [], "")
    return partial(function, x, weight, None, padding, stride, dilation, layer.groups, *fused)


def _lists(layer: Convolution) -> tuple[list[int], list[int], list[int]]:
    return list(layer.padding), list(layer.stride), list(layer.dilation)


def _conv_backward(
    layer: Convolution, mask: tuple[bool, ...], data: Data, lay: Lay
) -> Callable[[], Any]:
    # What autograd calls, without autograd's own bookkeeping: quicker for PyTorch.
    padding, stride, dilation = _lists(layer)
    tensors = (lay(data.grad_output), lay(data.input), lay(data.weight))
    kind = (bool(layer.transposed), [0] * len(stride), layer.groups)
    args = (stride, padding, dilation, *kind, list(mask))
    return partial(aten.convolution_backward.default, *tensors, [layer.oc], *args)


def _pool(work: Work, data: Data, lay: Lay) -> Callable[[], Any]:
    x, window = lay(data.input), _window(work.layer)
    if work.op == "avg":
        return partial(F.avg_pool2d, x, *window)
    if work.op == "max_indices":
        return partial(aten.max_pool2d_with_indices.default, x, *_listed(window))
    return partial(torch.max_pool2d, x, *window)


def _pool_backward(work: Work, data: Data, lay: Lay) -> Callable[[], Any]:
    x, grad, window = lay(data.input), lay(data.grad_output), _listed(_window(work.layer))
    if work.op == "avg":
        function = aten.avg_pool2d_backward.default
        return partial(function, grad, x, *window, False, True, None)
    # PyTorch always saves the indices, so "max" gets them for nothing here too.
    _, indices = aten.max_pool2d_with_indices.default(x, *window)
    function = aten.max_pool2d_with_indices_backward.default
    return partial(function, grad, x, *window, [1, 1], False, indices)


def _window(layer: Any) -> tuple[int, int, int]:
    return layer.k, layer.s, layer.p


def _listed(window: tuple[int, int, int]) -> list[list[int]]:
    return [[value, value] for value in window]
