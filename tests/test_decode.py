from __future__ import annotations

import base64
import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from moderato.errors import DecodeError, LimitError, Unscannable
from moderato.media.decode import Limits, Picture
from pictures import animation, encoded, photo

LIMITS = Limits()
STILLS = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP", "TIFF")


def first(data: bytes, limits: Limits = LIMITS) -> np.ndarray:
    return np.asarray(next(Picture(data, limits).frames()).image)


def reason(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(Unscannable) as caught:
        list(Picture(data, limits).frames())
    assert str(caught.value).startswith(caught.value.code)
    return caught.value.code


@pytest.mark.parametrize("name", STILLS)
def test_every_still_format_gives_one_upright_rgb_frame(name: str) -> None:
    picture = Picture(encoded(photo(), name), LIMITS)
    (frame,) = picture.frames()
    assert (frame.image.mode, frame.image.size, frame.size, frame.time) == ("RGB", (320, 240), (320, 240), 0.0)
    assert np.abs(np.asarray(frame.image, float) - np.asarray(photo(), float)).mean() < 12


def heic_file() -> bytes:
    """A drawn HEIC still of 64 x 48 pixels; it lies here because pi_heif decodes and does not encode."""
    return base64.b64decode(Path(__file__).with_name("sample.heic.b64").read_text())


def test_heic_is_decoded() -> None:
    assert first(heic_file()).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (90, 255), (90, 90, 90)),
        ("LA", (0, 0), (255, 255, 255)),
        ("P", 3, None),
        ("RGB", (10, 200, 30), (10, 200, 30)),
        ("RGBA", (10, 200, 30, 255), (10, 200, 30)),
        ("RGBA", (10, 200, 30, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("I;16", 40_000, (156, 156, 156)),
    ],
)
def test_every_png_mode(mode: str, colour: object, expected: tuple[int, int, int] | None) -> None:
    image = Image.new(mode, (40, 30), colour)
    pixel = expected or image.convert("RGB").getpixel((0, 0))
    assert tuple(first(encoded(image))[5, 5]) == pixel


def test_a_palette_with_a_transparent_entry_lies_on_white() -> None:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((5, 5), 1)
    pixels = first(encoded(image, transparency=0))
    assert tuple(pixels[0, 0]) == (255, 255, 255)
    assert tuple(pixels[5, 5]) == (0, 255, 0)


def test_16_bit_rgb_png() -> None:
    row = b"\0" + struct.pack(">3H", 0xFFFF, 0x8080, 0) * 8

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", 8, 4, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    assert tuple(first(data)[0, 0]) == (255, 128, 0)


