"""Promise: a wrong argument raises, by name, before any work; nothing crashes the interpreter."""

from __future__ import annotations

import dataclasses
import inspect
import pydoc
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv

F32 = np.float32
X = np.ones((2, 4, 8, 8), F32)
W = np.ones((6, 4, 3, 3), F32)
B = np.ones(6, F32)
G = np.ones((2, 6, 6, 6), F32)  # conv2d(X, W, B).shape
P = np.ones((2, 4, 4, 4), F32)  # a 2 x 2 pool's
I = np.zeros((2, 4, 4, 4), np.int64)  # noqa: E741  its indices
T = np.ones((2, 3, 10, 10), F32)  # conv_transpose2d(X, WT).shape
WT = np.ones((4, 3, 3, 3), F32)
SIGNAL, FILTER = np.ones((2, 4, 8), F32), np.ones((6, 4, 3), F32)
VOLUME, BLOCK = np.ones((2, 4, 5, 6, 7), F32), np.ones((6, 4, 3, 3, 3), F32)
ROW = np.ones((1, 1, 1, 8), F32)
TAP = np.ones((1, 1, 1, 1), F32)

# ---- signatures ---------------------------------------------------------------------------------

SIGNATURES = {
    "conv2d": """(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *,
        data_format='NCHW', activation=None, algorithm='auto', out=None)""",
    "conv2d_backward": """(grad_output, input, weight, stride=1, padding=0, dilation=1, groups=1, *,
        data_format='NCHW', output_mask=(True, True, True))""",
    "conv2d_prepack": """(weight, bias=None, stride=1, padding=0, dilation=1, groups=1, *,
        data_format='NCHW', activation=None, algorithm='auto', pool=None)""",
    "conv2d_plan": """(input_shape, weight_shape, stride=1, padding=0, dilation=1, groups=1, *,
        data_format='NCHW', dtype='float32', algorithm='auto', prepacked=False)""",
    "conv_transpose2d": """(input, weight, bias=None, stride=1, padding=0, output_padding=0,
        groups=1, dilation=1, *, data_format='NCHW', out=None)""",
    "conv_transpose2d_backward": """(grad_output, input, weight, stride=1, padding=0,
        output_padding=0, groups=1, dilation=1, *, data_format='NCHW',
        output_mask=(True, True, True))""",
    "max_pool2d": """(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False,
        return_indices=False, *, data_format='NCHW', out=None)""",
    "max_pool2d_backward": """(grad_output, input, kernel_size, stride=None, padding=0, dilation=1,
        ceil_mode=False, *, indices=None, data_format='NCHW')""",
    "avg_pool2d": """(input, kernel_size, stride=None, padding=0, ceil_mode=False,
        count_include_pad=True, divisor_override=None, *, data_format='NCHW', out=None)""",
    "avg_pool2d_backward": """(grad_output, input_size, kernel_size, stride=None, padding=0,
        ceil_mode=False, count_include_pad=True, divisor_override=None, *, data_format='NCHW')""",
}
for _name in [name for name in SIGNATURES if name.startswith("conv")]:
    for _axes, _format in ((1, "NCL"), (3, "NCDHW")):
        SIGNATURES[_name.replace("2d", f"{_axes}d")] = SIGNATURES[_name].replace("NCHW", _format)
GRAD_SIGNATURES = {
    "conv2d_input": "(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1",
    "conv2d_weight": "(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1",
}
for _name in list(GRAD_SIGNATURES):
    for _axes in (1, 3):
        GRAD_SIGNATURES[_name.replace("2d", f"{_axes}d")] = GRAD_SIGNATURES[_name]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_is_the_contracts(name):
    function = getattr(fastconv, name)
    assert squeezed(str(inspect.signature(function))) == squeezed(SIGNATURES[name])
    assert function.__name__ == name
    assert function.__module__ in ("fastconv", "fastconv._core")


@pytest.mark.parametrize("name", SIGNATURES)
def test_help_shows_the_contracts_signature(name):
    text = pydoc.plain(pydoc.render_doc(getattr(fastconv, name)))
    assert squeezed(name + SIGNATURES[name]) in squeezed(text)
    assert len(inspect.getdoc(getattr(fastconv, name))) > 200


@pytest.mark.parametrize("name", SIGNATURES)
def test_reference_takes_the_same_arguments(name):
    twin = getattr(fastconv.reference, name, None)
    if twin is None:
        assert name.endswith(("_prepack", "_plan"))
        return
    wanted = inspect.signature(getattr(fastconv, name)).parameters.values()
    found = inspect.signature(twin).parameters.values()
    assert [(p.name, p.kind, p.default) for p in found] == [
        (p.name, p.kind, p.default) for p in wanted
    ]


@pytest.mark.parametrize("name", GRAD_SIGNATURES)
def test_grad_signature_is_torchs(name):
    signature = inspect.signature(getattr(fastconv.grad, name))
    bare = signature.replace(
        parameters=[p.replace(annotation=p.empty) for p in signature.parameters.values()],
        return_annotation=signature.empty,
    )
    assert squeezed(str(bare)).startswith(squeezed(GRAD_SIGNATURES[name]))


def test_all_is_complete():
    names = {*SIGNATURES, "grad", "reference", "set_num_threads", "get_num_threads", "show_config"}
    assert names <= set(dir(fastconv))
    for name in fastconv.__all__:
        assert hasattr(fastconv, name), name
    assert re.match(r"\d+\.\d+", fastconv.__version__)


# ---- a table of bad calls -----------------------------------------------------------------------

EITHER = (ValueError, TypeError)
TOO_BIG = (ValueError, MemoryError)


