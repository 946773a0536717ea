"""Promise: every ISA gives right answers, is forced by name or refused, stays in its own object.

FASTCONV_ISA is read once, at import. So the tests of values run again here, in one fresh process
for each ISA that this machine can run and that is not the one already running.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv

TESTS = Path(__file__).resolve().parent
KERNELS = sorted((TESTS.parent / "csrc" / "kernels").glob("*.cpp"))
VALUE_FILES = [
    *("conv", "dimensions", "conv_transpose", "grad", "pool", "prepack", "accuracy", "arrays"),
    *("depthwise", "few_channels", "winograd", "prepack_pool", "pool_half"),
    "nn_core",
]
if importlib.util.find_spec("torch"):
    VALUE_FILES.append("torch")

KNOWN = ("scalar", "avx2", "avx512", "neon")
ISA = fastconv.show_config(mode="dicts")["isa"]
OTHERS = [isa for isa in ISA["available"] if isa != ISA["chosen"]]
UNAVAILABLE = [isa for isa in KNOWN if isa not in ISA["available"]]

PROOF = """
import fastconv
print(fastconv.conv2d_plan((1, 64, 14, 14), (64, 64, 3, 3)).isa)
print(fastconv.conv2d_plan((1, 1, 8, 8), (1, 1, 3, 3), dtype="float64", prepacked=True).isa)
print(fastconv.show_config(mode="dicts")["isa"]["chosen"])
"""


# ---- choosing -----------------------------------------------------------------------------------


def test_configuration_is_consistent():
    assert ISA["chosen"] in ISA["available"]
    assert set(ISA["available"]) <= set(ISA["built"]) <= set(KNOWN)
    assert "scalar" in ISA["available"]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="speaks of x86-64")
def test_what_the_cpu_has_is_available():
    """Against another reader of cpuid: the kernel, which also knows what it saves on a switch."""
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[1].split())
    needs = {
        "avx2": {"avx2", "fma"},
        "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx2", "fma"},
    }
    for isa, wanted in needs.items():
        assert (isa in ISA["available"]) == (isa in ISA["built"] and wanted <= flags), isa
    assert "neon" not in ISA["available"]


@pytest.mark.parametrize("isa", ISA["available"])
def test_forcing_an_isa_works(isa, run_python):
    done = run_python(source=PROOF, env={"FASTCONV_ISA": isa})
    assert done.stdout.split() == [isa] * 3, done.stderr


def test_the_best_isa_is_the_default(run_python):
    done = run_python(source=PROOF, env={"FASTCONV_ISA": None})
    best = max(ISA["available"], key=("scalar", "neon", "avx2", "avx512").index)
    assert done.stdout.split() == [best] * 3, done.stderr


@pytest.mark.parametrize("isa", [*UNAVAILABLE, "sse9", "avx", "AVX-512", "avx2 avx512", "0", "é"])
def test_an_isa_that_cannot_run_is_refused_at_import(isa, run_python):
    done = run_python(
        source="import fastconv; print('imported', fastconv.get_num_threads())",
        env={"FASTCONV_ISA": isa},
    )
    assert done.returncode == 1  # an exception: neither a success nor a signal
    assert done.stdout == ""
    last = done.stderr.strip().splitlines()[-1]
    assert re.match(r"(ImportError|ValueError|RuntimeError)\b", last)
    assert "FASTCONV_ISA" in last
    assert isa in done.stderr or isa.encode("unicode_escape").decode() in done.stderr


# ---- the values, again --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def value_runs(tmp_path_factory):
    """A pytest process for each other ISA, all started at once, with its log."""
    files = [str(TESTS / f"test_{name}.py") for name in VALUE_FILES]
    options = ["-q", "--maxfail=5", "--tb=short", "-p", "no:cacheprovider"]
    runs = {}
    for isa in OTHERS:
        log = tmp_path_factory.mktemp("values") / f"{isa}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, f"--expect-isa={isa}", *files],
                env={**os.environ, "FASTCONV_ISA": isa},
                cwd=TESTS.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        runs[isa] = process, log
    yield runs
    for process, _ in runs.values():
        process.kill()
        process.wait()


@pytest.mark.hang_seconds(900)
@pytest.mark.parametrize("isa", OTHERS)
def test_values_on_every_isa(isa, value_runs):
    process, log = value_runs[isa]
    process.wait(850)
    text = log.read_text()
    assert process.returncode == 0, text[-6000:]
    assert f"fastconv ran with isa={isa}" in text
    passed = re.search(r"(\d+) passed", text)
    assert passed, text[-6000:]
    assert int(passed[1]) > 1000, text[-6000:]


def test_the_proof_fails_where_forcing_fails(run_python):
    """A child that runs another ISA than expected must not pass."""
    wrong = next(isa for isa in KNOWN if isa != ISA["chosen"])
    done = run_python(
        *("-m", "pytest", "-q", f"--expect-isa={wrong}", "-p", "no:cacheprovider"),
        *("-k", "by_hand", str(TESTS / "test_conv.py")),
        env={"FASTCONV_ISA": ISA["chosen"]},
    )
    assert done.returncode != 0
    assert f"--expect-isa={wrong}" in done.stdout + done.stderr


# ---- object files -------------------------------------------------------------------------------

HERE = platform.machine()
FLAGS = {
    "x86_64": {
        "scalar": [],
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
    },
    "aarch64": {"scalar": [], "neon": []},
}
TARGETS = [(machine, isa) for machine, isas in FLAGS.items() for isa in isas]

# What a compiler may call where the source calls nothing.
COMPILERS_OWN = re.compile(
    r"^(memcpy|memset|memmove|memcmp|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__stack_chk_guard)$"
)


def find_tool(machine: str, *names: str) -> str | None:
    prefix = "" if machine == HERE else f"{machine}-linux-gnu-"
    return next(filter(None, (shutil.which(prefix + name) for name in names)), None)


@pytest.mark.parametrize(("machine", "isa"), TARGETS, ids=["-".join(t) for t in TARGETS])
@pytest.mark.parametrize("source", KERNELS, ids=lambda path: path.stem)
def test_an_object_exports_its_part_and_nothing_else(source, machine, isa, tmp_path):
    """An inline function compiled for AVX-512 could become the linker's copy for every CPU."""
    compiler, nm = find_tool(machine, "g++", "clang++"), find_tool(machine, "nm")
    if not (compiler and nm):
        pytest.skip(f"no C++ compiler for {machine}")
    built = tmp_path / f"{isa}.o"
    options = ["-std=c++20", "-O1", "-fPIC", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi"]
    options += [*FLAGS[machine][isa], f"-DFASTCONV_ISA_NAME={isa}"]
    subprocess.run([compiler, *options, "-c", source, "-o", built], check=True)
    listing = subprocess.run([nm, "-P", built], check=True, capture_output=True, text=True).stdout
    symbols = [line.split()[:2] for line in listing.splitlines()]
    defined = [name for name, kind in symbols if kind in "ABCDGRST"]
    assert len(defined) == 1, defined
    assert f"{source.stem}_{isa}" in defined[0]
    unique_or_weak = [name for name, kind in symbols if kind in "uvVwWiI"]
    assert unique_or_weak == []
    undefined = [name for name, kind in symbols if kind == "U" and not COMPILERS_OWN.match(name)]
    assert undefined == []
    # Constant-initialised: nothing runs at load time, on a CPU that may not run it.
    sections = subprocess.run(
        [find_tool(machine, "objdump", "llvm-objdump") or "objdump", "-h", built],
        capture_output=True,
        text=True,
    ).stdout
    assert ".init_array" not in sections
    assert ".ctors" not in sections


def test_the_extension_exports_only_its_init_function():
    nm = shutil.which("nm")
    core = sys.modules.get("fastconv._core")
    if nm is None or not hasattr(core, "__file__"):
        pytest.skip("no nm")
    listing = subprocess.run(
        [nm, "-D", "-P", "--defined-only", core.__file__],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert [line.split()[0] for line in listing.splitlines()] == ["PyInit__core"]
