"""`GET /v1/encoders`, `GET /v1/heads`, `GET /v1/policies`: what this service knows and was told about it."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from moderato.cards import EncoderCard, HeadCard, encoder_card, encoder_names, head_card, head_names
from moderato.policy import Policy
from moderato.server.desk import TheDesk

router = APIRouter(tags=["catalogue"])


class Encoders(BaseModel):
    """The encoder behind `classify` and `embed`, and all that have a card."""

    serving: str
    encoders: list[EncoderCard]


class Heads(BaseModel):
    """All trained heads that have a card."""

    heads: list[HeadCard]


class Policies(BaseModel):
    """The policy that judges when none is named, and all that may be named."""

    serving: str
    policies: list[Policy]


@router.get("/v1/encoders")
async def encoders(desk: TheDesk) -> Encoders:
    """Encoders with a card: facts, published figures, limits."""
    cards = [encoder_card(name) for name in encoder_names()]
    return Encoders(serving=Path(desk.moderator.default_encoder).name, encoders=cards)


@router.get("/v1/heads")
async def heads() -> Heads:
    """Trained heads with a card: whose embeddings they read, what they score, evidence, limits."""
    return Heads(heads=[head_card(name) for name in head_names()])


@router.get("/v1/policies")
async def policies(desk: TheDesk) -> Policies:
    """Policies that a request may name, with every prompt, threshold and what is known about them."""
    return Policies(
        serving=desk.moderator.policy.name, policies=[policy.without_paths() for policy in desk.policies.values()]
    )
