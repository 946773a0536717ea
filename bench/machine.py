"""What the benchmark runs on: a description, the CPUs to use, and the roofs measured on them.

The roofs come from fastconv's own core: `fma_peak` runs independent chains of fused multiply-adds
in registers, with the instruction set that fastconv has chosen; `copy_bandwidth` copies an array
and counts bytes read and written. Clocks drift with temperature, load and neighbours, so the roofs
are measured again beside every layer, and a percentage always refers to the nearest measurement.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

MISSING = """\
fastconv cannot be imported ({error}).
Install it into this Python first: from the root of the repository, pip install ."""

# Per thread: inside every second-level cache of today, and beyond every last-level one.
CACHE_BYTES = 2**17
MEMORY_BYTES = 2**28


class Roofs(NamedTuple):
    """The limits of the machine: flop/s, and bytes/s of a copy."""

    fma: float
    copy: float


def core() -> Any:
    """`fastconv._core`, or an exit that says how to get it."""
    try:
        from fastconv import _core
    except ModuleNotFoundError as error:
        raise SystemExit(MISSING.format(error=error)) from None
    except ImportError as error:
        # It is there and refuses, as for an ISA that this machine has not.
        raise SystemExit(f"fastconv: {error}") from None
    for name in ("fma_peak", "copy_bandwidth"):
        if not hasattr(_core, name):
            raise SystemExit(f"fastconv._core has no {name}: this fastconv is older than bench/")
    return _core


def roofs(dtype: str, threads: int, size: int, seconds: float = 0.01) -> Roofs:
    """Measure both roofs, the copy with `size` bytes read and written in all."""
    measure = core()
    return Roofs(
        measure.fma_peak(dtype, threads, seconds),
        measure.copy_bandwidth(max(size // 2, 1), threads, seconds),
    )


def standing_roofs(dtype: str, threads: int) -> dict[str, float]:
    """The roofs to draw: FMA, and a copy within the caches and from memory."""
    cached = roofs(dtype, threads, CACHE_BYTES * threads, seconds=0.1)
    memory = roofs(dtype, threads, MEMORY_BYTES, seconds=0.2)
    return {
        "fma": max(cached.fma, memory.fma),
        "copy_cache": cached.copy,
        "copy_memory": memory.copy,
    }


def environment(threads: int, isa: str | None) -> dict[str, str]:
    """The environment in which every library uses `threads` threads and the same ISA."""
    env = dict(os.environ)
    count = str(threads)
    for name in ("OMP", "MKL", "OPENBLAS", "FASTCONV"):
        env[f"{name}_NUM_THREADS"] = count
    env["NPROC"] = count  # XLA's pool
    flags = [env.get("XLA_FLAGS", "")]
    if threads == 1:
        flags.append("--xla_cpu_multi_thread_eigen=false")
    if isa:
        env["FASTCONV_ISA"] = isa
    if isa == "avx2":
        env |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
        env |= {"OPENBLAS_CORETYPE": "Haswell"}
        flags.append("--xla_cpu_max_isa=AVX2")
    env["XLA_FLAGS"] = " ".join(flags).strip()
    env.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return env


def pick_cpus(threads: int) -> list[int]:
    """CPUs to pin to: of those this process may use, one of each physical core first."""
    allowed = sorted(os.sched_getaffinity(0))
    if threads > len(allowed):
        raise ValueError(f"{threads} threads on {len(allowed)} CPUs")
    firsts: list[int] = []
    others: list[int] = []
    seen: set[str] = set()
    for cpu in allowed:
        core_id = _read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", str(cpu))
        (others if core_id in seen else firsts).append(cpu)
        seen.add(core_id)
    return (firsts + others)[:threads]


class Neighbours:
    """How much of `cpus` everyone but this process uses, other guests of the hardware included.

    Another process on one of the CPUs does not slow all entrants alike: it may catch a pool between
    two barriers and cost it tenfold. So whoever times should know, and time again. (How long our
    own threads wait for a CPU would say it more exactly, but some pools wait for themselves.)
    """

    # The kernel counts in ticks, so one at either end of the interval may be misplaced.
    UNCERTAIN = 2 / os.sysconf("SC_CLK_TCK")

    def __init__(self, cpus: Sequence[int]) -> None:
        self._names = {f"cpu{cpu}" for cpu in cpus}
        self.start()

    def start(self) -> None:
        self._start = self._now()

    def share(self) -> float:
        """Part of the CPUs' time that others took since `start`; 0 where that is not known."""
        wall, busy, own = (b - a for a, b in zip(self._start, self._now(), strict=True))
        return max(0.0, busy - own - self.UNCERTAIN) / (wall * len(self._names))

    def _now(self) -> tuple[float, float, float]:
        ticks = 0
        for line in _read("/proc/stat", "").splitlines():
            name, *values = line.split()
            if name in self._names:
                # user nice system idle iowait irq softirq steal
                ticks += sum(map(int, values[:8])) - int(values[3]) - int(values[4])
        return time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time()


def describe() -> dict[str, Any]:
    """CPU, caches, memory, system and load; nothing that names the host or its user."""
    info = _cpuinfo()
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd")
    flags = (info.get("flags") or info.get("Features") or "").split()
    return {
        "cpu": info.get("model name") or platform.processor() or platform.machine(),
        "family": f"{info.get('cpu family', '?')}/{info.get('model', '?')}",
        "flags": [flag for flag in wanted if flag in flags],
        "cpus": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "huge_pages": _read("/sys/kernel/mm/transparent_hugepage/enabled", "unknown"),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "unknown"),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def _cpuinfo() -> dict[str, str]:
    first = _read("/proc/cpuinfo", "").split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = _read(index / "type", "")
        if kind != "Instruction":
            found[f"L{_read(index / 'level', '?')}"] = _read(index / "size", "?")
    return found


def _read(path: str | Path, default: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return default
