"""From a scene to a picture: style, place, paint, damage, and the square view a model gets."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from tools.tiny.backgrounds import background
from tools.tiny.colours import COLOURS, RGB, confusable, distance, lightness, mix, shade_of
from tools.tiny.scenes import Scene
from tools.tiny.shapes import Part, Points
from tools.tiny.things import DESIGNS, FREELY_TURNED

_BLACK, _WHITE = RGB(0, 0, 0), RGB(255, 255, 255)
_CLEAR = (0, 0, 0, 0)
_RIGID = frozenset({"circle", "square"})  # stretching these would make other things of them


@dataclass(frozen=True)
class Style:
    """How one thing is painted.

    outline: colour of the line around it, None for no line; line: its width as a share of the thing's size.
    under: whether the line surrounds the whole thing only (else every part); hollow: whether bodies stay unfilled.
    accents: whether parts with colours of their own keep them; ink: colour of features, None to cut them out.
    """

    body: RGB
    outline: RGB | None
    line: float
    under: bool
    hollow: bool
    accents: bool
    ink: RGB | None
    tone: RGB


@dataclass(frozen=True)
class Place:
    """Where a thing goes: centre and size (its longer extent) in pixels, turn in degrees."""

    x: float
    y: float
    size: float
    turn: float


def _ink(body: RGB, rng: random.Random) -> RGB | None:
    """Features must be seen on the body: dark on light ones, light on dark ones, or cut out."""
    light = lightness(body)
    if rng.random() < 0.2:
        return None
    if light > 150 or (light > 14 and rng.random() < 0.6):
        return mix(_BLACK, body, rng.uniform(0, 0.2))
    return mix(_WHITE, body, rng.uniform(0, 0.2))


def sample_style(colour: str, ground_is_light: bool, rng: random.Random) -> Style:
    """A manner of painting a thing in `colour`; white ones get a dark line where the ground is light."""
    body = shade_of(colour, rng)
    outline: RGB | None = None
    kind = rng.random()
    if colour == "white":
        grey = mix(_BLACK, _WHITE, rng.choice((0, 0, 0.2, rng.uniform(0, 0.55))))
        outline = grey if ground_is_light or kind < 0.5 else None
    elif kind < 0.28:
        outline = mix(_BLACK, body, rng.uniform(0, 0.15))
    elif kind < 0.45:
        outline = mix(body, _BLACK, rng.uniform(0.25, 0.6))
    elif kind < 0.49:
        outline = _WHITE if colour != "black" else None
    hollow = colour not in ("black", "grey", "white") and rng.random() < 0.07
    line = rng.uniform(0.035, 0.09) if hollow else rng.choice((0.01, rng.uniform(0.008, 0.05)))
    deeper = lightness(body) > 90 if rng.random() < 0.7 else lightness(body) > 200
    tone = mix(body, _BLACK if deeper else _WHITE, rng.uniform(0.2, 0.5))
    return Style(
        body, body if hollow else outline, line, rng.random() < 0.4, hollow, rng.random() < 0.72, _ink(body, rng), tone
    )


def _paint(part: Part, style: Style, accents: dict[str, RGB]) -> tuple[int, ...]:
    """The RGBA fill of a part."""
    if part.paint == "hole" or (part.paint == "ink" and style.ink is None):
        return _CLEAR
    if part.paint == "ink":
        return (*(style.body if style.hollow else style.ink or style.body), 255)
    if part.paint == "tone":
        return _CLEAR if style.hollow else (*style.tone, 255)
    if part.paint == "body" or not style.accents:
        return _CLEAR if style.hollow and part.width is None else (*style.body, 255)
    return (*accents[part.paint], 255)


def _warped(points: Points, phase: NDArray[np.float64], amount: float) -> Points:
    """Points shifted by slow waves, as by an unsteady hand."""
    return points + amount * np.sin(points[:, ::-1] * phase[0] + phase[1])


def _placed(parts: list[Part], place: Place, free: bool, rng: random.Random) -> list[Part]:
    """Parts in pixels: centred, mirrored, stretched, slanted, unsteady, scaled, turned and moved."""
    points = np.concatenate([part.points for part in parts])
    low, high = points.min(0), points.max(0)
    scale = 2 / max(high - low)
    stretch = np.array((rng.uniform(0.82, 1.2), 1.0)) if free else np.ones(2)
    mirror = np.array((rng.choice((-1.0, 1.0)), 1.0))
    slant = rng.uniform(-0.15, 0.15) if free and rng.random() < 0.4 else 0.0
    angle = np.radians(place.turn)
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.array([[1, 0], [slant, 1]]) @ np.array([[c, s], [-s, c]]) * (place.size / 2)
    phase = np.array([[rng.uniform(1, 5), rng.uniform(1, 5)], [rng.uniform(0, 6), rng.uniform(0, 6)]])
    amount = rng.uniform(0.01, 0.05) if rng.random() < 0.5 else 0.0
    shake = rng.uniform(0.004, 0.015) if rng.random() < 0.15 else 0.0
    noise = np.random.default_rng(rng.getrandbits(32))
    result = []
    for part in parts:
        unit = (part.points - (low + high) / 2) * scale * stretch * mirror
        unit = _warped(unit, phase, amount) + shake * noise.standard_normal(unit.shape)
        width = part.width and part.width * scale * place.size / 2
        result.append(replace(part, points=unit @ matrix + (place.x, place.y), width=width))
    return result


def _paint_parts(layer: Image.Image, parts: list[Part], style: Style, size: float) -> None:
    """Paint parts, already in pixels, on a clear RGBA layer."""
    pen = ImageDraw.Draw(layer)
    width = max(1, round(style.line * size))
    accents = {part.paint: _accent(part.paint, style) for part in parts if part.paint in COLOURS}
    paths = [[tuple(point) for point in part.points.tolist()] for part in parts]
    line = style.outline
    if line and style.under:
        for part, path in zip(parts, paths, strict=True):
            if part.width is None and part.paint not in ("ink", "hole"):
                pen.line([*path, path[0], path[1]], fill=(*line, 255), width=2 * width, joint="curve")
    for part, path in zip(parts, paths, strict=True):
        fill = _paint(part, style, accents)
        if part.width is not None:
            pen.line(path, fill=fill, width=max(1, round(part.width)), joint="curve")
            continue
        pen.polygon(path, fill=fill)
        if line and not style.under and part.paint != "ink":
            pen.line([*path, path[0], path[1]], fill=(*line, 255), width=width, joint="curve")


def _accent(name: str, style: Style) -> RGB:
    """A part's own colour, in a shade that depends on the style alone."""
    return shade_of(name, random.Random(str((name, style.line, style.body))))


