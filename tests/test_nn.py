"""Promise: fastconv.nn's derivatives, losses and optimisers are those of the formulas."""

from __future__ import annotations

import copy
import math
import pickle
import types

import numpy as np
import pytest

import fastconv
from fastconv import demo, nn, reference

OPS = [pytest.param(fastconv, id="fastconv"), pytest.param(reference, id="reference")]
F64 = np.float64

# name: (layer of float64, shape of its input)
LAYERS = {
    "conv": (lambda: nn.Conv2d(2, 3, 3, rng=1, dtype=F64), (2, 2, 6, 5)),
    "conv_same_relu": (
        lambda: nn.Conv2d(2, 4, 5, padding="same", activation="relu", rng=2, dtype=F64),
        (2, 2, 6, 5),
    ),
    "conv_strided_grouped": (
        lambda: nn.Conv2d(4, 6, (3, 2), 2, (1, 2), (2, 1), groups=2, rng=3, dtype=F64),
        (2, 4, 8, 7),
    ),
    "conv_no_bias": (lambda: nn.Conv2d(3, 2, 1, bias=False, rng=4, dtype=F64), (2, 3, 4, 4)),
    "linear": (lambda: nn.Linear(7, 5, rng=5, dtype=F64), (3, 7)),
    "linear_relu": (lambda: nn.Linear(7, 5, activation="relu", rng=6, dtype=F64), (3, 7)),
    "linear_no_bias": (lambda: nn.Linear(4, 3, bias=False, rng=7, dtype=F64), (2, 4)),
    "max_pool": (lambda: nn.MaxPool2d(2), (2, 3, 6, 6)),
    "max_pool_overlapping": (lambda: nn.MaxPool2d(3, 2, 1), (2, 3, 7, 6)),
    "max_pool_eval": (lambda: nn.MaxPool2d(3, 2, 1).eval(), (2, 3, 7, 6)),
    "avg_pool": (lambda: nn.AvgPool2d(2), (2, 3, 6, 6)),
    "avg_pool_padded": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 3, 7, 6)),
    "relu": (nn.ReLU, (3, 4, 5)),
    "flatten": (nn.Flatten, (2, 3, 4, 5)),
    "flatten_middle": (lambda: nn.Flatten(1, 2), (2, 3, 4, 5)),
    "dropout_eval": (lambda: nn.Dropout(0.5, rng=0).eval(), (5, 6)),
    "softmax": (nn.Softmax, (4, 5)),
    "softmax_channels": (lambda: nn.Softmax(dim=1), (2, 4, 3)),
    "sigmoid": (nn.Sigmoid, (3, 4, 5)),
    "tanh": (nn.Tanh, (3, 4, 5)),
    "unflatten": (lambda: nn.Unflatten(3, 2, 2), (2, 12)),
    "upsample": (nn.Upsample, (2, 3, 3, 2)),
    "upsample_uneven": (lambda: nn.Upsample((3, 1)), (1, 2, 2, 4)),
    "conv_then_relu": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, rng=8, dtype=F64), nn.ReLU()),
        (2, 2, 5, 5),
    ),
    "linear_then_relu": (
        lambda: nn.Sequential(nn.Linear(4, 6, rng=9, dtype=F64), nn.ReLU()),
        (3, 4),
    ),
    "conv1d": (lambda: nn.Conv1d(3, 4, 3, 2, "same", rng=1, dtype=F64), (2, 3, 9)),
    "conv1d_relu": (lambda: nn.Conv1d(3, 2, 2, activation="relu", rng=2, dtype=F64), (2, 3, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 2, (1, 2, 3), rng=3, dtype=F64), (1, 2, 3, 4, 4)),
    "max_pool1d": (lambda: nn.MaxPool1d(3, 2, 1), (2, 3, 8)),
    "max_pool3d": (lambda: nn.MaxPool3d(2), (1, 2, 4, 4, 2)),
    "avg_pool1d": (lambda: nn.AvgPool1d(2), (2, 3, 8)),
    "avg_pool3d": (lambda: nn.AvgPool3d((1, 2, 2)), (1, 2, 2, 4, 4)),
    "upsample1d": (lambda: nn.Upsample(3), (2, 3, 4)),
    "upsample3d": (lambda: nn.Upsample((1, 2, 2)), (1, 2, 2, 2, 3)),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(3, 2, 4, 2, 1, rng=4, dtype=F64), (2, 3, 5)),
    "conv_transpose2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2, rng=5, dtype=F64),
        (1, 4, 3, 4),
    ),
    "conv_transpose2d_same_relu": (
        lambda: nn.ConvTranspose2d(2, 3, 3, 2, "same", activation="relu", rng=6, dtype=F64),
        (2, 2, 3, 3),
    ),
    "conv_transpose2d_no_bias": (
        lambda: nn.ConvTranspose2d(2, 3, (2, 3), 1, bias=False, dilation=2, rng=7, dtype=F64),
        (1, 2, 3, 3),
    ),
    "conv_transpose3d": (lambda: nn.ConvTranspose3d(2, 1, 2, 2, rng=8, dtype=F64), (1, 2, 2, 1, 2)),
}


