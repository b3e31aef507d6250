"""Exported files, run by onnxruntime alone in a process that never imports moderato."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from models import SHAPES, Array, views, write_open_clip
from moderato.encoders import Encoder, _onnx_graph, onnx, open_encoder
from moderato.errors import WeightsError
from moderato.layers import Affine, Curves, Linear, Network, Output, Relu
from moderato.types import Views
from vits import SIGLIPS, VITS, write_open_clip_siglip, write_timm_vit

WRITERS: dict[str, tuple[Callable[..., Path], object]] = {
    "clip": (write_open_clip, SHAPES["quick"]),
    "siglip": (write_open_clip_siglip, SIGLIPS["siglip"]),
    "vit": (write_timm_vit, VITS["vit"]),
}

RUN = """
import sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(names, {"views": numpy.load(sys.argv[2])})))
facts = session.get_modelmeta().custom_metadata_map
numpy.savez(sys.argv[3], **found, **{"fact " + name: fact for name, fact in facts.items()})
assert not any(name.startswith("moderato") for name in sys.modules)
"""


def run(file: Path, pixels: NDArray[np.uint8]) -> dict[str, NDArray]:
    """What the file says of views, and its metadata as `fact NAME`."""
    np.save(file.with_suffix(".npy"), pixels)
    answers = file.with_suffix(".npz")
    # Isolated, and elsewhere: neither an installed path hook nor the folder at hand brings moderato in.
    command = [sys.executable, "-I", "-c", RUN, str(file), str(file.with_suffix(".npy")), str(answers)]
    subprocess.run(command, check=True, cwd=file.parent)
    with np.load(answers) as stored:
        return dict(stored)


def encoder_of(kind: str, folder: Path) -> tuple[Encoder, Views]:
    write, shape = WRITERS[kind]
    return open_encoder(write(folder / kind, shape)), Views(views(shape.side))


def normal(stream: np.random.RandomState, *size: int) -> Array:
    return stream.standard_normal(size).astype(np.float32)


def curves(stream: np.random.RandomState, columns: list[int], knots: int = 64) -> Curves:
    """Like those of LAION's heads: ranks up to ten thousand, over knots that nearly or quite coincide."""
    x = np.sort(normal(stream, len(columns), knots) / 20, axis=1)
    x[:, 10:14] = x[:, 10:11]
    x[:, 20] = np.nextafter(x[:, 19], np.float32(1))
    y = np.abs(normal(stream, len(columns), knots)) * np.float32(4000)
    return Curves(np.array(columns), np.sort(x, axis=1), y)


