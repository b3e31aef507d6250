"""Resizing with wide instructions against Pillow, and Pillow in its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderato.media import _resize
from moderato.media._resize import Rectangle, resize
from moderato.types import Interpolation
from pictures import photo

FILTERS: dict[Interpolation, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
SIZES = [(640, 480), (480, 640), (1920, 1080), (224, 224), (100, 80), (33, 700), (700, 33), (3, 2), (1, 1), (2500, 90)]

needs_simd = pytest.mark.skipif(_resize.simd is None, reason="cykooz-resizer has no wheel here")


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def across_then_down(image: Image.Image, box: Rectangle, side: int, name: Interpolation) -> np.ndarray:
    """By Pillow, in the order that it always had before version 13."""
    wide = image.resize((side, image.height), FILTERS[name], box=(box[0], 0, box[2], image.height))
    return np.asarray(wide.resize((side, side), FILTERS[name], box=(0, box[1], side, box[3])))


def differing(a: np.ndarray, b: np.ndarray) -> tuple[float, int]:
    """The share of values that differ, and by how much at most."""
    steps = np.abs(a.astype(int) - b)
    return float((steps > 0).mean()), int(steps.max())


@needs_simd
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("side", [48, 224, 384])
@pytest.mark.parametrize("size", SIZES)
def test_it_is_pillow_but_for_a_rounding_here_and_there(size: tuple[int, int], side: int, name: Interpolation) -> None:
    image, (width, height) = noise(*size), size
    for box in ((0, 0, width, height), (0.1 * width, 0.2 * height, 0.77 * width, 0.93 * height)):
        expected = across_then_down(image, box, side, name)
        share, most = differing(resize(image, box, side, name), expected)
        assert share <= 0.06
        assert most <= 2
        moved = tuple(value + shift for value, shift in zip(box, (0.02 * width, 0, -0.02 * width, 0), strict=True))
        if width > 1:  # of one pixel there is nothing to move
            assert differing(resize(image, moved, side, name), expected)[0] > 0.1


@needs_simd
def test_the_other_filter_is_another() -> None:
    image, box = photo(640, 480), (0, 0, 640, 480)
    bicubic = resize(image, box, 224, "bicubic")
    assert differing(bicubic, across_then_down(image, box, 224, "bilinear"))[0] > 0.1
    assert differing(resize(image, box, 224, "bilinear"), bicubic)[0] > 0.1


@needs_simd
@pytest.mark.parametrize("strip", [1, 1000, 2**16])
def test_strips_leave_no_seams(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image, box = noise(500, 333), (20.5, 3.25, 499.9, 333)
    whole = resize(image, box, 224, "bicubic")
    monkeypatch.setattr(_resize, "_STRIP", strip)
    assert np.array_equal(resize(image, box, 224, "bicubic"), whole)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_box_within_a_picture_can_be_resized(data: st.DataObject) -> None:
    width, height = (data.draw(st.integers(1, 90)) for _ in range(2))
    edges = []
    for length in (width, height):
        start = data.draw(st.floats(0, length * 0.99))
        edges.append((start, start + data.draw(st.floats(0.01, 1)) * (length - start)))
    (left, right), (top, bottom) = edges
    found = resize(Image.new("RGB", (width, height), (10, 200, 30)), (left, top, right, bottom), 48, "bicubic")
    assert found.shape == (48, 48, 3)
    assert np.abs(found.astype(int) - (10, 200, 30)).max() <= 1


def test_without_it_pillow_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_resize, "simd", None)
    image, box = photo(640, 480), (80.5, 0.0, 560.5, 480.0)
    expected = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC, box=box))
    assert np.array_equal(resize(image, box, 224, "bicubic"), expected)
