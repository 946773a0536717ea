"""Promise: what the documentation names exists, and what it shows happens."""

from __future__ import annotations

import doctest
import importlib
import inspect
import itertools
import pkgutil
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastconv

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "csrc" / "README.md", ROOT / "bench" / "README.md"]
TOP = {"csrc", "python", "tests", "bench", ".ci", ".github"}
SUFFIXES = {".py", ".pyi", ".cpp", ".hpp", ".h", ".csv", ".md", ".toml", ".yml", ".txt"}
SHELLS = {"sh", "bash", "shell", "console"}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def name_of(path):
    return str(path.relative_to(ROOT))


def fences(path):
    """(language, first line's number, text) of each fenced block."""
    text = path.read_text()
    for match in re.finditer(r"^```([\w+-]*)[^\n]*\n(.*?)^```", text, re.M | re.S):
        yield match[1], text[: match.start(2)].count("\n"), match[2]


def run_doctest(test):
    output: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    result = runner.run(test, out=output.append, clear_globs=False)
    assert result.failed == 0, "".join(output)
    return result.attempted


# ---- documents ----------------------------------------------------------------------------------


def test_the_documents_exist():
    assert all(path.exists() for path in DOCUMENTS[:2])


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.exists()], ids=name_of)
def test_examples_of_a_document_run(path, tmp_path, monkeypatch):
    """In order, and one session: a later block sees what an earlier one defined."""
    monkeypatch.chdir(tmp_path)
    session = {"__name__": "__main__"}
    attempted = 0
    for language, line, text in fences(path):
        if ">>>" in text:
            test = doctest.DocTestParser().get_doctest(text, session, path.name, str(path), line)
            test.globs = session  # get_doctest copies
            attempted += run_doctest(test)
        elif language in ("python", "py"):
            exec(compile("\n" * line + text, str(path), "exec"), session)
            attempted += 1
    if path == ROOT / "README.md":
        assert attempted >= 3  # the quickstart


def in_backticks(path):
    """Inline code outside fenced blocks."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


def alternatives(pattern):
    """`plan.{hpp,cpp}` is two paths, and `plan.*` as many as there are."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [one for part in match[1].split(",") for one in alternatives(head + part + tail)]


def names_a_path(text, path):
    if not re.fullmatch(r"[\w./*{},-]+", text) or text.startswith(("/", "-")):
        return False
    first = text.split("/")[0]
    if "/" in text:
        return first in TOP or (path.parent != ROOT and (path.parent / first).is_dir())
    return path.parent != ROOT and Path(text.rstrip("}*")).suffix in SUFFIXES


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.exists()], ids=name_of)
def test_paths_that_a_document_names_exist(path):
    named = [text for text in in_backticks(path) if names_a_path(text, path)]
    missing = [
        one
        for text in named
        for one in alternatives(text)
        if not any(any(base.glob(one.rstrip("/"))) for base in (ROOT, path.parent))
    ]
    assert missing == []


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.exists()], ids=name_of)
def test_links_lead_somewhere(path):
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    targets += re.findall(r"<img[^>]*\bsrc=\"([^\"]+)\"", path.read_text())
    missing = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        if not found.exists():
            missing.append(target)
        elif anchor and found.suffix == ".md":
            headings = re.findall(r"^#+\s+(.*)$", found.read_text(), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            if anchor not in slugs:
                missing.append(target)
    assert missing == []


def commands(path):
    """The commands of the document's shell blocks, continued lines joined."""
    for language, _, text in fences(path):
        if language not in SHELLS:
            continue
        for line in text.replace("\\\n", " ").splitlines():
            line = line.removeprefix("$ ").strip()
            if line and not line.startswith("#"):
                for part in re.split(r"\s*(?:&&|;|\|)\s*", line):
                    yield shlex.split(part, comments=True)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.exists()], ids=name_of)
