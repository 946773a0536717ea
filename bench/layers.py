"""The layers that the benchmarks measure: named suites read from three CSV tables.

`layers.csv` holds 2-D convolutions, `layers_nd.csv` 1-D, 3-D and transposed ones, `pools.csv`
pooling layers, all one layer a row, as they occur in published networks. Any table with the same
columns can take their place (``--csv``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TABLES = {
    "conv": HERE / "layers.csv",
    "nd": HERE / "layers_nd.csv",
    "pool": HERE / "pools.csv",
}
Sizes = tuple[int, ...]


def _out(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def _out_transposed(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1


@dataclass(frozen=True)
class Conv:
    """A 2-D convolution, in the columns of `layers.csv`."""

    suite: str
    name: str
    n: int
    c: int
    h: int
    w: int
    oc: int
    kh: int
    kw: int
    sh: int
    sw: int
    ph: int
    pw: int
    dh: int
    dw: int
    groups: int

    transposed = 0

    @property
    def kernel(self) -> Sizes:
        return self.kh, self.kw

    @property
    def stride(self) -> Sizes:
        return self.sh, self.sw

    @property
    def padding(self) -> Sizes:
        return self.ph, self.pw

    @property
    def dilation(self) -> Sizes:
        return self.dh, self.dw

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.oc, self.c // self.groups, self.kh, self.kw

    @property
    def products(self) -> int:
        return _products(self)

    @property
    def output_shape(self) -> tuple[int, ...]:
        oh = _out(self.h, self.kh, self.sh, self.ph, self.dh)
        ow = _out(self.w, self.kw, self.sw, self.pw, self.dw)
        return self.n, self.oc, oh, ow

    @property
    def kind(self) -> str:
        """The class of layer, which decides what bounds its speed."""
        if self.groups > 1:
            return "depthwise" if self.groups == self.c else "grouped"
        return f"{self.kh}x{self.kw}" if self.kh * self.kw in (1, 9) else "other kernel"


@dataclass(frozen=True)
class ConvNd:
    """A convolution or transposed convolution over 1 to 3 axes, in the columns of `layers_nd.csv`.

    A size for each axis, the last one the fastest in memory; "4x14x14" in the table.
    """

    suite: str
    name: str
    n: int
    c: int
    size: Sizes
    oc: int
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int
    transposed: int

    @property
    def input_shape(self) -> Sizes:
        return self.n, self.c, *self.size

    @property
    def weight_shape(self) -> Sizes:
        outer, inner = (self.c, self.oc) if self.transposed else (self.oc, self.c)
        return outer, inner // self.groups, *self.kernel

    @property
    def output_shape(self) -> Sizes:
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        out = _out_transposed if self.transposed else _out
        return self.n, self.oc, *(out(*axis) for axis in axes)

    @property
    def products(self) -> int:
        return _products(self)

    @property
    def kind(self) -> str:
        """The class of layer, which decides what bounds its speed."""
        dims = f"{len(self.size)}-D"
        if self.transposed:
            return f"{dims} transposed"
        if self.groups > 1:
            return f"{dims} " + ("depthwise" if self.groups == self.c else "grouped")
        return dims


Convolution = Conv | ConvNd


def _products(layer: Convolution) -> int:
    """Multiplications: a window for each output, or for each input if it is transposed."""
    windows = layer.input_shape if layer.transposed else layer.output_shape
    return prod(windows) * prod(layer.weight_shape[1:])


@dataclass(frozen=True)
class Pool:
    """A square 2-D pooling layer, in the columns of `pools.csv`."""

    suite: str
    name: str
    n: int
    c: int
    h: int
    w: int
    k: int
    s: int
    p: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (
            self.n,
            self.c,
            _out(self.h, self.k, self.s, self.p),
            _out(self.w, self.k, self.s, self.p),
        )

    @property
    def kind(self) -> str:
        return f"{self.k}x{self.k} stride {self.s}"


Layer = Conv | ConvNd | Pool
KINDS: dict[str, type[Layer]] = {"conv": Conv, "nd": ConvNd, "pool": Pool}


def _parse(kind: str, text: str) -> Any:
    if kind == "Sizes":
        return tuple(map(int, text.split("x")))
    return text if kind == "str" else int(text)


def read_table(ops: str, path: str | Path | None = None) -> list[Layer]:
    """Read the table of `ops`, a key of `TABLES`: the one beside this file unless `path` is given.

    Raises
    ------
    ValueError
        A column is missing or a size is not an integer; the message names file and line.
    """
    kind = KINDS[ops]
    path = Path(path) if path else TABLES[ops]
    layers: list[Layer] = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            try:
                values = {f.name: _parse(str(f.type), row[f.name]) for f in fields(kind)}
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from None
            layers.append(kind(**values))
    return layers


def select(
    layers: Iterable[Layer], suites: Sequence[str] = (), names: Sequence[str] = ()
) -> list[Layer]:
    """Keep the layers of `suites` whose name, or suite/name, matches one of the patterns `names`.

    An empty sequence keeps everything. Raises ValueError for a suite that no layer belongs to,
    and when nothing is left: a misspelt filter must not look like a fast benchmark.
    """
    layers = list(layers)
    known = sorted({layer.suite for layer in layers})
    if unknown := sorted(set(suites) - set(known)):
        raise ValueError(f"no suite {', '.join(unknown)}; there are {', '.join(known)}")
    kept = [
        layer
        for layer in layers
        if (not suites or layer.suite in suites)
        and (not names or any(_matches(layer, name) for name in names))
    ]
    if not kept:
        raise ValueError(f"no layer matches {' '.join(names)}")
    return kept


def _matches(layer: Layer, pattern: str) -> bool:
    return fnmatchcase(layer.name, pattern) or fnmatchcase(f"{layer.suite}/{layer.name}", pattern)


def with_batches(layers: Iterable[Layer], batches: Sequence[int]) -> list[Layer]:
    """Each layer at each batch size; at the table's own where `batches` is empty."""
    layers = list(layers)
    if not batches:
        return layers
    return [replace(layer, n=n) for n in batches for layer in layers]
