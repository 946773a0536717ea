"""Promise: the same bits for every thread count, safe from many threads, alive after a fork."""

from __future__ import annotations

import concurrent.futures
import os
import re
import sys
import threading
import time

import numpy as np
import pytest

import cases
import fastconv
from cases import ConvCase, PoolCase

COUNTS = (1, 2, 3, 4)
OPENMP = bool(fastconv.show_config(mode="dicts")["threads"]["openmp"])
GNU_OPENMP = OPENMP and "gcc" in fastconv.show_config(mode="dicts")["compiler"]
FORMATS = ("NCHW", "NHWC")

# Large enough to be worth several threads, each with another axis to split.
CONVS = [
    ConvCase("one_image", (1, 16, 40, 41), (24, 16, 3, 3), padding=1),
    ConvCase("large_batch", (23, 8, 14, 14), (16, 8, 3, 3), padding=1),
    ConvCase("small_map", (1, 96, 7, 7), (130, 96, 3, 3), padding=1),
    ConvCase("few_channels", (2, 3, 65, 66), (17, 3, 7, 7), stride=2, padding=3),
    ConvCase("pointwise", (3, 67, 19, 21), (70, 67, 1, 1)),
    ConvCase("few_pixels", (4, 120, 7, 7), (171, 120, 1, 1)),
    ConvCase("few_strided_pixels", (3, 60, 14, 13), (320, 60, 3, 3), stride=2, padding=1),
    ConvCase("strided", (4, 24, 30, 29), (33, 24, 3, 3), stride=2, padding=1, activation="relu"),
    ConvCase("dilated", (2, 24, 28, 28), (24, 24, 3, 3), dilation=2, padding=2),
    ConvCase("grouped", (3, 48, 20, 20), (36, 12, 3, 3), groups=4, padding=1),
    ConvCase("depthwise", (3, 40, 33, 35), (40, 1, 5, 5), groups=40, padding=2),
    ConvCase("float64", (2, 19, 22, 23), (21, 19, 3, 3), padding=1, dtype="float64"),
    ConvCase("one_filter", (5, 32, 30, 30), (1, 32, 3, 3), padding=1),
    ConvCase("one_channel", (40, 1, 28, 28), (30, 1, 5, 5)),
    ConvCase("large_kernel", (1, 3, 60, 60), (32, 3, 11, 11), stride=2),
    # Winograd whose panels of outputs, or of weights to be transformed, two threads cannot share.
    ConvCase("three_panels", (1, 32, 16, 16), (144, 32, 3, 3), padding=1),
    ConvCase("three_panels_of_lines", (1, 48, 17, 17), (144, 48, 7, 1), padding=(3, 0)),
    ConvCase("one_panel", (1, 128, 28, 28), (32, 128, 3, 3), padding=1),
    ConvCase("five_panels", (2, 72, 14, 14), (288, 72, 3, 3), padding=1),
]
POOLS = [
    PoolCase("halves", (6, 30, 28, 28), 2),
    PoolCase("overlap", (2, 64, 56, 57), 3, stride=2, padding=1, ceil_mode=True),
    PoolCase("stride1", (1, 48, 28, 28), 3, stride=1, padding=1, count_include_pad=False),
    PoolCase("one_plane", (1, 1, 301, 299), 5, stride=1, padding=2),
]


def conv_bits(case, a):
    """Everything that a convolution can compute, as bytes."""
    packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry, activation=case.activation)
    results = {
        "auto": cases.conv(case, a),
        "direct": cases.conv(case, a, algorithm="direct"),
        "prepacked": packed(a.input),
    }
    results.update(zip(("grad_input", "grad_weight", "grad_bias"), cases.backward(case, a),
                       strict=True))  # fmt: skip
    return {name: y.tobytes() for name, y in results.items()}


def pool_bits(case, x, g):
    y, indices = fastconv.max_pool2d(x, **case.max_args, return_indices=True)
    results = {
        "max": fastconv.max_pool2d(x, **case.max_args),
        "max_with_indices": y,
        "indices": indices,
        "max_backward": fastconv.max_pool2d_backward(g, x, **case.max_args),
        "max_backward_indices": fastconv.max_pool2d_backward(
            g, x, **case.max_args, indices=indices
        ),
        "avg": fastconv.avg_pool2d(x, **case.avg_args),
        "avg_backward": fastconv.avg_pool2d_backward(g, case.input_shape, **case.avg_args),
    }
    return {name: y.tobytes() for name, y in results.items()}


def differing(first, other):
    return [name for name in first if first[name] != other[name]]