def numeric_gradient(function, array, step=1e-6):
    """Central differences of a scalar function of the array's current values."""
    gradient = np.zeros(array.shape)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = function()
        array[index] = value - step
        gradient[index] = (above - function()) / (2 * step)
        array[index] = value
    return gradient


@pytest.mark.parametrize("ops", OPS)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_by_finite_differences(name, ops):
    make, shape = LAYERS[name]
    layer = nn.Sequential(make(), ops=ops)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    for parameter in layer.parameters():
        parameter.data += 0.1 * rng.standard_normal(parameter.data.shape)
    g = rng.standard_normal(layer(x).shape)

    def scalar():
        return float((layer(x) * g).sum())

    analytic = layer.backward(g)
    gradients = [(analytic, x), *((p.grad, p.data) for p in layer.parameters())]
    for found, array in gradients:
        assert found.shape == array.shape
        assert found.dtype == F64
        np.testing.assert_allclose(found, numeric_gradient(scalar, array), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LAYERS)
def test_without_input_gradient_the_parameters_get_the_same(name):
    make, shape = LAYERS[name]
    x = np.random.default_rng(0).standard_normal(shape)
    one, other = make(), make()
    g = np.random.default_rng(1).standard_normal(one(x).shape)
    other(x)
    one.backward(g)
    nn.Sequential(other).backward(g, input_grad=False)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def small_network(dtype=np.float32):
    rng = np.random.default_rng(3)
    options = {"rng": rng, "dtype": dtype}
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 3, 3, **options), nn.ReLU(), nn.MaxPool2d(2, 2, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, activation="relu", **options)),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 2 * 2, 8, activation="relu", **options),
        nn.Dropout(0.3, rng=5),
        nn.Linear(8, 10, **options),
    )


