"""Promise: TensorFlow's functions on NHWC arrays, without copies, equal to TensorFlow where it is
installed."""

from __future__ import annotations

import doctest
import importlib.util
import json

import numpy as np
import pytest

import fastconv
import fastconv.compat.tf as tf

HAS_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def test_conv2d_is_the_same_in_both_layouts():
    x, w = integers(2, 9, 8, 3), integers(3, 5, 3, 4, seed=1)
    y = tf.nn.conv2d(x, w, strides=[1, 2, 1, 1], padding="SAME")
    assert y.shape == (2, 5, 8, 4)
    expected = fastconv.conv2d(
        np.ascontiguousarray(x.transpose(0, 3, 1, 2)),
        np.ascontiguousarray(w.transpose(3, 2, 0, 1)),
        stride=(2, 1),
        padding="same",
    )
    np.testing.assert_array_equal(y, expected.transpose(0, 2, 3, 1))
    first = tf.conv2d(x.transpose(0, 3, 1, 2), w, [1, 1, 2, 1], "SAME", data_format="NCHW")
    np.testing.assert_array_equal(first, expected)


def test_groups_dilations_and_explicit_padding():
    x, w = integers(1, 9, 9, 6), integers(3, 3, 2, 9, seed=1)
    pads = [[0, 0], [1, 2], [0, 1], [0, 0]]
    y = tf.conv2d(x, w, strides=1, padding=pads, dilations=[1, 2, 1, 1])
    expected = fastconv.conv2d(
        x.transpose(0, 3, 1, 2),
        w.transpose(3, 2, 0, 1),
        padding=((1, 2), (0, 1)),
        dilation=(2, 1),
        groups=3,
    )
    np.testing.assert_array_equal(y, expected.transpose(0, 2, 3, 1))


def test_forms_of_strides_are_one():
    x = integers(1, 8, 8, 2)
    first = tf.max_pool(x, 2, 2, "VALID")
    for form in ([2], (2, 2), [1, 2, 2, 1], np.int64(2)):
        np.testing.assert_array_equal(tf.max_pool(x, form, form, "valid"), first)
    np.testing.assert_array_equal(first, x.reshape(1, 4, 2, 4, 2, 2).max((2, 4)))


def test_same_pools_do_not_count_padding():
    x = -np.ones((1, 3, 3, 1), np.float32)
    for pool in (tf.max_pool, tf.avg_pool):
        y = pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
        np.testing.assert_array_equal(y, -np.ones((1, 2, 2, 1)))


def test_dropout():
    x = np.full((100, 100), 3, np.float32)
    y = tf.dropout(x, keep_prob=0.75, seed=1)
    assert set(np.unique(y)) == {np.float32(0), np.float32(4)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.02)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(tf.dropout(x, rate=0.25, seed=1), y)
    assert not np.array_equal(tf.dropout(x, 0.75), tf.dropout(x, 0.75))
    np.testing.assert_array_equal(tf.dropout(x, keep_prob=1), x)


def test_relu():
    np.testing.assert_array_equal(tf.nn.relu([-1.0, 0.0, 2.0]), [0, 0, 2])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: tf.conv2d(np.ones((1, 4, 4, 1)), np.ones((3, 3, 1)), 1, "SAME"), "filters"),
        (lambda: tf.conv2d(np.ones((1, 4, 4, 3)), np.ones((3, 3, 2, 1)), 1, "SAME"), "filters"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), 2, [2, 2, 2, 1], "SAME"), "strides"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), 2, [1, 1, 1, 2], "SAME"), "strides"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), [1, 2, 2], 2, "SAME"), "ksize"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), 2, 2, "FULL"), "padding"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), 2, 2, [[0, 0]]), "padding"),
        (lambda: tf.max_pool(np.ones((1, 4, 4, 1)), 2, 2, [[1, 0]] + [[0, 0]] * 3), "padding"),
        (lambda: tf.dropout(np.ones(3)), "keep_prob"),
        (lambda: tf.dropout(np.ones(3), keep_prob=0.0), "keep_prob"),
        (lambda: tf.dropout(np.ones(3), 0.5, rate=0.5), "keep_prob"),
    ],
)
def test_bad_arguments(call, name):
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


CASES = [
    {"op": "conv2d", "x": [2, 9, 8, 3], "w": [5, 5, 3, 4], "strides": [1, s, s, 1], "padding": p}
    for s in (1, 2, 3)
    for p in ("SAME", "VALID")
] + [
    {"op": op, "x": [2, 9, 8, 3], "ksize": [1, k, k, 1], "strides": [1, s, s, 1], "padding": p}
    for op in ("max_pool", "avg_pool")
    for k, s in ((2, 2), (3, 2), (2, 1))
    for p in ("SAME", "VALID")
]

THEIRS = """
import json, sys
import numpy as np, tensorflow as tf
cases = json.loads(sys.argv[1])
results = {}
for i, case in enumerate(cases):
    rng = np.random.default_rng(i)
    draw = lambda name: rng.integers(-4, 5, case.pop(name)).astype(np.float32)
    arrays = [draw(name) for name in ("x", "w") if name in case]
    results[str(i)] = getattr(tf.nn, case.pop("op"))(*arrays, **case).numpy()
np.savez(sys.argv[2], **results)
"""


@pytest.mark.skipif(not HAS_TENSORFLOW, reason="tensorflow is not installed")
def test_against_tensorflow(run_python, tmp_path):
    path = tmp_path / "theirs.npz"
    done = run_python("-c", THEIRS, json.dumps(CASES), str(path))
    assert done.returncode == 0, done.stderr
    with np.load(path) as theirs:
        for i, given in enumerate(CASES):
            case, rng = dict(given), np.random.default_rng(i)
            names = [name for name in ("x", "w") if name in case]
            arrays = [rng.integers(-4, 5, case.pop(name)).astype(np.float32) for name in names]
            ours = getattr(tf.nn, case.pop("op"))(*arrays, **case)
            np.testing.assert_allclose(ours, theirs[str(i)], rtol=1e-6, err_msg=str(given))


def test_examples():
    assert doctest.testmod(tf).attempted > 5
    assert doctest.testmod(tf).failed == 0