# ---- the same bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", CONVS, ids=str)
def test_convolution_has_the_same_bits_for_every_thread_count(case, data_format):
    case = case.replace(data_format=data_format)
    a = case.normal()
    with cases.thread_count(1):
        serial = conv_bits(case, a)
    for n in COUNTS:
        for _ in range(2):
            with cases.thread_count(n):
                assert differing(serial, conv_bits(case, a)) == [], f"{n} threads"


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pools_have_the_same_bits_for_every_thread_count(case, data_format):
    case = case.replace(data_format=data_format)
    x, g = case.normal()
    with cases.thread_count(1):
        serial = pool_bits(case, x, g)
    for n in COUNTS:
        with cases.thread_count(n):
            assert differing(serial, pool_bits(case, x, g)) == [], f"{n} threads"


@pytest.mark.parametrize("case", CONVS, ids=str)
def test_large_convolutions_are_right_as_well(case, threads):
    a = case.normal()
    cases.check_conv(case, a, cases.conv(case, a), "auto")
    case = case.replace(activation=None)
    cases.check_backward(case, a, cases.backward(case, a))


def test_bits_do_not_depend_on_where_the_arrays_lie():
    """Another alignment must not choose another order of summation."""
    case = CONVS[0]
    a = case.normal()
    first = conv_bits(case, a)
    for shift in (1, 3, 5):

        def shifted(array, shift=shift):
            raw = np.empty(array.size + 16, array.dtype)[shift : shift + array.size]
            raw[...] = array.ravel()
            return raw.reshape(array.shape)

        assert differing(first, conv_bits(case, a.map(shifted))) == []


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("case", [c for c in CONVS if c.batch > 1], ids=str)
def test_a_sample_does_not_depend_on_its_batch(case, data_format, threads):
    case = case.replace(data_format=data_format)
    a = case.normal()
    whole = cases.conv(case, a, algorithm="direct")

    def alone(x):
        return fastconv.conv2d(
            x, a.weight, a.bias, **case.geometry, activation=case.activation, algorithm="direct"
        )

    for i in (0, case.batch // 2, case.batch - 1):
        assert alone(a.input[i]).tobytes() == whole[i].tobytes()
        assert alone(a.input[i : i + 1]).tobytes() == whole[i].tobytes()
    assert alone(a.input[1:]).tobytes() == whole[1:].tobytes()


def test_bits_are_the_same_in_another_process(run_python):
    source = """
        import sys; sys.path.insert(0, "tests")
        import hashlib, fastconv, test_threads as t
        fastconv.set_num_threads(int(sys.argv[1]))
        digest = hashlib.sha256()
        for case in t.CONVS[:3]:
            for bits in t.conv_bits(case, case.normal()).values():
                digest.update(bits)
        print(digest.hexdigest())
    """
    digests = set()
    for n in (1, 2, 3):
        done = run_python(source=source.replace("sys.argv[1]", str(n)))
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


# ---- many Python threads ------------------------------------------------------------------------


def concurrently(workers, tasks):
    """Run tasks on `workers` threads that start together; their results in order."""
    barrier = threading.Barrier(workers)
    with concurrent.futures.ThreadPoolExecutor(
        workers, initializer=lambda: barrier.wait(60)
    ) as pool:
        return list(pool.map(lambda task: task(), tasks, timeout=100))


def test_many_threads_get_right_answers():
    """Different problems at once, so that shared scratch memory or state would show."""
    expected = {}
    with cases.thread_count(1):
        for case in CONVS:
            expected[case] = conv_bits(case, case.normal())
        for pool in POOLS:
            expected[pool] = pool_bits(pool, *pool.normal())

    def task(case):
        if isinstance(case, ConvCase):
            return lambda: differing(expected[case], conv_bits(case, case.normal()))
        return lambda: differing(expected[case], pool_bits(case, *case.normal()))

    everything = [*CONVS, *POOLS]
    order = np.random.default_rng(0).permutation(3 * len(everything)) % len(everything)
    with cases.thread_count(2):
        results = concurrently(6, [task(everything[i]) for i in order])
    assert [(everything[i].name, bad) for i, bad in zip(order, results, strict=True) if bad] == []


def test_thread_count_may_change_during_calls():
    case = CONVS[0]
    a = case.normal()
    expected = conv_bits(case, a)
    stop = threading.Event()

    def restless():
        n = 0
        while not stop.is_set():
            n += 1
            fastconv.set_num_threads(1 + n % 5)
            assert 1 <= fastconv.get_num_threads() <= 5
            time.sleep(0.0005)
        return n

    before = fastconv.get_num_threads()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        changing = pool.submit(restless)
        try:
            calling = [
                pool.submit(lambda: [differing(expected, conv_bits(case, a)) for _ in range(10)])
                for _ in range(2)
            ]
            for call in calling:
                assert call.result(100) == [[]] * 10
        finally:
            stop.set()
            fastconv.set_num_threads(before)
        assert changing.result(60) > 0


def test_many_threads_and_small_calls():
    """Thousands of calls that are too small to split: what they share is the allocator."""
    x = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    w = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    expected = fastconv.conv2d(x, w), fastconv.max_pool2d(x, 2)

    def task():
        kept = []
        for i in range(400):
            kept.append((fastconv.conv2d(x, w), fastconv.max_pool2d(x, 2)))
            if i % 7 == 0:
                kept.clear()
        wanted = [y.tobytes() for y in expected]
        return all([y.tobytes() for y in pair] == wanted for pair in kept)

    assert concurrently(8, [task] * 16) == [True] * 16


def test_the_gil_is_released():
    """Another Python thread makes progress during one call.

    The switch interval is made so long that nothing ever takes the GIL away: the other thread runs
    only when this one lets go, and it lets go again itself after each step.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("this interpreter has no GIL")
    case = ConvCase("", (4, 64, 32, 32), (64, 64, 3, 3), padding=1)
    a = case.normal()
    pool = PoolCase("", (4, 64, 80, 80), 3, stride=1, padding=1)
    x, g = pool.normal()
    packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry)
    calls = {
        "conv2d": lambda: cases.conv(case, a),
        "prepacked": lambda: packed(a.input),
        "conv2d_backward": lambda: cases.backward(case, a),
        "max_pool2d": lambda: fastconv.max_pool2d(x, **pool.max_args),
        "max_pool2d_backward": lambda: fastconv.max_pool2d_backward(g, x, **pool.max_args),
        "avg_pool2d": lambda: fastconv.avg_pool2d(x, **pool.avg_args),
        "avg_pool2d_backward": lambda: fastconv.avg_pool2d_backward(g, x.shape, **pool.avg_args),
    }
    steps = 0
    stop = False

    def count():
        nonlocal steps
        while not stop:
            steps += 1
            time.sleep(0)  # lets the GIL go

    interval = sys.getswitchinterval()
    counter = threading.Thread(target=count)
    stuck = []
    try:
        with cases.thread_count(1):
            counter.start()
            sys.setswitchinterval(1000)
            for name, call in calls.items():
                for _ in range(50):
                    before = steps
                    call()
                    if steps > before:
                        break
                else:
                    stuck.append(name)
    finally:
        sys.setswitchinterval(interval)
        stop = True
        counter.join(60)
    assert stuck == []


# ---- how many threads ---------------------------------------------------------------------------


def test_set_and_get():
    for n in COUNTS:
        with cases.thread_count(n):
            assert fastconv.get_num_threads() == (n if OPENMP else 1)
            told = fastconv.show_config(mode="dicts")["threads"]["num_threads"]
            assert told == fastconv.get_num_threads()


SHOW = "import fastconv; print(fastconv.get_num_threads())"


@pytest.mark.skipif(not OPENMP, reason="built without OpenMP: always one thread")
@pytest.mark.parametrize(
    ("ours", "openmps", "expected"),
    [("3", None, 3), ("3", "5", 3), (None, "5", 5), (None, "5,2", 5), ("1", None, 1)],
)
def test_environment_sets_the_count(ours, openmps, expected, run_python):
    env = {"FASTCONV_NUM_THREADS": ours, "OMP_NUM_THREADS": openmps}
    done = run_python(source=SHOW, env=env)
    assert done.stdout.split() == [str(expected)], done.stderr


@pytest.mark.skipif(not GNU_OPENMP, reason="built without GNU's OpenMP runtime")
@pytest.mark.parametrize(
    ("name", "value", "spins"),
    [(None, None, "3000"), ("GOMP_SPINCOUNT", "77", "77"), ("OMP_WAIT_POLICY", "passive", "0")],
)
def test_idle_threads_sleep_soon_unless_the_environment_says_otherwise(
    name, value, spins, run_python
):
    env = {"GOMP_SPINCOUNT": None, "OMP_WAIT_POLICY": None, "OMP_DISPLAY_ENV": "verbose"}
    env |= {} if name is None else {name: value}
    source = "import os, fastconv; print(os.environ.get('GOMP_SPINCOUNT'))"
    done = run_python(source=source, env=env)
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
    assert done.stdout.split() == [value if name == "GOMP_SPINCOUNT" else "None"]


@pytest.mark.parametrize("value", ["zero", "0", "-2", "2.5", "2 threads", "99999999999999999999"])
def test_a_bad_count_in_the_environment_is_refused(value, run_python):
    done = run_python(source=SHOW, env={"FASTCONV_NUM_THREADS": value})
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(r"(ImportError|ValueError|RuntimeError)\b", last)
    assert "FASTCONV_NUM_THREADS" in last


@pytest.mark.parametrize("value", ["zero", "-2", "0"])
def test_a_bad_count_of_openmps_does_no_harm(value, run_python):
    """It is another library's variable: whatever it holds, this one must import and work."""
    source = SHOW + "; import numpy as np; fastconv.max_pool2d(np.ones((1, 64, 64), 'f4'), 2)"
    done = run_python(source=source, env={"FASTCONV_NUM_THREADS": None, "OMP_NUM_THREADS": value})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux's affinity masks")
def test_the_affinity_mask_limits_the_default(run_python):
    unset = {"FASTCONV_NUM_THREADS": None, "OMP_NUM_THREADS": None}
    pinned = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert run_python(source=pinned + SHOW, env=unset).stdout.split() == ["1"]
    free = int(run_python(source=SHOW, env=unset).stdout)
    assert 1 <= free <= len(os.sched_getaffinity(0))


def test_an_absurd_count_is_refused_or_survived(run_python):
    """A million threads cannot be started; asking for them must not end the process."""
    done = run_python(
        source="""
        import fastconv, numpy as np
        for n in (10**6, 2**31 - 1, 2**31, 2**62):
            try:
                fastconv.set_num_threads(n)
            except ValueError as error:
                assert "n" in str(error)
        x = np.ones((8, 16, 32, 32), "f4")
        w = np.ones((16, 16, 3, 3), "f4")
        y = fastconv.conv2d(x, w, algorithm="direct")
        assert (y == 144).all()
        fastconv.set_num_threads(2)
        assert fastconv.conv2d(x, w, algorithm="direct").tobytes() == y.tobytes()
        print("alive")
        """
    )
    assert done.stdout.split() == ["alive"], done.stderr[-2000:]


# ---- fork ---------------------------------------------------------------------------------------

FORK_HEAD = """
import os, signal, sys, time, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested
sys.path.insert(0, "tests")
import fastconv, test_threads as t
fastconv.set_num_threads(3)
cases = t.CONVS[:3]
expected = [t.conv_bits(case, case.normal()) for case in cases]
pool_expected = t.pool_bits(t.POOLS[0], *t.POOLS[0].normal())

def right():
    convs = all(t.conv_bits(c, c.normal()) == e for c, e in zip(cases, expected))
    return convs and t.pool_bits(t.POOLS[0], *t.POOLS[0].normal()) == pool_expected

def child(work):
    pid = os.fork()
    if pid == 0:
        code = 9
        try:
            code = 0 if work() else 8
        finally:
            os._exit(code)
    return pid

def wait(pid, seconds=25):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"
"""

FORKS = {
    "after_threads": """
print(wait(child(right)), right(), wait(child(right)), right())
""",
    "grandchild": """
print(wait(child(lambda: right() and wait(child(right)) == 0)), right())
""",
    "child_sets_threads": """
def work():
    fastconv.set_num_threads(2)
    if not (right() and fastconv.get_num_threads() >= 1):
        return False
    fastconv.set_num_threads(1)
    return right()
print(wait(child(work)), right())
""",
    "from_another_thread": """
codes = []
thread = threading.Thread(target=lambda: codes.append(wait(child(right))))
thread.start()
thread.join()
print(*codes, right())
""",
    "during_a_call": """
stop = False
def busy():
    while not stop:
        right()
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
codes = [wait(child(right)) for _ in range(4)]
stop = True
for thread in threads:
    thread.join()
print(*codes, right())
""",
    "prepacked_before": """
case, a = cases[2], cases[2].normal()
packed = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry)
lazy = fastconv.conv2d_prepack(a.weight, a.bias, **case.geometry)
bits = packed(a.input).tobytes()
work = lambda: packed(a.input).tobytes() == bits and lazy(a.input).tobytes() == bits
print(wait(child(work)), work())
""",
    "pool": """
import multiprocessing
def ask(i):
    return t.conv_bits(cases[i % 3], cases[i % 3].normal()) == expected[i % 3]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*set(pool.map_async(ask, range(8)).get(timeout=60)), right())
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("name", FORKS)
def test_a_forked_child_works_and_ends(name, run_python):
    done = run_python(source=FORK_HEAD + FORKS[name])
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) <= {"0", "True"}, done.stdout + done.stderr[-3000:]
    assert "True" in done.stdout
