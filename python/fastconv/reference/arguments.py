"""Arguments: dtypes, memory layouts and the rest of what is not mathematics."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Ints: TypeAlias = tuple[int, ...]
Index: TypeAlias = tuple[Any, ...]
Pairs: TypeAlias = tuple[tuple[int, int], ...]
Size: TypeAlias = int | Sequence[int]
Padding: TypeAlias = int | str | Sequence[int] | Sequence[Sequence[int]]
Window: TypeAlias = tuple[Size, Size | None, Padding, Size, bool]  # kernel size to ceil_mode


def check_dimensions(weight_size: Ints, input_size: Ints, axes: str) -> None:
    """The weight has as many axes as the batched input, and a kernel that is not empty."""
    if len(weight_size) != len(input_size):
        raise ValueError(
            f"weight: expected {len(input_size)} dimensions {axes}, but got weight of size "
            f"{weight_size}"
        )
    if min(weight_size[2:]) < 1:
        raise ValueError(
            f"weight: expected a kernel size of at least 1, but got weight of size {weight_size}"
        )


def check_bias(bias: Array | None, weight_size: Ints, outputs: int) -> None:
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"Given weight of size {weight_size}, expected bias to be 1-dimensional with "
            f"{outputs} elements, but got bias of size {bias.shape} instead"
        )


class Layout(NamedTuple):
    """How the caller's arrays are laid out, and the way to (N, C, H, W) and back."""

    channels_last: bool
    batched: bool

    @classmethod
    def of(cls, name: str, shape: Ints, data_format: str, axes: int) -> Layout:
        """The layout of an array of `shape`, the argument called `name`."""
        first, last = {1: ("NCL", "NLC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}[axes]
        check_option("data_format", data_format, (first, last))
        if len(shape) not in (axes + 1, axes + 2):
            raise ValueError(
                f"{name}: Expected {axes + 1}D (unbatched) or {axes + 2}D (batched) input, but got "
                f"input of size: {shape}"
            )
        return cls(data_format == last, len(shape) == axes + 2)

    def to_nchw(self, array: Array) -> Array:
        """A view of the caller's array as (N, C, H, W)."""
        array = array if self.batched else array[np.newaxis]
        return np.moveaxis(array, -1, 1) if self.channels_last else array

    def from_nchw(self, array: Array, dtype: np.dtype[Any], out: Array | None = None) -> Array:
        """An (N, C, H, W) array as the caller wants it: in `out` if there is one."""
        array = np.moveaxis(array, 1, -1) if self.channels_last else array
        array = array if self.batched else array[0]
        if out is None:
            return np.ascontiguousarray(array, dtype)
        out[...] = array
        return out

    def to_nchw_shape(self, shape: Ints) -> Ints:
        """The caller's shape as (N, C, H, W)."""
        batch, *rest = shape if self.batched else (1, *shape)
        return (batch, rest[-1], *rest[:-1]) if self.channels_last else (batch, *rest)

    def from_nchw_shape(self, shape: Ints) -> Ints:
        """The shape (N, C, H, W) as the caller sees it."""
        batch, channels, *size = shape
        rest = (*size, channels) if self.channels_last else (channels, *size)
        return (batch, *rest) if self.batched else rest


def promote(**arrays: npt.ArrayLike | None) -> tuple[np.dtype[Any], list[Any]]:
    """The dtype of the result, and the arrays to compute with; a bias may be None."""
    given = {
        name: _as_float(name, a) for name, a in arrays.items() if a is not None or name != "bias"
    }
    dtype = np.result_type(np.float16, *(a.dtype for a in given.values()))
    compute = np.dtype(np.float32) if dtype == np.float16 else dtype
    ready = {name: a.astype(compute, copy=False) for name, a in given.items()}
    return dtype, [ready.get(name) for name in arrays]


def _as_float(name: str, value: npt.ArrayLike | None) -> Array:
    """`value` as an array, which must be float16, float32 or float64."""
    if value is None:
        raise TypeError(f"{name}: expected an array, but got None")
    array = as_array(value)
    if array.dtype.kind == "f" and array.dtype.itemsize <= 8:
        return array
    fix = (
        f"treat {name}.real and {name}.imag one after the other"
        if array.dtype.kind == "c"
        else f"convert it first, e.g. np.asarray({name}, dtype=np.float32)"
    )
    raise TypeError(
        f"{name}: expected dtype float16, float32 or float64, but got {array.dtype}; {fix}"
    )


def as_array(value: Any) -> Array:
    """``np.asarray``, which does not look for DLPack itself."""
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        return np.from_dlpack(value)
    return np.asarray(value)


def to_int(name: str, value: Any, minimum: int | None = None) -> int:
    """`value` as an integer."""
    message = f"{name}: expected an int{_at_least(minimum)}, but got {value!r}"
    try:
        integer = operator.index(value)
    except TypeError:
        raise TypeError(message) from None
    if minimum is not None and integer < minimum:
        raise ValueError(message)
    return integer


def to_ints(name: str, value: Any, count: int, minimum: int | None = None) -> Ints:
    """`value`, one integer for all or a sequence of `count`, as a tuple of `count` integers."""
    message = f"{name}: expected an int or {count} ints{_at_least(minimum)}, but got {value!r}"
    try:
        entries = tuple(value) if isinstance(value, Iterable) else (value,) * count
        integers = tuple(map(operator.index, entries))
    except TypeError:
        raise TypeError(message) from None
    if len(integers) != count or (minimum is not None and any(i < minimum for i in integers)):
        raise ValueError(message)
    return integers


def _at_least(minimum: int | None) -> str:
    return "" if minimum is None else f" of at least {minimum}"


def to_shape(name: str, value: Sequence[int]) -> Ints:
    """`value` as a shape: a tuple of integers, none negative."""
    if not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a sequence of ints, but got {value!r}")
    entries = tuple(value)
    return to_ints(name, entries, len(entries), minimum=0)


def spatial(name: str, shape: Ints) -> Ints:
    """The spatial sizes (H, W) of a shape (N, C, H, W)."""
    if len(shape) < 3:
        raise ValueError(f"{name}: expected (N, C, *spatial), but got {shape}")
    return shape[2:]


def to_mask(output_mask: Sequence[bool]) -> tuple[bool, bool, bool]:
    """`output_mask` as three bools."""
    mask = tuple(map(bool, output_mask)) if isinstance(output_mask, Iterable) else ()
    if len(mask) != 3:
        raise ValueError(f"output_mask: expected three bools, but got {output_mask!r}")
    return mask[0], mask[1], mask[2]


def check_option(name: str, value: object, options: tuple[object, ...]) -> None:
    if not (value is None or isinstance(value, str)) or value not in options:
        raise ValueError(f"{name}: expected one of {options}, but got {value!r}")


def check_shape(name: str, shape: Ints, expected: Ints) -> None:
    if shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, but got {shape}")


def check_out(
    out: Array | None, shape: Ints, dtype: np.dtype[Any], *inputs: npt.ArrayLike | None
) -> None:
    """Check that `out` can take a result of this shape and dtype computed from `inputs`."""
    if out is None:
        return
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out: expected a NumPy array, but got {type(out).__name__}")
    check_shape("out", out.shape, shape)
    if out.dtype != dtype:
        raise ValueError(f"out: expected dtype {dtype}, but got {out.dtype}")
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, but got a read-only one")
    if any(np.shares_memory(out, as_array(a)) for a in inputs if a is not None):
        raise ValueError("out: expected memory of its own, but it overlaps an input")
