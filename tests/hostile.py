"""A `prepare` with planted faults, which workers of the tests run: what a file is named after happens to it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable

import numpy as np

from moderato.media import Limits, Prepared
from moderato.media import prepare as honest
from moderato.types import ViewSpec

HANGS, CRASHES, EXITS, EATS, FAILS, LIES = b"HANGS", b"CRASHES", b"EXITS", b"EATS", b"FAILS", b"LIES"


def prepare(data: bytes, needs: Iterable[ViewSpec], limits: Limits) -> Prepared:
    """As `media.prepare`, but for files that are one of the words above."""
    if data == HANGS:
        while True:
            time.sleep(1)
    if data == CRASHES:
        ctypes.string_at(0)
    if data == EXITS:
        os._exit(3)
    if data == EATS:
        np.ones(2**30, np.uint8)
    if data == FAILS:
        raise ZeroDivisionError("planted")
    if data == LIES:
        return Prepared((1, 1), {spec: [] for spec in needs})
    return honest(data, needs, limits)
