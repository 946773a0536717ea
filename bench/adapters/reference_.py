"""`fastconv.reference`: the pure NumPy functions, the speed that a user starts from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import fastconv.reference
from adapters import Call, Unsupported
from adapters.fastconv_ import module_calls
from layers import Convolution
from workload import Data, Work

# Beyond this its im2col matrix would measure the operating system, or bring it down.
LARGEST_MATRIX = 2**30


def setup(threads: int, dtype: str) -> None:
    """NumPy's BLAS takes its threads from the environment, set before the process started."""


def version() -> str:
    return f"numpy {np.__version__}"


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    if isinstance(work.layer, Convolution):
        size = work.layer.products // work.layer.weight_shape[0] * data.input.itemsize
        if size > LARGEST_MATRIX:
            raise Unsupported(f"its im2col matrix would be {size / 2**30:.1f} GiB")
    if work.direction == "prepacked":
        # It has nothing to prepare, so constant weights are weights.
        work = replace(work, direction="forward")
    return module_calls(fastconv.reference, work, data, variant)
