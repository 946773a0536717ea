"""Promise: Keras on its NumPy backend gives with fastconv what it gives without, and what its other
backends give."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

if importlib.util.find_spec("keras") is None or importlib.util.find_spec("jax") is None:
    pytest.skip("keras and jax are not installed", allow_module_level=True)
if "keras" in sys.modules or os.environ.get("KERAS_BACKEND", "numpy") != "numpy":
    pytest.skip("keras has chosen another backend", allow_module_level=True)

import fastconv
from fastconv.compat import keras as adapter

backend = adapter._backend
FORMATS = ("channels_last", "channels_first")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def image(size, channels, data_format):
    return normal(2, *size, channels) if data_format == FORMATS[0] else normal(2, channels, *size)


def both(name, *arguments, **options):
    """The result with fastconv, and with what the backend had before."""
    ours = getattr(backend, name)(*arguments, **options)
    assert getattr(backend, name).__module__ == "fastconv.compat.keras"
    return ours, adapter._originals[name](*arguments, **options)


def same(ours, theirs):
    assert type(ours) is np.ndarray
    assert ours.dtype == theirs.dtype
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


SPACES = {1: (11,), 2: (9, 8), 3: (5, 6, 4)}
# Each number of axes, and both formats of images: a comparison compiles something in JAX.
PLACES = [(1, FORMATS[0]), (2, FORMATS[0]), (2, FORMATS[1]), (3, FORMATS[0])]
GEOMETRIES = [{"strides": 2}, {"padding": "same", "strides": 3}, {"dilation_rate": 2}]


@pytest.mark.parametrize(("dims", "data_format"), PLACES)
@pytest.mark.parametrize("options", [{"padding": "same"}, *GEOMETRIES])
def test_conv(dims, data_format, options):
    x, kernel = image(SPACES[dims], 4, data_format), (2, 3, 2)[:dims]
    for channels in (4, 2):
        w = normal(*kernel, channels, 6, seed=channels)
        same(*both("conv", x, w, data_format=data_format, **options))


@pytest.mark.parametrize(("dims", "data_format"), PLACES[:3])
@pytest.mark.parametrize("options", GEOMETRIES)
def test_depthwise_conv(dims, data_format, options):
    x, w = image(SPACES[dims], 3, data_format), normal(*(3, 3)[:dims], 3, 2, seed=1)
    same(*both("depthwise_conv", x, w, data_format=data_format, **options))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_conv_transpose(padding, kernel, strides):
    """Every way to crop or to extend one axis."""
    x, w = image((5,), 3, FORMATS[0]), normal(kernel, 2, 3, seed=1)
    for extra in (None, *range(strides)):
        options = {"strides": strides, "padding": padding, "output_padding": extra}
        same(*both("conv_transpose", x, w, **options))


@pytest.mark.parametrize(("dims", "data_format"), PLACES)
@pytest.mark.parametrize("options", GEOMETRIES)
def test_conv_transpose_of_images(dims, data_format, options):
    x, w = image(SPACES[dims], 3, data_format), normal(*(2, 3, 2)[:dims], 5, 3, seed=1)
    same(*both("conv_transpose", x, w, data_format=data_format, **options))


@pytest.mark.parametrize(("dims", "data_format"), PLACES)
@pytest.mark.parametrize(
    "window", [(2, 2, "valid"), (3, 2, "same"), (2, 1, "same"), (1, 2, "valid")]
)
@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
def test_pools(name, dims, data_format, window):
    same(*both(name, image(SPACES[dims], 3, data_format), *window, data_format=data_format))


def test_pool_without_strides_steps_by_its_size():
    x = normal(1, 6, 6, 2)
    np.testing.assert_array_equal(backend.max_pool(x, 3), backend.max_pool(x, 3, 3))


def test_what_fastconv_does_not_compute_goes_the_old_way():
    x = np.ones((1, 4, 4, 1), "int32")
    y = backend.conv(x, np.ones((2, 2, 1, 1), "int32"))
    assert y.dtype == np.int32
    assert (y == 4).all()


def test_restore_and_use_again():
    adapter.restore()
    assert "jax" in backend.conv.__code__.co_names
    adapter.use_fastconv()
    assert backend.conv is adapter.conv


@pytest.mark.parametrize("bad", ["channels", "kernel"])
def test_bad_input_is_refused_as_before(bad):
    x = np.ones((1, 5, 5, 3), np.float32)
    with pytest.raises(ValueError, match="channels" if bad == "channels" else "[Kk]ernel"):
        backend.conv(x, np.ones((2, 2, 2, 4) if bad == "channels" else (9, 9, 3, 4), np.float32))


def test_layers_of_keras_compute_with_fastconv(monkeypatch):
    from fastconv.compat.keras import layers, models

    model = models.Sequential(
        [layers.Input((9, 8, 3)), layers.Conv2D(4, 3, padding="same"), layers.MaxPooling2D(2)]
    )
    calls = []
    for name in ("conv2d", "max_pool2d"):
        function = getattr(fastconv, name)
        monkeypatch.setattr(
            fastconv, name, lambda *a, f=function, n=name, **k: (calls.append(n), f(*a, **k))[1]
        )
    y = model(normal(2, 9, 8, 3))
    assert y.shape == (2, 4, 4, 4)
    assert calls == ["conv2d", "max_pool2d"]


MODEL = """
import sys
import numpy as np
if sys.argv[1] == "fastconv":
    import fastconv.compat.keras
import keras
from keras import layers
keras.utils.set_random_seed(0)
model = keras.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(8, 5, padding="same", activation="relu"), layers.MaxPooling2D(2, 2),
    layers.SeparableConv2D(16, 3, padding="same"), layers.AveragePooling2D(2, padding="same"),
    layers.Conv2DTranspose(4, 3, strides=2, padding="same"), layers.GlobalAveragePooling2D(),
    layers.Dense(10, activation="softmax"),
])
rng = np.random.default_rng(0)
model.set_weights([rng.standard_normal(w.shape) * 0.3 for w in model.get_weights()])
np.save(sys.argv[2], model.predict(rng.random((20, 28, 28, 1), np.float32), verbose=0))
"""


def test_predictions_are_those_of_another_backend(run_python, tmp_path):
    found = []
    for side, name in (("fastconv", "numpy"), ("theirs", "jax")):
        path = tmp_path / f"{side}.npy"
        done = run_python("-c", MODEL, side, str(path), env={"KERAS_BACKEND": name})
        assert done.returncode == 0, done.stderr
        found.append(np.load(path))
    assert found[0].shape == (20, 10)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_another_backend_is_refused(run_python):
    done = run_python("-c", "import fastconv.compat.keras", env={"KERAS_BACKEND": "jax"})
    assert done.returncode != 0
    assert "KERAS_BACKEND=numpy" in done.stderr


def test_the_readme_example_runs():
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", readme, re.S)
    (source,) = [block for block in blocks if "compat.keras" in block]
    session = {}
    exec(source, session)
    layers = [session["Conv2D"](4, 3), session["MaxPooling2D"](2)]
    assert session["Sequential"](layers)(normal(2, 9, 8, 3)).shape == (2, 3, 3, 4)
