"""Promise: PyTorch's modules and functions over fastconv are PyTorch's, values and gradients."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as their_functional  # noqa: E402

from fastconv import nn as pure  # noqa: E402
from fastconv.compat import torch as adapter  # noqa: E402
from fastconv.compat.torch import nn  # noqa: E402
from fastconv.compat.torch.nn import functional  # noqa: E402

F64 = torch.float64

# function: (input, weight or None, further arguments)
FUNCTIONS = {
    "conv1d": ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    "conv2d": ((2, 3, 7, 6), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": 2}),
    "conv3d": ((1, 2, 4, 5, 4), (3, 2, 2, 3, 1), {"padding": (1, 0, 0)}),
    "conv_transpose1d": ((2, 4, 5), (4, 3, 3), {"stride": 2, "output_padding": 1}),
    "conv_transpose2d": ((2, 4, 4, 3), (4, 3, 3, 2), {"stride": 2, "padding": 1, "groups": 2}),
    "conv_transpose3d": ((1, 2, 2, 3, 2), (2, 3, 2, 1, 2), {"stride": (1, 2, 2)}),
    "max_pool1d": ((2, 3, 9), None, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "max_pool2d": ((2, 3, 7, 6), None, {"kernel_size": 2, "padding": 1, "ceil_mode": True}),
    "max_pool3d": ((1, 2, 4, 4, 5), None, {"kernel_size": 2, "stride": (1, 2, 2)}),
    "avg_pool1d": ((2, 3, 9), None, {"kernel_size": 3, "padding": 1}),
    "avg_pool2d": ((2, 3, 7, 6), None, {"kernel_size": 3, "padding": 1, "divisor_override": 4}),
    "avg_pool3d": ((1, 2, 4, 4, 5), None, {"kernel_size": 2, "count_include_pad": False}),
}


def tensors(name, dtype=F64):
    input, weight, options = FUNCTIONS[name]
    made = [torch.randn(input, dtype=dtype)]
    if weight is not None:
        transposed = "transpose" in name
        outputs = weight[1] * options.get("groups", 1) if transposed else weight[0]
        made += [torch.randn(weight, dtype=dtype), torch.randn(outputs, dtype=dtype)]
    return [t.requires_grad_() for t in made], options


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradcheck(name):
    torch.manual_seed(0)
    inputs, options = tensors(name)
    assert torch.autograd.gradcheck(lambda *a: getattr(functional, name)(*a, **options), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_are_those_of_torch(name, dtype):
    torch.manual_seed(1)
    inputs, options = tensors(name, dtype)
    twins = [t.detach().clone().requires_grad_() for t in inputs]
    ours = getattr(functional, name)(*inputs, **options)
    theirs = getattr(their_functional, name)(*twins, **options)
    assert type(ours) is torch.Tensor
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, theirs)
    g = torch.randn_like(theirs)
    ours.backward(g)
    theirs.backward(g)
    for a, b in zip(inputs, twins, strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_fastconv_function_computes(name, monkeypatch):
    """Not PyTorch's own, which would be equal too."""
    torch.manual_seed(2)
    inputs, options = tensors(name)
    monkeypatch.setattr(their_functional, name, None)
    getattr(functional, name)(*inputs, **options)


def test_max_pool_indices():
    x = torch.randn(2, 3, 7, 6)
    for ours, theirs in zip(
        functional.max_pool2d(x, 3, 2, 1, return_indices=True),
        their_functional.max_pool2d(x, 3, 2, 1, return_indices=True),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_nothing_is_copied_and_any_layout_is_read():
    x = torch.randn(2, 5, 7, 6).to(memory_format=torch.channels_last)
    w = torch.randn(4, 5, 3, 3)
    torch.testing.assert_close(functional.conv2d(x, w), their_functional.conv2d(x, w))
    y = functional.max_pool2d(x, 2)
    assert y.numpy().base is not None or y.numpy().flags.owndata
    torch.testing.assert_close(
        functional.conv2d(x[:, :, ::2], w), their_functional.conv2d(x[:, :, ::2], w)
    )


def test_gradients_that_nobody_wants_are_not_computed():
    x, w = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3, requires_grad=True)
    functional.conv2d(x, w).sum().backward()
    assert x.grad is None
    assert w.grad is not None
    with torch.no_grad():
        assert not functional.conv2d(x, w).requires_grad
    assert functional.max_pool2d(x, 2).grad_fn is None


def test_second_order_is_refused_and_not_wrong():
    x = torch.randn(1, 1, 4, 4, dtype=F64, requires_grad=True)
    w = torch.randn(1, 1, 2, 2, dtype=F64, requires_grad=True)
    (grad,) = torch.autograd.grad(functional.conv2d(x, w).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.complex64])
