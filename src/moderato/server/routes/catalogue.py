"""`GET /v1/encoders`, `GET /v1/policies`: what this service knows and what it was told about it."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel

from moderato.cards import EncoderCard, encoder_card, encoder_names
from moderato.policy import Policy
from moderato.server.desk import TheDesk

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
async def encoders(desk: TheDesk) -> Encoders:
    """Encoders with a card: facts, published figures, limits."""
    cards = [encoder_card(name) for name in encoder_names()]
    return Encoders(serving=_named(desk.moderator.default_encoder), encoders=cards)


@router.get("/v1/policies")
async def policies(desk: TheDesk) -> Policies:
    """Policies that a request may name, with every prompt, threshold and what is known about them."""
    return Policies(serving=desk.moderator.policy.name, policies=[_shown(policy) for policy in desk.policies.values()])


def _named(encoder: str) -> str:
    """An encoder's name; of a folder its last part, as the rest of the path is the operator's affair."""
    return Path(encoder).name


def _shown(policy: Policy) -> Policy:
    return policy.model_copy(update={"encoder": _named(policy.encoder)})
