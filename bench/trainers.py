"""One network, trained by three libraries: the same layers, weights, batches and Adam.

A trainer is built from a `fastconv.nn.Sequential`, whose weights it copies. `step` is one step of
training and returns the loss; `predict` gives the classes of images. Arrays come as fastconv takes
them, (N, C, H, W) and labels.

With `same_masks`, dropout draws what fastconv.nn.Dropout draws, so that losses can be compared step
by step; without, each library uses its own dropout, as its users do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastconv import nn

Array = np.ndarray[Any, Any]
BETAS, EPSILON = (0.9, 0.999), 1e-8


class FastconvTrainer:
    """fastconv.nn."""

    name = "fastconv"

    def __init__(self, network: nn.Sequential, lr: float, threads: int, same_masks: bool) -> None:
        import fastconv

        fastconv.set_num_threads(threads)
        self.network = copy_of(network).train()
        self.criterion = nn.CrossEntropyLoss()
        self.optimiser = nn.Adam(self.network.parameters(), lr, BETAS, EPSILON)

    def step(self, images: Array, labels: Array) -> float:
        loss = self.criterion(self.network(images), labels)
        self.network.backward(self.criterion.backward(), input_grad=False)
        self.optimiser.step()
        return loss

    def predict(self, images: Array) -> Array:
        y = self.network.eval()(images)
        self.network.train()
        return y.argmax(1)


class TorchTrainer:
    """PyTorch, eager; NCHW tensors, or channels-last ones."""

    name = "torch"
    channels_last = False

    def __init__(self, network: nn.Sequential, lr: float, threads: int, same_masks: bool) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        modules = [m for leaf in network.leaves() for m in self._modules(leaf, same_masks)]
        self.network = torch.nn.Sequential(*modules)
        if self.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr, BETAS, EPSILON)

    def _modules(self, leaf: nn.Layer, same_masks: bool) -> Iterable[Any]:
        layers, relu = self.torch.nn, []
        if getattr(leaf, "activation", None) == "relu":
            relu = [layers.ReLU(inplace=True)]
        if isinstance(leaf, nn.Conv2d):
            outputs, inputs, *kernel = leaf.weight.data.shape
            stride, padding, dilation, groups = leaf.geometry
            channels = (inputs * groups, outputs)
            conv = layers.Conv2d(*channels, kernel, stride, padding, dilation, groups)
            return [self._with_weights(conv, leaf), *relu]
        if isinstance(leaf, nn.Linear):
            outputs, inputs = leaf.weight.data.shape
            return [self._with_weights(layers.Linear(inputs, outputs), leaf), *relu]
        if isinstance(leaf, nn.MaxPool2d):
            return [layers.MaxPool2d(*leaf.window[:3])]
        if isinstance(leaf, nn.Dropout):
            return [self._masked(leaf)] if same_masks else [layers.Dropout(leaf.p)]
        return [{nn.ReLU: layers.ReLU, nn.Flatten: layers.Flatten}[type(leaf)]()]

    def _with_weights(self, module: Any, leaf: Any) -> Any:
        module.weight.data = self.torch.from_numpy(leaf.weight.data.copy())
        module.bias.data = self.torch.from_numpy(leaf.bias.data.copy())
        return module

    def _masked(self, leaf: nn.Dropout) -> Any:
        torch, ours = self.torch, copy_of(leaf)

        class Masked(torch.nn.Module):  # type: ignore[name-defined,misc]
            def forward(self, x: Any) -> Any:
                if not self.training:
                    return x
                ones = np.ones(tuple(x.shape), np.float32)
                return x * torch.from_numpy(ours.train()(ones))

        return Masked()

    def _tensor(self, images: Array) -> Any:
        x = self.torch.from_numpy(images)
        return x.to(memory_format=self.torch.channels_last) if self.channels_last else x

    def step(self, images: Array, labels: Array) -> float:
        self.optimiser.zero_grad()
        logits = self.network(self._tensor(images))
        loss = self.torch.nn.functional.cross_entropy(logits, self.torch.from_numpy(labels))
        loss.backward()
        self.optimiser.step()
        return float(loss.item())

    def predict(self, images: Array) -> Array:
        with self.torch.inference_mode():
            y = self.network.eval()(self._tensor(images)).numpy()
        self.network.train()
        return y.argmax(1)


class TorchChannelsLastTrainer(TorchTrainer):
    """PyTorch, eager, channels-last."""

    name = "torch-cl"
    channels_last = True


class TensorflowTrainer:
    """TensorFlow 2: the whole step as one tf.function, N H W C, its fused Adam."""

    name = "tensorflow"

    def __init__(self, network: nn.Sequential, lr: float, threads: int, same_masks: bool) -> None:
        import tensorflow as tf

        self.tf = tf
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        except RuntimeError:  # it runs already, with the same number: the process has one
            pass
        self.lr, self.steps = lr, 0
        self.variables: list[Any] = []
        self.layers = self._layers(network, same_masks)
        self.moments = [[tf.Variable(tf.zeros_like(v)) for v in self.variables] for _ in range(2)]
        self.graph = tf.function(self._step)

    def _variable(self, array: Array) -> Any:
        self.variables.append(self.tf.Variable(np.ascontiguousarray(array)))
        return self.variables[-1]

    def _layers(self, network: nn.Sequential, same_masks: bool) -> list[Callable[[Any, Any], Any]]:
        """Functions of an array and of whether it is training."""
        made: list[Callable[[Any, Any], Any]] = []
        x = np.zeros((1, 1, 28, 28), np.float32)
        flattened: tuple[int, ...] | None = None  # C, H, W where Flatten stood
        for leaf in copy_of(network).eval().leaves():
            if isinstance(leaf, nn.Flatten):
                flattened = x.shape[1:]
            made.append(self._layer(leaf, flattened, same_masks))
            if isinstance(leaf, nn.Linear):
                flattened = None
            x = leaf(x)
        return made

    def _layer(self, leaf: Any, flattened: tuple[int, ...] | None, same_masks: bool) -> Any:
        tf = self.tf
        relu = tf.nn.relu if getattr(leaf, "activation", None) == "relu" else lambda x: x
        if isinstance(leaf, nn.Conv2d):
            padding = "SAME" if leaf.geometry[1] == "same" else "VALID"
            w = self._variable(leaf.weight.data.transpose(2, 3, 1, 0))
            b = self._variable(leaf.bias.data)
            return lambda x, _: relu(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, padding), b))
        if isinstance(leaf, nn.Linear):
            weight = leaf.weight.data
            if flattened:  # its columns in the order of N H W C
                weight = weight.reshape(-1, *flattened).transpose(0, 2, 3, 1)
            w = self._variable(weight.reshape(len(weight), -1).T)
            b = self._variable(leaf.bias.data)
            return lambda x, _: relu(tf.nn.bias_add(tf.matmul(x, w), b))
        if isinstance(leaf, nn.MaxPool2d):
            size, stride, pad = leaf.window[:3]
            pads = [[0, 0], [pad, pad], [pad, pad], [0, 0]] if pad else "VALID"
            return lambda x, _: tf.nn.max_pool2d(x, size, stride or size, pads)
        if isinstance(leaf, nn.Dropout):
            if not same_masks:
                return lambda x, train: tf.nn.dropout(x, leaf.p) if train else x
            ours = copy_of(leaf).train()
            draw = lambda x: ours(np.ones(x.shape, np.float32))  # noqa: E731
            return lambda x, train: x * tf.numpy_function(draw, [x], x.dtype) if train else x
        if isinstance(leaf, nn.Flatten):
            return lambda x, _: tf.reshape(
                x, (tf.shape(x)[0], x.shape[1] * x.shape[2] * x.shape[3])
            )
        return {nn.ReLU: lambda x, _: tf.nn.relu(x)}[type(leaf)]

    def _forward(self, x: Any, train: bool) -> Any:
        for layer in self.layers:
            x = layer(x, train)
        return x

    def _step(self, images: Any, labels: Any, scale: Any, epsilon: Any) -> Any:
        tf = self.tf
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=labels, logits=self._forward(images, True)
            )
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.variables)
        for v, m, s, g in zip(self.variables, *self.moments, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=v.handle,
                m=m.handle,
                v=s.handle,
                beta1_power=0.0,  # the corrections are in scale and epsilon
                beta2_power=0.0,
                lr=scale,
                beta1=BETAS[0],
                beta2=BETAS[1],
                epsilon=epsilon,
                grad=g,
            )
        return loss

    def step(self, images: Array, labels: Array) -> float:
        self.steps += 1
        c1, c2 = 1 - BETAS[0] ** self.steps, (1 - BETAS[1] ** self.steps) ** 0.5
        scale, epsilon = (self.tf.constant(n, "float32") for n in (self.lr * c2 / c1, EPSILON * c2))
        x = self.tf.constant(images.transpose(0, 2, 3, 1))
        return float(self.graph(x, self.tf.constant(labels), scale, epsilon))

    def predict(self, images: Array) -> Array:
        return self._forward(images.transpose(0, 2, 3, 1), False).numpy().argmax(1)


TRAINERS = {
    t.name: t for t in (FastconvTrainer, TorchTrainer, TorchChannelsLastTrainer, TensorflowTrainer)
}


def copy_of(layer: nn.Layer) -> Any:
    """A deep copy, random states included."""
    return layer.with_ops(layer.leaves()[0].ops)