def test_what_fastconv_does_not_compute_goes_through_torch(dtype):
    x, w = torch.randn(1, 2, 5, 5).to(dtype), torch.randn(3, 2, 3, 3).to(dtype)
    torch.testing.assert_close(functional.conv2d(x, w), their_functional.conv2d(x, w))
    meta = functional.conv2d(x.to("meta"), w.to("meta"))
    assert meta.shape == (1, 3, 3, 3)
    with pytest.raises(RuntimeError, match="same"):
        functional.conv2d(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), stride=2, padding="same")


MODULES = {
    "Conv1d": ((4, 6, 3), {"padding": 1, "padding_mode": "circular"}, (2, 4, 9)),
    "Conv2d": ((3, 4, 3), {"padding": "same", "dilation": 2}, (2, 3, 7, 6)),
    "Conv3d": ((2, 3, 2), {"stride": 2, "bias": False}, (1, 2, 4, 5, 6)),
    "ConvTranspose1d": ((4, 3, 3), {"stride": 2}, (2, 4, 5)),
    "ConvTranspose2d": ((4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}, (2, 4, 4, 3)),
    "ConvTranspose3d": ((2, 3, 2), {"stride": 2}, (1, 2, 2, 3, 2)),
    "MaxPool1d": ((2,), {}, (2, 3, 9)),
    "MaxPool2d": ((2,), {"stride": 2, "padding": 1}, (2, 3, 7, 6)),
    "MaxPool3d": ((2,), {"ceil_mode": True}, (1, 2, 3, 4, 5)),
    "AvgPool1d": ((2,), {}, (2, 3, 9)),
    "AvgPool2d": ((3,), {"padding": 1, "count_include_pad": False}, (2, 3, 7, 6)),
    "AvgPool3d": ((2,), {}, (1, 2, 3, 4, 5)),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_torchs_own_but_for_the_computation(name):
    arguments, options, shape = MODULES[name]
    torch.manual_seed(3)
    ours = getattr(nn, name)(*arguments, **options)
    torch.manual_seed(3)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    x = torch.randn(shape)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(copy.deepcopy(ours)(x), theirs(x))


def test_conv_transpose_takes_an_output_size():
    ours, x = nn.ConvTranspose2d(2, 3, 3, stride=2), torch.randn(1, 2, 4, 4)
    assert ours(x, output_size=[10, 10]).shape == (1, 3, 10, 10)


def test_other_names_are_torchs():
    assert nn.ReLU is torch.nn.ReLU
    assert nn.Linear is torch.nn.Linear
    assert nn.Module is torch.nn.Module
    assert functional.relu is their_functional.relu
    assert adapter.optim is torch.optim
    assert adapter.nn is nn
    assert "Conv2d" in dir(nn)
    assert "Adam" not in dir(nn)
    with pytest.raises(AttributeError):
        _ = nn.Convolution2d


class Network(nn.Module):
    """Convolution, padded pool, dense layers: every kind the adapter replaces in a small CNN."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=3), nn.ReLU(), nn.MaxPool2d(2, stride=2, padding=1)
        )
        self.classifier = nn.Sequential(nn.Flatten(1, -1), nn.Linear(4 * 4 * 4, 10))

    def forward(self, x):
        return self.classifier(self.features(x))


def test_training_is_torchs_and_pure_fastconvs_step_by_step():
    torch.manual_seed(0)
    ours = Network().double()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2, 2, 1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    ).double()
    without = pure.Sequential(
        pure.Conv2d(1, 4, 3, dtype=np.float64),
        pure.ReLU(),
        pure.MaxPool2d(2, 2, 1),
        pure.Flatten(),
        pure.Linear(64, 10, dtype=np.float64),
    )
    for p, q, r in zip(ours.parameters(), theirs.parameters(), without.parameters(), strict=True):
        q.data = p.data.clone()
        r.data[...] = p.detach().numpy()
    optimisers = [torch.optim.Adam(m.parameters(), 0.01) for m in (ours, theirs)]
    criterion, third = pure.CrossEntropyLoss(), pure.Adam(without.parameters(), 0.01)
    x, labels = torch.randn(8, 1, 8, 8, dtype=F64), torch.randint(10, (8,))
    for _ in range(5):
        losses = []
        for model, optimiser in zip((ours, theirs), optimisers, strict=True):
            optimiser.zero_grad()
            loss = their_functional.cross_entropy(model(x), labels)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        losses.append(criterion(without(x.numpy()), labels.numpy()))
        without.backward(criterion.backward(), input_grad=False)
        third.step()
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
        assert losses[2] == pytest.approx(losses[1], rel=1e-9)


def test_the_readme_example_runs():
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")
    blocks = re.findall(r"```pycon\n(.*?)```", readme, re.S)
    (source,) = [block for block in blocks if "compat.torch" in block]
    session = {}
    exec(source, session)
    assert session["model"](torch.zeros(2, 1, 28, 28)).shape == (2, 16, 14, 14)
