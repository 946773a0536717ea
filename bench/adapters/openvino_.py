"""OpenVINO: a compiled model of one operation, constant weights, the latency hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset13 as ops

from adapters import Call, Unsupported
from layers import Conv
from workload import Data, Work

_core = openvino.Core()
_config: dict[str, Any] = {}


def setup(threads: int, dtype: str) -> None:
    _config.update(
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Its default is bfloat16 where the CPU has it: another computation.
            "INFERENCE_PRECISION_HINT": "f32",
        }
    )


def version() -> str:
    return str(openvino.__version__).split("-")[0]


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    if work.gradients:
        raise Unsupported("it computes no gradients")
    if work.dtype != "float32":
        raise Unsupported("its CPU plugin computes float64 in float32")
    if not isinstance(work.layer, Conv):
        raise Unsupported("only its convolutions are compared")
    compiled = _core.compile_model(_model(work.layer, data), "CPU", _config)
    request = compiled.create_infer_request()
    tensor = openvino.Tensor(openvino.Type.f32, list(work.layer.input_shape))
    tensor.data[:] = data.input
    request.set_input_tensor(tensor)

    def run() -> Any:
        # Shared, or it would copy the output into a fresh array at every call.
        return request.infer(share_inputs=True, share_outputs=True)

    return [Call(run, lambda result: (np.array(result[0]),))]


def _model(layer: Conv, data: Data) -> openvino.Model:
    x = ops.parameter(list(layer.input_shape), np.float32)
    geometry = (
        [layer.sh, layer.sw],
        [layer.ph, layer.pw],
        [layer.ph, layer.pw],
        [layer.dh, layer.dw],
    )
    if layer.groups == 1:
        node = ops.convolution(x, ops.constant(data.weight), *geometry)
    else:
        grouped = (layer.groups, layer.oc // layer.groups, *layer.weight_shape[1:])
        weight = ops.constant(data.weight.reshape(grouped))
        node = ops.group_convolution(x, weight, *geometry)
    return openvino.Model([node], [x], "bench")
