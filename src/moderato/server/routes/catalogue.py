"""`GET /v1/encoders`, `GET /v1/heads`, `GET /v1/policies`: what this service knows and was told about it."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel

from moderato.cards import EncoderCard, HeadCard, encoder_card, encoder_names, head_card, head_names
from moderato.policy import Policy
from moderato.server.desk import TheDesk
from moderato.server.dialects._meanings import not_judged
from moderato.server.errors import REFUSALS

router = APIRouter(tags=["catalogue"], responses=REFUSALS)


class Encoders(BaseModel):
    """The encoder behind `classify` and `embed`, and all that have a card."""

    serving: str
    encoders: list[EncoderCard]


class Heads(BaseModel):
    """All trained heads that have a card."""

    heads: list[HeadCard]


class Policies(BaseModel):
    """The policy that judges when none is named, all that may be named, and what each leaves out of a dialect.

    `not_judged`: by policy and dialect, the vendor's categories that none of the policy's labels is.
    """

    serving: str
    policies: list[Policy]
    not_judged: dict[str, dict[str, list[str]]]


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
async def policies(desk: TheDesk, request: Request) -> Policies:
    """Policies that a request may name, with every prompt, threshold and what is known about them."""
    return Policies(
        serving=desk.moderator.policy.name,
        policies=[policy.without_paths() for policy in desk.policies.values()],
        not_judged={name: not_judged(request, policy) for name, policy in desk.policies.items()},
    )
