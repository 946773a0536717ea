"""What every test file shares: the ISA's proof, a watchdog, thread counts, child interpreters."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import cases
import fastconv

ROOT = Path(__file__).resolve().parent.parent
HANG_SECONDS = 120  # for one test; a hang in C code holds the interpreter, so a watchdog ends it

settings.register_profile(
    "fastconv",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastconv")


def running_isa() -> str:
    """The ISA of the kernels that a plan says it will call, not the one that was asked for."""
    return fastconv.conv2d_plan((1, 8, 16, 16), (8, 8, 3, 3)).isa


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--expect-isa", help="refuse to run unless this ISA's kernels are in use")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hang_seconds(n): how long the watchdog lets the test run")
    config.fastconv_stderr = os.dup(2)  # before pytest captures it
    expected = config.getoption("--expect-isa")
    chosen = fastconv.show_config(mode="dicts")["isa"]["chosen"]
    if expected and (running_isa() != expected or chosen != expected):
        raise pytest.UsageError(
            f"--expect-isa={expected}: plans run {running_isa()}, show_config says {chosen}"
        )


def pytest_report_header() -> str:
    isa = fastconv.show_config(mode="dicts")["isa"]
    where = Path(fastconv.__file__).parent
    return (
        f"fastconv {fastconv.__version__} of {where}: ISA {isa['chosen']}, available "
        f"{', '.join(isa['available'])}; {fastconv.get_num_threads()} threads"
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"fastconv ran with isa={running_isa()}")


@pytest.fixture(autouse=True)
def watchdog(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the whole run, with every thread's traceback, if a test hangs."""
    marker = request.node.get_closest_marker("hang_seconds")
    seconds = marker.args[0] if marker else HANG_SECONDS
    stderr = request.config.fastconv_stderr
    faulthandler.dump_traceback_later(seconds, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that take `threads` run with each count; where an ISA is forced, with the last."""
    if "threads" in metafunc.fixturenames:
        forced = metafunc.config.getoption("--expect-isa")
        counts = cases.THREAD_COUNTS[-1:] if forced else cases.THREAD_COUNTS
        ids = [f"{n}threads" for n in counts]
        metafunc.parametrize("threads", counts, ids=ids, indirect=True)


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of threads that the test runs with."""
    with cases.thread_count(request.param):
        yield request.param


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run source text, or `-m` arguments, in a fresh interpreter."""

    def run(
        *arguments: str,
        source: str | None = None,
        env: dict[str, str | None] | None = None,
        timeout: float = 110,
    ) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ)
        for name, value in (env or {}).items():
            environment.pop(name, None)
            if value is not None:
                environment[name] = value
        command = [sys.executable, *arguments]
        if source is not None:
            command += ["-c", textwrap.dedent(source)]
        return subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout
        )

    return run
