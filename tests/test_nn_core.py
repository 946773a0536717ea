"""Promise: the core's passes for training compute their formulas, and refuse bad arrays first."""

from __future__ import annotations

import math

import numpy as np
import pytest

import cases
from fastconv import _core

DTYPES = [np.float32, np.float64]
SIZES = [0, 1, 7, 16, 33, 16_384, 16_385, 100_003]


def arrays(count, size, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_adam_step(size, dtype, threads):
    data, grad, mean, square = arrays(4, size, dtype)
    square = np.abs(square)
    wide = [a.astype(np.float64) for a in (data, grad, mean, square)]
    _core.adam_step(data, grad, mean, square, 0.1, 0.9, 0.99, 1e-3)
    m = 0.9 * wide[2] + 0.1 * wide[1]
    v = 0.99 * wide[3] + 0.01 * wide[1] ** 2
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6} if dtype is np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    )
    np.testing.assert_allclose(mean, m, **tolerance)
    np.testing.assert_allclose(square, v, **tolerance)
    np.testing.assert_allclose(data, wide[0] - 0.1 * m / (np.sqrt(v) + 1e-3), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_sgd_step_is_exact_on_small_integers(size, dtype, threads):
    rng = np.random.default_rng(0)
    data, grad, velocity = (rng.integers(-8, 9, size).astype(dtype) for _ in range(3))
    expected = data - 2 * grad
    _core.sgd_step(data, grad, None, 2.0, 0.0)
    np.testing.assert_array_equal(data, expected)
    moving = 0.5 * velocity + grad
    _core.sgd_step(data, grad, velocity, 2.0, 0.5)
    np.testing.assert_array_equal(velocity, moving)
    np.testing.assert_array_equal(data, expected - 2 * moving)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_relu_backward(size, dtype, threads):
    grad, y = arrays(2, size, dtype)
    y[::3] = 0
    found = _core.relu_backward(grad, y)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.where(y > 0, grad, 0))


