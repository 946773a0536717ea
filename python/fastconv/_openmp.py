"""Loads the compiled core, and with it the OpenMP runtime, whose idle threads are to sleep soon.

GNU's runtime keeps them busy for a millisecond and more after each call, as NumPy's BLAS library
keeps its own after each product of matrices. In a loop with both there are then more busy threads
than CPUs, and each call waits until the scheduler lets its threads run. (A training loop with dense
layers in NumPy, two CPUs: convolutions and pools take 25 ms a step instead of 6.)

The runtime reads its environment once, when it is loaded; afterwards the environment is as before.
"""

from __future__ import annotations

import importlib
import os

SPINS = "3000"  # some 50 to 200 microseconds: calls that follow each other find the threads awake

if os.environ.keys().isdisjoint({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}):
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        importlib.import_module("fastconv._core")
    finally:
        del os.environ["GOMP_SPINCOUNT"]
