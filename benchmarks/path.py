"""JPEG bytes → probabilities: the whole path in each runtime and precision against the thesis's, in turns.

The thesis's pipeline is transformers' model and processor at batch 1, where the texts go through their tower with each
picture. A second side has what one would write next: texts encoded once, 32 pictures a batch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

from benchmarks.pictures import jpeg
from benchmarks.sides import LABELS, Side, moderator, sides, transformers_model
from benchmarks.timing import Result, alternating_each, told
from benchmarks.weights import NAMES
from moderato.moderator import Moderator

_IDS = ((49406, 1, 2, 49407), (49406, 3, 4, 49407))
_SMALL, _CAMERA = (640, 480), (4000, 3000)
_FILES = 4


@dataclass(frozen=True)
class _Load:
    """Pictures of a size, and how many each side takes in a turn: the slow ones fewer, so that turns stay short."""

    size: tuple[int, int]
    ours: int
    thesis: int
    batch: int


_LOADS = {
    "vit-b-32": (_Load(_SMALL, ours=64, thesis=8, batch=32), _Load(_CAMERA, ours=32, thesis=4, batch=8)),
    "vit-l-14": (_Load(_SMALL, ours=8, thesis=2, batch=8),),
}


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture."""
    ours, model = sides(checkpoint), transformers_model(checkpoint)
    processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
    return [
        result
        for load in _LOADS[checkpoint.name]
        for result in _compare(checkpoint, load, rounds, ours, _Transformers(model, processor))
    ]


class _Transformers:
    """The other sides."""

    def __init__(self, model: CLIPModel, processor: CLIPImageProcessorPil) -> None:
        self._model = model
        self._processor = processor
        self._ids = torch.tensor(_IDS)
        with torch.inference_mode():
            texts = model.get_text_features(input_ids=self._ids)
        texts = getattr(texts, "pooler_output", texts)
        self._texts = texts / texts.norm(dim=1, keepdim=True)

    def thesis(self, files: Sequence[bytes]) -> None:
        """A picture at a time, texts and all."""
        for file in files:
            with torch.inference_mode():
                self._model(input_ids=self._ids, **self._views([file])).logits_per_image.softmax(dim=1)

    def batched(self, files: Sequence[bytes]) -> None:
        """All of them at once, against texts that are there."""
        with torch.inference_mode():
            rows = self._model.get_image_features(**self._views(files))
            rows = getattr(rows, "pooler_output", rows)
            scale = self._model.logit_scale.exp()
            (scale * (rows / rows.norm(dim=1, keepdim=True)) @ self._texts.T).softmax(dim=1)

    def _views(self, files: Sequence[bytes]) -> dict[str, torch.Tensor]:
        pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        return dict(self._processor(pictures, return_tensors="pt"))


class _Judged:
    """A side of ours, which says how much of its time it was encoding; decoding goes on meanwhile."""

    def __init__(self, moderator: Moderator) -> None:
        self._moderator = moderator
        self._shares: list[float] = []

    def judge(self, files: Sequence[bytes]) -> None:
        """All of them."""
        before, began = self._moderator.times.seconds["encode"], perf_counter()
        for answer in self._moderator.classify_many(files, LABELS):
            assert not answer.unscannable
        self._shares.append((self._moderator.times.seconds["encode"] - before) / (perf_counter() - began))

    @property
    def note(self) -> str:
        """The median of the rounds that count."""
        return told(median(self._shares[1:]), "share")


def _compare(checkpoint: Path, load: _Load, rounds: int, ours: Sequence[Side], theirs: _Transformers) -> list[Result]:
    files = [jpeg(load.size, seed) for seed in range(_FILES)]
    judged = [_Judged(moderator(checkpoint, side)) for side in ours]
    thesis, batched, *own = alternating_each(
        rounds,
        (load.thesis, lambda: theirs.thesis(_some(files, load.thesis))),
        (load.batch, lambda: theirs.batched(_some(files, load.batch))),
        *((load.ours, partial(side.judge, _some(files, load.ours))) for side in judged),
    )
    encoder, size = NAMES[checkpoint.name], f"{load.size[0]} x {load.size[1]}"
    about = {"encoder": encoder, "size": size}
    what = f"{encoder}, JPEG of {size} to probabilities"
    return [
        Result(f"{what}, the thesis's pipeline", thesis, about={**about, "side": "thesis"}),
        Result(
            f"{what}, transformers with texts kept, batch {load.batch}",
            batched,
            "the thesis's pipeline",
            thesis,
            about={**about, "side": "batched"},
        ),
        *(
            Result(
                f"{what}, {side}", seconds, "the thesis's pipeline", thesis, timed.note, about={**about, **side.about}
            )
            for side, timed, seconds in zip(ours, judged, own, strict=True)
        ),
    ]


def _some(files: Sequence[bytes], number: int) -> list[bytes]:
    return [files[n % len(files)] for n in range(number)]
