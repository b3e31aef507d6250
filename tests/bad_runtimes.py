"""Encoders that are run wrongly, each in a way that a bench must notice; processes of its own import them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderato.encoders import Encoder, onnx, open_encoder
from moderato.encoders._towers import VisionTower
from moderato.types import Rows, Views


@dataclass
class Wrong:
    """ONNX Runtime, but for the vision tower."""

    vision: Callable[[VisionTower, int], Callable[[Views], Rows]]
    __name__ = "wrong"
    VERSION = "wrong 1"

    def open_vision(self, tower: VisionTower, threads: int, *_: object) -> Callable[[Views], Rows]:
        return self.vision(tower, threads)


def _opened(folder: Path, vision: Callable[[VisionTower, int], Callable[[Views], Rows]]) -> Encoder:
    encoder = open_encoder(folder, threads=1)
    encoder.runtime = Wrong(vision)  # type: ignore[assignment]
    return encoder


def blind(folder: Path) -> Encoder:
    """As fast as can be: what it gives hangs on the first pixel alone."""

    def vision(tower: VisionTower, _: int) -> Callable[[Views], Rows]:
        table = np.random.default_rng(0).normal(size=(256, tower.dim)).astype(np.float32)
        return lambda views: Rows(table[views[:, 0, 0, 0]])

    return _opened(folder, vision)


def noisy(folder: Path, share: float) -> Encoder:
    """Right but for noise, a share of the spread between pictures."""

    def vision(tower: VisionTower, threads: int) -> Callable[[Views], Rows]:
        right = onnx.open_vision(tower, threads)
        spread = 0.04  # of a number of a row of the built-in encoder, so that `share` is near the centred error

        def project(views: Views) -> Rows:
            noise = np.random.default_rng(int(views.sum())).normal(size=(len(views), tower.dim))
            rows = right(views)
            scale = np.linalg.norm(rows, axis=1, keepdims=True)
            return Rows((rows + share * spread * scale * noise).astype(np.float32))

        return project

    return _opened(folder, vision)


def broken(folder: Path) -> Encoder:
    """Fails as libraries do, once it is used."""

    def vision(_: VisionTower, __: int) -> Callable[[Views], Rows]:
        raise OSError("no such device")

    return _opened(folder, vision)


def killed(folder: Path) -> Encoder:
    """Taken away by the system."""
    os.kill(os.getpid(), signal.SIGKILL)
    return open_encoder(folder)


def gone(folder: Path) -> Encoder:
    """Ends its process, as a library does that aborts."""
    os._exit(3)
    return open_encoder(folder)
