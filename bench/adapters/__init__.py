"""One module per library, each turning a workload into calls that can be timed.

An adapter module has three functions: ``setup(threads, dtype)`` once in the process, before any
call; ``version()``; and ``calls(work, data, variant)``, which returns one or more equivalent calls
that a user of that library could choose between. The fastest of them represents the library, so
that every peer runs at its best.

All conversion (tensors, layouts, sessions, compilation) happens while the call is built. What is
timed starts at arrays in the library's own form and ends at a result in that form, allocated by
the library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from workload import GRADIENTS, Array, Data, Work


class Unsupported(Exception):
    """The library cannot do this workload; the message says why."""


@dataclass(frozen=True)
class Call:
    """What is timed, and how to read its result.

    Parameters
    ----------
    run
        Does the work once.
    arrays
        Turns the result of `run` into NumPy arrays in NCHW (OIHW for the weight's gradient).
    """

    run: Callable[[], Any]
    arrays: Callable[[Any], tuple[Array, ...]]


# Entrant: (adapter module, variant).
ENTRANTS = {
    "fastconv": ("fastconv_", "NCHW"),
    "fastconv-nhwc": ("fastconv_", "NHWC"),
    "torch-nchw": ("torch_", "NCHW"),
    "torch-cl": ("torch_", "NHWC"),
    "torch-packed": ("torch_", "packed"),
    "onnxruntime": ("onnxruntime_", "NCHW"),
    "openvino": ("openvino_", "NCHW"),
    "jax": ("jax_", "NCHW"),
    "jax-nhwc": ("jax_", "NHWC"),
    "reference": ("reference_", "NCHW"),
}

# Who runs when nobody is named: those that promise the same service. Plain NCHW arrays and
# weights that may change at every call; constant weights in whatever layout; gradients.
DEFAULT = {
    ("conv", "forward"): ("torch-nchw", "jax", "reference"),
    ("conv", "prepacked"): ("torch-cl", "onnxruntime", "openvino"),
    **{
        ("conv", gradient): ("torch-nchw", "torch-cl", "jax", "reference") for gradient in GRADIENTS
    },
    ("nd", "forward"): ("torch-nchw", "jax"),
    **{("nd", gradient): ("torch-nchw", "jax") for gradient in GRADIENTS},
    ("pool", "forward"): ("fastconv-nhwc", "torch-nchw", "torch-cl", "onnxruntime", "reference"),
    ("pool", "backward"): ("fastconv-nhwc", "torch-nchw", "torch-cl", "reference"),
}


def adapter(entrant: str) -> ModuleType:
    """The module of an entrant; ImportError where its library is not installed."""
    return import_module(f"adapters.{ENTRANTS[entrant][0]}")


def calls(entrant: str, work: Work, data: Data) -> list[Call]:
    """The calls that an entrant offers for a workload; Unsupported where it has none."""
    found: list[Call] = adapter(entrant).calls(work, data, ENTRANTS[entrant][1])
    return found