def test_commands_that_a_document_gives_can_run(path, run_python):
    """Files and subcommands exist and take the options that are given; extras are defined."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for words in commands(path):
        while words and re.fullmatch(r"\w+=\S*", words[0]):
            words = words[1:]  # environment
        for extras in re.findall(r"\[([\w,]+)\]", " ".join(words) if "install" in words else ""):
            for extra in extras.split(","):
                assert extra in project["optional-dependencies"], words
        program = words[0] if words else ""
        if program.startswith("python") and words[1:3] == ["-m", "fastconv"]:
            done = run_python("-m", "fastconv", *words[3:4], "--help")
            assert done.returncode == 0, (words, done.stderr)
            for option in (w.split("=")[0] for w in words[4:] if w.startswith("--")):
                assert option in done.stdout, (words, option)
        elif program.startswith("python") and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).exists(), words
            done = run_python(words[1], "--help")
            if done.returncode == 0:
                for option in (w.split("=")[0] for w in words[2:] if w.startswith("--")):
                    assert option in done.stdout, (words, option)
            else:
                assert "ModuleNotFoundError" in done.stderr, (words, done.stderr)  # a peer's
        else:
            for word in words[1:]:
                if "/" in word and word.split("/")[0] in TOP:
                    assert (ROOT / word.split("::")[0]).exists(), words


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.exists()], ids=name_of)
def test_names_of_the_package_in_a_document_exist(path):
    """`fastconv.conv2d(...)` in the text is an attribute of the package."""
    missing = []
    for text in in_backticks(path):
        match = re.match(r"fastconv((?:\.[A-Za-z_]\w*)+)", text)
        if match is None or match[1].endswith((".so", ".py")):
            continue
        parts = match[1][1:].split(".")
        if parts[0] == "compat":
            continue  # importing an adapter imports its framework
        thing = fastconv
        for part in parts:
            if not hasattr(thing, part):
                try:
                    importlib.import_module(f"{thing.__name__}.{part}")
                except (ImportError, AttributeError):
                    missing.append(text)
                    break
            thing = getattr(thing, part)
    assert missing == []


# ---- docstrings ---------------------------------------------------------------------------------


def modules():
    """fastconv and the modules in it that import on NumPy alone."""
    names = ["fastconv"]
    for found in pkgutil.walk_packages(fastconv.__path__, "fastconv."):
        if "compat" not in found.name and not found.name.endswith("__main__"):
            names.append(found.name)
    for name in names:
        try:
            yield importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("fastconv"):
                raise


def documented(module):
    """(name, object) of all that a module defines or offers, builtin functions and methods too."""
    offered = set(getattr(module, "__all__", ()))
    for name, thing in sorted(vars(module).items()):
        mine = getattr(thing, "__module__", None) == module.__name__
        if not (callable(thing) and (mine or name in offered)):
            continue
        yield name, thing
        if inspect.isclass(thing):
            for method, member in vars(thing).items():
                yield f"{name}.{method}", member


def all_documented():
    seen = set()
    for module in modules():
        yield module.__name__, module, module
        for name, thing in documented(module):
            if id(thing) not in seen:
                seen.add(id(thing))
                yield f"{module.__name__}.{name}", thing, module


EXAMPLES = [
    (name, thing, module)
    for name, thing, module in all_documented()
    if ">>>" in (getattr(thing, "__doc__", None) or "")
]


@pytest.mark.parametrize(("name", "thing", "module"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_examples_of_a_docstring_run(name, thing, module):
    session = {**vars(module), "fastconv": fastconv, "np": np}
    test = doctest.DocTestParser().get_doctest(
        inspect.cleandoc(thing.__doc__), session, name, None, None
    )
    assert run_doctest(test) > 0


PUBLIC = [
    (f"{module.__name__}.{name}", getattr(module, name))
    for module in (fastconv, fastconv.grad, fastconv.reference)
    for name in module.__all__
    if inspect.isroutine(getattr(module, name))
]


@pytest.mark.parametrize(("name", "function"), PUBLIC, ids=[p[0] for p in PUBLIC])
def test_every_public_function_is_documented_with_an_example(name, function):
    text = inspect.getdoc(function) or ""
    assert ">>>" in text
    parameters = [p for p in inspect.signature(function).parameters if p not in ("args", "kwargs")]
    for parameter in parameters:
        assert re.search(rf"\b{parameter}\b", text), parameter


def test_convolution_says_that_it_is_cross_correlation_and_how_to_flip():
    for function in (fastconv.conv1d, fastconv.conv2d, fastconv.conv3d):
        text = (inspect.getdoc(function) or "").lower()
        assert "cross-correlation" in text
        assert "::-1" in text
    for function in (fastconv.conv_transpose1d, fastconv.conv_transpose2d):
        assert "cross-correlation" in (inspect.getdoc(function) or "")


def test_public_classes_are_documented():
    for name in fastconv.__all__:
        thing = getattr(fastconv, name)
        if inspect.isclass(thing) or inspect.ismodule(thing):
            assert inspect.getdoc(thing), name


def test_importing_the_package_imports_no_framework(run_python):
    done = run_python(
        source="""
        import sys, numpy
        before = set(sys.modules)
        import fastconv
        new = {name.split(".")[0] for name in set(sys.modules) - before}
        print(*sorted(new - set(sys.stdlib_module_names) - {"fastconv", "numpy"}))
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_the_reference_does_without_the_core(run_python):
    """`fastconv.reference` imports nothing of the compiled part: its source names none of it."""
    files = sorted(Path(fastconv.reference.__file__).parent.glob("*.py"))
    assert len(files) > 1
    for file in files:
        imports = re.findall(r"^\s*(?:from|import)\s+(\S+)", file.read_text(), re.M)
        assert not any("_core" in n or n.startswith(("fastconv", "..")) for n in imports), file


def test_alternatives_expand():
    assert alternatives("a.{hpp,cpp}") == ["a.hpp", "a.cpp"]
    assert list(itertools.chain(alternatives("x"), alternatives("{a,b}{c,d}"))) == [
        *("x", "ac", "ad", "bc", "bd")
    ]
