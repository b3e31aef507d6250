"""LAION's NSFW detectors, from the archives in which LAION published them; TensorFlow is not needed.

https://github.com/LAION-AI/CLIP-based-NSFW-Detector holds Keras models that AutoKeras made: embedding of unit length →
normalisation → linear layers with ReLUs → sigmoid. A saved model keeps its numbers one behind another in
`variables.data`: mean, variance, the count of rows behind them, then kernel (in, out) and bias of each layer.

**The trap.** AutoKeras looks at each column of its training data and guesses whether it holds numbers or *categories*.
For three columns of ViT-B/32 and five of ViT-L/14 it guessed categories: these are columns in which CLIP's embeddings
are unusually large, and LAION's were stored as float16, so that few different values occur. The network never saw the
numbers of these columns. It saw their *rank*: the number is written with six decimals ("%f"), looked up in a vocabulary
that is ordered by frequency, and becomes 1 for the commonest value, 2 for the next, and 0 for one that is not in it.
The ranks are in the hundreds and were normalised as such. Every port to other frameworks left this step out and feeds
the plain value, which then looks like a rank near 0 in every picture. The vocabularies are not among the variables but
constants of the graph in `saved_model.pb`.

There are three ways to read these columns:

=========  =========================================================================================================
`smooth`   The rank as a curve of the value: how unusual it is. Near what the network was trained on, and steady: the
           exact rank jumps between neighbouring float16 values, and nearly all float32 values have none. The default.
`lookup`   The exact rank of the value as float16. Gives the very scores that LAION published (`punsafe`).
`raw`      The plain value, as the ports do. For comparing with them.
=========  =========================================================================================================

On rows drawn from the statistics in the files, the mean difference to `lookup` is 0.002 to 0.003 for `smooth`, and 0.02
to 0.03 for `raw`, mostly upwards.
"""

from __future__ import annotations

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderato.cards import HeadCard
from moderato.errors import CardError, SettingsError, WeightsError, nearest
from moderato.heads import Head
from moderato.heads._tensors import checked
from moderato.layers import Affine, Curves, Floats, Layer, Linear, Network, Relu

Mode = Literal["smooth", "lookup", "raw"]
MODES: tuple[Mode, ...] = get_args(Mode)

_KNOTS = 64
_LEAST_SPREAD = 1e-7  # Keras's Normalization divides by no less
_VARIABLES = "variables/variables.data-00000-of-00001"
_GRAPH = "saved_model.pb"
_MOST_BYTES = 8 << 20  # of one member; the largest of LAION's has 3.8 MB


