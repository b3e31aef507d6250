"""The runtime `torch` against the runtime `onnx`: the same towers, the same views, errors relative to their spread.

Each bound has a control that must break it.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from models import LAYOUTS, MISTAKES, SHAPES, TEXTS, Array, far, views, weights, write_open_clip
from moderato import plugins
from moderato.encoders import Encoder, onnx, open_encoder, parity
from moderato.encoders._tensors import Tensors
from moderato.errors import MissingExtra, SettingsError
from moderato.types import Precision, Rows, Views, unit
from vits import SIGLIP_LAYOUTS, SIGLIPS, VIT_LAYOUTS, VITS

torch = pytest.importorskip("torch")
runtime = plugins.load("moderato.encoders", "torch")

pytestmark = pytest.mark.reference

SPREAD = 1e-4
"""What fp32 may differ from onnx's, relative to the spread between pictures (`models.far`)."""
ROUNDED: dict[Precision, float] = {"bf16": 0.025, "fp16": 0.004}
"""The same of numbers of 8 and 11 bits (`Parity`): measured are up to 0.019 and 0.0027, on real sizes as on small."""

needs_bf16 = pytest.mark.skipif("bf16" not in runtime.precisions(), reason="no instructions for bf16 here")
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="PyTorch's compiler needs a C++ compiler")

KINDS = [
    *((shape, layout, write) for shape in SHAPES.values() for layout, write in LAYOUTS.items()),
    *((shape, layout, write) for shape in SIGLIPS.values() for layout, write in SIGLIP_LAYOUTS.items()),
    *((shape, layout, write) for shape in VITS.values() for layout, write in VIT_LAYOUTS.items()),
]


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0].name}-{kind[1]}")
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Each shape in each layout, on the runtime torch."""
    shape, layout, write = request.param
    folder = write(tmp_path_factory.mktemp("torch") / layout, shape)
    return open_encoder(folder, identity="one", threads=2, runtime="torch")


@pytest.fixture(scope="module")
def quick_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_open_clip(tmp_path_factory.mktemp("torch"), SHAPES["quick"])


@pytest.fixture(scope="module")
def quick(quick_folder: Path) -> Encoder:
    return open_encoder(quick_folder, identity="quick", runtime="torch")


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def seen(encoder: Encoder, count: int = 17) -> Views:
    return Views(views(encoder.view.side, count))


def by_onnx(encoder: Encoder, pictures: Views) -> Rows:
    return onnx.open_vision(encoder.towers.vision, 2)(pictures)


# -- right ---------------------------------------------------------------------------------------------------------


def test_rows_are_those_of_onnx(encoder: Encoder) -> None:
    rows = encoder.project(seen(encoder))
    assert rows.dtype == np.float32
    assert far(rows, by_onnx(encoder, seen(encoder))) <= SPREAD


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows(mistake: str, quick: Encoder, tmp_path: Path) -> None:
    other = open_encoder(write_open_clip(tmp_path, *MISTAKES[mistake](SHAPES["quick"])), identity="x", runtime="torch")
    assert far(other.project(seen(quick)), by_onnx(quick, seen(quick))) > 50 * SPREAD


@pytest.mark.parametrize("precision", [pytest.param("bf16", marks=needs_bf16), "fp16"])
def test_fewer_bits_are_near(encoder: Encoder, precision: Precision) -> None:
    """fp16 is offered on CUDA alone, since CPUs are slow at it; they can do it."""
    rows = runtime.open_vision(encoder.towers.vision, 2, precision)(seen(encoder))
    assert rows.dtype == np.float32
    found = parity(unit(Rows(rows)), unit(by_onnx(encoder, seen(encoder))))
    assert found.within(precision)
    assert max(found.centred, found.offset) <= ROUNDED[precision]
    assert found.centred > 5 * SPREAD, "computed in float32 after all"


def test_weights_of_four_bits_are_not_near(quick: Encoder, tmp_path: Path) -> None:
    """The control of bf16's bound."""
    kind = ml_dtypes.float8_e4m3fn
    coarse = {name: tensor.astype(kind).astype(np.float32) for name, tensor in weights(SHAPES["quick"]).items()}
    other = open_encoder(write_open_clip(tmp_path, SHAPES["quick"], coarse), identity="coarse", runtime="torch")
    found = parity(other.encode(seen(quick)), unit(by_onnx(quick, seen(quick))))
    assert found.centred > 2 * max(ROUNDED.values())


def test_patches_are_those_of_onnx(encoder: Encoder) -> None:
    found = encoder.project_patches(seen(encoder, 3))
    expected = onnx.open_patches(encoder.towers.vision, 2)(seen(encoder, 3))
    assert found.shape == expected.shape
    assert far(flat(found), flat(expected)) <= SPREAD
    assert far(flat(found.swapaxes(1, 2)), flat(expected)) > 50 * SPREAD


def flat(patches: Array) -> Array:
    return patches.reshape(-1, patches.shape[-1])


