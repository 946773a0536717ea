"""ONNX Runtime: a model of one node, weights as constants, input and output bound beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from adapters import Call, Unsupported
from layers import Conv, Pool
from workload import Array, Data, Work

_options: dict[str, int] = {}

# The first may rewrite the node to ONNX Runtime's blocked layout, which pays on some layers and
# costs on others; the second leaves it in NCHW. The faster one counts.
LEVELS = (
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
)


def setup(threads: int, dtype: str) -> None:
    _options["threads"] = threads


def version() -> str:
    return str(onnxruntime.__version__)


def calls(work: Work, data: Data, variant: str) -> list[Call]:
    if work.gradients:
        raise Unsupported("it computes no gradients")
    if work.dtype != "float32":
        raise Unsupported("its CPU kernels are float32 only")
    model = _model(work, data)
    return [_call(work, data, model, level) for level in LEVELS]


def _model(work: Work, data: Data) -> bytes:
    node, constants = _node(work, data)
    outputs = [
        helper.make_tensor_value_info(
            name, TensorProto.INT64 if name == "indices" else TensorProto.FLOAT, None
        )
        for name in node.output
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, work.layer.input_shape)
    graph = helper.make_graph([node], "bench", [x], outputs, constants)
    # Old enough for every ONNX Runtime that is still in use.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def _node(work: Work, data: Data) -> tuple[Any, list[Any]]:
    layer = work.layer
    if isinstance(layer, Conv):
        node = helper.make_node(
            "Conv",
            ["x", "weight"],
            ["y"],
            strides=[layer.sh, layer.sw],
            pads=[layer.ph, layer.pw, layer.ph, layer.pw],
            dilations=[layer.dh, layer.dw],
            group=layer.groups,
        )
        return node, [numpy_helper.from_array(data.weight, "weight")]
    window = {
        "kernel_shape": [layer.k, layer.k],
        "strides": [layer.s, layer.s],
        "pads": [layer.p] * 4,
    }
    if work.op == "avg":
        return helper.make_node("AveragePool", ["x"], ["y"], count_include_pad=1, **window), []
    outputs = ["y", "indices"] if work.op == "max_indices" else ["y"]
    return helper.make_node("MaxPool", ["x"], outputs, **window), []


def _call(work: Work, data: Data, model: bytes, level: Any) -> Call:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _options["threads"]
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(data.input))
    for output in session.get_outputs():
        binding.bind_output(output.name)

    def run() -> Any:
        session.run_with_iobinding(binding)
        return binding

    # Bound to what the first run allocated, later runs allocate nothing.
    for output, value in zip(session.get_outputs(), run().get_outputs(), strict=True):
        binding.bind_ortvalue_output(output.name, value)
    return Call(run, lambda result: _arrays(work, result))


def _arrays(work: Work, binding: Any) -> tuple[Array, ...]:
    parts = [np.array(value.numpy()) for value in binding.get_outputs()]
    if isinstance(work.layer, Pool) and work.op == "max_indices":
        # ONNX counts through the whole tensor, the others through the plane.
        parts[1] %= work.layer.h * work.layer.w
    return tuple(parts)
