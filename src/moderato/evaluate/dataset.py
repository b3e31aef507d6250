"""What is evaluated on: pictures, or embeddings of pictures, each with the label that a person gave it.

    folder/LABEL/…                pictures, or .npy files of embeddings, anywhere below a folder for each label
    folder/LABEL.npy              embeddings (N, D), a file for each label
    set.csv, set.parquet          columns source and label; paths are relative to the file, URLs are fetched
    set.npz                       arrays embeddings (N, D) and labels (N,), perhaps sources (N,)
    set.parquet                   columns embedding and label

A picture may occur under several labels: all of them are then true of it.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderato import shards
from moderato.errors import RequestError
from moderato.media import looks_like_a_picture
from moderato.media.load import is_remote
from moderato.shards import Shard

_FORMS = "a folder with a folder for each label, a .csv or .parquet of source and label, or embeddings with labels"
_SHOWN = 5
_AT_ONCE = 1 << 16  # rows read at a time


@dataclass(frozen=True, eq=False)
class Dataset:
    """N labelled pictures: their names, labels, and either `sources` or `rows` float32 `(N, D)`; the other is None.

    `notes` are sentences about what was found beside them.
    """

    place: str
    names: tuple[str, ...]
    truths: tuple[str, ...]
    sources: tuple[Path | str, ...] | None
    rows: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def labels(self) -> Counter[str]:
        """Every label people gave, and how often."""
        return Counter(self.truths)


def open_dataset(place: str) -> Dataset:
    """The dataset at a path, in one of the forms above.

    Raises `RequestError` where there is none, where labels are missing, or where nothing is left to look at. Pictures
    that cannot be read are no reason: they are found when they are judged.
    """
    path = Path(place)
    if path.is_dir():
        found = _folder(path)
    elif not path.exists():
        raise RequestError(f"{place}: there is no such file or folder.")
    elif path.suffix == ".csv":
        found = _table(path, _csv(path))
    elif path.suffix == ".npz":
        found = _embeddings(path, shards.open_shards(path))
    elif path.suffix == ".parquet":
        found = _parquet(path)
    elif path.suffix == ".npy":
        raise RequestError(f"{place} has no labels. Name the folder: a .npy for each label, the file's name its label.")
    else:
        raise RequestError(f"{place}: what is evaluated on is {_FORMS}.")
    if not len(found):
        raise RequestError(" ".join((f"{place}: there is no labelled picture.", *found.notes)))
    return found


def _folder(path: Path) -> Dataset:
    if not any(file.suffix == ".npy" for file in _files(path)):
        return _pictures(path)
    if any(looks_like_a_picture(file) for file in _files(path)):
        raise RequestError(f"{path} holds pictures and embeddings (.npy). Put them into folders of their own.")
    return _arrays(path)


def _pictures(path: Path) -> Dataset:
    sources: list[Path] = []
    truths: list[str] = []
    empty: list[str] = []
    passed = sum(1 for file in sorted(path.iterdir()) if file.is_file() and not _is_hidden(file))
    for folder in (child for child in sorted(path.iterdir()) if child.is_dir() and not _is_hidden(child)):
        before = len(sources)
        for file in _files(folder):
            if looks_like_a_picture(file):
                sources.append(file)
            else:
                passed += 1
        truths += [folder.name] * (len(sources) - before)
        if len(sources) == before:
            empty.append(folder.name)
    notes = [f"The folder '{name}' holds no picture." for name in empty]
    if passed:
        notes.append(f"Files passed over because they are no pictures or stand under no label: {passed}.")
    names = tuple(str(file.relative_to(path)) for file in sources)
    return Dataset(str(path), names, tuple(truths), tuple(sources), None, tuple(notes))


def _arrays(path: Path) -> Dataset:
    """`LABEL.npy`, or `.npy` files below folders, of which clip-retrieval calls the right one `img_emb`."""
    files: list[tuple[str, Path]] = []
    for child in sorted(path.iterdir()):
        if child.suffix == ".npy":
            files.append((child.stem, child))
        elif child.is_dir() and not _is_hidden(child):
            inner = child / "img_emb" if (child / "img_emb").is_dir() else child
            files += [(child.name, file) for file in _files(inner) if file.suffix == ".npy"]
    read = [(label, file, _rows(shards.open_shards(file))) for label, file in files]
    full = [(label, file, rows) for label, file, rows in read if len(rows)]
    for _, file, rows in full:
        if rows.shape[1] != full[0][2].shape[1]:
            raise RequestError(f"{file} has rows of {rows.shape[1]} numbers, {full[0][1]} of {full[0][2].shape[1]}.")
    names = [f"{file.relative_to(path)}[{i}]" for _, file, rows in full for i in range(len(rows))]
    truths = [label for label, _, rows in full for _ in rows]
    notes = [f"'{file.relative_to(path)}' has no row." for _, file, rows in read if not len(rows)]
    together = np.concatenate([rows for _, _, rows in full]) if full else None
    return Dataset(str(path), tuple(names), tuple(truths), None, together, tuple(notes))


def _embeddings(path: Path, opened: Sequence[Shard]) -> Dataset:
    """One file of embeddings with a column of labels, and perhaps one of sources."""
    labels, sources = (_column(opened, name) for name in ("label", "source"))
    if labels is None:
        called = "an array 'labels'" if path.suffix == ".npz" else "a column 'label'"
        raise RequestError(f"{path} has embeddings, but not {called} that says what they show.")
    rows = _rows(opened)
    names = sources or [f"{path.name}[{i}]" for i in range(len(rows))]
    return Dataset(str(path), tuple(names), _checked_labels(path, labels), None, rows)


def _rows(opened: Sequence[Shard]) -> NDArray[np.float32]:
    chunks = [chunk.astype(np.float32) for shard in opened for chunk in shard.chunks(_AT_ONCE)]
    return np.concatenate(chunks) if chunks else np.empty((0, 0), np.float32)


def _column(opened: Sequence[Shard], name: str) -> list[str] | None:
    columns = [shard.column(name) for shard in opened]
    return None if None in columns else [text for column in columns for text in column or ()]


def _csv(path: Path) -> dict[str, list[str]]:
    """The columns source and label of a CSV file; bytes that are no UTF-8 survive in names."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip().lower() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, csv.Error) as error:
        raise RequestError(f"{path} cannot be read as CSV ({error}).") from error
    missing = [name for name in ("source", "label") if name not in header]
    if missing:
        raise RequestError(
            f"{path}: the first line must name the columns source and label; it has {', '.join(header) or 'nothing'}."
        )
    at = [header.index(name) for name in ("source", "label")]
    for line, row in rows:
        if len(row) <= max(at):
            raise RequestError(f"{path}, line {line}: it has {len(row)} of the {len(header)} columns.")
    return {name: [row[i] for _, row in rows] for name, i in zip(("source", "label"), at, strict=True)}