def _textured(layer: Image.Image, rng: random.Random) -> Image.Image:
    """The layer with its colours graded from one side to the other, or grained; its transparency stays."""
    pixels = np.asarray(layer).astype(np.float32)
    high, wide = pixels.shape[:2]
    if rng.random() < 0.7:
        strength = rng.uniform(-0.35, 0.35)
        ramp = (
            np.linspace(-strength, strength, high)[:, None]
            if rng.random() < 0.6
            else np.linspace(-strength, strength, wide)[None]
        )
        factor = 1 + np.broadcast_to(ramp, (high, wide))
    else:
        grain = np.random.default_rng(rng.getrandbits(32)).standard_normal((high, wide))
        factor = 1 + rng.uniform(0.05, 0.15) * grain
    pixels[..., :3] = np.clip(pixels[..., :3] * factor[..., None], 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def draw_thing(picture: Image.Image, thing: str, style: Style, place: Place, rng: random.Random) -> None:
    """Paint one thing on an RGB picture, in a random design."""
    parts = rng.choice(DESIGNS[thing])(rng)
    fine = 2 if max(picture.size) < 200 and rng.random() < 0.8 else 1
    layer = Image.new("RGBA", (picture.width * fine, picture.height * fine), (*(style.outline or style.body), 0))
    scaled = Place(place.x * fine, place.y * fine, place.size * fine, place.turn)
    _paint_parts(layer, _placed(parts, scaled, thing not in _RIGID, rng), style, scaled.size)
    if fine > 1:
        layer = layer.reduce(fine)
    if rng.random() < 0.06:
        shadow = Image.new("RGBA", layer.size, (60, 60, 60, 0))
        shadow.putalpha(layer.getchannel("A").point(lambda a: a * 0.4))
        offset = round(place.size * 0.04)
        picture.paste(shadow, (offset, offset), shadow)
    if rng.random() < 0.25:
        layer = _textured(layer, rng)
    picture.paste(layer, (0, 0), layer)


def _turn(thing: str, rng: random.Random) -> float:
    """Degrees: mostly a few, at times any."""
    if rng.random() < (0.5 if thing in FREELY_TURNED else 0.06):
        return rng.uniform(0, 360)
    upright = rng.choice((0, 0, 90, -90)) if thing in FREELY_TURNED else 0
    return upright + (0 if rng.random() < 0.35 else rng.gauss(0, 12))


def _places(
    things: list[str], frame: tuple[float, float, float, float], least: float, rng: random.Random
) -> list[Place]:
    """Where things go inside a frame (left, top, width, height): one anywhere, two side by side."""
    left, top, wide, high = frame
    if len(things) == 1:
        usual = max(least, 0.5)
        size = min(wide, high) * (rng.uniform(usual, 0.95) if rng.random() < 0.75 else rng.uniform(least, usual))
        size *= 1 + 0.6 * (max(wide, high) / min(wide, high) - 1) * rng.random() if things[0] in FREELY_TURNED else 1
        slack = [max(wide - size, 0) / 2, max(high - size, 0) / 2]
        beyond = 0.12 * size if rng.random() < 0.15 else 0.0
        middle = rng.uniform(0, 1)
        x, y = (rng.uniform(-1, 1) * (room * middle + beyond) for room in slack)
        return [Place(left + wide / 2 + x, top + high / 2 + y, size, _turn(things[0], rng))]
    across = rng.random() < (0.75 if wide >= high else 0.4)
    cells = [(0.26, 0.5), (0.74, 0.5)] if across else [(0.5, 0.26), (0.5, 0.74)]
    room = min(wide / 2, high) if across else min(wide, high / 2)
    sizes = [room * rng.uniform(0.7, 1.0)] * 2 if rng.random() < 0.6 else [room * rng.uniform(0.55, 1.0) for _ in cells]
    return [
        Place(
            left + wide * cx + rng.gauss(0, 0.04) * wide,
            top + high * cy + rng.gauss(0, 0.04) * high,
            size,
            _turn(thing, rng),
        )
        for (cx, cy), size, thing in zip(cells, sizes, things, strict=True)
    ]


def _clutter(picture: Image.Image, avoid: list[tuple[str, RGB]], rng: random.Random) -> None:
    """A few specks, a frame or a strip of floor, in colours unlike those of the things."""
    names = [name for name in COLOURS if not any(confusable(colour, name) for colour, _ in avoid)]
    fill = shade_of(rng.choice(names), rng)
    wide, high = picture.size
    pen = ImageDraw.Draw(picture)
    kind = rng.random()
    if kind < 0.6:
        for _ in range(rng.randint(1, 6)):
            x, y, r = rng.uniform(0, wide), rng.uniform(0, high), rng.uniform(0.01, 0.035) * min(wide, high)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
    elif kind < 0.8:
        pen.rectangle(
            (0, 0, wide - 1, high - 1), outline=fill, width=max(1, round(rng.uniform(0.01, 0.04) * min(wide, high)))
        )
    elif all(distance(fill, colour) > 90 for _, colour in avoid):
        pen.rectangle((0, high * rng.uniform(0.7, 0.9), wide, high), fill=fill)


def _damaged(picture: Image.Image, rng: random.Random) -> Image.Image:
    """The picture after blur, noise or JPEG; mostly untouched."""
    kind = rng.random()
    if kind < 0.1:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2) * min(picture.size) / 100))
    elif kind < 0.18:
        pixels = np.asarray(picture).astype(np.float32)
        noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(pixels.shape)
        picture = Image.fromarray(np.clip(pixels + noise * rng.uniform(3, 20), 0, 255).astype(np.uint8))
    if rng.random() < 0.25:
        memory = io.BytesIO()
        picture.save(memory, "JPEG", quality=rng.randint(30, 95))
        picture = Image.open(memory)
    return picture


