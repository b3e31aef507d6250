"""The GPU's benchmark, as far as it goes without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moderato.media.view import cut
from moderato.types import Frame, ViewSpec
from pictures import photo

torch = pytest.importorskip("torch")
towers = pytest.importorskip("benchmarks.towers")
gpu = pytest.importorskip("benchmarks.gpu")

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("figures", [(192, 2, 3, 64, 32), (96, 5, 4, 48, 14)])
def test_the_operations_counted_are_those_that_torch_does(figures: tuple[int, ...]) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    tower = towers.clip_tower(**dict(zip(("width", "layers", "heads", "dim", "patch"), figures, strict=True)))
    run = gpu.runtime.open_rows(tower, 1)
    views = torch.zeros((3, 224, 224, 3), dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run(views)
    assert counter.get_total_flops() == 3 * towers.flop(tower)


def test_a_vit_l_14_costs_what_is_published_less_what_is_not_computed() -> None:
    """81.01 billion multiplications (open_clip, docs/model_profile.csv); most of the last of 24 blocks is left out."""
    tower = towers.clip_tower(width=1024, layers=24, heads=16, dim=768, patch=14)
    assert 0.96 < towers.flop(tower) / (2 * 81.01e9) < 0.98


def test_drawn_weights_are_the_same_each_time_and_tell_views_apart() -> None:
    tower = towers.clip_tower(width=192, layers=2, heads=3, dim=64, patch=32)
    assert np.array_equal(tower.read("class"), tower.read("class"))
    rows = gpu.runtime.open_vision(tower, 1)(np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8))
    assert np.isfinite(rows).all()
    assert np.linalg.norm(rows - rows.mean(axis=0), axis=1).min() > 1e-3


@pytest.mark.parametrize("size", [(640, 480), (333, 500), (224, 224)])
def test_the_device_cuts_nearly_the_views_that_the_cores_cut(size: tuple[int, int]) -> None:
    picture = photo(*size, seed=5)
    (expected,) = cut(Frame(picture, picture.size), ViewSpec(224, "crop", "bicubic"))
    found = gpu.cropped(torch.from_numpy(np.array(picture)).permute(2, 0, 1), 224).numpy()
    assert found.shape == expected.pixels.shape
    assert np.abs(found.astype(float) - expected.pixels).mean() <= 1


@pytest.mark.timeout(300)
def test_it_runs_without_a_gpu(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--rounds", "2", "--json", tmp_path / "rates.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nvJPEG is left out" in done.stdout
    rates = json.loads((tmp_path / "rates.json").read_text())["rates"]
    assert all(value > 0 for rate in rates for value in rate["rates"])
    for part in ("embeddings/s", "already there", "transformers", "TFLOP/s", "prepared/s", "encoded/s", "both/s"):
        assert [rate for rate in rates if part in rate["what"]], part
