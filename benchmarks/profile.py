"""Where an encoder's time goes, by kind of operation: what OpenVINO's own counters say, in each precision.

What a product does with its results before it writes them (bias, activation, rounding) is counted with it.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import openvino

from benchmarks.pictures import jpeg, prepared
from benchmarks.sides import THREADS
from benchmarks.timing import Result, told
from benchmarks.weights import NAMES
from moderato.encoders import open_encoder
from moderato.encoders._blocks import write_vision
from moderato.encoders._openvino_graph import OpenVinoGraph, hints
from moderato.encoders._quantise import Quantiser
from moderato.encoders.openvino import precisions
from moderato.settings import Settings
from moderato.types import Views

_BATCH = Settings().rows
_KINDS = {
    "FullyConnected": "products of matrices",
    "FullyConnectedQuantizedLegacy": "products of matrices",
    "Subgraph": "attention",
    "FakeQuantize": "rounding to whole numbers",
    "MVN": "norms",
    "Add": "additions to what blocks pass on",
    "Transpose": "moving numbers",
}
_OTHER = "all else"


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a view in each kind of operation, by precision."""
    encoder = open_encoder(checkpoint, identity="bench", threads=THREADS)
    views = prepared(encoder.view, [jpeg((640, 480), seed) for seed in range(_BATCH)])
    tower, ranges = encoder.towers.vision, encoder.collect_ranges([views])
    results = []
    for precision in precisions():
        graph = OpenVinoGraph(tower, Quantiser(tower, ranges) if precision == "int8" else None)
        facts = {**hints(THREADS, "bf16" if precision == "bf16" else "f32"), "PERF_COUNT": True}
        compiled = openvino.Core().compile_model(graph.model(write_vision(graph, tower)), "CPU", facts)
        counted = _counted(compiled, Views(np.stack(views)), rounds)
        results += _told(NAMES[checkpoint.name], precision, counted)
    return results


def _counted(compiled: Any, views: Views, rounds: int) -> list[Counter[str]]:
    """Seconds by kind, of each round but the first."""
    request = compiled.create_infer_request()
    counted = []
    for _ in range(rounds + 1):
        request.infer({"views": views})
        seconds: Counter[str] = Counter()
        for node in request.profiling_info:
            time: timedelta = node.real_time
            seconds[_KINDS.get(node.node_type, _OTHER)] += time.total_seconds()
        counted.append(seconds)
    return counted[1:]


def _told(encoder: str, precision: str, counted: list[Counter[str]]) -> list[Result]:
    """Milliseconds a view, and the share of all."""
    results = []
    for kind in dict.fromkeys([*_KINDS.values(), _OTHER]):
        if not any(seconds[kind] for seconds in counted):
            continue
        share = median(seconds[kind] / seconds.total() for seconds in counted)
        what = f"{encoder}, openvino {precision}, batch {_BATCH}: {kind}"
        values = [seconds[kind] / _BATCH for seconds in counted]
        results.append(Result(what, values, note=told(share, "share"), about={"precision": precision, "kind": kind}))
    return results
