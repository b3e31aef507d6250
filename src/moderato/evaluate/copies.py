"""Copies the pictures that were answered wrongly, for people who look at them with other programs. Nothing is moved."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from moderato.errors import RequestError
from moderato.evaluate.evaluation import Evaluation
from moderato.evaluate.judging import Picture

_UNFIT = re.compile(r"[^\w .,()+-]+")
_LONGEST = 80


def check_folder(folder: Path, data: Path) -> None:
    """Raises `RequestError` where copies would mix with other files, above all with what is evaluated on."""
    if folder.resolve().is_relative_to(data.resolve()) and data.is_dir():
        raise RequestError(f"--copy-to {folder} lies in {data}: the copies would be evaluated next time.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RequestError(f"--copy-to {folder} must be a new or an empty folder.")


def copy_pictures(evaluation: Evaluation, folder: Path) -> tuple[int, int]:
    """Copy every mistake to `folder/KIND/LABEL/` and what could not be scanned to `folder/unscannable/`.

    A label is the one missed or wrongly raised, or what the picture was taken for. Returns how many were copied, and
    how many could not be: URLs, and files that cannot be read. Raises `RequestError` where nothing can be written.
    """
    done = [_copied(picture.source, folder / place) for picture, place in _wanted(evaluation)]
    return done.count(True), done.count(False)


def _wanted(evaluation: Evaluation) -> Iterator[tuple[Picture, Path]]:
    for mistake in evaluation.mistakes:
        yield mistake.picture, Path(mistake.kind.replace(" ", "-")) / _fit(mistake.label)
    for item in evaluation.judged.unscannable:
        yield item.picture, Path("unscannable")


def _copied(source: Path | str | None, folder: Path) -> bool:
    if not isinstance(source, Path) or not os.access(source, os.R_OK) or not source.is_file():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, _free(folder / source.name))
    except OSError as error:
        raise RequestError(f"{source} cannot be copied to {folder} ({error.strerror}).") from error
    return True


def _free(path: Path) -> Path:
    """This path, or one with a number where there is such a file already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem} ({number})")
    return free


def _fit(label: str) -> str:
    """A label as the name of a folder: labels may hold anything, slashes and dots among it."""
    return _UNFIT.sub("_", label).strip(" .")[:_LONGEST] or "_"
