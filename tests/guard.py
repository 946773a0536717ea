"""Arrays that end, or start, where the process may not read.

A page with no access rights lies right behind (or before) the array's memory, so that touching
even one byte too many ends the process with SIGSEGV at the guilty instruction. MLAS tests its
kernels so.
"""

from __future__ import annotations

import ctypes
import mmap
import weakref

import numpy as np

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

PAGE = mmap.PAGESIZE
_NO_ACCESS = 0
_MAP_FAILED = ctypes.c_void_p(-1).value
SIDES = ("end", "start")


def _check(failed: bool) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), "no memory for guard pages")


def empty(shape: tuple[int, ...], dtype: object = np.float32, side: str = "end") -> np.ndarray:
    """A C-contiguous array whose last byte (side 'end') or first ('start') meets a closed page."""
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    inside = -(-nbytes // PAGE) * PAGE
    total = inside + 2 * PAGE
    rights = mmap.PROT_READ | mmap.PROT_WRITE
    base = _libc.mmap(None, total, rights, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    _check(base == _MAP_FAILED)
    _check(_libc.mprotect(base, PAGE, _NO_ACCESS) != 0)
    _check(_libc.mprotect(base + PAGE + inside, PAGE, _NO_ACCESS) != 0)
    first = base + PAGE + (inside - nbytes if side == "end" else 0)
    buffer = (ctypes.c_char * nbytes).from_address(first)
    weakref.finalize(buffer, _libc.munmap, base, total)  # the array keeps the buffer alive
    return np.frombuffer(buffer, dtype).reshape(shape)


def array(a: np.ndarray, side: str = "end") -> np.ndarray:
    """A copy of an array, between guard pages."""
    guarded = empty(a.shape, a.dtype, side)
    guarded[...] = a
    return guarded


def inner(a: np.ndarray, side: str = "end") -> np.ndarray:
    """The same with padded rows: the last row still ends (the first one starts) at the guard."""
    wide = empty((*a.shape[:-1], a.shape[-1] + 1), a.dtype, side)
    wide[...] = np.nan
    view = wide[..., 1:] if side == "end" else wide[..., :-1]
    view[...] = a
    return view


def reversed_(a: np.ndarray, side: str = "end") -> np.ndarray:
    """The same with negative strides: element 0 is the one that lies last in memory."""
    backwards = (slice(None, None, -1),) * a.ndim
    return array(np.ascontiguousarray(a[backwards]), side)[backwards]


MAKERS = {"dense": array, "inner": inner, "reversed": reversed_}
