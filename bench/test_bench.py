"""fastconv alone under pytest-benchmark, on a few layers of each kind.

    pytest --benchmark-only bench/
    pytest --benchmark-only bench/ --benchmark-autosave --benchmark-compare

Each case is checked against the reference before it is timed: a wrong answer has no speed.
"""

from __future__ import annotations

from typing import Any

import pytest

import layers
import selection
from oracle import truth
from workload import TOLERANCE, Data, Work, error

pytest.importorskip("pytest_benchmark")
fastconv_ = pytest.importorskip("adapters.fastconv_", reason="fastconv is not installed")

CONVS = (
    "resnet50/conv1",
    "resnet50/res2_3x3",
    "resnet50/res4_1x1_1024_256",
    "mobilenet_v2/dw4",
    "efficientnet_b0/dw5x5_s2_672",
    "seeds/tf_5x5_64",
    "other/grouped32_14",
    "other/tiny",
)
POOLS = ("resnet50/pool1", "vgg16/pool4", "googlenet/pool3x3_s1", "seeds/dlfs", "other/lenet")


def _works() -> list[Work]:
    convs = layers.select(layers.read_table("conv"), names=CONVS)
    pools = layers.select(layers.read_table("pool"), names=POOLS)
    return [
        *(
            Work(layer, "conv", direction, "float32")
            for direction in selection.DIRECTIONS
            for layer in convs
        ),
        *(
            Work(layer, op, direction, "float32")
            for direction in ("forward", "backward")
            for op in ("max", "avg")
            for layer in pools
        ),
    ]


@pytest.mark.parametrize("work", _works(), ids=lambda work: f"{work.direction}-{work.name}")
def test_speed(benchmark: Any, work: Work) -> None:
    data = Data(work)
    (call,) = fastconv_.calls(work, data, "NCHW")
    assert error(call.arrays(call.run()), truth(work, data)) <= TOLERANCE[work.dtype]
    benchmark.group = f"{'conv' if work.op == 'conv' else 'pool'} {work.direction}"
    benchmark.extra_info |= {"flops": work.flops, "bytes": work.bytes}
    benchmark(call.run)
