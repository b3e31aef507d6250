"""A trained head as one safetensors file: linear layers, one or several, with its facts in the file's metadata.

Tensors are named like those of a PyTorch `Sequential`, INDEX.NAME, and run in the order of their indices. What a layer
is, its tensors tell:

==============================================  ========================================================
`N.weight` (out, in), `N.bias` (out)            linear: `x @ weight.T + bias`; the bias may be left out
`N.scale` (width), `N.shift` (width)            normalisation: `x * scale + shift`
`N.running_mean`, `N.running_var` (width),      batch norm at rest; `N.weight` and `N.bias` (width) may be
                                                left out, `N.num_batches_tracked` is not read
==============================================  ========================================================

Layers without tensors leave gaps: dropout does nothing at rest, and where a ReLU stands the metadata say. They are
strings, as safetensors wants them:

=================  =============================================================================================
`moderato_head`    "1", the version of this format
`labels`           what the outputs mean, in order, as JSON: '["nsfw"]'
`encoder`          identity of the embedding space: an encoder card's `lineage`, such as "openai/ViT-L-14"
`output`           "sigmoid", "softmax", or "raw": cut to 0..1
`unit`             "true" when it was trained on embeddings of unit length, "false" when on those before that
`relu`             indices at which a ReLU stands, as JSON: "[1]"; needed with more than one linear layer
`epsilon`          of batch norm; "1e-5", PyTorch's own, where it is left out
`name`             what to call it; the file's name where it is left out
`licence`          of the weights; may be left out
`measured`         who measured it, on what, with which result; may be left out
=================  =============================================================================================

So this writes one that reads::

    save_file(
        {"0.weight": weight, "0.bias": bias},
        "spam.safetensors",
        {"moderato_head": "1", "labels": '["spam"]', "encoder": "openai/ViT-B-32", "output": "sigmoid", "unit": "true"},
    )
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from moderato.cards import HeadCard
from moderato.errors import CardError, WeightsError
from moderato.files import replacing
from moderato.heads import Head
from moderato.heads._tensors import checked, read_safetensors, write_safetensors
from moderato.layers import Affine, Floats, Layer, Linear, Network, Output, Relu

_KINDS = {
    frozenset({"weight", "bias"}): "linear",
    frozenset({"weight"}): "linear",
    frozenset({"scale", "shift"}): "normalisation",
    frozenset({"running_mean", "running_var"}): "batch norm",
    frozenset({"running_mean", "running_var", "weight", "bias"}): "batch norm",
}


class _Facts(BaseModel):
    """The metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    moderato_head: Literal["1"]
    labels: Json[Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]]
    encoder: Annotated[str, Field(min_length=1)]
    output: Output
    unit: bool
    relu: Json[list[int]] | None = None
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-5
    name: str = ""
    licence: str = ""
    measured: str = ""
    format: str = ""
    """PyTorch's way of saving writes "pt"."""


def read(file: Path, card: HeadCard | None = None) -> Head:
    """The head in a file.

    Raises `WeightsError` saying which tensor or which fact is not what it should be, `CardError` where the file and its
    card disagree.
    """
    tensors, metadata = read_safetensors(file)
    facts = _read_facts(file, metadata)
    if card and (card.labels != facts.labels or card.encoder != facts.encoder):
        raise CardError(
            f"{card.name}: its card says {card.labels} of {card.encoder}, "
            f"{file} says {facts.labels} of {facts.encoder}."
        )
    layers = _read_layers(file, facts, tensors)
    name = card.name if card else facts.name or file.stem
    return Head(name, facts.encoder, tuple(facts.labels), layers, facts.licence, facts.measured)


def write(head: Head, file: Path) -> None:
    """Write a head that is made of linear layers, normalisations and ReLUs, whole or not at all.

    Raises `WeightsError` when it holds another layer, or numbers that are not finite, or the file cannot be written.
    """
    tensors: dict[str, Floats] = {}
    relus = []
    for i, layer in enumerate(head.network):
        if isinstance(layer, Linear):
            tensors |= {f"{i}.weight": layer.weight, f"{i}.bias": layer.bias}
        elif isinstance(layer, Affine):
            tensors |= {f"{i}.scale": layer.scale, f"{i}.shift": layer.shift}
        elif isinstance(layer, Relu):
            relus.append(i)
        else:
            raise WeightsError(
                f"{file}: '{head.name}' has a layer {type(layer).__name__}, which has no place in a file."
            )
    metadata = {
        "moderato_head": "1",
        "labels": json.dumps(head.labels, ensure_ascii=False),
        "encoder": head.encoder,
        "output": head.network.output,
        "unit": str(head.network.unit).lower(),
        "relu": str(relus),
        "name": head.name,
        "licence": head.licence,
        "measured": head.measured,
    }
    try:
        with replacing(file) as part:
            write_safetensors(part, {name: checked(file, name, array) for name, array in tensors.items()}, metadata)
    except OSError as error:
        raise WeightsError(f"{file} cannot be written ({error}).") from error