def _parquet(path: Path) -> Dataset:
    """Embeddings with labels, or a table of source and label."""
    try:
        opened = shards.open_shards(path)
    except RequestError:  # there is no column of embeddings; what else is wrong, the table's reader says too
        return _table(path, shards.read_table(path, ("source", "label")))
    return _embeddings(path, opened)


def _table(path: Path, columns: dict[str, list[str]]) -> Dataset:
    truths = _checked_labels(path, columns["label"])
    seen = dict.fromkeys(zip(columns["source"], truths, strict=True))
    for number, (source, _) in enumerate(seen):
        if not source.strip():
            raise RequestError(f"{path}: row {number + 1} names no source.")
    names = [source for source, _ in seen]
    again = len(truths) - len(seen)
    notes = (f"Rows that say again what an earlier one says: {again}.",) if again else ()
    sources = tuple(name if is_remote(name) else path.parent / name for name in names)
    return Dataset(str(path), tuple(names), tuple(label for _, label in seen), sources, None, notes)


def _checked_labels(path: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Without the white space around them. Raises `RequestError` where one is empty."""
    stripped = tuple(label.strip() for label in labels)
    without = [number + 1 for number, label in enumerate(stripped) if not label]
    if without:
        shown = ", ".join(map(str, without[:_SHOWN])) + (" …" if len(without) > _SHOWN else "")
        raise RequestError(f"{path}: no label in row {shown}.")
    return stripped


def _files(folder: Path) -> Iterator[Path]:
    """Files anywhere below, in the order of their names, without hidden ones."""
    kept: Iterable[Path] = sorted(folder.rglob("*"))
    return (file for file in kept if file.is_file() and not any(map(_is_hidden, [file, *_between(folder, file)])))


def _between(folder: Path, file: Path) -> list[Path]:
    return [parent for parent in file.parents if folder in parent.parents]


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in ("Thumbs.db", "desktop.ini")