@pytest.mark.parametrize(("mode", "values"), [("I;16", [0, 65535]), ("F", [0.0, 1.0]), ("F", [0.0, 255.0])])
def test_scans_in_16_bits_and_floats_keep_their_greys(mode: str, values: list[float]) -> None:
    image = Image.new(mode, (40, 30), values[1])
    image.paste(values[0], (0, 0, 20, 30))
    pixels = first(encoded(image, "TIFF"))
    assert (pixels[5, 5].tolist(), pixels[5, 35].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_cmyk_jpeg_has_its_colours() -> None:
    red = Image.new("RGB", (40, 30), (220, 20, 20)).convert("CMYK")
    pixel = first(encoded(red, "JPEG"))[5, 5].astype(int)
    assert pixel[0] > 180
    assert pixel[1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(name: str, orientation: int) -> None:
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    picture = Picture(encoded(image, name, exif=exif), LIMITS)
    (frame,) = picture.frames(reduction=2)
    pixels = np.asarray(frame.image).astype(int)
    height, width = pixels.shape[:2]
    assert picture.size == frame.size == ((64, 32) if orientation < 5 else (32, 64))
    quarters = {
        (r, c): pixels[height // 4 + r * height // 2, width // 4 + c * width // 2] for r in (0, 1) for c in (0, 1)
    }
    red = {place for place, pixel in quarters.items() if pixel[0] > 150 and pixel[2] < 100}
    assert red == {expected}


def test_the_orientation_of_a_png_may_follow_its_pixels() -> None:
    image = Image.new("RGB", (64, 32), "blue")
    image.paste("red", (0, 0, 64, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    plain = encoded(image)
    picture = Picture(plain[:-12] + chunk + plain[-12:], LIMITS)
    (frame,) = picture.frames()
    assert picture.size == frame.image.size == (32, 64)
    assert frame.image.getpixel((4, 32)) == (0, 0, 255)
    assert frame.image.getpixel((28, 32)) == (255, 0, 0)


@pytest.mark.parametrize("name", STILLS)
def test_frames_may_be_asked_for_again(name: str) -> None:
    picture = Picture(encoded(photo(), name), LIMITS)
    (once,), (again,), (smaller,) = picture.frames(), picture.frames(), picture.frames(reduction=2)
    assert np.array_equal(np.asarray(once.image), np.asarray(again.image))
    assert smaller.image.width * smaller.reduction == 320
    assert smaller.reduction == (2 if picture.can_scale else 1)


def test_a_damaged_exif_block_does_not_hide_the_picture() -> None:
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert first(data).shape == (240, 320, 3)


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_give_a_spread_of_frames_with_first_last_and_times(name: str) -> None:
    frames = list(Picture(animation(name), Limits(max_frames=5)).frames())
    greys = [int(np.asarray(frame.image)[4, 4, 0]) for frame in frames]
    assert greys == pytest.approx([0, 60, 120, 168, 228], abs=3)
    assert [frame.time for frame in frames] == pytest.approx([0.0, 0.5, 1.0, 1.4, 1.9], abs=0.02)


def test_pages_of_a_tiff_are_all_candidates() -> None:
    pages = [Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue")]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert len(list(Picture(data, LIMITS).frames())) == 3


def test_a_later_page_is_measured_like_the_first() -> None:
    pages = [Image.new("RGB", (30, 20)), Image.new("RGB", (300, 200))]
    data = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert [frame.size for frame in Picture(data, LIMITS).frames()] == [(30, 20), (300, 200)]
    assert reason(data, Limits(max_pixels=10_000)) == "too_many_pixels"


@pytest.mark.parametrize("name", STILLS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_file_is_never_half_a_picture(name: str, share: float) -> None:
    data = encoded(photo(), name)
    assert reason(data[: int(len(data) * share)]) in ("truncated", "corrupt", "not_a_picture")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "WEBP", "AVIF", "BMP"])
def test_a_cut_in_the_middle_is_called_truncated(name: str) -> None:
    data = encoded(photo(), name)
    assert reason(data[: len(data) * 2 // 3]) == "truncated"


def test_a_truncated_heic_is_truncated() -> None:
    data = heic_file()
    assert reason(data[: len(data) // 2]) == "truncated"


def test_an_animation_cut_off_is_truncated() -> None:
    data = animation("GIF")
    assert reason(data[: len(data) * 2 // 3]) == "truncated"


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", "empty", "no bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_a_picture", "HTML"),
        (b"\n\n  <HTML>", "not_a_picture", "HTML"),
        (b'{"error": "no"}', "not_a_picture", "JSON"),
        (b"%PDF-1.7", "not_a_picture", "PDF"),
        (b"<svg xmlns=''/>", "not_a_picture", "SVG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not_a_picture", "video"),
        (b"just text", "not_a_picture", "text"),
        (bytes(range(256)), "not_a_picture", "unknown"),
        (b"\xff\xd8\xff\xe0", "truncated", "JPEG"),
    ],
)
def test_what_is_no_picture_says_what_it_is(data: bytes, code: str, words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        Picture(data, LIMITS)
    assert caught.value.code == code


def test_limits_are_checked_on_the_header() -> None:
    huge = bytearray(encoded(Image.new("1", (8, 8))))
    huge[16:24] = struct.pack(">2I", 30_000, 30_000)
    huge[29:33] = struct.pack(">I", zlib.crc32(bytes(huge[12:29])))
    assert reason(bytes(huge)) == "too_many_pixels"
    assert reason(encoded(photo()), Limits(max_pixels=1000)) == "too_many_pixels"
    assert reason(encoded(photo()), Limits(max_side=100)) == "too_wide"
    assert reason(encoded(photo()), Limits(max_bytes=100)) == "too_many_bytes"


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG"])
def test_endless_animations_are_refused_before_they_are_decoded(name: str) -> None:
    data = animation(name, frames=20)
    assert reason(data, Limits(max_animation_frames=10)) == "too_many_frames"
    assert reason(data, Limits(max_animation_pixels=20_000)) == "too_many_pixels"


def test_a_gif_of_a_million_frames_is_counted_quickly() -> None:
    frame = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    data = b"GIF89a" + struct.pack("<2H3B", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame * 1_000_000 + b";"
    assert reason(data) == "too_many_frames"


def test_a_bomb_of_text_chunks_is_one_reason() -> None:
    bomb = zlib.compress(b"a" * 90_000_000)
    body = b"Comment\0\0" + bomb
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = encoded(photo())
    assert reason(data[:33] + chunk + data[33:]) == "corrupt"


@pytest.mark.parametrize("name", STILLS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damage_anywhere_decodes_or_is_unscannable(name: str, data: st.DataObject) -> None:
    file = bytearray(encoded(photo(64, 48), name))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    try:
        frames = list(Picture(bytes(file), Limits(max_pixels=1_000_000, max_animation_pixels=10_000_000)).frames())
    except Unscannable:
        return
    assert all(frame.image.mode == "RGB" for frame in frames)


@given(st.binary(max_size=400))
def test_any_bytes_decode_or_are_unscannable(data: bytes) -> None:
    with contextlib.suppress(DecodeError, LimitError):
        list(Picture(data, LIMITS).frames())


def test_the_frames_outlive_the_picture() -> None:
    frames = list(Picture(animation("GIF", frames=3), LIMITS).frames())
    assert [int(np.asarray(frame.image)[0, 0, 0]) for frame in frames] == [0, 12, 24]
