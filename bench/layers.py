"""The layers that the benchmarks measure: named suites read from two CSV tables.

`layers.csv` holds convolutions, `pools.csv` pooling layers, both one layer a row, as they occur in
published networks. Any table with the same columns can take their place (``--csv``).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
TABLES = {"conv": HERE / "layers.csv", "pool": HERE / "pools.csv"}


def _out(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


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

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.n, self.c, self.h, self.w

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.oc, self.c // self.groups, self.kh, self.kw

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


Layer = Conv | Pool


def read_table(ops: str, path: str | Path | None = None) -> list[Layer]:
    """Read the table of `ops` ("conv" or "pool"), the one beside this file unless `path` is given.

    Raises
    ------
    ValueError
        A column is missing or a size is not an integer; the message names file and line.
    """
    kind = {"conv": Conv, "pool": Pool}[ops]
    path = Path(path) if path else TABLES[ops]
    layers: list[Layer] = []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            try:
                values = {
                    f.name: row[f.name] if f.type == "str" else int(row[f.name])
                    for f in fields(kind)
                }
            except (KeyError, TypeError, ValueError) as error:
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