@dataclasses.dataclass(frozen=True)
class Bad:
    """A call that must raise, and a pattern that its message must show: the argument's name."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    error: Any
    words: str
    name: str

    def __str__(self) -> str:
        return f"{self.function}-{self.name}"


def bad(function: str, *args: Any, error: Any, words: str, name: str = "", **kwargs: Any) -> Bad:
    kwargs_text = ",".join(f"{k}={_short(v)}" for k, v in kwargs.items())
    return Bad(function, args, kwargs, error, words, name or kwargs_text)


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)}"
    return str(value)[:24]


def read_only(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.flags.writeable = False
    return a


def vast(*shape: int) -> np.ndarray:
    """One number in memory, seen as a vast array."""
    return np.broadcast_to(F32(1), shape)


def bad_arrays(function: str, name: str, *rest: Any, **kwargs: Any) -> list[Bad]:
    """Things that are no float array, given as the argument `name` by keyword."""
    return [
        bad(function, *rest, **kwargs, **{name: value}, error=error, words=words)
        for value, error, words in (
            ("pixels", EITHER, name),
            (np.ones((2, 4, 8, 8), np.int32), TypeError, "float32|astype"),
            (np.ones((2, 4, 8, 8), bool), TypeError, name),
            (np.ones((2, 4, 8, 8), np.complex64), TypeError, name),
            (np.full((2, 4, 8, 8), None), TypeError, name),
            (np.zeros((2, 4, 8, 8), "datetime64[s]"), TypeError, name),
            (np.zeros((2, 4, 8, 8), [("a", F32)]), TypeError, name),
            ([[1.0, 2.0], [3.0]], EITHER, name),
            (object(), EITHER, name),
            (1.5, EITHER, name),
        )
    ]


def bad_sizes(function: str, name: str, *args: Any, low: int = 1, **kwargs: Any) -> list[Bad]:
    """Values that are neither an int nor a pair of ints, and ints below `low`."""
    values = [
        (low - 1, ValueError),
        (-(2**40), ValueError),
        ((1, low - 1), ValueError),
        ((1,), EITHER),
        ((1, 1, 1), EITHER),
        ((), EITHER),
        ("2", EITHER),
        (1.5, EITHER),
        (float("nan"), EITHER),
        ((1, float("inf")), EITHER),
        ((1, None), EITHER),
        (2**100, EITHER),
        (-(2**100), EITHER),
        ({"h": 1, "w": 1}, EITHER),
        (object(), EITHER),
        (1j, EITHER),
        (np.array([1.0, 1.0]), EITHER),
        (np.ones((2, 2, 2), int), EITHER),
    ]
    return [
        bad(function, *args, **kwargs, **{name: value}, error=error, words=name)
        for value, error in values
    ]


def bad_paddings(function: str, *args: Any, **kwargs: Any) -> list[Bad]:
    values = ["full", "SAME", ((1, 1),), ((1, 1), (1,)), ((0, -1), (0, 0)), ((1, 1, 1), (1, 1, 1)),
              ((0, 0), (0, "1")), ((0, 0), (0, 0.5)), None]  # fmt: skip
    return [
        *bad_sizes(function, "padding", *args, low=0, **kwargs),
        *(bad(function, *args, **kwargs, padding=v, error=EITHER, words="padding") for v in values),
    ]


def bad_options(function: str, *args: Any, **names: tuple[Any, ...]) -> list[Bad]:
    return [
        bad(function, *args, **{name: value}, error=EITHER, words=name)
        for name, values in names.items()
        for value in values
    ]


def bad_outs(function: str, shape: tuple[int, ...], *args: Any) -> list[Bad]:
    """`out` for a function whose first argument is args[0]."""
    larger = np.zeros((4, *args[0].shape[1:]), F32)
    outs = [
        (np.zeros((*shape[:-1], shape[-1] + 1), F32), ValueError, "wrong shape"),
        (np.zeros(shape[1:], F32), ValueError, "unbatched"),
        (np.zeros(shape, np.float64), ValueError, "wrong dtype"),
        (np.zeros(shape, np.int32), EITHER, "integers"),
        (read_only(np.zeros(shape, F32)), ValueError, "read-only"),
        (np.zeros(shape, F32).tolist(), EITHER, "a list"),
        ("out", EITHER, "a string"),
    ]
    rows = [bad(function, *args, out=o, error=e, words="out", name=f"out {n}") for o, e, n in outs]
    # An output that starts inside the input.
    x = larger[: args[0].shape[0]]
    flat = larger.reshape(-1)[1 : 1 + int(np.prod(shape))].reshape(shape)
    rows.append(
        bad(function, x, *args[1:], out=flat, error=ValueError, words="out", name="out overlaps")
    )
    return rows


OPTIONS = {"data_format": ("NCWH", "nchw", "NCL", "", None, 4, ("NCHW",))}
CONV_OPTIONS = {
    **OPTIONS,
    "activation": ("gelu", "ReLU", "", 5, True),
    "algorithm": ("fft", "", "AUTO", None, 3),
}
GROUPS = [0, -1, 3, "1", 1.5, None, 2**62, 2**100]

BAD: list[Bad] = [
    # conv2d
    bad("conv2d", error=TypeError, words="input", name="nothing"),
    bad("conv2d", X, error=TypeError, words="weight", name="no weight"),
    bad("conv2d", X, W, None, 1, 0, 1, 1, "NCHW", error=TypeError, words="positional"),
    bad("conv2d", X, W, strides=2, error=TypeError, words="strides"),
    bad("conv2d", X, W, None, 1, stride=2, error=TypeError, words="stride", name="stride twice"),
    bad("conv2d", X, W, input=X, error=TypeError, words="input", name="input twice"),
    bad("conv2d", X, W, **{"": 1}, error=TypeError, words="keyword|argument", name="nameless"),
    bad("conv2d", X, W, **{"strid\u00e9": 1}, error=TypeError, words="strid\u00e9"),
    bad("conv2d", X, W, **{"stride\0": 1}, error=TypeError, words="stride", name="null in name"),
    *bad_arrays("conv2d", "input", weight=W),
    *bad_arrays("conv2d", "weight", X),
    *bad_arrays("conv2d", "bias", X, W),
    bad("conv2d", None, W, error=EITHER, words="input", name="input None"),
    bad("conv2d", X, None, error=EITHER, words="weight", name="weight None"),
    bad("conv2d", X[0, 0], W, error=ValueError, words="input", name="input 2-D"),
    bad("conv2d", X[None], W, error=ValueError, words="input", name="input 5-D"),
    bad("conv2d", X, W[0], error=ValueError, words="weight", name="weight 3-D"),
    bad("conv2d", X, W[None], error=ValueError, words="weight", name="weight 5-D"),
    bad("conv2d", X, W[:, :3], error=ValueError, words="channels", name="weight of 3 channels"),
    bad("conv2d", X[:, :3], W, error=ValueError, words="channels", name="input of 3 channels"),
    bad("conv2d", X, W, groups=2, error=ValueError, words="groups"),
    bad("conv2d", X, W[:5, :2], groups=2, error=ValueError, words="groups", name="5 filters"),
    bad("conv2d", X, W, data_format="NHWC", error=ValueError, words="channels", name="format"),
    bad("conv2d", X, W[:, :, :0], error=ValueError, words="weight|ernel", name="no rows"),
    bad("conv2d", X, W[:, :, :, :0], error=ValueError, words="weight|ernel", name="no columns"),
    bad("conv2d", X[:, :, :2], W, error=ValueError, words="input|ernel", name="small input"),
    bad("conv2d", X, W, dilation=4, error=ValueError, words="input|ernel", name="wide kernel"),
    bad("conv2d", X, W, B[:5], error=ValueError, words="bias", name="short bias"),
    bad("conv2d", X, W, B[:, None], error=ValueError, words="bias", name="bias 2-D"),
    bad("conv2d", X, W, F32(1), error=EITHER, words="bias", name="bias 0-D"),
    *bad_sizes("conv2d", "stride", X, W),
    bad("conv2d", X, W, stride=None, error=EITHER, words="stride"),
    *bad_sizes("conv2d", "dilation", X, W),
    bad("conv2d", X, W, dilation=None, error=EITHER, words="dilation"),
    *bad_paddings("conv2d", X, W),
    *(bad("conv2d", X, W, groups=g, error=EITHER, words="groups") for g in GROUPS),
    *bad_options("conv2d", X, W, **CONV_OPTIONS),
    bad("conv2d", X, W, algorithm="winograd", stride=2, error=ValueError, words="algorithm"),
    *bad_outs("conv2d", G.shape, X, W),
    # sizes that no memory holds, or that no 64 bits hold
    bad("conv2d", X, W, padding=2**40, error=TOO_BIG, words="padding|output|input"),
    bad("conv2d", X, W, padding=2**62, error=TOO_BIG, words="padding|output|input"),
    bad("conv2d", X, W, padding=2**63 - 1, error=TOO_BIG, words="padding|output|input"),
    bad("conv2d", X, W, dilation=2**62, error=ValueError, words="dilation|input|ernel"),
    bad("conv2d", X, W, dilation=2**63 - 1, error=ValueError, words="dilation|input|ernel"),
    bad("conv2d", X, W, dilation=2**61, padding=2**62, error=TOO_BIG, words="dilation|padding|out"),
    bad("conv2d", vast(1, 1, 2**29, 2**30), TAP, error=TOO_BIG, words="input|output", name="vast"),
    bad("conv2d", vast(2**56, 1, 4, 4), TAP, error=TOO_BIG, words="input|output", name="vast N"),
    bad("conv2d", ROW, vast(2**56, 1, 1, 1), error=TOO_BIG, words="weight|output", name="vast O"),
    bad("conv2d", vast(2**40, 1, 4, 4), vast(2**40, 1, 1, 1), error=TOO_BIG,
        words="input|weight|output", name="N times O overflows"),
    bad("conv2d", X, vast(6, 4, 2**29, 2**27), error=TOO_BIG, words="input|ernel", name="vast K"),
    # conv2d_backward
    bad("conv2d_backward", error=TypeError, words="grad_output", name="nothing"),
    bad("conv2d_backward", G, X, error=TypeError, words="weight", name="no weight"),
    bad("conv2d_backward", G, X, W, 1, 0, 1, 1, "NCHW", error=TypeError, words="positional"),
    bad("conv2d_backward", G, X, W, bias=B, error=TypeError, words="bias"),
    *bad_arrays("conv2d_backward", "grad_output", input=X, weight=W),
    *bad_arrays("conv2d_backward", "input", G, weight=W),
    *bad_arrays("conv2d_backward", "weight", G, X),
    bad("conv2d_backward", G[:1], X, W, error=ValueError, words="grad_output", name="batch"),
    bad("conv2d_backward", G[:, :5], X, W, error=ValueError, words="grad_output", name="channels"),
    bad("conv2d_backward", G[..., :5], X, W, error=ValueError, words="grad_output", name="width"),
    bad("conv2d_backward", G[0], X, W, error=ValueError, words="grad_output", name="unbatched"),
    bad("conv2d_backward", G, X, W, padding=1, error=ValueError, words="grad_output"),
    bad("conv2d_backward", G, X, W[:, :2], error=ValueError, words="channels", name="weight"),
    *bad_sizes("conv2d_backward", "stride", G, X, W),
    *bad_sizes("conv2d_backward", "dilation", G, X, W),
    *bad_paddings("conv2d_backward", G, X, W),
    *(bad("conv2d_backward", G, X, W, groups=g, error=EITHER, words="groups") for g in GROUPS),
    *bad_options("conv2d_backward", G, X, W, **OPTIONS,
                 output_mask=((True,), (True,) * 4, (), None, 5, True)),
    bad("conv2d_backward", vast(2, 1, 2**29, 2**28), vast(2, 1, 2**29, 2**28), TAP,
        error=TOO_BIG, words="input|output", name="vast"),
    # conv2d_prepack
    bad("conv2d_prepack", error=TypeError, words="weight", name="nothing"),
    bad("conv2d_prepack", W, None, 1, 0, 1, 1, "NCHW", error=TypeError, words="positional"),
    bad("conv2d_prepack", W, out=G, error=TypeError, words="out"),
    *bad_arrays("conv2d_prepack", "weight"),
    *bad_arrays("conv2d_prepack", "bias", W),
    bad("conv2d_prepack", W[0], error=ValueError, words="weight", name="weight 3-D"),
    bad("conv2d_prepack", W[:, :, :0], error=ValueError, words="weight|ernel", name="no rows"),
    bad("conv2d_prepack", W, B[:5], error=ValueError, words="bias", name="short bias"),
    bad("conv2d_prepack", W, B[:, None], error=ValueError, words="bias", name="bias 2-D"),
    *bad_sizes("conv2d_prepack", "stride", W),
    *bad_sizes("conv2d_prepack", "dilation", W),
    *bad_paddings("conv2d_prepack", W),
    *(bad("conv2d_prepack", W, groups=g, error=EITHER, words="groups")
      for g in GROUPS if g != 3),
    bad("conv2d_prepack", W, groups=4, error=ValueError, words="groups"),
    *bad_options("conv2d_prepack", W, **CONV_OPTIONS),
    bad("conv2d_prepack", W, stride=2, algorithm="winograd", error=ValueError, words="algorithm"),
    # conv2d_plan
    bad("conv2d_plan", error=TypeError, words="input_shape", name="nothing"),
    bad("conv2d_plan", X.shape, error=TypeError, words="weight_shape", name="no weight_shape"),
    bad("conv2d_plan", X.shape, W.shape, bias=B, error=TypeError, words="bias"),
    *(bad("conv2d_plan", shape, W.shape, error=EITHER, words="input", name=_short(shape))
      for shape in (None, 5, "abcd", (), (4, 8), (1, 2, 4, 8, 8), (1, 4, -8, 8), (1, 4, 8.5, 8),
                    (1, 4, "8", 8), (1, 4, None, 8), (1, 5, 8, 8), (1, 4, 2, 2), (1, 4, 2**100, 8),
                    (2**40, 4, 2**40, 2**40))),
    *(bad("conv2d_plan", X.shape, shape, error=EITHER, words="weight_shape|weight|ernel",
          name=f"weight {_short(shape)}")
      for shape in (None, 5, "abcd", (), (6, 4, 3), (6, 4, 3, 3, 3), (6, -4, 3, 3), (6, 4, 3.5, 3),
                    (6, 4, 0, 3), (6, 4, 2**100, 3), (6, 4, 9, 9))),
    *bad_sizes("conv2d_plan", "stride", X.shape, W.shape),
    *bad_sizes("conv2d_plan", "dilation", X.shape, W.shape),
    *bad_paddings("conv2d_plan", X.shape, W.shape),
    *(bad("conv2d_plan", X.shape, W.shape, groups=g, error=EITHER, words="groups") for g in GROUPS),
    *bad_options("conv2d_plan", X.shape, W.shape, **OPTIONS, algorithm=("fft", None, 3),
                 dtype=("int32", "complex64", "floaty", object, "O", 5, "S4")),
    # conv_transpose2d
    bad("conv_transpose2d", error=TypeError, words="input", name="nothing"),
    bad("conv_transpose2d", X, error=TypeError, words="weight", name="no weight"),
    bad("conv_transpose2d", X, WT, None, 1, 0, 0, 1, 1, "NCHW", error=TypeError,
        words="positional"),
    bad("conv_transpose2d", X, WT, activation="relu", error=TypeError, words="activation"),
    *bad_arrays("conv_transpose2d", "input", weight=WT),
    *bad_arrays("conv_transpose2d", "weight", X),
    *bad_arrays("conv_transpose2d", "bias", X, WT),
    bad("conv_transpose2d", None, WT, error=TypeError, words="input", name="input None"),
    bad("conv_transpose2d", X, None, error=TypeError, words="weight", name="weight None"),
    bad("conv_transpose2d", X[0, 0], WT, error=ValueError, words="input", name="input 2-D"),
    bad("conv_transpose2d", X[None], WT, error=ValueError, words="input", name="input 5-D"),
    bad("conv_transpose2d", X[:, :, :0], WT, error=ValueError, words="input", name="no rows"),
    bad("conv_transpose2d", X, WT[0], error=ValueError, words="weight", name="weight 3-D"),
    bad("conv_transpose2d", X, WT[:, :, :0], error=ValueError, words="weight|ernel", name="empty"),
    bad("conv_transpose2d", X, WT[:3], error=ValueError, words="channels", name="3 channels"),
    bad("conv_transpose2d", X, WT, B[:2], error=ValueError, words="bias", name="short bias"),
    bad("conv_transpose2d", X, WT, B[:3, None], error=ValueError, words="bias", name="bias 2-D"),
    *bad_sizes("conv_transpose2d", "stride", X, WT),
    *bad_sizes("conv_transpose2d", "dilation", X, WT),
    *bad_sizes("conv_transpose2d", "output_padding", X, WT, low=0),
    bad("conv_transpose2d", X, WT, output_padding=1, error=ValueError, words="output_padding"),
    bad("conv_transpose2d", X, WT, stride=3, output_padding=3, error=ValueError,
        words="output_padding"),
    bad("conv_transpose2d", X, WT, stride=2, padding="same", output_padding=1, error=ValueError,
        words="output_padding"),
    *bad_paddings("conv_transpose2d", X, WT),
    bad("conv_transpose2d", X, WT, padding=5, error=ValueError, words="padding|utput"),
    *(bad("conv_transpose2d", X, WT, groups=g, error=EITHER, words="groups|64 bits")
      for g in GROUPS),
    *bad_options("conv_transpose2d", X, WT, **OPTIONS),
    *bad_outs("conv_transpose2d", T.shape, X, WT),
    bad("conv_transpose2d", X, WT, stride=2**40, error=TOO_BIG, words="stride|output|input"),
    bad("conv_transpose2d", X, WT, stride=2**62, error=TOO_BIG, words="stride|output|input"),
    bad("conv_transpose2d", X, WT, dilation=2**62, error=TOO_BIG, words="dilation|output|input"),
    bad("conv_transpose2d", X, WT, padding=2**63 - 1, error=TOO_BIG, words="padding|utput"),
    bad("conv_transpose2d", X, WT, stride=2**61, padding="same", error=TOO_BIG,
        words="stride|output|input"),
    bad("conv_transpose2d", vast(1, 1, 2**29, 2**30), TAP, error=TOO_BIG, words="input|output",
        name="vast"),
    # conv_transpose2d_backward
    bad("conv_transpose2d_backward", T, X, error=TypeError, words="weight", name="no weight"),
    *bad_arrays("conv_transpose2d_backward", "grad_output", input=X, weight=WT),
    *bad_arrays("conv_transpose2d_backward", "input", T, weight=WT),
    *bad_arrays("conv_transpose2d_backward", "weight", T, X),
    bad("conv_transpose2d_backward", T[:1], X, WT, error=ValueError, words="grad_output",
        name="batch"),
    bad("conv_transpose2d_backward", T[..., :9], X, WT, error=ValueError, words="grad_output",
        name="width"),
    bad("conv_transpose2d_backward", T, X, WT, stride=2, error=ValueError, words="grad_output"),
    *bad_sizes("conv_transpose2d_backward", "stride", T, X, WT),
    *bad_sizes("conv_transpose2d_backward", "output_padding", T, X, WT, low=0),
    *bad_options("conv_transpose2d_backward", T, X, WT, **OPTIONS,
                 output_mask=((True,), (True,) * 4, (), None, 5, True)),
    # one and three spatial axes
    *(bad(f"{name}{axes}d", *args, error=error, words=words, name=text)
      for axes, x, w, image in ((1, SIGNAL, FILTER, X), (3, VOLUME, BLOCK, X))
      for name in ("conv", "conv_transpose")
      for args, error, words, text in (
          ((image, w), ValueError, "input|weight", "an image"),
          ((x, W), ValueError, "weight", "an image's weight"),
          ((x[0, 0], w), ValueError, "input", "too few axes"),
          ((x, w[:, :3]), ValueError, "channels|divisible|multiple|utput", "channels"),
          ((x.astype(int), w), TypeError, "input", "integers"),
          ((x, w, None, (1,) * (axes + 1)), EITHER, "stride", "a stride too many"),
          ((x, w, None, 1, (1,) * (axes + 1)), EITHER, "padding", "a padding too many"),
          ((x, w, None, 1, ((0, 0),) * (axes + 1)), EITHER, "padding", "a pair too many"),
      ) if (name, text) != ("conv_transpose", "channels")),
    bad("conv1d", SIGNAL, FILTER, data_format="NCHW", error=ValueError, words="data_format"),
    bad("conv3d", VOLUME, BLOCK, data_format="NHWC", error=ValueError, words="data_format"),
    bad("conv1d_plan", X.shape, FILTER.shape, error=ValueError, words="input_shape"),
    bad("conv3d_plan", VOLUME.shape, W.shape, error=ValueError, words="weight_shape"),
    bad("conv3d_prepack", W, error=ValueError, words="weight", name="an image's weight"),
    bad("conv1d_backward", SIGNAL, SIGNAL, FILTER, error=ValueError, words="grad_output"),
    bad("conv3d", vast(1, 1, 2**20, 2**20, 2**20), vast(1, 1, 1, 1, 1), error=TOO_BIG,
        words="input|output", name="vast"),
    # max_pool2d
    bad("max_pool2d", error=TypeError, words="input", name="nothing"),
    bad("max_pool2d", X, error=TypeError, words="kernel_size", name="no kernel_size"),
    bad("max_pool2d", X, 2, 2, 0, 1, False, False, "NCHW", error=TypeError, words="positional"),
    bad("max_pool2d", X, 2, count_include_pad=True, error=TypeError, words="count_include_pad"),
    *bad_arrays("max_pool2d", "input", kernel_size=2),
    bad("max_pool2d", X[0, 0], 2, error=ValueError, words="input", name="input 2-D"),
    bad("max_pool2d", X[None], 2, error=ValueError, words="input", name="input 5-D"),
    *bad_sizes("max_pool2d", "kernel_size", X),
    bad("max_pool2d", X, None, error=EITHER, words="kernel_size", name="kernel_size None"),
    *bad_sizes("max_pool2d", "stride", X, 2),
    *bad_sizes("max_pool2d", "dilation", X, 2),
    *bad_paddings("max_pool2d", X, 3),
    bad("max_pool2d", X, 3, padding=3, error=ValueError, words="padding"),
    bad("max_pool2d", X, 2, padding=((0, 0), (0, 2)), error=ValueError, words="padding"),
    bad("max_pool2d", X, 3, padding=5, dilation=2, error=ValueError, words="padding"),
    bad("max_pool2d", X, 3, padding=2**62, error=EITHER, words="padding"),
    bad("max_pool2d", X, 9, error=ValueError, words="utput|ernel", name="kernel beyond input"),
    bad("max_pool2d", X, 2, dilation=2**62, error=ValueError, words="utput|dilation|ernel"),
    bad("max_pool2d", X, 2**62, error=ValueError, words="utput|ernel", name="vast kernel"),
    *bad_options("max_pool2d", X, 2, **OPTIONS),
    *bad_outs("max_pool2d", P.shape, X, 2),
    bad("max_pool2d", vast(2**20, 4, 2**20, 2**17), 1, error=TOO_BIG, words="input|output",
        name="vast"),
    # max_pool2d_backward
    bad("max_pool2d_backward", P, X, error=TypeError, words="kernel_size", name="no kernel_size"),
    bad("max_pool2d_backward", P, X, 2, 2, 0, 1, False, None, error=TypeError, words="positional"),
    *bad_arrays("max_pool2d_backward", "grad_output", input=X, kernel_size=2),
    *bad_arrays("max_pool2d_backward", "input", P, kernel_size=2),
    bad("max_pool2d_backward", P[:1], X, 2, error=ValueError, words="grad_output", name="batch"),
    bad("max_pool2d_backward", P[..., :3], X, 2, error=ValueError, words="grad_output"),
    bad("max_pool2d_backward", P[0], X, 2, error=ValueError, words="grad_output", name="unbatched"),
    *bad_sizes("max_pool2d_backward", "kernel_size", P, X),
    *bad_paddings("max_pool2d_backward", P, X, 2),
    *bad_options("max_pool2d_backward", P, X, 2, **OPTIONS),
    *(bad("max_pool2d_backward", P, X, 2, indices=i, error=EITHER, words="indices", name=f"at {n}")
      for i, n in ((I[:1], "batch"), (I[0], "unbatched"), (I.astype(F32), "floats"),
                   ("indices", "a string"), (I + 64, "beyond the plane"), (I - 2, "before it"),
                   (I + 2**62, "far beyond"), (I - 2**62, "far before"),
                   (np.full(I.shape, None), "objects"))),
    # avg_pool2d
    bad("avg_pool2d", error=TypeError, words="input", name="nothing"),
    bad("avg_pool2d", X, error=TypeError, words="kernel_size", name="no kernel_size"),
    bad("avg_pool2d", X, 2, dilation=2, error=TypeError, words="dilation"),
    *bad_arrays("avg_pool2d", "input", kernel_size=2),
    bad("avg_pool2d", X[0, 0], 2, error=ValueError, words="input", name="input 2-D"),
    *bad_sizes("avg_pool2d", "kernel_size", X),
    *bad_sizes("avg_pool2d", "stride", X, 2),
    *bad_paddings("avg_pool2d", X, 3),
    bad("avg_pool2d", X, 3, padding=3, error=ValueError, words="padding"),
    bad("avg_pool2d", X, 9, error=ValueError, words="utput|ernel", name="kernel beyond input"),
    *bad_options("avg_pool2d", X, 2, **OPTIONS,
                 divisor_override=(0, "2", 1.5, float("nan"), (2,), 2**100)),
    *bad_outs("avg_pool2d", P.shape, X, 2),
    bad("avg_pool2d", vast(2**20, 4, 2**20, 2**17), 1, error=TOO_BIG, words="input|output",
        name="vast"),
    # avg_pool2d_backward
    bad("avg_pool2d_backward", P, X.shape, error=TypeError, words="kernel_size", name="no kernel"),
    *bad_arrays("avg_pool2d_backward", "grad_output", input_size=X.shape, kernel_size=2),
    *(bad("avg_pool2d_backward", P, size, 2, error=EITHER, words="input_size|grad_output",
          name=f"size {_short(size)}")
      for size in (None, 5, "abcd", (), (4, 8), (2, 4, -8, 8), (2, 4, 8.5, 8), (2, 4, 9, 12),
                   (2, 5, 8, 8), (2, 4, 2**100, 8), (2, 4, 2**62, 2**62), (2**62, 4, 8, 8))),
    bad("avg_pool2d_backward", P[:1], X.shape, 2, error=ValueError, words="grad_output"),
    *bad_sizes("avg_pool2d_backward", "kernel_size", P, X.shape),
    *bad_paddings("avg_pool2d_backward", P, X.shape, 2),
    *bad_options("avg_pool2d_backward", P, X.shape, 2, **OPTIONS, divisor_override=(0, "2", 1.5)),
    bad("avg_pool2d_backward", vast(2**20, 4, 2**20, 2**17), (2**20, 4, 2**20, 2**17), 1,
        error=TOO_BIG, words="input_size|output", name="vast"),
    # fastconv.grad
    *bad_arrays("grad.conv2d_input", "weight", X.shape, grad_output=G),
    *bad_arrays("grad.conv2d_input", "grad_output", X.shape, W),
    *(bad("grad.conv2d_input", size, W, G, error=EITHER, words="input_size|grad_output|input",
          name=f"size {_short(size)}")
      for size in (None, 5, "abcd", (), (4, 8), (2, 4, -8, 8), (2, 4, 8.5, 8), (2, 4, 9, 8),
                   (2, 5, 8, 8), (2, 4, 2**100, 8), (2**62, 4, 8, 8))),
    bad("grad.conv2d_input", (2**20, 1, 2**20, 2**17), TAP, vast(2**20, 1, 2**20, 2**17),
        error=TOO_BIG, words="input_size|output|input", name="vast"),
    *bad_arrays("grad.conv2d_weight", "input", weight_size=W.shape, grad_output=G),
    *bad_arrays("grad.conv2d_weight", "grad_output", X, W.shape),
    *(bad("grad.conv2d_weight", X, size, G, error=EITHER, words="weight_size|grad_output|weight",
          name=f"size {_short(size)}")
      for size in (None, 5, "abcd", (), (6, 4, 3), (6, 4, -3, 3), (6, 4, 3.5, 3), (6, 4, 2, 3),
                   (5, 4, 3, 3), (6, 4, 2**100, 3), (2**62, 4, 3, 3))),
    *bad_sizes("grad.conv2d_input", "stride", X.shape, W, G),
    *bad_sizes("grad.conv2d_weight", "stride", X, W.shape, G),
    # the rest
    *(bad("set_num_threads", n, error=EITHER, words=r"\bn\b|threads", name=_short(n))
      for n in (0, -1, "2", None, 1.5, float("nan"), (2,), 2**100, -(2**100))),
    bad("set_num_threads", error=TypeError, words="argument", name="nothing"),
    *bad_options("show_config", mode=("xml", "", None, 5)),
]  # fmt: skip


def resolve(name: str) -> Callable[..., Any]:
    function: Any = fastconv
    for part in name.split("."):
        function = getattr(function, part)
    return function


def unique_ids(rows: list[Bad]) -> list[str]:
    seen: dict[str, int] = {}
    ids = []
    for row in rows:
        text = str(row).replace("\0", "0")
        seen[text] = seen.get(text, 0) + 1
        ids.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return ids


@pytest.mark.parametrize("row", BAD, ids=unique_ids(BAD))
def test_bad_call_raises_and_names_the_argument(row):
    with pytest.raises(row.error) as raised:
        resolve(row.function)(*row.args, **row.kwargs)
    message = str(raised.value)
    assert re.search(row.words, message), message
    assert len(message) < 1000


def test_the_table_is_long_enough_and_good_calls_still_work():
    assert len(BAD) >= 45
    assert fastconv.conv2d(X, W, B).tolist() == np.full(G.shape, 37.0).tolist()
    assert fastconv.max_pool2d(X, 2).tolist() == P.tolist()


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool", "complex128", "O"])
def test_a_wrong_dtype_is_told_how_to_fix_it(dtype):
    wrong = np.ones(X.shape).astype(dtype)
    for call in (lambda: fastconv.conv2d(wrong, W), lambda: fastconv.max_pool2d(wrong, 2)):
        with pytest.raises(TypeError, match="input") as raised:
            call()
        assert np.dtype(dtype).name in str(raised.value)
        assert re.search(r"float32|astype|\.real", str(raised.value))


PACKED_BAD = [
    ((), {}, TypeError, "input"),
    ((None,), {}, EITHER, "input"),
    (("x",), {}, EITHER, "input"),
    ((X.astype(int),), {}, TypeError, "input"),
    ((X[:, :3],), {}, ValueError, "channels"),
    ((X[0, 0],), {}, ValueError, "input"),
    ((X[..., :2],), {}, ValueError, "input|ernel"),
    ((X, None, 1), {}, TypeError, "argument"),
    ((X,), {"bias": B}, TypeError, "bias"),
    ((X,), {"out": np.zeros((2, 6, 6, 5), F32)}, ValueError, "out"),
    ((X,), {"out": np.zeros(G.shape)}, ValueError, "out"),
    ((X,), {"out": read_only(G)}, ValueError, "out"),
    ((X,), {"out": "out"}, EITHER, "out"),
    ((vast(2**55, 4, 3, 3),), {}, TOO_BIG, "input|output"),
]


@pytest.mark.parametrize(("args", "kwargs", "error", "words"), PACKED_BAD)
def test_bad_call_of_a_packed_convolution(args, kwargs, error, words):
    packed = fastconv.conv2d_prepack(W, B)
    with pytest.raises(error, match=words):
        packed(*args, **kwargs)
    assert (packed(X) == 37).all()


def test_plan_and_packed_convolution_cannot_be_made_by_hand():
    """An object without its C++ half must not exist, or must be refused when used."""
    for made in (
        fastconv.conv2d_plan(X.shape, W.shape),
        fastconv.conv1d_prepack(FILTER),
        fastconv.conv2d_prepack(W),
        fastconv.conv3d_prepack(BLOCK),
    ):
        cls = type(made)
        for build in (cls, lambda cls=cls: cls.__new__(cls)):
            try:
                half = build()
                str(half)
                half(X)
            except (TypeError, ValueError, AttributeError):
                pass


# ---- fuzz ---------------------------------------------------------------------------------------

# Ints are small, or so large that no memory could hold what they ask for: never merely expensive.
INTS = st.sampled_from(
    [-(2**100), -(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 2**45, 2**62, 2**63 - 1, 2**63, 2**100]
)
SHAPES = st.lists(st.integers(0, 4), max_size=6).map(tuple)
DTYPES = st.sampled_from(
    ["f2", "f4", "f8", ">f4", ">f8", "g", "i1", "i8", "?", "c8", "O", "U3", "S2", "M8[s]", "V5"]
)
ARRAYS = st.builds(np.zeros, SHAPES, DTYPES)
BROADCAST = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(lambda shape: vast(*shape))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    INTS,
    st.floats(),
    st.sampled_from(["", "same", "valid", "same_lower", "NCHW", "NHWC", "relu", "auto", "direct"]),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.builds(object),
    st.sampled_from([int, len, np.float32, F32(2), np.int64(2), Ellipsis, slice(1), 1j]),
)
JUNK = st.one_of(
    SCALARS,
    ARRAYS,
    BROADCAST,
    st.lists(SCALARS, max_size=4),
    st.lists(SCALARS, max_size=4).map(tuple),
    st.lists(st.lists(INTS, max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=2), SCALARS, max_size=2),
    st.tuples(INTS, INTS),
    st.tuples(INTS, INTS, INTS, INTS),
)

GOOD: dict[str, dict[str, Any]] = {
    "conv2d": {"input": X, "weight": W, "bias": B},
    "conv2d_backward": {"grad_output": G, "input": X, "weight": W},
    "conv2d_prepack": {"weight": W, "bias": B},
    "conv2d_plan": {"input_shape": X.shape, "weight_shape": W.shape},
    "conv1d": {"input": SIGNAL, "weight": FILTER, "bias": B},
    "conv3d_backward": {
        "grad_output": np.ones((2, 6, 3, 4, 5), F32),
        "input": VOLUME,
        "weight": BLOCK,
    },
    "conv_transpose2d": {"input": X, "weight": WT, "bias": B[:3]},
    "conv_transpose2d_backward": {"grad_output": T, "input": X, "weight": WT},
    "max_pool2d": {"input": X, "kernel_size": 2},
    "max_pool2d_backward": {"grad_output": P, "input": X, "kernel_size": 2},
    "avg_pool2d": {"input": X, "kernel_size": 2},
    "avg_pool2d_backward": {"grad_output": P, "input_size": X.shape, "kernel_size": 2},
    "grad.conv2d_input": {"input_size": X.shape, "weight": W, "grad_output": G},
    "grad.conv2d_weight": {"input": X, "weight_size": W.shape, "grad_output": G},
}


def call_with_junk(function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """A result or one of the three exceptions: nothing else may come of any argument."""
    try:
        function(*args, **kwargs)
    except (ValueError, TypeError, MemoryError) as error:
        assert str(error)  # noqa: PT017  an empty message helps nobody


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=80)
@given(data=st.data())
def test_junk_by_keyword(name, data):
    function = resolve(name)
    arguments = dict(GOOD[name])
    parameters = sorted(inspect.signature(function).parameters)
    for parameter in data.draw(st.lists(st.sampled_from(parameters), min_size=1, max_size=3)):
        arguments[parameter] = data.draw(JUNK, label=parameter)
    call_with_junk(function, **arguments)


@pytest.mark.parametrize("name", GOOD)
@settings(max_examples=40)
@given(st.lists(JUNK, max_size=9), st.dictionaries(st.text(max_size=8), JUNK, max_size=2))
def test_junk_by_position(name, args, kwargs):
    call_with_junk(resolve(name), *args, **kwargs)


@settings(max_examples=40)
@given(args=st.lists(JUNK, max_size=3))
def test_junk_for_a_packed_convolution(args):
    packed = fastconv.conv2d_prepack(W, B)
    call_with_junk(packed, *args)
    call_with_junk(packed.backward, *args)
    call_with_junk(packed.backward, G, X, *args[:1])


@settings(max_examples=40)
@given(shape=SHAPES, dtype=st.sampled_from(["f4", "f8", "f2"]), out=JUNK)
def test_arrays_of_any_shape(shape, dtype, out):
    a = np.zeros(shape, dtype)
    for name, arguments in GOOD.items():
        for parameter, value in arguments.items():
            if isinstance(value, np.ndarray):
                call_with_junk(resolve(name), **{**arguments, parameter: a})
        if "out" in inspect.signature(resolve(name)).parameters:
            call_with_junk(resolve(name), **arguments, out=out)


@pytest.mark.parametrize(
    ("call", "low", "high"),
    [
        # A few windows each, with nearly all of them in the padding: next to no work to do.
        ("conv2d(x, w, padding=2**40, stride=2**40, dilation=2**40)", 4, 4),
        ("conv2d(x, w, padding=2**61, stride=2**62, dilation=2**60)", 4, 4),
        ("conv2d(x, w, padding=2**31, stride=2**31, dilation=2**31)", 4, 4),
        ("conv2d(x, w[..., :1, :1], padding=2**40, stride=2**40)", 0, 4),
        ("conv2d_backward(g, x, w, 2**40, 2**40, 2**40)[0]", 0, 6),
        ("conv2d_backward(g, x, w, 2**40, 2**40, 2**40)[1]", 0, 2),
        ("conv2d_prepack(w, None, 2**40, 2**40, 2**40)(x)", 4, 4),
        ("conv_transpose2d(x, w[:4], None, 1, 2**40, dilation=2**40)", 0, 4),
        ("conv_transpose2d(x[..., :1, :1], w[:4], None, 2**40, 2**40, dilation=2**40)", 4, 4),
        ("max_pool2d(x, 2**40, padding=2**40 - 1)", 1, 1),
        ("max_pool2d(x, 2**40, padding=2**40 - 1, ceil_mode=True)", 1, 1),
        ("max_pool2d(x, 2, 2**40, 2**40, 2**40)", -np.inf, 1),
        ("avg_pool2d(x, 2**40, padding=2**40 - 1)", 0, 1),
        ("avg_pool2d(x, 2**31, padding=2**30, ceil_mode=True)", 0, 1),
        ("avg_pool2d(x, 2**61, padding=2**60, count_include_pad=False)", 1, 1),
    ],
    ids=str,
)
def test_extreme_windows_are_right_or_refused_but_never_crash_nor_hang(call, low, high, run_python):
    """In a process of its own, which may crash without taking the other tests along."""
    done = run_python(
        source=f"""
        import numpy as np
        from fastconv import *
        x, w = np.ones((2, 4, 8, 8), "f4"), np.ones((6, 4, 3, 3), "f4")
        g = np.ones((2, 6, 1, 1), "f4")
        try:
            y = {call}
            print(y.min(), y.max())
        except (ValueError, MemoryError) as error:
            assert str(error)
        """,
        timeout=20,
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert all(low <= float(value) <= high for value in done.stdout.split()), done.stdout


# ---- arguments that fight back ------------------------------------------------------------------


class Explosive:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("boom")

    def __index__(self):
        raise RuntimeError("boom")


@pytest.mark.parametrize("name", GOOD)
def test_an_exception_of_the_callers_own_comes_through(name):
    flags = {"ceil_mode", "return_indices", "count_include_pad", "prepacked"}
    for parameter in set(inspect.signature(resolve(name)).parameters) - flags:
        with pytest.raises((RuntimeError, TypeError, ValueError)):
            resolve(name)(**{**GOOD[name], parameter: Explosive()})


def test_an_index_that_changes_its_mind_is_asked_once():
    """A stride that shrinks to zero after the check must not get past it."""

    class Shifty:
        calls = 0

        def __index__(self):
            Shifty.calls += 1
            return 1 if Shifty.calls == 1 else 0

    y = fastconv.conv2d(X, W, B, stride=(Shifty(), 1))
    assert y.shape == G.shape


def test_an_argument_that_empties_its_list_while_read():
    sizes: list[Any] = []

    class Emptying:
        def __index__(self):
            sizes.clear()
            return 1

    for name in ("stride", "padding", "dilation"):
        sizes[:] = [Emptying(), 1]
        call_with_junk(fastconv.conv2d, X, W, B, **{name: sizes})
        sizes[:] = [[Emptying(), 1], [1, 1]]
        call_with_junk(fastconv.conv2d, X, W, B, padding=sizes)


def test_an_array_cannot_be_swapped_after_the_check():
    """What __array__ returns is asked for once; another answer the next time changes nothing."""

    class Shrinking:
        calls = 0

        def __array__(self, dtype=None, copy=None):
            Shrinking.calls += 1
            return X if Shrinking.calls == 1 else X[:, :, :1, :1]

    y = fastconv.conv2d(Shrinking(), W, B)
    assert y.shape == G.shape
    assert (y == 37).all()


def test_a_deep_recursion_of_lists_raises():
    nested: Any = []
    nested.append(nested)
    for name in ("input", "weight", "bias", "stride", "padding", "dilation"):
        with pytest.raises((ValueError, TypeError, RecursionError)):
            fastconv.conv2d(**{"input": X, "weight": W, name: nested})


def test_messages_say_what_came():
    with pytest.raises(ValueError, match=r"-7"):
        fastconv.conv2d(X, W, stride=-7)
    with pytest.raises(ValueError, match="fulll"):
        fastconv.conv2d(X, W, padding="fulll")
    with pytest.raises(ValueError, match=r"2, 3, 8, 8"):
        fastconv.conv2d(X[:, :3], W)
    with pytest.raises(ValueError, match=r"float64"):
        fastconv.conv2d(X, W, out=np.zeros(G.shape))


def test_errors_leave_no_references_behind():
    counts = [sys.getrefcount(a) for a in (X, W, B)]
    for _ in range(100):
        with pytest.raises(ValueError, match="stride"):
            fastconv.conv2d(X, W, B, stride=0)
    assert [sys.getrefcount(a) for a in (X, W, B)] == counts