def test_relu_backward_stops_everything_where_the_output_is_not_positive():
    y = np.array([0.0, -0.0, -1.0, np.nan, 1.0, np.inf] * 5)
    g = np.full(y.shape, np.nan)
    np.testing.assert_array_equal(_core.relu_backward(g, y), [0, 0, 0, 0, np.nan, np.nan] * 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_for_every_thread_count(dtype):
    results = []
    for count in (1, 2, 3, 5):
        data, grad, mean, square = arrays(4, 100_003, dtype)
        square = np.abs(square)
        with cases.thread_count(count):
            _core.adam_step(data, grad, mean, square, 0.1, 0.9, 0.99, 1e-3)
            _core.sgd_step(data, grad, mean, 0.1, 0.9)
        results.append((data, mean, square))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_gradients_may_lie_in_memory_as_they_like():
    rng = np.random.default_rng(0)
    grad = rng.integers(-4, 5, (6, 8)).astype(np.float64)
    y = rng.integers(-1, 2, (6, 8)).astype(np.float64)
    read_only = grad.copy()
    read_only.flags.writeable = False
    forms = [
        np.asfortranarray(grad),
        grad[::-1][::-1],
        grad.astype(">f8"),
        grad.tolist(),
        read_only,
    ]
    forms += [grad.astype(np.float32), grad.astype(np.float16), grad.repeat(2, 1)[:, ::2]]
    for form in forms:
        data = np.zeros((6, 8))
        _core.sgd_step(data, form, None, 1.0, 0.0)
        np.testing.assert_array_equal(data, -grad)
        np.testing.assert_array_equal(_core.relu_backward(form, y), np.where(y > 0, grad, 0))
        strided = np.asfortranarray(y)
        np.testing.assert_array_equal(_core.relu_backward(form, strided), np.where(y > 0, grad, 0))


def bad_adam(**change):
    given = {name: np.ones(8) for name in ("data", "grad", "mean", "square")}
    numbers = {"rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    return lambda: _core.adam_step(*(given | numbers | change).values())


def bad_sgd(**change):
    given = {name: np.ones(8) for name in ("data", "grad", "velocity")}
    return lambda: _core.sgd_step(*(given | {"rate": 0.1, "momentum": 0.9} | change).values())


def frozen():
    array = np.ones(8)
    array.flags.writeable = False
    return array


SHARED = np.ones(20)
MISALIGNED = np.zeros(65, np.uint8)[1:].view(np.float64)
BAD = {
    "data_list": (bad_adam(data=[1.0] * 8), TypeError, "data"),
    "data_none": (bad_sgd(data=None), TypeError, "data"),
    "data_integers": (bad_sgd(data=np.ones(8, int)), TypeError, "data"),
    "data_half": (bad_sgd(data=np.ones(8, np.float16)), TypeError, "data"),
    "data_read_only": (bad_adam(data=frozen()), ValueError, "data"),
    "data_strided": (bad_adam(data=np.ones(16)[::2]), ValueError, "data"),
    "data_swapped": (bad_adam(data=np.ones(8, ">f8")), ValueError, "data"),
    "data_misaligned": (bad_adam(data=MISALIGNED), ValueError, "data"),
    "grad_short": (bad_adam(grad=np.ones(7)), ValueError, "grad"),
    "grad_shape": (bad_adam(grad=np.ones((2, 4))), ValueError, "grad"),
    "grad_scalar": (bad_sgd(grad=1.0), ValueError, "grad"),
    "grad_none": (bad_sgd(grad=None), TypeError, "grad"),
    "grad_integers": (bad_sgd(grad=np.ones(8, int)), TypeError, "grad"),
    "grad_complex": (bad_sgd(grad=np.ones(8, complex)), TypeError, "grad"),
    "mean_short": (bad_adam(mean=np.ones(7)), ValueError, "mean"),
    "mean_dtype": (bad_adam(mean=np.ones(8, np.float32)), TypeError, "mean"),
    "square_none": (bad_adam(square=None), TypeError, "square"),
    "square_read_only": (bad_adam(square=frozen()), ValueError, "square"),
    "velocity_short": (bad_sgd(velocity=np.ones(7)), ValueError, "velocity"),
    "velocity_text": (bad_sgd(velocity="fast"), TypeError, "velocity"),
    "rate_text": (bad_adam(rate="fast"), TypeError, "rate"),
    "momentum_none": (bad_sgd(momentum=None), TypeError, "momentum"),
    "grad_is_data": (bad_adam(data=SHARED[:8], grad=SHARED[:8]), ValueError, "grad"),
    "grad_overlaps": (bad_sgd(data=SHARED[:8], grad=SHARED[7:15]), ValueError, "grad"),
    "mean_overlaps": (bad_adam(data=SHARED[:8], mean=SHARED[4:12]), ValueError, "mean"),
    "square_is_mean": (bad_adam(square=SHARED[:8], mean=SHARED[:8]), ValueError, "square"),
    "velocity_overlaps": (bad_sgd(velocity=SHARED[:8], data=SHARED[7:15]), ValueError, "velocity"),
    "relu_shapes": (lambda: _core.relu_backward(np.ones(3), np.ones(4)), ValueError, "grad_output"),
    "relu_integers": (
        lambda: _core.relu_backward(np.ones(3), np.ones(3, int)),
        TypeError,
        "output",
    ),
    "relu_none": (lambda: _core.relu_backward(None, np.ones(3)), TypeError, "grad_output"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_and_nothing_changes(name):
    call, error, argument = BAD[name]
    with pytest.raises(error, match=rf"^{argument}:"):
        call()
    assert (SHARED == 1).all()


def test_neighbours_in_one_buffer_are_no_overlap():
    buffer = np.ones(32)
    _core.adam_step(buffer[:8], buffer[8:16], buffer[16:24], buffer[24:], 1.0, 0.5, 0.75, 0.0)
    assert buffer[0] == pytest.approx(1 - 1 / math.sqrt(1.0))
    np.testing.assert_array_equal(buffer[8:], np.ones(24))
