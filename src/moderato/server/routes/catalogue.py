"""`GET /v1/encoders`, `GET /v1/policies`: what this service knows and what it was told about it."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from moderato.cards import EncoderCard, encoder_card, encoder_names
from moderato.policy import Policy
from moderato.server.service import TheService

router = APIRouter(tags=["catalogue"])


class Encoders(BaseModel):
    """The encoder behind `classify` and `embed`, and all that have a card."""

    serving: str
    encoders: list[EncoderCard]


class Policies(BaseModel):
    """The policy that judges when none is named, and all that may be named."""

    serving: str
    policies: list[Policy]


@router.get("/v1/encoders")
async def encoders(service: TheService) -> Encoders:
    """Encoders with a card: facts, published figures, limits."""
    cards = [encoder_card(name) for name in encoder_names()]
    return Encoders(serving=service.moderator.default_encoder, encoders=cards)


@router.get("/v1/policies")
async def policies(service: TheService) -> Policies:
    """Policies that a request may name, with every prompt, threshold and what is known about them."""
    return Policies(serving=service.moderator.policy.name, policies=list(service.policies.values()))
