from collections.abc import Sequence
from typing import Any, Literal, overload

from numpy.typing import ArrayLike, DTypeLike, NDArray

_Axes = int | Sequence[int]
_Padding = int | Sequence[int] | Sequence[Sequence[int]] | str
_Image = ArrayLike
_Array = NDArray[Any]
_OutputPool = Literal[2] | tuple[Literal["max", "avg"], Literal[2]] | None

class PackedConv:
    def __call__(self, input: _Image, out: _Array | None = None) -> _Array: ...
    def backward(
        self,
        grad_output: ArrayLike,
        input: _Image,
        output_mask: Sequence[bool] = (True, True, True),
    ) -> tuple[_Array | None, _Array | None, _Array | None]: ...

class PackedConv1d(PackedConv): ...
class PackedConv2d(PackedConv): ...
class PackedConv3d(PackedConv): ...

class Plan:
    @property
    def algorithm(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def flops(self) -> int: ...
    @property
    def bytes(self) -> int: ...

def conv1d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    activation: str | None = None,
    algorithm: str = "auto",
    out: _Array | None = None,
) -> _Array: ...
def conv2d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    activation: str | None = None,
    algorithm: str = "auto",
    out: _Array | None = None,
) -> _Array: ...
def conv3d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    activation: str | None = None,
    algorithm: str = "auto",
    out: _Array | None = None,
) -> _Array: ...
def conv1d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def conv2d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def conv3d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def conv1d_prepack(
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    activation: str | None = None,
    algorithm: str = "auto",
    pool: _OutputPool = None,
) -> PackedConv1d: ...
def conv2d_prepack(
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    activation: str | None = None,
    algorithm: str = "auto",
    pool: _OutputPool = None,
) -> PackedConv2d: ...
def conv3d_prepack(
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    activation: str | None = None,
    algorithm: str = "auto",
    pool: _OutputPool = None,
) -> PackedConv3d: ...
def conv1d_plan(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCL",
    dtype: DTypeLike = "float32",
    algorithm: str = "auto",
    prepacked: bool = False,
) -> Plan: ...
def conv2d_plan(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCHW",
    dtype: DTypeLike = "float32",
    algorithm: str = "auto",
    prepacked: bool = False,
) -> Plan: ...
def conv3d_plan(
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    stride: _Axes = 1,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    groups: int = 1,
    *,
    data_format: str = "NCDHW",
    dtype: DTypeLike = "float32",
    algorithm: str = "auto",
    prepacked: bool = False,
) -> Plan: ...
def conv_transpose1d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCL",
    out: _Array | None = None,
) -> _Array: ...
def conv_transpose2d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCHW",
    out: _Array | None = None,
) -> _Array: ...
def conv_transpose3d(
    input: _Image,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCDHW",
    out: _Array | None = None,
) -> _Array: ...
def conv_transpose1d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCL",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def conv_transpose2d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
def conv_transpose3d_backward(
    grad_output: ArrayLike,
    input: _Image,
    weight: ArrayLike,
    stride: _Axes = 1,
    padding: _Padding = 0,
    output_padding: _Axes = 0,
    groups: int = 1,
    dilation: _Axes = 1,
    *,
    data_format: str = "NCDHW",
    output_mask: Sequence[bool] = (True, True, True),
) -> tuple[_Array | None, _Array | None, _Array | None]: ...
@overload
def max_pool2d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    data_format: str = "NCHW",
    out: _Array | None = None,
) -> _Array: ...
@overload
def max_pool2d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = ...,
    *,
    data_format: str = "NCHW",
    out: _Array | None = None,
) -> Any: ...
def max_pool2d_backward(
    grad_output: ArrayLike,
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    *,
    indices: ArrayLike | None = None,
    data_format: str = "NCHW",
) -> _Array: ...
def avg_pool2d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCHW",
    out: _Array | None = None,
) -> _Array: ...
def avg_pool2d_backward(
    grad_output: ArrayLike,
    input_size: Sequence[int],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCHW",
) -> _Array: ...
@overload
def max_pool1d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    data_format: str = "NCL",
    out: _Array | None = None,
) -> _Array: ...
@overload
def max_pool1d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = ...,
    *,
    data_format: str = "NCL",
    out: _Array | None = None,
) -> Any: ...
def max_pool1d_backward(
    grad_output: ArrayLike,
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    *,
    indices: ArrayLike | None = None,
    data_format: str = "NCL",
) -> _Array: ...
def avg_pool1d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCL",
    out: _Array | None = None,
) -> _Array: ...
def avg_pool1d_backward(
    grad_output: ArrayLike,
    input_size: Sequence[int],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCL",
) -> _Array: ...
@overload
def max_pool3d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    *,
    data_format: str = "NCDHW",
    out: _Array | None = None,
) -> _Array: ...
@overload
def max_pool3d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    return_indices: bool = ...,
    *,
    data_format: str = "NCDHW",
    out: _Array | None = None,
) -> Any: ...
def max_pool3d_backward(
    grad_output: ArrayLike,
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    dilation: _Axes = 1,
    ceil_mode: bool = False,
    *,
    indices: ArrayLike | None = None,
    data_format: str = "NCDHW",
) -> _Array: ...
def avg_pool3d(
    input: _Image,
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCDHW",
    out: _Array | None = None,
) -> _Array: ...
def avg_pool3d_backward(
    grad_output: ArrayLike,
    input_size: Sequence[int],
    kernel_size: _Axes,
    stride: _Axes | None = None,
    padding: _Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    data_format: str = "NCDHW",
) -> _Array: ...
def adam_step(
    data: _Array,
    grad: ArrayLike,
    mean: _Array,
    square: _Array,
    rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None: ...
def sgd_step(
    data: _Array, grad: ArrayLike, velocity: _Array | None, rate: float, momentum: float
) -> None: ...
def relu_backward(grad_output: ArrayLike, output: ArrayLike) -> _Array: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def config() -> dict[str, Any]: ...
def fma_peak(dtype: str = "float32", threads: int = 1, seconds: float = 0.02) -> float: ...
def copy_bandwidth(bytes: int, threads: int = 1, seconds: float = 0.02) -> float: ...
