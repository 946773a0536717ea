"""What a network consists of, as a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastconv
from fastconv.nn.base import Array, Layer
from fastconv.nn.shapes import Flatten

__all__ = ["summary"]


def summary(
    network: Layer, input_shape: tuple[int, ...], mode: str = "stdout"
) -> list[dict[str, Any]] | None:
    """Print a network's layers, output shapes and parameter counts.

    Parameters
    ----------
    network : Layer
        Is not changed: a copy of it computes one sample of zeros.
    input_shape : tuple of int
        Of one sample, without the batch axis: (C, H, W) for an image.
    mode : 'stdout' or 'dicts'
        Print the table, or return it as a list of rows with the keys ``layer``,
        ``output_shape`` and ``parameters``. `Flatten` has no row: it only renames axes.

    Examples
    --------
    >>> from fastconv import nn
    >>> network = nn.Sequential(
    ...     nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 6 * 6, 10)
    ... )
    >>> nn.summary(network, (1, 8, 8))
    ----------------------------------------------------------------
            Layer (type)               Output Shape         Param #
    ================================================================
                Conv2d-1              [-1, 2, 6, 6]              20
                  ReLU-2              [-1, 2, 6, 6]               0
                Linear-3                   [-1, 10]             730
    ================================================================
    Total params: 750
    Trainable params: 750
    Non-trainable params: 0
    ----------------------------------------------------------------
    Input size (MB): 0.00
    Forward/backward pass size (MB): 0.00
    Params size (MB): 0.00
    Estimated Total Size (MB): 0.00
    ----------------------------------------------------------------
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    twin = network.with_ops(fastconv).eval()
    learned = twin.parameters()
    dtype = learned[0].data.dtype if learned else np.dtype(np.float32)
    x: Array = np.zeros((1, *input_shape), dtype)
    rows: list[dict[str, Any]] = []
    for leaf in twin.leaves():
        x = leaf.forward(x)
        if not isinstance(leaf, Flatten):
            name = f"{type(leaf).__name__}-{len(rows) + 1}"
            count = sum(p.size for p in leaf.parameters())
            rows.append({"layer": name, "output_shape": (-1, *x.shape[1:]), "parameters": count})
    if mode == "dicts":
        return rows

    def mb(elements: int) -> float:
        return elements * dtype.itemsize / 2**20

    total = sum(row["parameters"] for row in rows)
    inputs, params = mb(math.prod(input_shape)), mb(total)
    # Each output is held once as a value and once as a gradient.
    passes = 2 * mb(sum(math.prod(row["output_shape"][1:]) for row in rows))
    thin, thick = "-" * 64, "=" * 64
    print(thin, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", thick, sep="\n")
    for row in rows:
        shape = str(list(row["output_shape"]))
        print(f"{row['layer']:>20}  {shape:>25} {row['parameters']:>15,}")
    print(thick, f"Total params: {total:,}", f"Trainable params: {total:,}", sep="\n")
    print("Non-trainable params: 0", thin, f"Input size (MB): {inputs:.2f}", sep="\n")
    print(
        f"Forward/backward pass size (MB): {passes:.2f}",
        f"Params size (MB): {params:.2f}",
        sep="\n",
    )
    print(f"Estimated Total Size (MB): {inputs + passes + params:.2f}", thin, sep="\n")
    return None