def head(dim: int, output: Output, unit: bool, labels: int) -> Network:
    """Every kind of layer."""
    stream = np.random.RandomState(3)
    ranks, where = [5, 0, 17], np.zeros(dim, bool)
    where[ranks] = True
    scale = np.where(where, 1 / 2000, np.sqrt(dim)).astype(np.float32)
    return Network(
        (
            curves(stream, ranks),
            Affine(scale, np.where(where, -1, 0).astype(np.float32)),
            Linear(normal(stream, 24, dim) / 4, normal(stream, 24)),
            Relu(),
            Linear(normal(stream, labels, 24) / 4, normal(stream, labels) / 4 + np.float32(0.5)),
        ),
        output,
        unit,
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_embeds_as_the_encoder_does(kind: str, tmp_path: Path) -> None:
    encoder, pixels = encoder_of(kind, tmp_path)
    onnx.export(encoder.towers.vision, None, [], tmp_path / "model.onnx", {})
    found = run(tmp_path / "model.onnx", pixels)
    assert {name for name in found if not name.startswith("fact")} == {"embedding"}
    assert found["embedding"].dtype == np.float32
    assert np.abs(found["embedding"] - encoder.encode(pixels)).max() <= 1e-6
    one = run(tmp_path / "model.onnx", pixels[3:4])
    assert np.abs(one["embedding"] - encoder.encode(Views(pixels[3:4]))).max() <= 1e-6


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("output", ["sigmoid", "softmax", "raw"])
def test_a_file_scores_as_the_head_does(output: Output, unit: bool, tmp_path: Path) -> None:
    encoder, pixels = encoder_of("clip", tmp_path)
    network, labels = head(encoder.dim, output, unit, 3), ["a", "b", "c"]
    onnx.export(encoder.towers.vision, network, labels, tmp_path / "model.onnx", {})
    found, expected = run(tmp_path / "model.onnx", pixels)["scores"], network(encoder.project(pixels))
    assert found.shape == (8, 3)
    assert np.abs(found - expected).max() <= 1e-5
    without = Network(network.layers[1:], output, unit)
    assert np.abs(without(encoder.project(pixels)) - expected).max() > 0.01
    assert np.ptp(expected, axis=0).max() > 0.05


def test_the_scores_of_a_picture_classifier_come_with_it(tmp_path: Path) -> None:
    encoder, pixels = encoder_of("vit", tmp_path)
    classifier = encoder.classifier
    metadata = {"identity": encoder.identity, "fit": encoder.view.fit, "interpolation": encoder.view.interpolation}
    onnx.export(encoder.towers.vision, classifier.network, classifier.labels, tmp_path / "model.onnx", metadata)
    found = run(tmp_path / "model.onnx", pixels)
    assert np.abs(found["scores"] - classifier.network(encoder.project(pixels))).max() <= 1e-6
    assert np.abs(found["scores"] - classifier.network(encoder.encode(pixels))).max() > 0.01
    assert json.loads(str(found["fact labels"])) == ["normal", "drawing", "nsfw"]
    assert {name: str(found[f"fact {name}"]) for name in metadata} == metadata


def test_a_curve_is_exact_at_between_and_beyond_its_knots(tmp_path: Path) -> None:
    encoder, _ = encoder_of("vit", tmp_path)
    layer = curves(np.random.RandomState(4), [2, 0])
    knots = layer.x[0]
    between = (knots[:-1] + knots[1:]) / 2
    beyond = np.array([-1e9, -1, 1, 1e9], np.float32)
    column = np.concatenate(
        [knots, np.nextafter(knots, np.float32(-1)), np.nextafter(knots, np.float32(1)), between, beyond]
    )
    rows = np.stack([column[::-1], np.zeros_like(column), column], axis=1).astype(np.float32)
    shares = Affine(np.full(3, 1 / layer.y.max(), np.float32), np.zeros(3, np.float32))  # of the highest rank, 0..1
    network = Network((layer, shares), "raw", unit=False)
    graph = _onnx_graph.OnnxGraph(encoder.towers.vision)
    output = _onnx_graph.write_network(graph, network, "rows")
    model = graph.model(
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["N", 3])], {output: ("N", 3)}, _onnx_graph.inside
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, {"rows": rows})[0] - network(rows)).max() <= 1e-6


def test_weights_too_large_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, pixels = encoder_of("clip", tmp_path)
    file = tmp_path / "out" / "model.onnx"
    file.parent.mkdir()
    monkeypatch.setattr(onnx, "_MOST_INSIDE", 1000)
    onnx.export(encoder.towers.vision, None, [], file, {"identity": "lab/one"})
    assert {path.name for path in file.parent.iterdir()} == {"model.onnx", "model.onnx.data"}
    assert file.stat().st_size < 50_000 < file.with_name("model.onnx.data").stat().st_size
    found = run(file, pixels)
    assert np.abs(found["embedding"] - encoder.encode(pixels)).max() <= 1e-6
    assert str(found["fact identity"]) == "lab/one"


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """As on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("inside", [0, 2**31])
def test_a_write_that_fails_leaves_everything_as_it_was(
    inside: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, _ = encoder_of("clip", tmp_path)
    monkeypatch.setattr(onnx, "_MOST_INSIDE", inside)
    file = tmp_path / "out" / "model.onnx"
    file.parent.mkdir()
    file.write_bytes(b"what was there before")
    with no_file_longer_than(10_000), pytest.raises(WeightsError, match=r"model\.onnx: the model cannot be written"):
        onnx.export(encoder.towers.vision, None, [], file, {})
    assert file.read_bytes() == b"what was there before"
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    encoder, _ = encoder_of("clip", tmp_path)
    (tmp_path / "file").touch()
    for folder in ("nowhere", "file"):
        with pytest.raises(WeightsError, match="cannot be written"):
            onnx.export(encoder.towers.vision, None, [], tmp_path / folder / "model.onnx", {})


def test_an_encoder_still_works_after_its_export(tmp_path: Path) -> None:
    encoder, pixels = encoder_of("siglip", tmp_path)
    before = encoder.encode(pixels)
    onnx.export(encoder.towers.vision, None, [], tmp_path / "model.onnx", {})
    assert np.array_equal(encoder.encode(pixels), before)
    assert np.array_equal(open_encoder(tmp_path / "siglip", identity="again").encode(pixels), before)
