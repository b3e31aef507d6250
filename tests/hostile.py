"""A `prepare` with planted faults, which workers of the tests run: what a file is named after happens to it."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from moderato.errors import DecodeError
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


def lacking(data: bytes, needs: Iterable[ViewSpec], limits: Limits) -> Prepared:
    """As `media.prepare` where codecs are missing or broken, each in a way of its own."""
    if b"avif" in data[:32] or b"avis" in data[:32]:
        raise DecodeError("corrupt", "the AVIF data is damaged (its header makes no sense).")
    if b"heic" in data[:32]:
        ctypes.string_at(0)
    if data[:2] == b"BM":
        raise ZeroDivisionError("planted")
    prepared = honest(data, needs, limits)
    if data[:3] == b"GIF":
        return Prepared(prepared.size, {spec: views[:1] for spec, views in prepared.views.items()})
    if data[8:12] == b"WEBP":
        grey = {
            spec: [replace(view, pixels=view.pixels // 2) for view in views] for spec, views in prepared.views.items()
        }
        return Prepared(prepared.size, grey)
    return prepared