@pytest.mark.parametrize("ops", OPS)
def test_whole_network_by_finite_differences(ops):
    network = small_network(F64).with_ops(ops).eval()
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((3, 1, 8, 8)), np.array([0, 9, 4])
    criterion = nn.CrossEntropyLoss()

    def loss():
        return criterion(network(x), labels)

    loss()
    grad_input = network.backward(criterion.backward())
    for parameter in network.parameters():
        numeric = numeric_gradient(loss, parameter.data)
        np.testing.assert_allclose(parameter.grad, numeric, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(grad_input, numeric_gradient(loss, x), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("ops", OPS)
def test_exact_on_small_integers(ops):
    rng = np.random.default_rng(2)
    x = rng.integers(-4, 5, (5, 6)).astype(np.float32)
    layer = nn.Linear(6, 4, rng=0).with_ops(ops)
    layer.weight.data[...] = weight = rng.integers(-4, 5, (4, 6))
    layer.bias.data[...] = bias = rng.integers(-4, 5, 4)
    y = layer(x)
    g = rng.integers(-4, 5, y.shape).astype(np.float32)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x @ weight.T + bias)
    np.testing.assert_array_equal(layer.backward(g), g @ weight)
    np.testing.assert_array_equal(layer.weight.grad, g.T @ x)
    np.testing.assert_array_equal(layer.bias.grad, g.sum(0))

    image = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    conv = nn.Conv2d(1, 1, 2, rng=0).with_ops(ops)
    conv.weight.data[...] = [[1, 2], [3, 4]]
    conv.bias.data[...] = 5
    np.testing.assert_array_equal(conv(image)[0, 0], [[32, 42], [62, 72]])
    back = conv.backward(np.array([[[[1, 0], [0, -1]]]], np.float32))
    np.testing.assert_array_equal(back[0, 0], [[1, 2, 0], [3, 3, -2], [0, -3, -4]])
    np.testing.assert_array_equal(conv.weight.grad[0, 0], [[-4, -4], [-4, -4]])
    np.testing.assert_array_equal(conv.bias.grad, [0])

    pooled = nn.AvgPool2d(2, 1).with_ops(ops)
    np.testing.assert_array_equal(pooled(image)[0, 0], [[2, 3], [5, 6]])
    spread = pooled.backward(np.full((1, 1, 2, 2), 4, np.float32))
    np.testing.assert_array_equal(spread[0, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_mean_squared_error_against_the_formula():
    rng = np.random.default_rng(0)
    prediction, target = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3, 4))
    criterion = nn.MSELoss()
    assert criterion(prediction, target) == pytest.approx(np.mean((prediction - target) ** 2))
    numeric = numeric_gradient(lambda: nn.MSELoss()(prediction, target), prediction)
    np.testing.assert_allclose(criterion.backward(), numeric, atol=1e-8)
    assert nn.MSELoss()(np.ones(3, np.float32), np.zeros(3, np.float32)) == 1.0
    criterion(prediction.astype(np.float32), target.astype(np.float32))
    assert criterion.backward().dtype == np.float32


def test_sigmoid_and_tanh_at_the_ends():
    x = np.array([-np.inf, -800, 0, 800, np.inf])
    np.testing.assert_array_equal(nn.Sigmoid()(x), [0, 0, 0.5, 1, 1])
    np.testing.assert_array_equal(nn.Tanh()(x), [-1, -1, 0, 1, 1])
    z = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(nn.Sigmoid()(z), 1 / (1 + np.exp(-z)), rtol=1e-9, atol=1e-16)
    assert nn.Sigmoid()(z.astype(np.float32)).dtype == np.float32


def test_upsample_repeats_and_adds_up():
    x = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
    layer = nn.Upsample((2, 3))
    np.testing.assert_array_equal(layer(x), x.repeat(2, 2).repeat(3, 3))
    g = np.arange(72, dtype=np.float32).reshape(1, 2, 4, 9)
    blocks = g.reshape(1, 2, 2, 2, 3, 3).sum((3, 5))
    np.testing.assert_array_equal(layer.backward(g), blocks)


def test_a_relu_that_follows_is_done_by_the_layer_before():
    conv, relu = nn.Conv2d(3, 4, 3, rng=1), nn.ReLU()
    network, seen = nn.Sequential(conv, relu), []
    relu.forward = seen.append  # would compute it once more
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    y = network(x)
    assert seen == []
    np.testing.assert_array_equal(y, np.maximum(conv(x), 0))


def test_relu_forms_of_a_sequential_agree():
    """Fused by name, fused by what follows, and kept apart: the same numbers, forward and back."""
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)

    class Own(nn.ReLU):
        """No longer the type that Sequential fuses."""

    forms = [
        nn.Sequential(nn.Conv2d(3, 4, 3, activation="relu", rng=1)),
        nn.Sequential(nn.Conv2d(3, 4, 3, rng=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 4, 3, rng=1), Own()),
        nn.Sequential(nn.Conv2d(3, 4, 3, activation="relu", rng=1), nn.ReLU()),
    ]
    g = np.random.default_rng(1).standard_normal((2, 4, 4, 4)).astype(np.float32)
    results = []
    for network in forms:
        y = network(x)
        results.append((y, network.backward(g), *(p.grad for p in network.parameters())))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("pool", [(2, 2), (3, 1, 1), (3, 2, 1)], ids=str)
