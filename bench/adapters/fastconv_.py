"""fastconv itself: NumPy arrays in, NumPy arrays out, called as a user calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

import fastconv
from adapters import Call
from layers import Convolution, Pool
from workload import Array, Data, Work, conv_args, conv_name


def setup(threads: int, dtype: str) -> None:
    fastconv.set_num_threads(threads)


def version() -> str:
    isa = fastconv.conv2d_plan((1, 1, 8, 8), (1, 1, 3, 3)).isa
    return f"{fastconv.__version__} ({isa})"


def algorithm(work: Work) -> str:
    """What the plan says will run; nothing for pools and gradients, which no plan describes."""
    if isinstance(work.layer, Pool) or work.layer.transposed or work.gradients:
        return ""
    plan = getattr(fastconv, conv_name(work.layer) + "_plan")(
        work.layer.input_shape,
        work.layer.weight_shape,
        *conv_args(work.layer),
        dtype=work.dtype,
        prepacked=work.direction == "prepacked",
    )
    return str(plan.algorithm)


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    return module_calls(fastconv, work, data, variant)


def module_calls(module: ModuleType, work: Work, data: Data, variant: str) -> list[Call]:
    """The call of any module with fastconv's functions, so of `fastconv.reference` too."""
    layout = LAYOUTS[variant]
    run = (_pool if isinstance(work.layer, Pool) else _conv)(module, work, data, layout)

    def arrays(result: Any) -> tuple[Array, ...]:
        parts = result if isinstance(result, tuple) else (result,)
        # A data format is one of images: gradients of weight and bias have none.
        images = 1 if work.op == "conv" else len(parts)
        backs = [layout.back] * images + [np.asarray] * (len(parts) - images)
        return tuple(
            back(part) for back, part in zip(backs, parts, strict=True) if part is not None
        )

    return [Call(run, arrays)]


class Layout(NamedTuple):
    """The arguments that ask for a data format, and the ways into it and out of it."""

    keywords: dict[str, str]
    lay: Callable[[Array], Array]
    back: Callable[[Array], Array]


LAYOUTS = {
    "NCHW": Layout({}, np.asarray, np.asarray),
    "NHWC": Layout(
        {"data_format": "NHWC"},
        lambda array: np.ascontiguousarray(array.transpose(0, 2, 3, 1)),
        lambda array: array.transpose(0, 3, 1, 2),
    ),
}


def _conv(module: ModuleType, work: Work, data: Data, layout: Layout) -> Callable[[], Any]:
    assert isinstance(work.layer, Convolution)
    name = conv_name(work.layer)
    args, x, keywords = conv_args(work.layer), layout.lay(data.input), layout.keywords
    if work.gradients:
        # Whoever wants all of them names no mask.
        mask = {} if all(work.gradients) else {"output_mask": work.gradients}
        backward = partial(getattr(module, name + "_backward"), **keywords, **mask)
        return partial(backward, layout.lay(data.grad_output), x, data.weight, *args)
    if work.direction == "prepacked":
        prepack = getattr(module, name + "_prepack")
        return partial(prepack(data.weight, None, *args, **keywords), x)
    return partial(getattr(module, name), x, data.weight, None, *args, **keywords)


def _pool(module: ModuleType, work: Work, data: Data, layout: Layout) -> Callable[[], Any]:
    assert isinstance(work.layer, Pool)
    x, window = layout.lay(data.input), (work.layer.k, work.layer.s, work.layer.p)
    keywords: dict[str, Any] = dict(layout.keywords)
    name = "avg_pool2d" if work.op == "avg" else "max_pool2d"
    if work.direction == "forward":
        if work.op == "max_indices":
            keywords["return_indices"] = True
        return partial(getattr(module, name), x, *window, **keywords)
    grad = layout.lay(data.grad_output)
    if work.op == "avg":
        return partial(module.avg_pool2d_backward, grad, x.shape, *window, **keywords)
    if work.op == "max_indices":
        _, keywords["indices"] = module.max_pool2d(x, *window, return_indices=True, **keywords)
    return partial(module.max_pool2d_backward, grad, x, *window, **keywords)