def draw_scene(scene: Scene, cropped: bool, rng: random.Random, least: float = 0.25) -> Image.Image:
    """An RGB picture of the scene, 64..512 pixels wide and high.

    cropped: keep everything within the central square, for a view that cuts off the rest.
    least: smallest size of a lone thing, as a share of the picture's shorter side.
    """
    short = round(64 * 2 ** rng.uniform(0, 2.2))
    ratio = 1.0 if rng.random() < 0.4 else 2 ** rng.uniform(0, 1.0)
    wide, high = rng.choice(((short, round(short * ratio)), (round(short * ratio), short)))
    wide, high = min(wide, 512), min(high, 512)
    things = [(group.thing, group.colour) for group in scene.groups for _ in range(group.count)]
    light = scene.ground == "white" or scene.ground is None
    styles = {group: sample_style(group.colour, light, rng) for group in scene.groups}
    avoid = [(group.colour, style.body) for group, style in styles.items() if not _stands_alone(group.colour, style)]
    picture = background((wide, high), scene.ground, avoid, rng)
    if rng.random() < 0.12:
        _clutter(picture, avoid, rng)
    side = min(wide, high)
    frame = ((wide - side) / 2, (high - side) / 2, side, side) if cropped else (0, 0, wide, high)
    if things:
        places = _places([thing for thing, _ in things], frame, least, rng)
        owners = [style for group, style in styles.items() for _ in range(group.count)]
        for (thing, _), style, place in zip(things, owners, places, strict=True):
            draw_thing(picture, thing, style, place, rng)
    return _damaged(picture, rng)


def _stands_alone(colour: str, style: Style) -> bool:
    """Whether a thing's own line makes it visible on any light ground (white ones with a dark line)."""
    return colour == "white" and style.outline is not None


def view(picture: Image.Image, side: int, cropped: bool) -> NDArray[np.uint8]:
    """The (side, side, 3) picture a model sees: the central square, or the whole squashed into one."""
    if cropped:
        short = min(picture.size)
        left, top = (picture.width - short) // 2, (picture.height - short) // 2
        picture = picture.crop((left, top, left + short, top + short))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))
