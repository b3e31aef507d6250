"""What is measured against one another: our encoder in every runtime and precision, and transformers' own model."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import CLIPModel
from transformers.utils import logging

from benchmarks.pictures import jpeg, prepared
from moderato import plugins
from moderato.assemble import Workshop
from moderato.encoders import Encoder, open_encoder
from moderato.moderator import Moderator
from moderato.policy import read_policy
from moderato.settings import Settings

_DRAWN, _CALIBRATED = (640, 480), 16

LABELS = ["nsfw", "sfw"]
"""What pictures are judged by: two labels, whose texts are encoded once."""
THREADS = len(os.sched_getaffinity(0))
"""Cores that each side may use."""


@dataclass(frozen=True)
class Side:
    """An encoder in a runtime and a precision."""

    runtime: str
    precision: str
    encoder: Encoder

    @property
    def about(self) -> dict[str, str]:
        """As a result says what it is about."""
        return {"runtime": self.runtime, "precision": self.precision}

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"


def sides(checkpoint: Path, only: Collection[tuple[str, str]] = ()) -> list[Side]:
    """Every runtime that is installed, in every precision that it offers on this machine, or `only` some of them.

    int8 is chosen by ranges of drawn pictures: speed does not depend on them.
    """
    exact = open_encoder(checkpoint, identity="bench", threads=THREADS)
    files = [jpeg(_DRAWN, seed) for seed in range(_CALIBRATED)]
    ranges = exact.collect_ranges([prepared(exact.view, files)])
    return [
        Side(
            runtime,
            precision,
            open_encoder(
                checkpoint,
                identity="bench",
                threads=THREADS,
                runtime=runtime,
                precision=precision,
                ranges=ranges if precision == "int8" else None,
            ),
        )
        for runtime in plugins.names("moderato.encoders")
        for precision in plugins.load("moderato.encoders", runtime).precisions()
        if not only or (runtime, precision) in only
    ]


def moderator(checkpoint: Path, side: Side) -> Moderator:
    """What judges by a side's encoder; its texts are kept beside the weights."""
    heads = Workshop(Settings(data=checkpoint / "data")).head
    return Moderator(
        read_policy("demo"), lambda _: side.encoder, heads, lambda _: (), encoder=str(checkpoint), threads=THREADS
    )


def transformers_model(checkpoint: Path) -> CLIPModel:
    """The reference, in float32."""
    logging.disable_progress_bar()
    torch.set_num_threads(THREADS)
    return CLIPModel.from_pretrained(checkpoint).eval()
