"""`python -m tools.tiny.samples`: draw the pictures that the demo shows, and one that is cut off in its middle."""

from __future__ import annotations

import io
import random
from pathlib import Path

from PIL import Image
from tools.tiny.draw import Place, draw_thing, sample_style

_OUT = Path(__file__).parents[2] / "src" / "moderato" / "samples"
_SIZE = (480, 360)
_SAMPLES = {  # file: thing, colour, ground, turn in degrees, which of the designs
    "knife": ("knife", "grey", "white", 30, 2),
    "pistol": ("pistol", "black", "#fdf3d8", 0, 7),
    "bottle": ("bottle", "green", "white", 8, 7),
    "cigarette": ("cigarette", "orange", "#dfeefc", 20, 7),
    "skull": ("skull", "white", "#5b2a86", 0, 7),
    "cat": ("cat", "orange", "white", 0, 7),
    "fish": ("fish", "blue", "#fff3a0", 0, 7),
    "house": ("house", "red", "#d9f2d9", 0, 7),
    "tree": ("tree", "green", "white", 0, 7),
}
_CUT = "tree"


def main() -> None:
    """Write all of them, the same every time."""
    _OUT.mkdir(parents=True, exist_ok=True)
    for name, (thing, colour, ground, turn, design) in _SAMPLES.items():
        picture = _drawn(thing, colour, ground, turn, design)
        if name == _CUT:
            memory = io.BytesIO()
            picture.save(memory, "JPEG", quality=85)
            (_OUT / "cut-off.jpg").write_bytes(memory.getvalue()[: memory.tell() // 2])
        else:
            picture.quantize(64).save(_OUT / f"{name}.png", optimize=True)


def _drawn(thing: str, colour: str, ground: str, turn: float, design: int) -> Image.Image:
    rng = random.Random(f"{thing} {design}")
    picture = Image.new("RGB", (2 * _SIZE[0], 2 * _SIZE[1]), ground)
    style = sample_style(colour, ground_is_light=ground != "#5b2a86", rng=rng)
    place = Place(picture.width / 2, picture.height / 2, 0.72 * picture.height, turn)
    draw_thing(picture, thing, style, place, rng)
    return picture.resize(_SIZE, Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
