"""Promise: workspace is bounded by a constant per thread, nothing leaks, nothing piles up."""

from __future__ import annotations

import csv
import gc
import math
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import cases
import fastconv
from cases import ConvCase, PoolCase

LAYERS = Path(__file__).resolve().parent.parent / "bench" / "layers.csv"
PER_THREAD = 16 << 20
FORMATS = ("NCHW", "NHWC")
F32 = np.float32

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")


def layers():
    with LAYERS.open() as file:
        return list(csv.DictReader(file))


def layer_geometry(row):
    n = {key: int(value) for key, value in row.items() if key not in ("suite", "name")}
    return (
        (n["c"], n["h"], n["w"]),
        (n["oc"], n["c"] // n["groups"], n["kh"], n["kw"]),
        {
            "stride": (n["sh"], n["sw"]),
            "padding": (n["ph"], n["pw"]),
            "dilation": (n["dh"], n["dw"]),
            "groups": n["groups"],
        },
    )


# ---- workspace ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("batch", [1, 64])
def test_workspace_of_every_benchmark_layer_is_bounded(batch, data_format):
    rows = layers()
    assert len(rows) > 50
    over = []
    for row in rows:
        image, weight, geometry = layer_geometry(row)
        for n, dtype, prepacked, algorithm in (
            (1, "float32", False, "auto"),
            (4, "float32", True, "auto"),
            (2, "float64", False, "direct"),
        ):
            with cases.thread_count(n):
                plan = fastconv.conv2d_plan(
                    cases.shape_in((batch, *image), data_format),
                    weight,
                    **geometry,
                    data_format=data_format,
                    dtype=dtype,
                    algorithm=algorithm,
                    prepacked=prepacked,
                )
            assert plan.workspace_bytes >= 0
            assert 1 <= plan.threads <= n
            if plan.workspace_bytes > PER_THREAD * plan.threads:
                over.append((row["suite"], row["name"], dtype, plan.workspace_bytes))
    assert over == []


@pytest.mark.parametrize(
    ("image", "weight", "geometry"),
    [
        ((1, 64, 4096, 4096), (64, 64, 3, 3), {"padding": 1}),
        ((1, 3, 20000, 20000), (64, 3, 7, 7), {"stride": 2, "padding": 3}),
        ((1, 1, 1, 2**28), (8, 1, 1, 65), {}),
        ((1, 1, 2**28, 1), (8, 1, 65, 1), {}),
        ((4096, 3, 224, 224), (64, 3, 3, 3), {"padding": 1}),
        ((1, 16384, 14, 14), (16384, 16384, 3, 3), {"padding": 1}),
        ((1, 4096, 64, 64), (4096, 1, 9, 9), {"groups": 4096, "padding": 4}),
        ((1, 8, 3000, 3000), (8, 8, 255, 255), {"padding": 127}),
        ((1, 512, 512, 512), (512, 512, 3, 3), {"padding": 64, "dilation": 64}),
        # copies for each column of the kernel; of a block's rows of several planes
        ((1, 16, 400, 149), (8, 16, 100, 100), {}),
        ((2, 16, 9, 1023), (3, 16, 3, 1000), {}),
        ((1, 300, 200000, 3), (3, 1, 3, 3), {"groups": 3, "data_format": "NHWC"}),
        ((1, 3000, 9000, 3), (3, 1, 5, 5), {"groups": 3, "data_format": "NHWC"}),
    ],
    ids=lambda v: "x".join(map(str, v)) if isinstance(v, tuple) else "",
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_workspace_does_not_grow_with_the_problem(image, weight, geometry, dtype):
    for n in (1, 2, 4):
        with cases.thread_count(n):
            plan = fastconv.conv2d_plan(image, weight, **geometry, dtype=dtype)
        assert plan.workspace_bytes <= PER_THREAD * plan.threads


# ---- peak memory, as the system sees it ---------------------------------------------------------

PEAK_HEAD = """
import resource, sys
import numpy as np
sys.path.insert(0, "tests")
import fastconv
fastconv.set_num_threads({threads})
def peak():  # KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x = np.ones({x}, np.float32)
w = np.ones({w}, np.float32)
small_w = np.ones((2, 2, 3, 3), np.float32)
small_y = fastconv.conv2d(np.ones((1, 2, 9, 9), np.float32), small_w)  # the threads have started
fastconv.conv2d_backward(small_y, np.ones((1, 2, 9, 9), np.float32), small_w)
"""
PEAK_CALLS = {
    "conv2d": "results = [fastconv.conv2d(x, w, padding=1)]",
    "conv2d_nhwc": (
        "results = [fastconv.conv2d(x, w[:, :1].repeat(x.shape[-1], 1), padding=1,"
        " data_format='NHWC')]"
    ),
    "prepacked": "results = [fastconv.conv2d_prepack(w, padding=1)(x)]",
    "prepacked_pool": "results = [fastconv.conv2d_prepack(w, padding=1, pool=2)(x)]",
    "conv2d_backward": (
        "g = np.ones((len(x), len(w), *x.shape[2:]), np.float32); before = peak();"
        " results = fastconv.conv2d_backward(g, x, w, padding=1)"
    ),
    "max_pool2d": "results = fastconv.max_pool2d(x, 3, 1, 1, return_indices=True)",
    "max_pool2d_backward": (
        "g = np.ones(x.shape, np.float32); before = peak();"
        " results = [fastconv.max_pool2d_backward(g, x, 3, 1, 1)]"
    ),
    "avg_pool2d": "results = [fastconv.avg_pool2d(x, 3, 1, 1)]",
    "avg_pool2d_backward": (
        "g = np.ones(x.shape, np.float32); before = peak();"
        " results = [fastconv.avg_pool2d_backward(g, x.shape, 3, 1, 1)]"
    ),
}


@needs_proc
@pytest.mark.parametrize("name", PEAK_CALLS)
@pytest.mark.parametrize(
    ("x", "w"),
    [((64, 16, 56, 56), (16, 16, 3, 3)), ((1, 4, 900, 900), (4, 4, 3, 3))],
    ids=["large_batch", "large_image"],
)
def test_peak_memory_is_the_results_and_a_constant(name, x, w, run_python):
    """An im2col matrix of these would take 460 and 117 MB, nine times the input."""
    threads = 2
    source = PEAK_HEAD.format(x=x, w=w, threads=threads)
    source += f"before = peak()\n{PEAK_CALLS[name]}\n"
    source += "print(peak() - before, sum(r.nbytes for r in results))\n"
    done = run_python(source=source)
    assert done.returncode == 0, done.stderr
    grown, results = map(int, done.stdout.split())
    allowed = results + PER_THREAD * threads + (6 << 20)  # thread stacks and the allocator's slack
    assert grown <= allowed, f"grew by {grown / 2**20:.0f} MB, results {results / 2**20:.0f} MB"


@needs_proc
def test_an_image_that_is_one_number_stays_one_number(run_python):
    """A broadcast batch of 512 MB takes one image's memory: no private copy of an input is made."""
    source = PEAK_HEAD.format(x=(1, 4, 64, 64), w=(1, 4, 9, 9), threads=2)
    source += """
x = np.broadcast_to(x, (8192, 4, 64, 64))
before = peak()
y = fastconv.conv2d(x, w, stride=64)
assert y.shape == (8192, 1, 1, 1) and (y == 324).all()
z = fastconv.max_pool2d(x, 2, 64)
print(peak() - before)
"""
    done = run_python(source=source)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2 * PER_THREAD + (6 << 20)


# ---- leaks --------------------------------------------------------------------------------------

CASE = ConvCase("", (2, 3, 24, 24), (5, 3, 3, 3), padding=1)
POOL = PoolCase("", (2, 3, 24, 24), 2)


def good_calls():
    a = CASE.normal()
    x, g = POOL.normal()
    half = a.astype("float16")
    swapped = a.map(cases.AWKWARD["byte_swapped"])
    out = np.empty(CASE.output, F32)
    packed = fastconv.conv2d_prepack(a.weight, a.bias, padding=1)
    _, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    plain = {"padding": 1}
    return {
        "conv2d": lambda: fastconv.conv2d(a.input, a.weight, a.bias, 1, 1),
        "conv2d by keyword": lambda: cases.conv(CASE, a, algorithm="direct"),
        "conv2d out": lambda: cases.conv(CASE, a, out=out),
        "conv2d float16": lambda: cases.conv(CASE, half),
        "conv2d byte-swapped": lambda: cases.conv(CASE, swapped),
        "conv2d lists": lambda: fastconv.conv2d([[[1.0, 2.0]]], [[[[1.0]]]]),
        "conv2d_backward": lambda: cases.backward(CASE, a),
        "conv2d_backward masked": lambda: cases.backward(CASE, a, output_mask=(False, True, False)),
        "conv2d_backward float16": lambda: cases.backward(CASE, half),
        "conv2d_prepack": lambda: fastconv.conv2d_prepack(a.weight, a.bias, **plain),
        "packed": lambda: packed(a.input),
        "packed out": lambda: packed(a.input, out=out),
        "prepack and call": lambda: fastconv.conv2d_prepack(a.weight, a.bias, **plain)(a.input),
        "conv2d_plan": lambda: str(fastconv.conv2d_plan(CASE.input, CASE.weight, **plain)),
        "max_pool2d": lambda: fastconv.max_pool2d(x, 2),
        "max_pool2d indices": lambda: fastconv.max_pool2d(x, 2, return_indices=True),
        "max_pool2d_backward": lambda: fastconv.max_pool2d_backward(g, x, 2),
        "max_pool2d_backward indices": lambda: fastconv.max_pool2d_backward(
            g, x, 2, indices=indices
        ),
        "avg_pool2d": lambda: fastconv.avg_pool2d(x, (2, 2), padding=((0, 1), (1, 0))),
        "avg_pool2d_backward": lambda: fastconv.avg_pool2d_backward(g, x.shape, 2),
        "grad.conv2d_input": lambda: fastconv.grad.conv2d_input(
            a.input.shape, a.weight, a.grad_output, 1, 1
        ),
        "grad.conv2d_weight": lambda: fastconv.grad.conv2d_weight(
            a.input, a.weight.shape, a.grad_output, 1, 1
        ),
        "show_config": lambda: fastconv.show_config(mode="dicts"),
    }


def bad_calls():
    a = CASE.normal()
    x, g = POOL.normal()
    read_only = cases.AWKWARD["read_only"](np.zeros(CASE.output, F32))
    packed = fastconv.conv2d_prepack(a.weight, a.bias, padding=1)
    half = a.input.astype("float16")  # converted before the error is found
    return {
        "stride": lambda: fastconv.conv2d(a.input, a.weight, a.bias, stride=(1, "x")),
        "padding": lambda: fastconv.conv2d(a.input, a.weight, padding=((0, 1), (2, -1))),
        "padding name": lambda: fastconv.conv2d(a.input, a.weight, padding="fulll"),
        "keyword": lambda: fastconv.conv2d(a.input, a.weight, strides=1),
        "twice": lambda: fastconv.conv2d(a.input, a.weight, None, 1, stride=1),
        "channels": lambda: fastconv.conv2d(half[:, :2], a.weight, a.bias),
        "bias": lambda: fastconv.conv2d(half, a.weight, a.bias[:2]),
        "dtype": lambda: fastconv.conv2d(a.input, a.weight.astype(int)),
        "ragged": lambda: fastconv.conv2d([[1.0], [2.0, 3.0]], a.weight),
        "out shape": lambda: fastconv.conv2d(a.input, a.weight, out=np.zeros(3, F32)),
        "out read-only": lambda: fastconv.conv2d(a.input, a.weight, padding=1, out=read_only),
        "too big": lambda: fastconv.conv2d(a.input, a.weight, padding=2**40),
        "grad_output": lambda: fastconv.conv2d_backward(a.grad_output[:1], half, a.weight),
        "output_mask": lambda: cases.backward(CASE, a, output_mask=(True, False)),
        "prepack": lambda: fastconv.conv2d_prepack(a.weight, a.bias, activation="x"),
        "packed": lambda: packed(half[:, :2]),
        "plan": lambda: fastconv.conv2d_plan(CASE.input, CASE.weight, dtype="int8"),
        "kernel_size": lambda: fastconv.max_pool2d(x, (2, None)),
        "indices": lambda: fastconv.max_pool2d_backward(g, x, 2, indices=np.full(g.shape, 9999)),
        "divisor": lambda: fastconv.avg_pool2d(x, 2, divisor_override=0),
        "input_size": lambda: fastconv.avg_pool2d_backward(g, (2, 3, "x", 24), 2),
        "threads": lambda: fastconv.set_num_threads(0),
    }


def raising(call):
    def run():
        try:
            call()
        except (ValueError, TypeError, MemoryError):
            return
        raise AssertionError("this call must raise")

    return run


GOOD = good_calls()
RAISING = {f"error: {name}": raising(call) for name, call in bad_calls().items()}
CALLS = GOOD | RAISING


@pytest.fixture(scope="module")
def tracing():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def traced_growth(call, times):
    """Bytes of Python objects and NumPy arrays that every run of `times` calls leaves behind.

    The least of three runs: a leak grows in each, while the interpreter's own lists and caches,
    and garbage of other tests, grow in one.
    """
    for _ in range(20):
        call()
    growth = []
    for _ in range(3):
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            call()
        gc.collect()
        growth.append(tracemalloc.get_traced_memory()[0] - before)
    return min(growth)


@pytest.mark.parametrize("name", CALLS)
def test_no_call_leaves_objects_behind(name, tracing):
    times = 300
    assert traced_growth(CALLS[name], times) < 16 * times  # less than any object takes


def refcounts():
    """Of objects that every call touches."""
    touched = (np.dtype(F32), np.dtype("float64"), np.ndarray, None, True)
    return [sys.getrefcount(thing) for thing in touched]


@pytest.mark.parametrize("name", CALLS)
def test_no_call_leaves_references_behind(name):
    call = CALLS[name]
    arguments = [c.cell_contents for c in (call.__closure__ or ())]
    arguments = [a for a in arguments if not callable(a)]
    for _ in range(20):
        call()
    before = refcounts(), [sys.getrefcount(a) for a in arguments]
    for _ in range(200):
        call()
    after = refcounts(), [sys.getrefcount(a) for a in arguments]
    assert after[1] == before[1]
    assert max(abs(a - b) for a, b in zip(after[0], before[0], strict=True)) < 50


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def resident_growth(call, times):
    for _ in range(times // 4):
        call()
    gc.collect()
    before = resident()
    for _ in range(times):
        call()
    gc.collect()
    return resident() - before


@needs_proc
def test_memory_is_flat_over_thousands_of_calls():
    """What tracemalloc does not see: the core's own allocations."""
    calls = list(CALLS.values())

    def everything():
        for call in calls:
            call()

    times = 400  # a leak of 6 KB a round, of 45 calls, shows
    assert resident_growth(everything, times) < 3 << 20


@needs_proc
def test_memory_is_flat_over_prepacked_convolutions():
    """Each holds 590 KB of weights: forgotten ones would take 90 MB."""
    w = np.ones((128, 128, 3, 3), F32)
    x = np.ones((1, 128, 8, 8), F32)

    def make_and_drop():
        packed = fastconv.conv2d_prepack(w, padding=1)
        packed(x)

    assert resident_growth(make_and_drop, 150) < 12 << 20


@needs_proc
def test_memory_is_flat_over_shapes(tracing):
    """No cache grows with the number of shapes seen."""
    rng = np.random.default_rng(0)
    block = np.ones(200_000, F32)

    def shaped(*shape):
        return block[: math.prod(shape)].reshape(shape)

    packed = fastconv.conv2d_prepack(shaped(4, 3, 3, 3))

    def another_shape():
        n, h, w, o, k = (int(i) for i in rng.integers((1, 8, 8, 1, 1), (4, 40, 40, 20, 6)))
        x = shaped(n, 3, h, w)
        y = fastconv.conv2d(x, shaped(o, 3, k, k))
        fastconv.conv2d_backward(y, x, shaped(o, 3, k, k))
        fastconv.max_pool2d(x, k)
        fastconv.avg_pool2d(x, k)
        packed(x)
        fastconv.conv2d_plan(x.shape, (o, 3, k, k))

    assert resident_growth(another_shape, 1000) < 12 << 20
    assert traced_growth(another_shape, 300) < 32 << 10


RECYCLE = """
import gc, os
import numpy as np
import fastconv
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")
w = np.ones((4, 4, 1, 1), np.float32)
x = np.ones((4, 4, 256, 256), np.float32)
fastconv.conv2d(x, w)
before = resident()
kept = [fastconv.conv2d(x, w) for _ in range({count})]  # 4 MB each
held = resident() - before
kept.clear()
gc.collect()
for _ in range(10):
    fastconv.conv2d(x, w)
print(held >> 20, (resident() - before) >> 20)
"""


@needs_proc
@pytest.mark.parametrize(("megabytes", "count"), [(None, 120), ("32", 60), ("0", 30)])
def test_recycled_memory_is_bounded(megabytes, count, run_python):
    """Of results that were kept for a while, 256 MB at most stay with the process, or as asked."""
    done = run_python(source=RECYCLE.format(count=count), env={"FASTCONV_RECYCLE_MB": megabytes})
    assert done.returncode == 0, done.stderr
    held, stayed = map(int, done.stdout.split())
    assert held >= 4 * count - 8
    assert stayed <= int(megabytes or 256) + 24


@pytest.mark.parametrize("value", ["many", "-1", "1.5", "99999999999999999999"])
def test_a_bad_limit_of_recycled_memory_is_refused(value, run_python):
    done = run_python(source="import fastconv", env={"FASTCONV_RECYCLE_MB": value})
    assert done.returncode == 1
    assert "FASTCONV_RECYCLE_MB" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("keep", ["input", "weight"])
def test_results_do_not_keep_arguments_alive(keep):
    a = CASE.normal()
    y = cases.conv(CASE, a)
    gradients = cases.backward(CASE, a)
    array = getattr(a, keep)
    del a
    assert sys.getrefcount(array) == 2, (y.shape, len(gradients))
