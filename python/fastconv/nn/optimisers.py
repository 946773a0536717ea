"""Optimisers: how parameters follow their gradients.

A step is one pass over each parameter, in the core: it reads the gradient once, and reads and
writes the values and what the optimiser remembers of past gradients once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from fastconv import _core
from fastconv.nn.base import Array, Parameter

__all__ = ["SGD", "Adam"]


class _Optimiser:
    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        self.lr = lr
        if not lr >= 0.0:
            raise ValueError(f"lr: expected a number >= 0, got {lr}")

    def _zeros(self) -> list[Array]:
        return [np.zeros_like(p.data, order="C") for p in self.parameters]

    def _learned(self) -> Iterator[tuple[int, Array, Array]]:
        """Index, values and gradient of each parameter that has a gradient."""
        for i, p in enumerate(self.parameters):
            if p.grad is not None:
                if not p.data.flags.c_contiguous:  # someone assigned a view
                    p.data = np.ascontiguousarray(p.data)
                yield i, p.data, p.grad


class SGD(_Optimiser):
    """Gradient descent: velocity = momentum * velocity + grad; data -= lr * velocity.

    Parameters
    ----------
    parameters : iterable of Parameter
        What to change.
    lr : float
        Learning rate; may be assigned between steps.
    momentum : float
        0 <= momentum < 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([10.0, 20.0])
    >>> nn.SGD([p], lr=0.01).step()
    >>> p.data
    array([0.9, 1.8])
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 0.01, momentum: float = 0.0
    ) -> None:
        super().__init__(parameters, lr)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum: expected a number in [0, 1), got {momentum}")
        self.momentum = momentum
        self._velocity = self._zeros() if momentum else []

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        for i, data, grad in self._learned():
            velocity = self._velocity[i] if self.momentum else None
            _core.sgd_step(data, grad, velocity, self.lr, self.momentum)


class Adam(_Optimiser):
    """Adam (Kingma and Ba, 2015).

    At step t, with m and v starting at zero::

        m = b1 m + (1 - b1) grad
        v = b2 v + (1 - b2) grad^2
        data -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    Parameters
    ----------
    parameters : iterable of Parameter
        What to change.
    lr : float
        Learning rate; may be assigned between steps.
    betas : (float, float)
        b1 and b2.
    eps : float
        Keeps the quotient finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> p = nn.Parameter(np.array([1.0, 2.0]))
    >>> p.grad = np.array([10.0, -20.0])
    >>> nn.Adam([p], lr=0.5).step()
    >>> p.data.round(6)
    array([0.5, 2.5])
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        if not all(0.0 <= b < 1.0 for b in betas):
            raise ValueError(f"betas: expected two numbers in [0, 1), got {betas}")
        self.betas, self.eps = betas, eps
        self._steps = 0
        self._mean = self._zeros()
        self._square = self._zeros()

    def step(self) -> None:
        """Change every parameter that has a gradient."""
        self._steps += 1
        b1, b2 = self.betas
        c1, c2 = 1.0 - b1**self._steps, math.sqrt(1.0 - b2**self._steps)
        # The formula above, its fraction multiplied by c2, so that the arrays meet no constants
        # but these two.
        rate, eps = self.lr * c2 / c1, self.eps * c2
        for i, data, grad in self._learned():
            _core.adam_step(data, grad, self._mean[i], self._square[i], rate, b1, b2, eps)
