"""`python -m tools.tiny.foreign FOLDER ...`: how the written model does on pictures that other hands drew.

Each folder holds pictures and a `labels.csv` with the columns file, thing, colour. They are measured on only.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tools.tiny.captions import simple_caption
from tools.tiny.draw import view
from tools.tiny.measure import Encoder
from tools.tiny.model import load
from tools.tiny.scenes import PAIRS, Pair
from tools.tiny.things import THINGS


def _labelled(folder: Path) -> Iterator[tuple[Path, Pair]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield folder / row["file"], (row["thing"], row["colour"])


def _opened(path: Path) -> Image.Image:
    """An RGB picture, transparency on white."""
    picture = Image.open(path).convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def _best(encoder: Encoder, paths: Sequence[Path], cropped: bool, candidates: Sequence[str]) -> list[int]:
    side = encoder.model.vision_config.image_size
    pixels = np.stack([view(_opened(path), side, cropped) for path in paths])
    images = encoder.images(torch.from_numpy(pixels))
    return (images @ encoder.texts(candidates).T).argmax(1).tolist()


def _report(encoder: Encoder, folder: Path, cropped: bool) -> dict[str, object]:
    """Shares right among all pairs, and what is taken for what."""
    paths, pairs = zip(*(item for item in _labelled(folder) if item[1] in PAIRS), strict=True)
    found = [PAIRS[i] for i in _best(encoder, paths, cropped, [simple_caption(*pair) for pair in PAIRS])]
    alone = [THINGS[i] for i in _best(encoder, paths, cropped, [simple_caption(thing, None) for thing in THINGS])]
    right: dict[str, list[bool]] = defaultdict(list)
    for (thing, _), guess in zip(pairs, alone, strict=True):
        right[thing].append(thing == guess)
    mistaken = Counter(f"{t} as {guess}" for (t, _), guess in zip(pairs, alone, strict=True) if t != guess)
    tints = Counter(f"{a[1]} as {b[1]}" for a, b in zip(pairs, found, strict=True) if a[1] != b[1])
    return {
        "pictures": len(pairs),
        "thing_and_colour": round(sum(a == b for a, b in zip(pairs, found, strict=True)) / len(pairs), 4),
        "colour": round(sum(a[1] == b[1] for a, b in zip(pairs, found, strict=True)) / len(pairs), 4),
        "thing": round(sum(map(sum, right.values())) / len(pairs), 4),
        "by_thing": {thing: round(sum(right[thing]) / len(right[thing]), 3) for thing in THINGS if right[thing]},
        "mistaken": dict(mistaken.most_common(12)),
        "mistaken_colours": dict(tints.most_common(8)),
    }


def main() -> None:
    """Print a report for every folder and both ways of making a picture square."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny.foreign", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, required=True, help="folder that `python -m tools.tiny` wrote to")
    args = parser.parse_args()
    encoder = Encoder(*load(args.model))
    for folder in args.folders:
        for name, cropped in (("squashed", False), ("cropped", True)):
            print(folder.name, name, json.dumps(_report(encoder, folder, cropped), indent=1))


if __name__ == "__main__":
    main()