class _Facts(BaseModel):
    """A card's facts on a file of this kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int
    """That its normalisation was computed over. It stands in the file too, between numbers whose places are known."""
    widths: Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2)]
    """Of the embedding, the hidden layers, the output."""
    vocabularies: dict[int, str]
    """Column → name of the constant that holds its vocabulary."""


@dataclass(frozen=True, eq=False)
class Ranks:
    """C columns in which a float16 value becomes its rank in a vocabulary, 1 and up; 0 where it is not in it.

    `columns` int64 `(C,)`; for each column `keys`, int64, ascending: values in millionths, and their `ranks`, float32.
    """

    columns: NDArray[np.int64]
    keys: tuple[NDArray[np.int64], ...]
    ranks: tuple[Floats, ...]

    def __call__(self, rows: Floats) -> Floats:
        result: Floats = rows.copy()
        for column, keys, ranks in zip(self.columns, self.keys, self.ranks, strict=True):
            values = rows[:, column].astype(np.float16)
            finite = np.isfinite(values)
            wanted = _millionths(np.where(finite, values, 0))
            places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
            found = np.where(keys[places] == wanted, ranks[places], np.float32(0))
            result[:, column] = np.where(finite, found, np.float32(np.nan))
        return result

    @property
    def arrays(self) -> Sequence[NDArray[np.generic]]:
        """See `Layer`."""
        return (self.columns, *self.keys, *self.ranks)


def read(file: Path, card: HeadCard, mode: str = "smooth") -> Head:
    """The head in one of LAION's archives; `mode` says how it reads the categorical columns.

    Raises `WeightsError` when the file is not that archive, `CardError` when the card cannot describe one,
    `SettingsError` for a mode there is not.
    """
    if mode not in MODES:
        raise SettingsError(f"{card.name} has no mode '{mode}'. {nearest(mode, MODES)}")
    try:
        facts = _Facts.model_validate(card.facts)
    except ValidationError as error:
        raise CardError(f"{card.name}: {error}") from error
    variables, graph = _members(file)
    layers = _dense_layers(file, facts, variables)
    if mode != "raw":
        vocabularies = _vocabularies(file, facts, graph)
        layers.insert(0, _curves(vocabularies) if mode == "smooth" else _ranks(vocabularies))
    # Rows that were stored as float16 are within rounding of unit length, and so reach `Ranks` as they are.
    network = Network(tuple(layers), "sigmoid", unit=True)
    return Head(card.name, card.encoder, tuple(card.labels), network, card.licence, card.evidence)


def _members(file: Path) -> tuple[bytes, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            return _member(archive, _VARIABLES), _member(archive, _GRAPH)
    except _FOREIGN as error:
        raise WeightsError(f"{file}: not the whole archive that LAION published ({error}).") from error


_FOREIGN = (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)
"""What zipfile raises for files that are cut off, damaged, encrypted or no archives."""


def _member(archive: zipfile.ZipFile, path: str) -> bytes:
    """One file of the folder in the archive."""
    found = [info for info in archive.infolist() if info.filename.endswith(f"/{path}")]
    if len(found) != 1:
        raise ValueError(f"it should hold one FOLDER/{path}, found {len(found)}")
    if found[0].file_size > _MOST_BYTES:
        raise ValueError(f"{found[0].filename} has {found[0].file_size} bytes, at most {_MOST_BYTES} are read")
    with archive.open(found[0]) as member:
        return member.read()


def _dense_layers(file: Path, facts: _Facts, variables: bytes) -> list[Layer]:
    """Normalisation, and linear layers with ReLUs between them."""
    widths = facts.widths
    kernels = list(pairwise(widths))
    shapes = [(widths[0],), (widths[0],), *(shape for pair in kernels for shape in (pair, pair[1:]))]
    count_at = 8 * widths[0]
    needed = 4 * sum(map(math.prod, shapes)) + 8
    if len(variables) < needed:
        raise WeightsError(f"{file}: {_VARIABLES} has {len(variables)} bytes, the card's layers need {needed}.")
    count = int.from_bytes(variables[count_at : count_at + 8], "little")
    if count != facts.rows:
        raise WeightsError(f"{file}: another file than the card describes.")
    floats = np.frombuffer(variables[:count_at] + variables[count_at + 8 : needed], "<f4")
    parts = iter(np.split(floats, np.cumsum([math.prod(shape) for shape in shapes])[:-1]))
    arrays = [checked(file, _VARIABLES, next(parts)).reshape(shape) for shape in shapes]
    mean, variance, *dense = arrays
    if (variance < 0).any():
        raise WeightsError(f"{file}: {_VARIABLES} holds a variance below 0: it is damaged.")
    scale = 1 / np.maximum(np.sqrt(variance.astype(np.float64)), _LEAST_SPREAD)
    layers: list[Layer] = [Affine(scale.astype(np.float32), (-mean * scale).astype(np.float32))]
    for kernel, bias in zip(dense[::2], dense[1::2], strict=True):
        layers += [Linear(np.ascontiguousarray(kernel.T), bias), Relu()]
    return layers[:-1]


def _curves(vocabularies: Mapping[int, NDArray[np.float64]]) -> Curves:
    """Ranks as curves: values in 64 bins of equally many, each bin's mean value and mean rank a knot."""
    x, y = [], []
    for values in vocabularies.values():
        order = np.argsort(values)
        bins = np.split(order, np.arange(1, _KNOTS) * len(order) // _KNOTS)
        x.append([values[each].mean() for each in bins])
        y.append([each.mean() + 1 for each in bins])
    return Curves(np.array(list(vocabularies)), np.array(x, np.float32), np.array(y, np.float32))


def _ranks(vocabularies: Mapping[int, NDArray[np.float64]]) -> Ranks:
    keys = [_millionths(values) for values in vocabularies.values()]
    orders = [np.argsort(each) for each in keys]
    return Ranks(
        np.array(list(vocabularies)),
        tuple(each[order] for each, order in zip(keys, orders, strict=True)),
        tuple((order + 1).astype(np.float32) for order in orders),
    )


def _millionths(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """What "%f" writes, as a whole number; exact for float16, whose values times a million fit into a double."""
    found: NDArray[np.int64] = np.rint(values.astype(np.float64) * 1e6).astype(np.int64)
    return found


def _vocabularies(file: Path, facts: _Facts, graph: bytes) -> dict[int, NDArray[np.float64]]:
    """For each categorical column its values, the commonest first."""
    try:
        constants = _string_constants(memoryview(graph), {name.encode() for name in facts.vocabularies.values()})
        found = {
            column: np.array([float(text) for text in constants[name.encode()]])
            for column, name in sorted(facts.vocabularies.items())
        }
    except KeyError as error:
        raise WeightsError(f"{file}: {_GRAPH} has no vocabulary {error}: not the card's file.") from None
    except (ValueError, IndexError) as error:
        raise WeightsError(f"{file}: {_GRAPH} is damaged ({error}).") from error
    for column, values in found.items():
        if len(values) < _KNOTS or not (np.abs(values) < 1e4).all() or not 0 <= column < facts.widths[0]:
            raise WeightsError(f"{file}: {_GRAPH} holds no vocabulary of column {column}: not the card's file.")
    return found


def _string_constants(graph: memoryview, names: set[bytes]) -> dict[bytes, list[str]]:
    """The nodes of these names in a saved model, each a tensor of strings.

    SavedModel.meta_graphs = 2, MetaGraphDef.graph_def = 2, GraphDef.node = 1; NodeDef.name = 1, .attr = 5, a map entry
    whose value = 2; AttrValue.tensor = 8; TensorProto.string_val = 8: tensorflow/core/protobuf and core/framework.
    """
    found: dict[bytes, list[str]] = {}
    for node in _inside(graph, 2, 2, 1):
        name = bytes(next(_inside(node, 1), b""))
        if name in names:
            found[name] = [str(text, "ascii") for text in _inside(node, 5, 2, 8, 8)]
    return found


def _inside(message: memoryview, *path: int) -> Iterator[memoryview]:
    """All values of length-delimited fields at the end of a path of field numbers."""
    if not path:
        yield message
        return
    for number, value in _fields(message):
        if number == path[0]:
            yield from _inside(value, *path[1:])


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each length-delimited field: https://protobuf.dev/programming-guides/encoding.

    Raises ValueError or IndexError where the bytes end early or are no such message.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if not tag >> 3:
            raise ValueError("a field has the number 0")
        if kind == 0:
            _, at = _varint(message, at)
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _DELIMITED:
            length, at = _varint(message, at)
            if length > len(message) - at:
                raise ValueError("a field goes beyond its message")
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"field kind {kind}")


_DELIMITED = 2
_FIXED = {1: 8, 5: 4}
_LONGEST = 10


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and where the next field begins."""
    value = 0
    for i in range(_LONGEST):
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ValueError("a number of more than 64 bits")
