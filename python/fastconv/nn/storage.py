"""A network's parameters as one .npz file, by name."""

from __future__ import annotations

import os
from typing import IO, Any, TypeVar

import numpy as np

from fastconv.nn.base import Layer

__all__ = ["load", "save"]

L = TypeVar("L", bound=Layer)
File = str | os.PathLike[str] | IO[bytes]


def save(network: Layer, file: File) -> None:
    """Write a network's parameters to an ``.npz`` file.

    The names are those of `Layer.named_parameters`: '0.weight' is the first layer's weight, as in
    the ``state_dict`` of the same `torch.nn.Sequential`.

    Parameters
    ----------
    network : Layer
        Whose parameters.
    file : path or binary file
        Where; as in `numpy.savez`, a path without the suffix gets ``.npz``.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> from fastconv import nn
    >>> one, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    >>> file = io.BytesIO()
    >>> nn.save(one, file)
    >>> _ = file.seek(0)
    >>> bool((nn.load(other, file).weight.data == one.weight.data).all())
    True
    """
    arrays: dict[str, Any] = {name: p.data for name, p in network.named_parameters().items()}
    np.savez(file, allow_pickle=False, **arrays)


def load(network: L, file: File) -> L:
    """Read parameters that `save` wrote into a network of the same layers.

    Parameters
    ----------
    network : Layer
        Its parameters are overwritten in place, unless anything does not fit: then none is.
    file : path or binary file
        What `save` was given.

    Returns
    -------
    Layer
        `network`.

    Raises
    ------
    ValueError
        The file has other names, shapes or dtypes than the network, or is no ``.npz`` file.
    OSError
        It cannot be read.

    Examples
    --------
    See `save`.

    >>> import io
    >>> from fastconv import nn
    >>> file = io.BytesIO()
    >>> nn.save(nn.Linear(3, 2), file)
    >>> _ = file.seek(0)
    >>> nn.load(nn.Linear(3, 4), file)
    Traceback (most recent call last):
    ...
    ValueError: weight: expected float32 of shape (4, 3), the file has float32 of shape (2, 3)
    """
    parameters = network.named_parameters()
    stored = np.load(file, allow_pickle=False)
    if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError("file: expected an .npz file as save writes it")
    with stored:
        arrays = dict(stored)
    if arrays.keys() != parameters.keys():
        odd = sorted(arrays.keys() ^ parameters.keys())
        raise ValueError(f"file: the network and the file differ in {', '.join(odd)}")
    for name, p in parameters.items():
        found = arrays[name]
        if found.shape != p.data.shape or found.dtype != p.data.dtype:
            raise ValueError(
                f"{name}: expected {p.data.dtype} of shape {p.data.shape}, "
                f"the file has {found.dtype} of shape {found.shape}"
            )
    for name, p in parameters.items():
        p.data[...] = arrays[name]
    return network