def test_a_relu_before_a_max_pool_is_undone_at_the_pool(pool):
    """The same numbers as layer by layer, ties between zeros and overlapping windows included."""
    x = np.random.default_rng(0).integers(-2, 3, (2, 3, 9, 9)).astype(np.float32)
    networks = [
        nn.Sequential(nn.Conv2d(3, 4, 3, activation="relu", rng=1), nn.MaxPool2d(*pool)),
        nn.Sequential(nn.Conv2d(3, 4, 3, rng=1), nn.ReLU(), nn.MaxPool2d(*pool)),
    ]
    for network in networks:
        for parameter in network.parameters():
            parameter.data[...] = np.sign(parameter.data)  # so that sums are integers
        g = np.random.default_rng(1).integers(-3, 4, network(x).shape).astype(np.float32)
        got = network.backward(g), *(p.grad for p in network.parameters())
        expected = g
        for layer in reversed(network):
            expected = layer.backward(expected)
        expected = expected, *(p.grad for p in network.parameters())
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fused_relu_equals_a_layer_of_its_own():
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    fused = nn.Sequential(
        nn.Conv2d(3, 8, 3, activation="relu", rng=1),
        nn.Flatten(),
        nn.Linear(128, 5, activation="relu", rng=2),
    )
    apart = nn.Sequential(
        nn.Conv2d(3, 8, 3, rng=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5, rng=2), nn.ReLU()
    )
    y, z = fused(x), apart(x)
    np.testing.assert_allclose(y, z, rtol=1e-6)
    np.testing.assert_allclose(fused.backward(y), apart.backward(z), rtol=1e-5, atol=1e-6)
    for p, q in zip(fused.parameters(), apart.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-5, atol=1e-5)


# --- what is computed, and by whom ----------------------------------------------------------------


def test_with_ops_copies_and_switches():
    network = small_network()
    twin = network.with_ops(reference)
    assert all(leaf.ops is reference for leaf in twin.leaves())
    assert all(leaf.ops is fastconv for leaf in network.leaves())
    again = twin.with_ops(fastconv)
    x = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(network(x), twin(x), rtol=1e-4, atol=1e-5)  # the same dropout masks
    for p, q, r in zip(*(n.parameters() for n in (network, twin, again)), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        np.testing.assert_array_equal(p.data, r.data)
        assert not np.shares_memory(p.data, q.data)


def test_networks_pickle_and_copy():
    network = small_network().eval()
    x = np.ones((1, 1, 8, 8), np.float32)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        np.testing.assert_array_equal(other(x), network(x))


def recording():
    """fastconv, with a list of the output_mask of each conv2d_backward."""
    masks = []

    def conv2d_backward(*args, output_mask, **options):
        masks.append(output_mask)
        return fastconv.conv2d_backward(*args, output_mask=output_mask, **options)

    names = ("conv2d", "max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward")
    functions = {name: getattr(fastconv, name) for name in names}
    return types.SimpleNamespace(conv2d_backward=conv2d_backward, **functions), masks


def test_first_layer_skips_its_input_gradient():
    ops, masks = recording()
    network = nn.Sequential(nn.ReLU(), small_network(), ops=ops)
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    g = np.ones_like(network(x))
    assert network.backward(g, input_grad=False) is None
    assert [mask[0] for mask in masks] == [True, False]  # the last convolution first
    masks.clear()
    assert network.backward(g).shape == x.shape
    assert [mask[0] for mask in masks] == [True, True]


def test_sequential_without_parameters():
    network = nn.Sequential(nn.ReLU(), nn.Flatten())
    y = network(np.ones((2, 3, 4)))
    assert network.backward(y, input_grad=False) is None
    assert network.backward(y).shape == (2, 3, 4)
    assert [type(layer) for layer in network] == [nn.ReLU, nn.Flatten]
    assert isinstance(network[1], nn.Flatten)


def test_inputs_are_not_modified():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 1, 8, 8)).astype(np.float32)
    network, criterion = small_network(), nn.CrossEntropyLoss()
    before = x.copy()
    criterion(network(x), np.array([1, 2]))
    g = criterion.backward()
    kept = g.copy()
    network.backward(g)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(g, kept)


