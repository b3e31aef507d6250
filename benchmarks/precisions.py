"""Views → embeddings in every runtime and precision, against what the cores can multiply in it, and what it takes.

    python -m benchmarks.precisions [ROUNDS]

The peak is a product of two matrices of 2048 x 2048 through OpenVINO in the same precision and on the same cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from benchmarks.timing import alternating
from benchmarks.weights import vit_b_32
from moderato.encoders import open_encoder
from moderato.encoders import openvino as runtime
from moderato.encoders._openvino_graph import openvino, ops
from moderato.types import Views

_GFLOP = 8.24
"""A view of ViT-B/32 as it is computed here: of the last block's rows the class token's alone past the attention."""
_SIZE = 2048
_BATCHES = (1, 8, 16)


def main(rounds: int) -> None:
    """Print a row for each runtime, precision and batch: milliseconds a view (quartiles), and the share of the peak."""
    threads = len(os.sched_getaffinity(0))
    pictures = np.random.default_rng(0).integers(0, 256, (max(_BATCHES), 224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = vit_b_32(Path(folder))
        exact = open_encoder(checkpoint, identity="bench", threads=threads)
        ranges = exact.collect_ranges([Views(pictures)])
        encoders = {
            (name, precision): open_encoder(
                checkpoint, identity="bench", threads=threads, runtime=name, precision=precision, ranges=ranges
            )
            for name, offered in (("onnx", ("fp32", "int8")), ("openvino", runtime.precisions()))
            for precision in offered
        }
        products = {precision: _product(precision, threads) for precision in runtime.precisions()}
        peaks = dict(zip(products, alternating(rounds, 1, *products.values()), strict=True))
        gflops = {precision: 2 * _SIZE**3 / 1e9 / median(taken) for precision, taken in peaks.items()}
        print("peak, GFLOP/s:", {precision: round(peak) for precision, peak in gflops.items()})
        for batch in _BATCHES:
            views = Views(pictures[:batch])
            sides = [partial(encoder.encode, views) for encoder in encoders.values()]
            for (name, precision), taken in zip(encoders, alternating(rounds, batch, *sides), strict=True):
                low, middle, high = (1000 * value for value in quantiles(taken, n=4))
                share = _GFLOP / middle * 1000 / gflops[precision]
                print(f"{name:8} {precision:4} batch {batch:2}: {middle:5.1f} ms ({low:.1f} - {high:.1f}), {share:.0%}")


def _product(precision: str, threads: int) -> Callable[[], Any]:
    """A product of two square matrices in a precision."""
    numbers = np.random.default_rng(0)
    left = openvino.opset13.parameter([_SIZE, _SIZE], np.float32)
    rows, right = left.output(0), numbers.standard_normal((_SIZE, _SIZE)).astype(np.float32)
    weight = ops.constant(right)
    if precision == "int8":
        bounds = [ops.constant(np.array(bound, np.float32)) for bound in (0, 255, 0, 255)]
        rows = ops.fake_quantize(rows, *bounds, 256)
        whole = ops.constant(numbers.integers(-127, 128, (_SIZE, _SIZE)).astype(np.int8))
        weight = ops.multiply(ops.convert(whole, "f32"), ops.constant(np.full((_SIZE, 1), 0.01, np.float32)))
    model = openvino.Model([ops.result(ops.matmul(rows, weight, False, True))], [left], "product")
    facts = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32", "INFERENCE_NUM_THREADS": threads}
    request = openvino.Core().compile_model(model, "CPU", {**facts, "PERF_COUNT": True}).create_infer_request()
    given = numbers.uniform(0, 255, (_SIZE, _SIZE)).astype(np.float32)
    return lambda: request.infer([given], share_inputs=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
