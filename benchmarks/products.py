"""How fast this machine multiplies matrices, in each precision, by the fastest libraries that we know of.

Plain products of matrices that lie packed in memory: what a transformer could reach at best. A share of it says how far
from the machine's limit an encoder is, whatever the machine. Large matrices, and in single precision, where nothing was
found to be faster, also such as a ViT-B multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openvino
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from openvino import opset13 as op

_SIZE = 2048
_LAYERS = 3  # in OpenVINO's chain: what goes in and comes out of it, as float32, costs less than a hundredth then
_TOKENS, _WIDTH, _SMALL_LAYERS = 800, 768, 12  # sixteen views' tokens


@dataclass(frozen=True)
class Product:
    """Something to multiply: by what, in which precision, and how many operations it is."""

    library: str
    precision: str
    operations: int
    run: Callable[[], object]


def products(threads: int) -> list[Product]:
    """What there is to multiply with."""
    torch.set_num_threads(threads)
    return [
        *(Product("torch", precision, 2 * _SIZE**3, run) for precision, run in _torch().items()),
        *(
            Product("OpenVINO", precision, _LAYERS * 2 * _SIZE**3, _chain(precision, threads))
            for precision in ("fp32", "bf16", "int8")
        ),
        Product("ONNX Runtime", "fp32", _SMALL_LAYERS * 2 * _TOKENS * _WIDTH**2, _onnx_chain(threads)),
    ]


def _torch() -> dict[str, Callable[[], object]]:
    left, right = torch.rand(2, _SIZE, _SIZE) - 0.5
    left_16, right_16 = left.bfloat16(), right.bfloat16()
    left_8, right_8 = torch.randint(-127, 128, (2, _SIZE, _SIZE), dtype=torch.int8)
    return {
        "fp32": lambda: torch.mm(left, right),
        "bf16": lambda: torch.mm(left_16, right_16),
        "int8": lambda: torch._int_mm(left_8, right_8),
    }


def _chain(precision: str, threads: int) -> Callable[[], object]:
    """One matrix after another, as layers are."""
    random = np.random.default_rng(0)
    rows = op.parameter([_SIZE, _SIZE], np.float32)
    result = rows
    for _ in range(_LAYERS):
        result = _quantised(result, random) if precision == "int8" else _plain(result, random)
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(openvino.Model([op.result(result)], [rows]), "CPU", hints)
    request, given = model.create_infer_request(), random.random((_SIZE, _SIZE), np.float32)
    return lambda: request.infer({0: given})


def _onnx_chain(threads: int) -> Callable[[], object]:
    random = np.random.default_rng(0)
    weights = [(random.random((_WIDTH, _WIDTH), np.float32) - 0.5) / _WIDTH for _ in range(_SMALL_LAYERS)]
    nodes = [helper.make_node("MatMul", [f"{i}", f"weight_{i}"], [f"{i + 1}"]) for i in range(_SMALL_LAYERS)]
    ends = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [_TOKENS, _WIDTH])] for name in ("0", f"{len(nodes)}")
    )
    constants = [numpy_helper.from_array(weight, f"weight_{i}") for i, weight in enumerate(weights)]
    graph = helper.make_graph(nodes, "products", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = random.random((_TOKENS, _WIDTH), np.float32)
    return lambda: session.run(None, {"0": given})


def _plain(rows: openvino.Node, random: np.random.Generator) -> openvino.Node:
    weight = (random.random((_SIZE, _SIZE), np.float32) - 0.5) / _SIZE
    return op.matmul(rows, op.constant(weight), False, True)


def _quantised(rows: openvino.Node, random: np.random.Generator) -> openvino.Node:
    low, high = np.float32(-1), np.float32(1)
    rows = op.fake_quantize(rows, low, high, low, high, 256)
    whole = op.convert(op.constant(random.integers(-127, 128, (_SIZE, _SIZE)).astype(np.int8)), np.float32)
    weight = op.multiply(whole, op.constant(np.full((_SIZE, 1), 1 / 127 / _SIZE, np.float32)))
    return op.matmul(rows, weight, False, True)
