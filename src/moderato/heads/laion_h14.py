"""LAION's NSFW detector for its own ViT-H/14: `h14_nsfw.pth`, a state dict that PyTorch saved. Needs the extra `torch`.

Linear layers by the names `layers.N.weight` and `layers.N.bias`; which, how wide, and after how many of them a ReLU
stands, is on the card. There is no sigmoid at the end: it was trained by the squared error to give 0 or 1, so what it
gives is cut to 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from moderato.cards import HeadCard
from moderato.errors import CardError, WeightsError
from moderato.heads import Head
from moderato.heads._tensors import checked
from moderato.layers import Layer, Linear, Network, Relu


class _Facts(BaseModel):
    """A card's facts on a file of this kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    linear: list[int]
    """Numbers of the linear layers."""
    widths: list[int]
    """Of the embedding, the hidden layers, the output."""
    relu: int
    """How many of the linear layers, from the first on, a ReLU follows."""


def read(file: Path, card: HeadCard) -> Head:
    """The head in a `.pth` file. Raises `WeightsError` when it is not the one that the card describes."""
    try:
        facts = _Facts.model_validate(card.facts)
    except ValidationError as error:
        raise CardError(f"{card.name}: {error}") from error
    tensors = _read_tensors(file)
    layers: list[Layer] = []
    for place, (i, (reads, gives)) in enumerate(zip(facts.linear, pairwise(facts.widths), strict=True)):
        shapes = {f"layers.{i}.weight": (gives, reads), f"layers.{i}.bias": (gives,)}
        for name, shape in shapes.items():
            found = tuple(tensors[name].shape) if name in tensors else None
            if found != shape:
                there = f"found {found}" if found else f"it has {', '.join(sorted(tensors)) or 'nothing'}"
                raise WeightsError(f"{file}: it should hold a tensor '{name}' of the shape {shape}, {there}.")
        weight, bias = (checked(file, name, tensors[name].numpy()) for name in shapes)
        layers += [Linear(weight, bias), *[Relu()] * (place < facts.relu)]
    network = Network(tuple(layers), "raw", unit=True)
    return Head(card.name, card.encoder, tuple(card.labels), network, card.licence, card.evidence)


def _read_tensors(file: Path) -> Mapping[str, torch.Tensor]:
    """What is in the file; tensors only: `weights_only` lets no pickle call anything else."""
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, UnpicklingError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = str(error).split("\n")[0]
        raise WeightsError(f"{file}: not a whole file of tensors that PyTorch saved ({reason}).") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file}: it should hold tensors by name, found a {type(found).__name__}.")
    return {str(name): tensor.detach().float() for name, tensor in found.items() if isinstance(tensor, torch.Tensor)}