def test_float32_stays_float32():
    network, criterion = small_network(), nn.CrossEntropyLoss()
    logits = network(np.ones((2, 1, 8, 8), np.float32))
    criterion(logits, np.array([1, 2]))
    grad_input = network.backward(criterion.backward())
    nn.Adam(network.parameters()).step()
    nn.SGD(network.parameters(), momentum=0.9).step()
    arrays = [logits, grad_input, *(a for p in network.parameters() for a in (p.data, p.grad))]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


# --- saving ---------------------------------------------------------------------------------------


def test_save_and_load(tmp_path):
    network, other = small_network(), small_network()
    for p in other.parameters():
        p.data += 1
    nn.save(network, tmp_path / "weights.npz")
    arrays = [p.data for p in other.parameters()]
    assert nn.load(other, tmp_path / "weights.npz") is other
    for p, q, array in zip(network.parameters(), other.parameters(), arrays, strict=True):
        np.testing.assert_array_equal(p.data, q.data)
        assert q.data is array  # an optimiser that holds it sees the new values
    with np.load(tmp_path / "weights.npz") as stored:
        assert sorted(stored) == sorted(network.named_parameters())
        assert "0.0.weight" in stored


def test_named_parameters_are_those_of_torch():
    torch = pytest.importorskip("torch").nn
    twin = torch.Sequential(
        torch.Sequential(torch.Conv2d(1, 3, 3), torch.ReLU(), torch.MaxPool2d(2, 2, 1)),
        torch.Sequential(torch.Conv2d(3, 4, 3)),
        torch.AvgPool2d(2),
        torch.Flatten(),
        torch.Linear(16, 8),
        torch.Dropout(0.3),
        torch.Linear(8, 10),
    )
    ours = {name: p.data.shape for name, p in small_network().named_parameters().items()}
    assert ours == {name: tuple(p.shape) for name, p in twin.state_dict().items()}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 2)), "differ in 1.bias, 1.weight"),
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), "1.weight: expected float32"),
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4, dtype=F64)), "1.weight: .*float64"),
    ],
)
def test_load_refuses_what_does_not_fit_and_changes_nothing(tmp_path, other, message):
    path = tmp_path / "weights.npz"
    nn.save(nn.Sequential(nn.Linear(3, 2, rng=0), nn.Linear(2, 4, rng=1)), path)
    network = other()
    before = [p.data.copy() for p in network.parameters()]
    with pytest.raises(ValueError, match=message):
        nn.load(network, path)
    for p, values in zip(network.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.data, values)


