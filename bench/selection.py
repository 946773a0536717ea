"""The arguments that choose what is measured, the same for every program here."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import layers
from adapters import DEFAULT
from workload import GRADIENTS, Work

DIRECTIONS = ("forward", "prepacked", *GRADIENTS)
POOLS = ("max", "max_indices", "avg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what")
    what.add_argument("--ops", choices=tuple(layers.KINDS), default="conv")
    what.add_argument("--direction", nargs="+", choices=DIRECTIONS, default=["forward"])
    what.add_argument("--pools", nargs="+", choices=POOLS, default=[])
    what.add_argument("--suite", nargs="+", default=[], help="suites of the table (default: all)")
    what.add_argument("--layer", nargs="+", default=[], help="names or patterns, as 'res4_*'")
    what.add_argument("--csv", type=Path, help="another table with the same columns")
    what.add_argument("--batch", nargs="+", type=int, default=[], help="instead of the table's")
    what.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    what.add_argument("--isa", default=os.environ.get("FASTCONV_ISA"), help="cap it, as 'avx2'")


def works(options: argparse.Namespace) -> dict[str, list[Work]]:
    """The chosen workloads of every chosen direction, in the table's order.

    Raises ValueError where nothing is chosen or the table is no such table.
    """
    table = layers.read_table(options.ops, options.csv)
    chosen = layers.with_batches(layers.select(table, options.suite, options.layer), options.batch)
    found = {}
    for direction in options.direction:
        if (options.ops, direction) not in DEFAULT:
            raise ValueError(f"--ops {options.ops} has no --direction {direction}")
        found[direction] = [
            Work(layer, op, direction, options.dtype)
            for op in _operations(options, direction)
            for layer in chosen
        ]
    return found


def _operations(options: argparse.Namespace, direction: str) -> list[str]:
    if options.ops != "pool":
        return ["conv"]
    if options.pools:
        return list(options.pools)
    # Forward with and without indices, gradients with saved ones and without.
    return list(POOLS)
