"""One thing to measure: a layer, what is done with it, its arrays, its cost and its right answer.

A convolution costs 2·N·O·OH·OW·(C/groups)·KH·KW flops forward (padding counted, as is usual; the
same figure whatever the algorithm, so Winograd may exceed the machine's peak), the same again for
the gradient of the input or of the weight, and twice that for both. A pool costs one operation per
window element. Bytes are those of every array read and written once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layers import KINDS, Convolution, Layer, Pool

Array = NDArray[Any]

# Which gradients a direction computes, of input, weight and bias: the mask that `conv2d_backward`
# and PyTorch's operator take. A network's first layer needs none of its input, a frozen one none of
# its weight.
GRADIENTS = {
    "backward": (True, True, True),
    "grad_input": (True, False, False),
    "grad_weight": (False, True, False),
}

# Where the difference to the float64 answer, relative to its RMS, says "another function" and not
# "another order of summation". Weight gradients add up to a million products, hence no tighter.
TOLERANCE = {"float32": 1e-3, "float64": 1e-10}


@dataclass(frozen=True)
class Work:
    """What is measured.

    Parameters
    ----------
    layer
        The shapes.
    op
        "conv", "max", "max_indices" (indices returned, or used by the backward pass) or "avg".
    direction
        "forward", "prepacked" (constant weights), "backward" (all gradients), "grad_input" or
        "grad_weight" (that one alone).
    dtype
        "float32" or "float64".
    """

    layer: Layer
    op: str
    direction: str
    dtype: str

    @property
    def name(self) -> str:
        suffix = "" if self.op == "conv" else f" {self.op}"
        return f"{self.layer.suite}/{self.layer.name}{suffix}"

    @property
    def gradients(self) -> tuple[bool, ...]:
        """The mask of the gradients that are computed; empty, so false, where none is."""
        return GRADIENTS.get(self.direction, ())

    @property
    def _passes(self) -> int:
        """How often the products are computed: each gradient costs as much as forward."""
        # That of the bias is a mere sum.
        return sum(self.gradients[:2]) or 1

    @property
    def flops(self) -> int:
        if isinstance(self.layer, Pool):
            return prod(self.layer.output_shape) * self.layer.k**2
        return 2 * self.layer.products * self._passes

    @property
    def bytes(self) -> int:
        item = np.dtype(self.dtype).itemsize
        size_in, size_out = prod(self.layer.input_shape), prod(self.layer.output_shape)
        if isinstance(self.layer, Convolution):
            # Of input, weight and output, or their gradients, a pass reads two and writes the
            # third. Both gradients share one reading of grad_output.
            once = size_in + prod(self.layer.weight_shape)
            return item * (self._passes * once + size_out)
        indices = 8 * size_out if self.op == "max_indices" else 0
        # The gradient of max needs the input again, unless the indices were saved.
        rereads = size_in if self.gradients and self.op == "max" else 0
        return item * (size_in + size_out + rereads) + indices

    def to_json(self) -> dict[str, Any]:
        return {
            "ops": next(ops for ops, kind in KINDS.items() if isinstance(self.layer, kind)),
            "layer": asdict(self.layer),
            "op": self.op,
            "direction": self.direction,
            "dtype": self.dtype,
        }

    @staticmethod
    def from_json(job: dict[str, Any]) -> Work:
        # JSON has no tuples, and only tuples can be hashed.
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in job["layer"].items()}
        layer = KINDS[job["ops"]](**values)
        return Work(layer, job["op"], job["direction"], job["dtype"])


class Data:
    """The arrays of a workload, N(0, 1) and plain NC and the axes; the same on every run."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def _normal(self, seed: int, shape: tuple[int, ...]) -> Array:
        # Drawn in float32 either way: half the time, and float64 does not need the finer grid.
        rng = np.random.default_rng(seed)
        return rng.standard_normal(shape, dtype=np.float32).astype(self.work.dtype)

    @cached_property
    def input(self) -> Array:
        return self._normal(0, self.work.layer.input_shape)

    @cached_property
    def weight(self) -> Array:
        assert isinstance(self.work.layer, Convolution)
        return self._normal(1, self.work.layer.weight_shape)

    @cached_property
    def grad_output(self) -> Array:
        return self._normal(2, self.work.layer.output_shape)


def written(sizes: tuple[int, ...]) -> int | tuple[int, ...]:
    """The argument as its users write it: one number where all axes agree."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def conv_args(layer: Convolution) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups, in the order of `conv2d` or of `conv_transpose2d`."""
    stride, padding, dilation = map(written, (layer.stride, layer.padding, layer.dilation))
    if layer.transposed:
        return stride, padding, 0, layer.groups, dilation
    return stride, padding, dilation, layer.groups


def conv_name(layer: Convolution) -> str:
    """The name of the function: conv2d, conv_transpose1d and so on."""
    return f"conv{'_transpose' if layer.transposed else ''}{len(layer.stride)}d"


def error(got: tuple[Array, ...], right: tuple[Array, ...]) -> float:
    """Largest difference over all arrays, each relative to the RMS of the right one.

    A wrong count or shape, or a NaN, is infinitely wrong.
    """
    if [a.shape for a in got] != [b.shape for b in right]:
        return float("inf")
    worst = 0.0
    for a, b in zip(got, right, strict=True):
        rms = float(np.sqrt(np.mean(np.square(b, dtype=np.float64)))) or 1.0
        diff = float(np.max(np.abs(a - b), initial=0.0))
        worst = max(worst, diff / rms) if np.isfinite(diff) else float("inf")
    return worst
