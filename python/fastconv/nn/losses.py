"""Losses: what training makes small."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fastconv.nn.base import Array, saved

__all__ = ["CrossEntropyLoss", "MSELoss"]


class CrossEntropyLoss:
    """Mean over the batch of -log softmax(logits)[label].

    The gradient by the logits is (softmax(logits) - onehot(labels)) / N.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> criterion = nn.CrossEntropyLoss()
    >>> round(criterion(np.zeros((2, 10)), np.array([3, 7])), 6)
    2.302585
    >>> criterion.backward().shape
    (2, 10)
    """

    def __init__(self) -> None:
        self._probabilities: Array | None = None
        self._labels: Array | None = None

    def forward(self, logits: Array, labels: npt.ArrayLike) -> float:
        """The loss.

        Parameters
        ----------
        logits : ndarray, (N, K)
            Scores of K classes, any real numbers.
        labels : array_like of int, (N,)
            The true classes, 0 to K - 1.
        """
        truth = _checked_labels(logits, labels)
        # One array of N x K from here on: shifted, then its exponentials, then probabilities. The
        # softmax does not change with the shift, and no exponential exceeds 1.
        p = logits - logits.max(1, keepdims=True)
        score = p[np.arange(len(truth)), truth]
        np.exp(p, out=p)
        total = p.sum(1)
        p /= total[:, None]
        self._probabilities, self._labels = p, truth
        # -log p = log(total) - score stays finite where p itself rounds to 0.
        return float((np.log(total) - score).mean())

    def backward(self) -> Array:
        """Gradient of the last loss by its logits, (N, K)."""
        grad, truth = saved(self._probabilities).copy(), saved(self._labels)
        grad[np.arange(len(truth)), truth] -= 1
        grad /= len(truth)
        return grad

    def __call__(self, logits: Array, labels: npt.ArrayLike) -> float:
        return self.forward(logits, labels)


def _checked_labels(logits: Array, labels: npt.ArrayLike) -> Array:
    """`labels` as classes for logits (N, K)."""
    truth = np.asarray(labels)
    if logits.ndim != 2 or truth.shape != logits.shape[:1] or not logits.size:
        raise ValueError(
            "labels: expected shape (N,) for logits of shape (N, K), N, K > 0; "
            f"got {truth.shape} for {logits.shape}"
        )
    if not np.issubdtype(truth.dtype, np.integer):
        raise TypeError(f"labels: expected integers (classes), got {truth.dtype}")
    if truth.min() < 0 or truth.max() >= logits.shape[1]:
        raise ValueError(f"labels: expected 0 to {logits.shape[1] - 1}")
    return truth


class MSELoss:
    """Mean over all elements of (prediction - target)^2.

    The gradient by the prediction is 2 (prediction - target) / size.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import nn
    >>> criterion = nn.MSELoss()
    >>> criterion(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    2.0
    >>> criterion.backward()
    array([ 0., -2.])
    """

    def __init__(self) -> None:
        self._difference: Array | None = None

    def forward(self, prediction: Array, target: Array) -> float:
        """The loss; both arrays have the same shape."""
        if prediction.shape != target.shape or not prediction.size:
            raise ValueError(
                f"target: expected shape {prediction.shape} like the prediction, not empty; "
                f"got {target.shape}"
            )
        self._difference = prediction - target
        row = self._difference.reshape(-1)
        return float(row @ row) / row.size

    def backward(self) -> Array:
        """Gradient of the last loss by its prediction, of the same shape."""
        difference = saved(self._difference)
        # A Python float keeps the array's dtype.
        grad: Array = difference * (2.0 / difference.size)
        return grad

    def __call__(self, prediction: Array, target: Array) -> float:
        return self.forward(prediction, target)
