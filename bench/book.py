"""The book's training step, convolution and pooling by im2col in NumPy and by fastconv.compat.dlfs.

    python bench/book.py --threads 1

The network is the book's: 30 filters 5x5, ReLU, 2x2 pool, 100 hidden units, batches of 100 digits,
float64 as there. Both sides run the same step but for the two classes; their results are compared,
and the time inside the two classes is what counts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import machine

BATCH, FILTERS, HIDDEN = 100, 30, 100


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="book.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="of fastconv and of NumPy's BLAS")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(argv)
    if os.environ.get("OMP_NUM_THREADS") != str(options.threads):  # BLAS reads it when it loads
        os.execve(
            sys.executable,
            [sys.executable, __file__, *(argv or sys.argv[1:])],
            machine.environment(options.threads, None),
        )
    return compare(options.rounds)


def compare(rounds: int) -> int:
    import numpy as np

    from fastconv.compat import dlfs

    rng = np.random.default_rng(0)
    x, truth = rng.random((BATCH, 1, 28, 28)), np.eye(10)[rng.integers(0, 10, BATCH)]
    sides = {"book": (BookConvolution, BookPooling), "fastconv": (dlfs.Convolution, dlfs.Pooling)}
    best: dict[str, dict[str, float]] = {name: defaultdict(lambda: 1e9) for name in sides}
    gradients = {}
    for _ in range(rounds):
        for name, (convolution, pooling) in sides.items():
            spent, gradients[name] = step(x, truth, convolution, pooling)
            for part, seconds in spent.items():
                best[name][part] = min(best[name][part], seconds)
    off = max(
        float(np.abs(a - b).max() / np.abs(b).max())
        for a, b in zip(gradients["fastconv"], gradients["book"], strict=True)
    )
    print(f"{'':24}{'book ms':>10}{'fastconv ms':>13}{'ratio':>8}")
    for part in (*sorted(set(best["book"]) - {"both"}), "both"):
        ours, theirs = best["fastconv"][part], best["book"][part]
        print(f"{part:24}{1e3 * theirs:10.2f}{1e3 * ours:13.2f}{theirs / ours:8.1f}")
    print(f"largest difference of a gradient, relative: {off:.0e}")
    return 0 if off < 1e-9 else 1


def step(x: Any, truth: Any, convolution: Any, pooling: Any) -> tuple[dict[str, float], list[Any]]:
    """Seconds in each class, and the gradients of a step from the same initial weights."""
    import numpy as np

    rng = np.random.default_rng(1)
    layer = convolution(0.01 * rng.standard_normal((FILTERS, 1, 5, 5)), np.zeros(FILTERS))
    pool = pooling(2, 2, stride=2)
    w1 = 0.01 * rng.standard_normal((FILTERS * 144, HIDDEN))
    w2 = 0.01 * rng.standard_normal((HIDDEN, 10))
    spent: dict[str, float] = {}

    def timed(part: str, function: Any, argument: Any) -> Any:
        begin = time.perf_counter()
        result = function(argument)
        spent[part] = time.perf_counter() - begin
        return result

    conv = timed("Convolution.forward", layer.forward, x)
    pooled = timed("Pooling.forward", pool.forward, np.maximum(conv, 0))
    flat = pooled.reshape(BATCH, -1)
    hidden = np.maximum(flat @ w1, 0)
    scores = hidden @ w2
    p = np.exp(scores - scores.max(1, keepdims=True))
    d = (p / p.sum(1, keepdims=True) - truth) / BATCH
    dw2, d = hidden.T @ d, (d @ w2.T) * (hidden > 0)
    dw1, d = flat.T @ d, (d @ w1.T).reshape(pooled.shape)
    d = timed("Pooling.backward", pool.backward, d)
    timed("Convolution.backward", layer.backward, d * (conv > 0))
    spent["both"] = sum(spent.values())
    return spent, [layer.dW, layer.db, dw1, dw2]


# The book's method: every window a row of one matrix, in float64.


def im2col(x: Any, kh: int, kw: int, stride: int) -> Any:
    import numpy as np

    n, c, h, w = x.shape
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    col = np.zeros((n, c, kh, kw, oh, ow))
    for i in range(kh):
        for j in range(kw):
            col[:, :, i, j] = x[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride]
    return col.transpose(0, 4, 5, 1, 2, 3).reshape(n * oh * ow, -1)


def col2im(col: Any, shape: tuple[int, ...], kh: int, kw: int, stride: int) -> Any:
    import numpy as np

    n, c, h, w = shape
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    col = col.reshape(n, oh, ow, c, kh, kw).transpose(0, 3, 4, 5, 1, 2)
    x = np.zeros(shape)
    for i in range(kh):
        for j in range(kw):
            x[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride] += col[:, :, i, j]
    return x


class BookConvolution:
    """One column matrix for the batch, three matrix products."""

    def __init__(self, weight: Any, bias: Any) -> None:
        self.weight, self.bias = weight, bias

    def forward(self, x: Any) -> Any:
        o, _, kh, kw = self.weight.shape
        self.shape, self.col = x.shape, im2col(x, kh, kw, 1)
        y = self.col @ self.weight.reshape(o, -1).T + self.bias
        oh, ow = x.shape[2] - kh + 1, x.shape[3] - kw + 1
        return y.reshape(len(x), oh, ow, o).transpose(0, 3, 1, 2)

    def backward(self, dout: Any) -> Any:
        o, _, kh, kw = self.weight.shape
        rows = dout.transpose(0, 2, 3, 1).reshape(-1, o)
        self.db = rows.sum(0)
        self.dW = (self.col.T @ rows).T.reshape(self.weight.shape)
        return col2im(rows @ self.weight.reshape(o, -1), self.shape, kh, kw, 1)


class BookPooling:
    """The maximum of each row of a column matrix; its gradient through another one."""

    def __init__(self, height: int, width: int, stride: int) -> None:
        self.window = (height, width, stride)

    def forward(self, x: Any) -> Any:
        height, width, stride = self.window
        n, c, h, w = self.shape = x.shape
        col = im2col(x, *self.window).reshape(-1, height * width)
        self.places = col.argmax(1)
        oh, ow = (h - height) // stride + 1, (w - width) // stride + 1
        return col.max(1).reshape(n, oh, ow, c).transpose(0, 3, 1, 2)

    def backward(self, dout: Any) -> Any:
        import numpy as np

        height, width, _ = self.window
        rows = np.zeros((dout.size, height * width))
        rows[np.arange(dout.size), self.places] = dout.transpose(0, 2, 3, 1).ravel()
        n, _, oh, ow = dout.shape
        return col2im(rows.reshape(n * oh * ow, -1), self.shape, *self.window)


if __name__ == "__main__":
    sys.exit(main())
