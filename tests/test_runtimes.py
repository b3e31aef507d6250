"""Every runtime and precision against what it stands for: the golden files, fp32, and weights as hard as trained ones.

int8 is proved by its gate (`encoders.parity`), and the gate by what it must refuse: one scale for all numbers, ranges
of another encoder, a layer half as large as it should be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import SHAPES, TEXTS, Array, Shape, Weights, far, golden, views, weights, write_open_clip
from moderato.assemble import Workshop
from moderato.encoders import BOUNDS, Encoder, Parity, Ranges, onnx, open_encoder, parity
from moderato.encoders import _quantise as quantise
from moderato.errors import SettingsError, WeightsError
from moderato.settings import read_settings
from moderato.types import Embeddings, Precision, Views
from vits import SIGLIPS, VITS, write_open_clip_siglip, write_timm_vit

openvino = pytest.importorskip("moderato.encoders.openvino", exc_type=ImportError)
from moderato.encoders import _openvino_graph  # noqa: E402

RUNTIMES = ("onnx", "openvino")
MODELS: dict[str, tuple[Callable[..., Path], Any]] = {
    **{name: (write_open_clip, shape) for name, shape in SHAPES.items()},
    **{name: (write_open_clip_siglip, shape) for name, shape in SIGLIPS.items()},
    **{name: (write_timm_vit, shape) for name, shape in VITS.items()},
}
MIDDLE = Shape("middle", dim=128, side=96, patch=16, width=384, layers=6, heads=6, hidden=1536, text_layers=1)
"""Large enough for outliers to be what they are in trained models: few among many."""

HAS_BF16 = "bf16" in openvino.precisions()
SMALL: dict[Precision, float] = {"bf16": BOUNDS["bf16"], "int8": 0.15}
"""Models of some dozen numbers a row have fewer for rounding errors to even out over."""


@dataclass
class Made:
    """A model folder, what to measure its ranges on, and what to judge by."""

    folder: Path
    side: int

    def open(self, runtime: str = "onnx", precision: Precision = "fp32", ranges: Ranges | None = None) -> Encoder:
        return open_encoder(self.folder, identity="tested", runtime=runtime, precision=precision, ranges=ranges)

    @property
    def measured(self) -> Views:
        return Views(views(self.side, 32))

    @property
    def judged(self) -> Views:
        return Views(views(self.side, 48)[32:])

    @cached_property
    def ranges(self) -> Ranges:
        return self.open().collect_ranges([self.measured])

    @cached_property
    def reference(self) -> Embeddings:
        return self.open().encode(self.judged)

    def parity(self, encoder: Encoder) -> Parity:
        return parity(encoder.encode(self.judged), self.reference)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    root = tmp_path_factory.mktemp("runtimes")
    models = {name: Made(write(root / name, shape), shape.side) for name, (write, shape) in MODELS.items()}
    models["middle"] = Made(write_open_clip(root / "middle", MIDDLE), MIDDLE.side)
    models["outliers"] = Made(write_open_clip(root / "outliers", MIDDLE, with_outliers(MIDDLE)), MIDDLE.side)
    return models


@pytest.fixture(params=MODELS)
def model(made: dict[str, Made], request: pytest.FixtureRequest) -> Made:
    return made[request.param]


@pytest.fixture
def quick(made: dict[str, Made]) -> Made:
    return made["quick"]


def with_outliers(shape: Shape) -> Weights:
    """A random model in which a few numbers of every row are 20 to 100 times larger than the others.

    Trained ones have such outliers; these are planted where they are found there: behind the norms, with a middle far
    from 0, in what attention mixes, in the hidden layer. The weights that read them are as much smaller, so that the
    model still sees what it saw.
    """
    stream, tensors, width = np.random.RandomState(1), weights(shape), shape.width
    few = stream.choice(width, 6, replace=False)
    for i in range(shape.layers):
        name = f"visual.transformer.resblocks.{i}"
        for norm, weight, bias in (("ln_1", "attn.in_proj_weight", "attn.in_proj_bias"),
                                   ("ln_2", "mlp.c_fc.weight", "mlp.c_fc.bias")):  # fmt: skip
            size = stream.uniform(20, 100, 6).astype(np.float32)
            middle = 2 * size * stream.choice([-1, 1], 6).astype(np.float32)
            tensors[f"{name}.{norm}.weight"][few] *= size
            tensors[f"{name}.{norm}.bias"][few] = tensors[f"{name}.{norm}.bias"][few] * size + middle
            tensors[f"{name}.{weight}"][:, few] /= size
            tensors[f"{name}.{bias}"] -= tensors[f"{name}.{weight}"][:, few] @ middle
        size = stream.uniform(20, 100, 6).astype(np.float32)
        tensors[f"{name}.attn.in_proj_weight"][2 * width + few] *= size[:, None]
        tensors[f"{name}.attn.in_proj_bias"][2 * width + few] *= size
        tensors[f"{name}.attn.out_proj.weight"][:, few] /= size
        hidden, size = stream.choice(shape.hidden, 12, replace=False), stream.uniform(5, 20, 12).astype(np.float32)
        tensors[f"{name}.mlp.c_fc.weight"][hidden] *= size[:, None]
        tensors[f"{name}.mlp.c_fc.bias"][hidden] *= size
        tensors[f"{name}.mlp.c_proj.weight"][:, hidden] /= size
    return tensors


# -- fp32 is fp32 ----------------------------------------------------------------------------------------------------


def test_openvino_sees_what_the_reference_sees(model: Made, request: pytest.FixtureRequest) -> None:
    shape = MODELS[request.node.callspec.params["model"]][1]
    encoder, pictures = model.open("openvino"), Views(views(model.side))
    with np.load(golden(shape)) as stored:
        reference = dict(stored)
    if "image" in reference:
        assert far(encoder.encode(pictures), reference["image"]) <= 1e-4
    assert far(encoder.encode(pictures), model.open().encode(pictures)) <= 1e-5
    assert far(np.roll(encoder.encode(pictures), 1, axis=0), model.open().encode(pictures)) > 0.5
    assert np.abs(encoder.encode_patches(pictures) - model.open().encode_patches(pictures)).max() <= 1e-5
    if encoder.texts:
        found, expected = encoder.texts.encode(TEXTS), model.open().texts.encode(TEXTS)
        assert np.abs(found - expected).max() <= 1e-5
        assert far(np.roll(found, 1, axis=0), expected) > 0.5


def test_any_number_of_views_goes_through_one_graph(model: Made) -> None:
    encoder, pictures = model.open("openvino"), Views(views(model.side, 17))
    alone = np.vstack([encoder.encode(Views(row[None])) for row in pictures])
    for count in (16, 1, 3, 17, 2, 8):
        assert np.abs(encoder.encode(Views(pictures[:count])) - alone[:count]).max() <= 1e-5


def test_weights_stored_in_16_bits_are_still_there_when_another_batch_comes(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path, SHAPES["quick"], dtype="float16")
    encoder, pictures = open_encoder(folder, runtime="openvino"), Views(views(32, 16))
    expected = open_encoder(folder).encode(pictures)
    for count in (1, 5, 16):
        rubbish = [np.full(2**18, np.nan, np.float32) for _ in range(8)]
        assert np.abs(encoder.encode(Views(pictures[:count])) - expected[:count]).max() <= 1e-5
        del rubbish


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_uses_the_cores_it_was_given(quick: Made, threads: int) -> None:
    code = (
        "import os, sys, pathlib, numpy\n"
        "from moderato.encoders import open_encoder\n"
        "from moderato.encoders import openvino\n"
        "before = set(os.listdir('/proc/self/task'))\n"
        "cores = os.sched_getaffinity(0)\n"
        f"encoder = open_encoder(pathlib.Path({str(quick.folder)!r}), threads={threads}, runtime='openvino')\n"
        "encoder.encode(numpy.zeros((64, 32, 32, 3), numpy.uint8) + 7)\n"
        "new = set(os.listdir('/proc/self/task')) - before\n"
        "pinned = [task for task in new if os.sched_getaffinity(int(task)) != cores]\n"
        "print(len(new), pinned)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    count, pinned = done.stdout.split(maxsplit=1)
    assert pinned.strip() == "[]"
    assert int(count) <= threads + 1, "one hands the work out"


def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """It would, on import: the first thing it does is to keep a number for this user in the home folder."""
    code = (
        "import socket, sys\n"
        "def refused(*given):\n    raise AssertionError('a connection was made')\n"
        "socket.socket.connect = refused\n"
        "from moderato.encoders import openvino\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry') and sys.modules[name]])\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path), "CI": "false"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.rglob("*")) == []


# -- bf16 and int8 are near enough ---------------------------------------------------------------------------------


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has no products of bfloat16")
def test_bf16_is_within_its_bound_and_no_fp32_in_disguise(model: Made) -> None:
    found = model.parity(model.open("openvino", "bf16"))
    assert found.within("bf16")
    assert not found.within("fp32")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_int8_is_near_fp32_on_small_models(model: Made, runtime: str) -> None:
    found = model.parity(model.open(runtime, "int8", model.ranges))
    assert max(found.centred, found.offset) <= SMALL["int8"]
    assert not found.within("fp32")


@pytest.mark.parametrize("name", ["middle", "outliers"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_int8_is_within_its_bound_with_outliers_or_without(made: dict[str, Made], name: str, runtime: str) -> None:
    model = made[name]
    assert model.parity(model.open(runtime, "int8", model.ranges)).within("int8")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_scale_for_all_numbers_is_refused_where_there_are_outliers(
    made: dict[str, Made], runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made["outliers"]
    ranges = model.ranges

    def one_scale(quantiser: Any, name: str) -> quantise.Grid:
        of = ranges.layers[name]
        scale = (of.high.max() - of.low.min()) / 255
        return quantise.Grid(np.full_like(of.low, of.low.min()), np.full_like(of.low, scale))

    monkeypatch.setattr(quantise.Quantiser, "grid", one_scale)
    assert not model.parity(model.open(runtime, "int8", ranges)).within("int8")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_ranges_of_another_encoder_are_refused_by_the_gate_too(made: dict[str, Made], runtime: str) -> None:
    model, other = made["middle"], made["outliers"]
    foreign = Ranges(model.ranges.space, other.ranges.layers)
    assert not model.parity(model.open(runtime, "int8", foreign)).within("int8")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_layer_at_half_its_size_is_refused(
    made: dict[str, Made], runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, right = made["middle"], quantise.Quantiser.layer

    def halved(quantiser: quantise.Quantiser, name: str) -> quantise.Int8 | None:
        layer = right(quantiser, name)
        return replace(layer, step=layer.step / 2) if layer and name == "blocks.3.up" else layer

    monkeypatch.setattr(quantise.Quantiser, "layer", halved)
    assert not model.parity(model.open(runtime, "int8", model.ranges)).within("int8")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_else_is_in_a_batch_changes_nothing(made: dict[str, Made], runtime: str) -> None:
    model = made["middle"]
    encoder, pictures = model.open(runtime, "int8", model.ranges), model.judged
    alone = np.vstack([encoder.encode(Views(row[None])) for row in pictures])
    extreme = Views(np.concatenate([pictures, np.full_like(pictures[:1], 255)]))
    assert far(encoder.encode(pictures), alone) <= 0.01
    assert far(encoder.encode(extreme)[:-1], alone) <= 0.01


def test_openvino_really_computes_in_int8(made: dict[str, Made], monkeypatch: pytest.MonkeyPatch) -> None:
    model, compiled = made["middle"], []
    right = _openvino_graph.openvino.Core.compile_model

    def kept(*given: Any) -> Any:
        compiled.append(right(*given))
        return compiled[-1]

    monkeypatch.setattr(_openvino_graph.openvino.Core, "compile_model", kept)
    for precision, whole in (("fp32", 0), ("int8", 1 + 6 * MIDDLE.layers)):
        model.open("openvino", precision, model.ranges).encode(model.judged)
        facts = [node.get_rt_info() for node in compiled[-1].get_runtime_model().get_ordered_ops()]
        products = [
            fact["runtimePrecision"].astype(str) for fact in facts if "FullyConn" in fact["layerType"].astype(str)
        ]
        assert sum(kind in ("u8", "i8") for kind in products) == whole
        assert len(products) == 1 + 6 * MIDDLE.layers + 1


# -- ranges ----------------------------------------------------------------------------------------------------------


def test_ranges_do_not_depend_on_how_views_are_batched(quick: Made) -> None:
    encoder, pictures = quick.open(), quick.measured
    whole = encoder.collect_ranges([pictures])
    parts = encoder.collect_ranges(Views(pictures[i : i + 5]) for i in range(0, 32, 5))
    assert set(whole.layers) == {"pixels", *(f"blocks.{i}.{layer}" for i in range(2) for layer in
                                             ("query", "key", "value", "out", "up", "down"))}  # fmt: skip
    for name, of in whole.layers.items():
        assert np.allclose(of.low, parts.layers[name].low, atol=1e-5)
        assert np.allclose(of.high, parts.layers[name].high, atol=1e-5)
        assert np.allclose(of.mean, parts.layers[name].mean, atol=1e-3)
        assert (of.low <= of.mean + 1e-5).all()
        assert (of.mean <= of.high + 1e-5).all()


def test_ranges_are_what_layers_read(quick: Made) -> None:
    patches = quick.measured.reshape(32, 4, 8, 4, 8, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 192)
    of = quick.ranges.layers["pixels"]
    assert np.array_equal(of.low, patches.min(axis=0))
    assert np.array_equal(of.high, patches.max(axis=0))
    assert np.allclose(of.mean, patches.mean(axis=0), atol=0.01)


def test_ranges_come_back_from_their_file(quick: Made, tmp_path: Path) -> None:
    ranges = quick.ranges
    ranges.save(tmp_path / "ranges.npz")
    back = Ranges.read(tmp_path / "ranges.npz")
    assert (back.space, back.digest) == (ranges.space, ranges.digest)
    assert [path.name for path in tmp_path.iterdir()] == ["ranges.npz"]
    assert quick.open("onnx", "int8", back).space == quick.open("onnx", "int8", ranges).space
    with pytest.raises(WeightsError, match=r"ranges\.npz: the ranges cannot be written"):
        ranges.save(tmp_path / "nowhere" / "ranges.npz")


@pytest.mark.parametrize("change", [
    lambda arrays: arrays.pop("space"),
    lambda arrays: arrays.update(pixels=np.zeros((2, 3), np.float32)),
    lambda arrays: arrays.update(pixels=np.full((3, 192), np.nan, np.float32)),
    lambda arrays: arrays.update(pixels=np.array([[1], [0], [0]], np.float32)),
    lambda arrays: arrays.update(pixels=np.array(None)),
])  # fmt: skip
def test_a_damaged_file_of_ranges_is_refused(quick: Made, change: Any, tmp_path: Path) -> None:
    quick.ranges.save(tmp_path / "ranges.npz")
    with np.load(tmp_path / "ranges.npz") as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(tmp_path / "ranges.npz", **arrays)
    with pytest.raises(WeightsError, match=r"ranges\.npz: not a whole file of ranges"):
        Ranges.read(tmp_path / "ranges.npz")


@pytest.mark.parametrize("content", [b"", b"no", b"PK\x03\x04"])
def test_what_is_no_file_of_ranges_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "ranges.npz").write_bytes(content)
    for name in ("ranges.npz", "nowhere.npz"):
        with pytest.raises(WeightsError, match="not a whole file of ranges"):
            Ranges.read(tmp_path / name)


def test_ranges_need_pictures(quick: Made) -> None:
    for batches in ([], [Views(quick.measured[:0])]):
        with pytest.raises(SettingsError, match="no picture to measure ranges on"):
            quick.open().collect_ranges(batches)


def test_a_number_that_never_moved_in_measuring_may_move_later(quick: Made) -> None:
    still = quick.open().collect_ranges([Views(np.full_like(quick.measured[:4], 128))])
    encoder = quick.open("onnx", "int8", still)
    assert np.isfinite(encoder.encode(quick.judged)).all()
    assert not quick.parity(encoder).within("int8")


# -- opened as asked, or refused -------------------------------------------------------------------------------------


def test_each_precision_is_another_space(quick: Made) -> None:
    ranges, others = quick.ranges, quick.open().collect_ranges([quick.judged])
    opened = [
        quick.open("onnx"),
        quick.open("onnx", "int8", ranges),
        quick.open("onnx", "int8", others),
        *([quick.open("openvino", "bf16")] if HAS_BF16 else []),
    ]
    assert len({encoder.space for encoder in opened}) == len(opened)
    assert len({encoder.identity for encoder in opened}) == 1
    assert quick.open("openvino").space == quick.open("onnx").space == ranges.space
    assert quick.open("openvino", "int8", ranges).space == quick.open("onnx", "int8", ranges).space


def test_a_precision_that_is_not_offered_is_refused(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="'onnx' has no bf16 on this machine; it offers fp32 and int8"):
        quick.open("onnx", "bf16")
    monkeypatch.setattr(openvino, "has_bf16", lambda: False)
    with pytest.raises(SettingsError, match="'openvino' has no bf16 on this machine; it offers fp32 and int8"):
        quick.open("openvino", "bf16")


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="the CPU's flags are read where Linux lists them")
def test_bf16_is_offered_where_the_cpu_has_it() -> None:
    flags = Path("/proc/cpuinfo").read_text()
    assert ("avx512_bf16" in flags or "amx_bf16" in flags) == HAS_BF16
    assert onnx.precisions() == ("fp32", "int8")


def test_int8_needs_ranges_of_the_very_encoder(made: dict[str, Made]) -> None:
    model = made["quick"]
    with pytest.raises(SettingsError, match="int8 needs ranges .* `moderato bench --pictures FOLDER`"):
        model.open("onnx", "int8")
    with pytest.raises(SettingsError, match="measured for another encoder"):
        model.open("onnx", "int8", made["deep"].ranges)
    foreign = Ranges(model.ranges.space, made["deep"].ranges.layers)
    with pytest.raises(WeightsError, match="the ranges are those of another encoder: 'pixels' does not fit"):
        model.open("onnx", "int8", foreign).encode(model.judged)


def test_the_settings_name_runtime_and_precision(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_RUNTIME", "openvino")
    opened = Workshop(read_settings()).encoder(str(quick.folder))
    assert (opened.runtime, opened.precision) == (openvino, "fp32")
    monkeypatch.setenv("MODERATO_PRECISION", "int8")
    with pytest.raises(SettingsError, match="moderato bench --pictures FOLDER"):
        Workshop(read_settings()).encoder(str(quick.folder))
    monkeypatch.setenv("MODERATO_PRECISION", "int4")
    with pytest.raises(SettingsError, match="MODERATO_PRECISION is 'int4'"):
        read_settings()


# -- the gate --------------------------------------------------------------------------------------------------------


def rows(seed: int, count: int = 16) -> Array:
    return np.random.RandomState(seed).standard_normal((count, 32)).astype(np.float32)


def test_parity_is_relative_to_the_spread_between_pictures() -> None:
    common, apart, error = 10 * rows(1, 1), rows(2) / 100, rows(3) / 1000
    found = parity(Embeddings(common + apart + error), Embeddings(common + apart))
    assert found.centred == pytest.approx(0.1, rel=0.2)
    cosines = np.einsum("nd,nd->n", *(v / np.linalg.norm(v, axis=1, keepdims=True)
                                      for v in (common + apart + error, common + apart)))  # fmt: skip
    assert cosines.min() > 0.9999, "by cosine nothing is lost"


def test_an_offset_common_to_all_shows() -> None:
    reference = rows(1)
    found = parity(Embeddings(reference + 0.5), Embeddings(reference))
    assert found.centred == pytest.approx(0, abs=1e-6)
    assert found.offset == pytest.approx(0.5, rel=0.2)
    assert not found.within("int8")


def test_no_numbers_are_within_no_bound() -> None:
    assert not parity(Embeddings(rows(1) * np.nan), Embeddings(rows(1))).within("int8")
    assert parity(Embeddings(rows(1)), Embeddings(rows(1))).within("fp32")


def test_parity_needs_pictures_that_differ() -> None:
    for few in (rows(1, 7), np.repeat(rows(1, 1), 16, axis=0)):
        with pytest.raises(SettingsError, match="8 or more pictures that differ"):
            parity(Embeddings(few), Embeddings(few))
