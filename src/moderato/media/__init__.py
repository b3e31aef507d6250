"""Bytes → views, one picture at a time; a failure belongs to that picture alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moderato.media._formats import looks_like_a_picture
from moderato.media.decode import Limits, Picture
from moderato.media.view import cut, reduction
from moderato.types import View, ViewSpec

__all__ = ["Limits", "Prepared", "looks_like_a_picture", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A picture made ready: its upright (width, height), and the views that each spec asked for."""

    size: tuple[int, int]
    views: dict[ViewSpec, list[View]]


def prepare(data: bytes, needs: Iterable[ViewSpec], limits: Limits) -> Prepared:
    """Decode a picture and cut the views that all consumers need, frame by frame.

    Specs that allow the same scale share one decoding; what a spec gets never depends on the other specs. A pure
    function of its arguments, safe in any thread or process. Raises `DecodeError` or `LimitError`.
    """
    picture = Picture(data, limits)
    views: dict[ViewSpec, list[View]] = {spec: [] for spec in needs}
    by_scale: dict[int, list[ViewSpec]] = {}
    for spec in views:
        by_scale.setdefault(reduction(picture.size, spec) if picture.can_scale else 1, []).append(spec)
    for scale, specs in by_scale.items():
        for frame in picture.frames(scale):
            for spec in specs:
                views[spec] += cut(frame, spec)
    return Prepared(picture.size, views)
