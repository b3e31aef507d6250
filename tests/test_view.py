from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image, ImageOps

from moderato.media import Limits, prepare
from moderato.media.view import cut, reduction
from moderato.types import Fit, Frame, View, ViewSpec
from pictures import encoded, photo


def views(image: Image.Image, fit: Fit, side: int = 224) -> list[View]:
    return cut(Frame(image, image.size), ViewSpec(side, fit))


def far(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in steps of 1/255."""
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def whole_then_crop(image: Image.Image, side: int, edge: int | None = None) -> np.ndarray:
    """What Hugging Face's processor does: resize everything (its shorter side to `edge`), then cut the centre."""
    short = min(image.size)
    width, height = (int((edge or side) * length / short) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized.crop((left, top, left + side, top + side)))


@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (1000, 333), (224, 224), (225, 300), (100, 60), (31, 32), (900, 100), (64, 700)]
)
@pytest.mark.parametrize("side", [48, 224])
def test_crop_is_the_reference_but_for_roundings(size: tuple[int, int], side: int) -> None:
    """Most values are the very same, and the others are next to them: tall pictures Pillow resizes in another order."""
    image = photo(*size)
    (view,) = views(image, "crop", side)
    assert view.pixels.shape == (side, side, 3)
    expected = whole_then_crop(image, side)
    assert far(view.pixels, expected) <= 0.3
    assert (view.pixels == expected).mean() >= 0.7
    assert far(np.roll(view.pixels, 1, axis=(0, 1)), expected) > 0.5


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1920, 1080), (1024, 1024)])
def test_crop_of_a_common_photograph_has_hardly_a_rounding(size: tuple[int, int]) -> None:
    image = photo(*size)
    assert far(views(image, "crop")[0].pixels, whole_then_crop(image, 224)) <= 0.01


@pytest.mark.parametrize(("share", "edge"), [(0.875, 256), (0.9, 248), (0.5, 448)])
def test_a_share_of_the_shorter_side_is_kept_as_timm_does_it(share: float, edge: int) -> None:
    image, spec = photo(640, 480), ViewSpec(224, "crop", share=share)
    (view,) = cut(Frame(image, image.size), spec)
    assert far(view.pixels, whole_then_crop(image, 224, edge)) <= 0.01
    kept = 224 / edge * 480
    assert view.box == pytest.approx((320 - kept / 2, 240 - kept / 2, 320 + kept / 2, 240 + kept / 2), abs=2)
    assert str(spec) == f"224 px, crop {share:g}, bicubic"
    least = math.ceil(2 * 1.6 * edge)
    assert reduction((9000, least - 1), spec) == 1
    assert reduction((9000, least), spec) == 2


def test_crop_names_the_middle() -> None:
    (view,) = views(photo(640, 480), "crop")
    assert view.box == pytest.approx((80, 0, 560, 480), abs=2)


def test_squash_shows_everything() -> None:
    image = photo(640, 480)
    (view,) = views(image, "squash")
    assert view.box == (0, 0, 640, 480)
    assert far(view.pixels, np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))) <= 0.01


@pytest.mark.parametrize("size", [(480, 480), (640, 480), (960, 480), (300, 2000), (5000, 480), (1, 900), (9000, 2)])
def test_cover_leaves_no_pixel_unseen(size: tuple[int, int]) -> None:
    seen = np.zeros(size[::-1], dtype=bool)
    boxes = [view.box for view in views(Image.new("RGB", size), "cover")]
    for left, top, right, bottom in boxes:
        seen[top:bottom, left:right] = True
    assert seen.all()
    assert 1 <= len(boxes) <= 8


def test_cover_of_a_square_is_one_view_and_neighbours_overlap() -> None:
    assert len(views(photo(300, 300), "cover")) == 1
    boxes = [view.box for view in views(photo(960, 480), "cover")]
    assert all(left[2] - right[0] >= 480 / 8 - 1 for left, right in itertools.pairwise(boxes))


def test_a_strip_does_not_become_a_giant() -> None:
    (view,) = views(Image.new("RGB", (30_000, 1), "red"), "crop")
    assert view.pixels.shape == (224, 224, 3)


def test_the_scale_of_a_jpeg_follows_from_the_spec_alone() -> None:
    sides = (716, 717, 1433, 1434, 2867, 2868, 9000)
    assert [reduction((side, side), ViewSpec(224)) for side in sides] == [1, 2, 2, 4, 4, 8, 8]
    assert [reduction((side, 9000), ViewSpec(48)) for side in (255, 256, 511, 512)] == [1, 2, 2, 4]


@pytest.mark.parametrize("fit", ["crop", "squash", "cover"])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_another_consumer_leaves_the_views_bit_equal(fit: Fit, name: str) -> None:
    data = encoded(photo(2000, 1500), name)
    spec = ViewSpec(224, fit)
    others = [ViewSpec(48, "crop"), ViewSpec(384, "squash"), ViewSpec(224, "cover", "bilinear")]
    alone = prepare(data, [spec], Limits()).views[spec]
    among = prepare(data, [*others, spec], Limits()).views[spec]
    assert len(alone) == len(among)
    assert all(np.array_equal(a.pixels, b.pixels) and a.box == b.box for a, b in zip(alone, among, strict=True))


@pytest.mark.parametrize("fit", ["crop", "squash", "cover"])
def test_scaled_decoding_stays_within_a_step_of_the_full_one(fit: Fit) -> None:
    image = photo(4000, 3000)
    data = encoded(image, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as opened:
        full = cut(Frame(opened.convert("RGB"), opened.size), ViewSpec(224, fit))
    scaled = prepare(data, [ViewSpec(224, fit)], Limits()).views[ViewSpec(224, fit)]
    control = cut(Frame(image.rotate(2), image.size), ViewSpec(224, fit))
    for a, b, turned in zip(full, scaled, control, strict=True):
        assert far(a.pixels, b.pixels) <= 1
        assert far(a.pixels, turned.pixels) > 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["crop", "squash", "cover"])
def test_a_part_of_a_pixel_at_the_end_of_a_scaled_jpeg_shifts_nothing(fit: Fit, orientation: int) -> None:
    """Of 2873 pixels an eighth is 359.125, which libjpeg fills up to 360: as if the rest were a little smaller."""
    waves = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(waves.resize((3673, 2873), Image.Resampling.BICUBIC), "JPEG", quality=95, exif=exif)
    spec = ViewSpec(224, fit)
    assert reduction((3673, 2873), spec) == 8
    with Image.open(io.BytesIO(data)) as opened:
        upright = ImageOps.exif_transpose(opened)
    full = cut(Frame(upright, upright.size), spec)
    for a, b in zip(full, prepare(data, [spec], Limits()).views[spec], strict=True):
        assert a.box == b.box
        assert far(a.pixels, b.pixels) <= 0.5


def test_boxes_are_in_pixels_of_the_whole_picture_however_it_was_decoded() -> None:
    data = encoded(photo(4000, 3000), "JPEG")
    prepared = prepare(data, [ViewSpec(224, "cover")], Limits())
    boxes = [view.box for view in prepared.views[ViewSpec(224, "cover")]]
    assert prepared.size == (4000, 3000)
    assert boxes == [(0, 0, 3000, 3000), (1000, 0, 4000, 3000)]