def test_load_runs_no_pickle(tmp_path):
    path = tmp_path / "weights.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(ValueError, match="npz"):
        nn.load(nn.Linear(1, 1), path)
    np.savez(tmp_path / "bad.npz", weight=np.array([{}], object), bias=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        nn.load(nn.Linear(1, 1), tmp_path / "bad.npz")


# --- initialisation, dropout ----------------------------------------------------------------------


def test_seeded_initialisation():
    def weights(rng, dtype=np.float32):
        return nn.Conv2d(16, 64, 5, rng=rng, dtype=dtype).weight.data

    np.testing.assert_array_equal(weights(7), weights(7))
    np.testing.assert_array_equal(weights(7), weights(np.random.default_rng(7)))
    np.testing.assert_array_equal(weights(7), weights(7, F64).astype(np.float32))
    assert not np.array_equal(weights(7), weights(8))
    assert not np.array_equal(weights(None), weights(None))
    assert weights(7).std() == pytest.approx(math.sqrt(2 / (16 * 25)), rel=0.02)
    assert not nn.Linear(3, 4, rng=0).bias.data.any()


def test_initialisers():
    shape = (200, 100)
    assert nn.init.normal(shape, 0.01, 1).std() == pytest.approx(0.01, rel=0.02)
    cut = nn.init.truncated_normal(shape, 0.1, 1)
    assert np.abs(cut).max() <= 0.2
    assert cut.std() == pytest.approx(0.0880, rel=0.02)  # of a normal cut at two deviations
    glorot = nn.init.glorot_uniform(shape, 100, 200, 1)
    assert glorot.std() == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    lecun = nn.init.lecun_uniform(shape, 100, 1)
    assert lecun.std() == pytest.approx(math.sqrt(1 / 300), rel=0.02)
    for draw in (cut, glorot, lecun):
        assert draw.dtype == np.float32
    np.testing.assert_array_equal(cut, nn.init.truncated_normal(shape, 0.1, 1))
    with np.errstate(all="raise"):
        assert nn.ConvTranspose2d(8, 4, 4, 2, rng=0).weight.data.std() == pytest.approx(
            math.sqrt(2 / (8 * 16 / 4)), rel=0.1
        )


def test_dropout():
    x = np.full((100, 200), 3.0, np.float32)
    layer = nn.Dropout(0.25, rng=1)
    y = layer(x)
    assert set(np.unique(y)) == {np.float32(0), np.float32(4)}
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(layer.backward(np.full_like(x, 3)), y)
    assert not np.array_equal(layer(x), y)  # a new mask each time
    np.testing.assert_array_equal(nn.Dropout(0.25, rng=1)(x), y)
    np.testing.assert_array_equal(layer.eval()(x), x)
    assert layer.train().training


# --- loss -----------------------------------------------------------------------------------------


def test_cross_entropy_against_the_formula():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    expected = np.mean(
        [
            -math.log(math.exp(z[k]) / sum(map(math.exp, z)))
            for z, k in zip(logits, labels, strict=True)
        ]
    )
    criterion = nn.CrossEntropyLoss()
    loss = criterion(logits, labels)
    assert loss == pytest.approx(expected, rel=1e-12)
    assert type(loss) is float
    numeric = numeric_gradient(lambda: nn.CrossEntropyLoss()(logits, labels), logits)
    np.testing.assert_allclose(criterion.backward(), numeric, atol=1e-8)


def test_cross_entropy_is_stable():
    criterion = nn.CrossEntropyLoss()
    logits = np.array([[1e4, 0, -1e4], [-1e4, -1e4, -1e4]], np.float32)
    assert criterion(logits, [2, 0]) == pytest.approx((2e4 + math.log(3)) / 2)
    third = 1 / 6
    np.testing.assert_allclose(
        criterion.backward(), [[0.5, 0, -0.5], [third - 0.5, third, third]], rtol=1e-6
    )
    assert str(criterion(logits[:1], [0])) == "0.0"


@pytest.mark.parametrize(
    ("shape", "labels", "error"),
    [
        ((2, 3), [0], ValueError),
        ((2, 3), [[0], [1]], ValueError),
        ((2, 3), [0, 3], ValueError),
        ((2, 3), [-1, 0], ValueError),
        ((2, 3), [0.0, 1.0], TypeError),
        ((2, 3, 1), [0, 1], ValueError),
        ((0, 3), [], ValueError),
    ],
)
def test_cross_entropy_refuses(shape, labels, error):
    with pytest.raises(error, match="labels"):
        nn.CrossEntropyLoss()(np.zeros(shape), labels)


# --- optimisers -----------------------------------------------------------------------------------

# Less than a vector, and more than one task of neither a multiple of it nor a row.
SHAPES = [(3, 5), (20_007,), (2, 3, 7_001, 1)]


def gradients(step):
    rng = np.random.default_rng(step)
    return [rng.standard_normal(shape) for shape in SHAPES]


@pytest.mark.parametrize("dtype", [np.float32, F64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_against_the_formula(momentum, dtype):
    expected = gradients(1)
    parameters = [nn.Parameter(a.astype(dtype)) for a in expected]
    velocity = [0.0 for _ in expected]
    optimiser = nn.SGD(parameters, lr=0.05, momentum=momentum)
    for step in range(2, 6):
        for i, g in enumerate(gradients(step)):
            velocity[i] = momentum * velocity[i] + g
            expected[i] = expected[i] - 0.05 * velocity[i]
            parameters[i].grad = g.astype(dtype)
        optimiser.step()
    for p, e in zip(parameters, expected, strict=True):
        assert p.data.dtype == dtype
        np.testing.assert_allclose(p.data, e, rtol=0, atol=3e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", [np.float32, F64])
def test_adam_against_the_formula(dtype):
    lr, b1, b2, eps = 0.01, 0.8, 0.95, 1e-3
    expected = gradients(1)
    parameters = [nn.Parameter(a.astype(dtype)) for a in expected]
    m, v = [0.0] * len(expected), [0.0] * len(expected)
    optimiser = nn.Adam(parameters, lr, (b1, b2), eps)
    for t in range(1, 6):
        for i, g in enumerate(gradients(1 + t)):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g**2
            m_hat, v_hat = m[i] / (1 - b1**t), v[i] / (1 - b2**t)
            expected[i] = expected[i] - lr * m_hat / (np.sqrt(v_hat) + eps)
            parameters[i].grad = g.astype(dtype)
        optimiser.step()
    for p, e in zip(parameters, expected, strict=True):
        assert p.data.dtype == dtype
        np.testing.assert_allclose(p.data, e, rtol=0, atol=3e-6 if dtype is np.float32 else 1e-14)


@pytest.mark.parametrize("make", [nn.SGD, nn.Adam])
def test_optimisers_work_in_place_and_skip_what_has_no_gradient(make):
    learned, idle = nn.Parameter(np.ones((2, 3))), nn.Parameter(np.ones(4))
    learned.grad = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    array = learned.data
    make([learned, idle], lr=0.1).step()
    assert learned.data is array
    assert array[0, 0] == 1
    assert (array.ravel()[1:] < 1).all()
    np.testing.assert_array_equal(idle.data, np.ones(4))


def test_parameter_assigned_a_view_is_still_learned():
    p = nn.Parameter(np.zeros((2, 3)))
    p.data = np.arange(6.0).reshape(3, 2).T
    p.grad = np.ones((2, 3))
    nn.SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(p.data, [[-1, 1, 3], [0, 2, 4]])


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_optimisers_against_torch(name):
    torch = pytest.importorskip("torch")
    makes = {
        "sgd": (lambda p: nn.SGD(p, 0.1), lambda p: torch.optim.SGD(p, 0.1)),
        "momentum": (lambda p: nn.SGD(p, 0.1, 0.9), lambda p: torch.optim.SGD(p, 0.1, 0.9)),
        "adam": (lambda p: nn.Adam(p, 0.01), lambda p: torch.optim.Adam(p, 0.01)),
    }
    start = np.random.default_rng(0).standard_normal((7, 9))
    ours, theirs = nn.Parameter(start.copy()), torch.nn.Parameter(torch.from_numpy(start.copy()))
    one, other = makes[name][0]([ours]), makes[name][1]([theirs])
    for step in range(5):
        g = np.random.default_rng(step).standard_normal(start.shape)
        ours.grad, theirs.grad = g, torch.from_numpy(g.copy())
        one.step()
        other.step()
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_training_equals_torch_step_by_step():
    torch = pytest.importorskip("torch")
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, dtype=F64, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2, 2, 1),
        nn.Flatten(),
        nn.Linear(4 * 4 * 4, 10, dtype=F64, rng=1),
    )
    layers = torch.nn
    twin = layers.Sequential(
        layers.Conv2d(1, 4, 3),
        layers.ReLU(),
        layers.MaxPool2d(2, 2, 1),
        layers.Flatten(),
        layers.Linear(64, 10),
    ).double()
    for p, q in zip(network.parameters(), twin.parameters(), strict=True):
        q.data = torch.from_numpy(p.data.copy())
    rng = np.random.default_rng(2)
    x, labels = rng.standard_normal((8, 1, 8, 8)), rng.integers(0, 10, 8)
    criterion, optimiser = nn.CrossEntropyLoss(), nn.Adam(network.parameters(), 0.01)
    other = torch.optim.Adam(twin.parameters(), 0.01)
    for _ in range(5):
        loss = criterion(network(x), labels)
        network.backward(criterion.backward(), input_grad=False)
        optimiser.step()
        other.zero_grad()
        expected = layers.functional.cross_entropy(twin(torch.from_numpy(x)), torch.tensor(labels))
        expected.backward()
        other.step()
        assert loss == pytest.approx(expected.item(), rel=1e-9)


# --- summary --------------------------------------------------------------------------------------

TABLE = """\
----------------------------------------------------------------
        Layer (type)               Output Shape         Param #
================================================================
            Conv2d-1           [-1, 16, 26, 26]             160
              ReLU-2           [-1, 16, 26, 26]               0
         MaxPool2d-3           [-1, 16, 14, 14]               0
            Conv2d-4           [-1, 32, 12, 12]           4,640
              ReLU-5           [-1, 32, 12, 12]               0
         MaxPool2d-6             [-1, 32, 7, 7]               0
            Linear-7                   [-1, 32]          50,208
              ReLU-8                   [-1, 32]               0
           Dropout-9                   [-1, 32]               0
           Linear-10                   [-1, 10]             330
================================================================
Total params: 55,338
Trainable params: 55,338
Non-trainable params: 0
----------------------------------------------------------------
Input size (MB): 0.00
Forward/backward pass size (MB): 0.27
Params size (MB): 0.21
Estimated Total Size (MB): 0.49
----------------------------------------------------------------
"""


def test_summary_prints_the_table(capsys):
    network = demo.NETWORKS["torch"].build(np.random.default_rng(0))
    assert nn.summary(network, (1, 28, 28)) is None
    assert capsys.readouterr().out == TABLE


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("keras", [208, 6_432, 100_416, 650]),
        ("torch", [160, 4_640, 50_208, 330]),
        ("tf", [832, 51_264, 3_212_288, 10_250]),
        ("dlfs", [780, 432_100, 1_010]),
    ],
)
def test_parameter_counts(name, counts):
    network = demo.NETWORKS[name].build(np.random.default_rng(0))
    rows = nn.summary(network, (1, 28, 28), mode="dicts")
    assert [row["parameters"] for row in rows if row["parameters"]] == counts
    assert rows[-1]["output_shape"] == (-1, 10)