def test_texts_are_those_of_onnx(encoder: Encoder) -> None:
    tower = encoder.towers.text
    if tower is None:
        pytest.skip("a picture classifier reads no texts")
    for length in (tower.context, tower.context // 2):
        ids = np.random.default_rng(1).integers(0, tower.vocabulary, (7, length))
        found, expected = runtime.open_text(tower, 2)(ids), onnx.open_text(tower, 2)(ids)
        assert far(found, expected) <= SPREAD
        assert far(np.roll(found, 1, axis=0), expected) > 50 * SPREAD
    assert np.linalg.norm(encoder.texts.encode(TEXTS), axis=1) == pytest.approx(1, abs=1e-5)


# -- however it is asked --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=needs_bf16)])
def test_any_number_of_views_gives_the_same_rows(quick: Encoder, precision: str) -> None:
    run = runtime.open_vision(quick.towers.vision, 2, precision)
    whole = run(seen(quick))
    near = SPREAD if precision == "fp32" else ROUNDED["bf16"]
    for count in range(1, 18):
        rows = run(seen(quick)[:count])
        assert rows.shape == (count, quick.dim)
        assert np.abs(rows - whole[:count]).max() <= near * np.abs(whole).max()


def test_many_views_go_in_pieces(quick: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = quick.project(seen(quick))
    monkeypatch.setattr(runtime, "_MOST", 4)
    assert np.abs(quick.project(seen(quick)) - whole).max() <= 1e-5


def test_no_views_no_rows(quick: Encoder) -> None:
    assert quick.encode(seen(quick)[:0]).shape == (0, quick.dim)


@pytest.mark.filterwarnings("error")
def test_views_may_be_read_only_and_need_not_lie_in_one_piece(quick: Encoder) -> None:
    turned = seen(quick)[::2, :, ::-1]
    turned.flags.writeable = False
    assert np.array_equal(quick.project(turned), quick.project(Views(turned.copy())))


def test_threads_may_call_at_once(quick: Encoder) -> None:
    run = runtime.open_vision(quick.towers.vision, 2)
    alone = run(seen(quick))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(run, [seen(quick)] * 40))
    assert all(np.abs(rows - alone).max() <= 1e-5 for rows in found)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_uses_the_cores_it_was_given(quick: Encoder, threads: int) -> None:
    runtime.open_vision(quick.towers.vision, threads)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == torch.get_num_threads() == threads


def test_float32_is_multiplied_as_float32(quick: Encoder) -> None:
    torch.set_float32_matmul_precision("high")
    runtime.open_vision(quick.towers.vision, 1)
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("open_part", [runtime.open_vision, runtime.open_patches])
def test_the_file_is_let_go_once_the_weights_are_read(
    quick: Encoder, open_part: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    read, release = Tensors.read, Tensors.release
    monkeypatch.setattr(Tensors, "read", lambda self, ref: (done.append("read"), read(self, ref))[1])
    monkeypatch.setattr(Tensors, "release", lambda self: (done.append("release"), release(self))[1])
    run = open_part(quick.towers.vision, 1)
    assert done[-1] == "release"
    assert "read" in done
    done.clear()
    run(seen(quick))
    assert done == []


# -- compiled ------------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PyTorch's compiler remembers nothing, neither here nor on disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch._dynamo.reset()


@needs_compiler
@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's compiler, about PyTorch
@pytest.mark.timeout(300)
def test_it_is_compiled_once_for_any_number_of_views(quick: Encoder) -> None:
    from torch._dynamo.utils import counters

    tower = replace(quick.towers.vision, layers=1)  # a compiler takes its time
    run = runtime.open_rows(tower, 2)
    counters.clear()
    compiled = runtime._compiled(run, tower)
    assert compiled is not run
    for count in (1, 2, 3, 8, 17):
        pictures = torch.from_numpy(seen(quick, count)).to(runtime.device())
        assert (compiled(pictures) - run(pictures)).abs().max() <= 1e-5
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.usefixtures("fresh_cache")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_a_compiler_it_runs_all_the_same_and_says_so(
    quick: Encoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/no/such/compiler",))
    monkeypatch.setattr("torch._inductor.cpp_builder.is_gcc", lambda *_: False)
    run = runtime.open_rows(quick.towers.vision, 2)
    with caplog.at_level(logging.WARNING):
        assert runtime._compiled(run, quick.towers.vision) is run
    assert "runs uncompiled" in caplog.text


# -- clear when not --------------------------------------------------------------------------------------------------


def test_a_precision_that_is_not_offered_is_refused(quick_folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"'torch' has no int8 on this machine; it offers fp32"):
        open_encoder(quick_folder, runtime="torch", precision="int8")


@needs_bf16
def test_an_encoder_in_another_precision_is_another_space(quick_folder: Path) -> None:
    exact, rounded = (open_encoder(quick_folder, runtime="torch", precision=name) for name in ("fp32", "bf16"))
    assert exact.space != rounded.space
    assert 1e-4 < np.abs(exact.encode(seen(exact)) - rounded.encode(seen(exact))).max() < 0.1


def test_fp32_is_always_offered_and_fp16_on_cuda_alone() -> None:
    offered = runtime.precisions()
    assert offered[0] == "fp32"
    assert ("fp16" in offered) == torch.cuda.is_available()


def test_without_torch_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "moderato.encoders.torch")
    with pytest.raises(MissingExtra, match=r"moderato\[torch\]"):
        plugins.load("moderato.encoders", "torch")