def _read_facts(file: Path, metadata: Mapping[str, str]) -> _Facts:
    if "moderato_head" not in metadata:
        raise WeightsError(
            f'{file}: its metadata do not say moderato_head = "1", so it is not a head\'s file; the docstring of '
            "moderato.heads.dense shows how to write one."
        )
    try:
        facts = _Facts.model_validate(dict(metadata))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        fact = str(problem["loc"][0])
        found = f"found {metadata[fact]!r}" if fact in metadata else "it is missing"
        raise WeightsError(f"{file}: metadata {fact}: {problem['msg']}; {found}.") from None
    if len(set(facts.labels)) < len(facts.labels):
        raise WeightsError(f"{file}: metadata labels: two are the same; found {metadata['labels']}.")
    if facts.output == "softmax" and len(facts.labels) < 2:
        raise WeightsError(f"{file}: metadata output: a softmax over one label is always 1; sigmoid may be meant.")
    return facts


def _read_layers(file: Path, facts: _Facts, tensors: Mapping[str, NDArray[Any]]) -> Network:
    places: dict[int, dict[str, Floats]] = {}
    for name, array in tensors.items():
        match = re.fullmatch(r"(\d{1,4})\.(\w+)", name)
        if not match:
            raise WeightsError(f"{file}: tensor '{name}' should be named INDEX.NAME, such as '0.weight'.")
        if match[2] != "num_batches_tracked":
            places.setdefault(int(match[1]), {})[match[2]] = checked(file, name, array)
    layers: dict[int, Layer] = {i: _layer(file, i, parts, facts.epsilon) for i, parts in places.items()}
    _check_relus(file, facts, layers)
    layers |= {i: Relu() for i in facts.relu or ()}
    ordered = dict(sorted(layers.items()))
    _check_widths(file, facts, ordered)
    return Network(tuple(ordered.values()), facts.output, facts.unit)


def _layer(file: Path, i: int, parts: Mapping[str, Floats], epsilon: float) -> Layer:
    kind = _KINDS.get(frozenset(parts))
    if kind is None:
        known = "; ".join(", ".join(sorted(names)) for names in _KINDS)
        raise WeightsError(f"{file}: layer {i} has the tensors {', '.join(sorted(parts))}; known are {known}.")
    width = len(parts["weight"]) if kind == "linear" and parts["weight"].ndim else None
    for name, array in parts.items():
        dimensions = 2 if (kind, name) == ("linear", "weight") else 1
        width = width or array.size
        if array.ndim != dimensions or len(array) != width or not array.size:
            wanted = "(out, in)" if dimensions == 2 else f"({width},)"
            raise WeightsError(f"{file}: '{i}.{name}' should have the shape {wanted} in a {kind}, found {array.shape}.")
    if kind == "linear":
        return Linear(parts["weight"], parts.get("bias", np.zeros(width or 0, np.float32)))
    if kind == "normalisation":
        return Affine(parts["scale"], parts["shift"])
    return _batch_norm(file, i, parts, epsilon)


def _batch_norm(file: Path, i: int, parts: Mapping[str, Floats], epsilon: float) -> Affine:
    """`(x - running_mean) / sqrt(running_var + epsilon) * weight + bias`, folded."""
    spread = parts["running_var"].astype(np.float64) + epsilon
    if not (spread > 0).all():
        raise WeightsError(f"{file}: '{i}.running_var' holds numbers that are no variance: not above 0.")
    scale = parts.get("weight", 1) / np.sqrt(spread)
    shift = parts.get("bias", 0) - parts["running_mean"] * scale
    return Affine(scale.astype(np.float32), shift.astype(np.float32))


def _check_relus(file: Path, facts: _Facts, layers: Mapping[int, Layer]) -> None:
    linears = sum(isinstance(layer, Linear) for layer in layers.values())
    if linears > 1 and facts.relu is None:
        raise WeightsError(
            f"{file}: it has {linears} linear layers; metadata relu should say at which indices a ReLU stands "
            '("[]" for none).'
        )
    taken = [i for i in facts.relu or () if i in layers or i < 0]
    if taken:
        raise WeightsError(f"{file}: metadata relu names {taken[0]}, where there are tensors or no layer can be.")


def _check_widths(file: Path, facts: _Facts, layers: Mapping[int, Layer]) -> None:
    """Every layer reads as many numbers as the one before gives, and the last gives one for each label."""
    width, before = None, ""
    for i, layer in layers.items():
        if isinstance(layer, Relu):
            continue
        reads = layer.arrays[0].shape[-1]
        if width not in (None, reads):
            raise WeightsError(f"{file}: layer {i} reads {reads} numbers, but {before} gives {width}.")
        width, before = layer.arrays[0].shape[0], f"layer {i}"
    if not any(isinstance(layer, Linear) for layer in layers.values()):
        raise WeightsError(f"{file}: it has no linear layer, and so no output.")
    if width != len(facts.labels):
        raise WeightsError(f"{file}: {before} gives {width} numbers, but metadata labels has {len(facts.labels)}.")