def test_summary_leaves_the_network_as_it_was():
    network = small_network()
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    y = network.with_ops(fastconv)(x)
    nn.summary(network, (1, 8, 8), mode="dicts")
    np.testing.assert_array_equal(network(x), y)  # mode and dropout's random state included


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups"),
        (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups"),
        (lambda: nn.Conv2d(1, 4, 3, activation="tanh"), "activation"),
        (lambda: nn.Conv2d(1, 4, (3, 3, 3)), "kernel_size"),
        (lambda: nn.Conv3d(1, 4, (3, 3)), "kernel_size"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, groups=2), "groups"),
        (lambda: nn.Upsample((2, 2))(np.zeros((1, 1, 4))), "scale_factor"),
        (lambda: nn.MSELoss()(np.zeros(3), np.zeros(4)), "target"),
        (lambda: nn.MSELoss()(np.zeros(0), np.zeros(0)), "target"),
        (lambda: nn.Linear(1, 4, activation="tanh"), "activation"),
        (lambda: nn.Linear(2, 4)(np.zeros((1, 2, 1))), "input"),
        (lambda: nn.Dropout(1.0), "p"),
        (lambda: nn.Dropout(-0.1), "p"),
        (lambda: nn.SGD([], lr=-1), "lr"),
        (lambda: nn.SGD([], momentum=1), "momentum"),
        (lambda: nn.Adam([], lr=math.nan), "lr"),
        (lambda: nn.Adam([], betas=(0.9, 1.0)), "betas"),
        (lambda: nn.summary(nn.ReLU(), (1,), mode="text"), "mode"),
    ],
)
def test_bad_arguments(call, name):
    with pytest.raises(ValueError, match=rf"^{name}:"):
        call()


@pytest.mark.parametrize("name", sorted(set(LAYERS) - {"dropout_eval"}))
def test_backward_before_forward(name):
    with pytest.raises(RuntimeError, match="forward"):
        LAYERS[name][0]().backward(np.zeros((1, 1, 1, 1)))


def test_everything_public_has_an_example():
    documented = [name for name in nn.__all__ if ">>>" in (getattr(nn, name).__doc__ or "")]
    assert documented == list(nn.__all__)
