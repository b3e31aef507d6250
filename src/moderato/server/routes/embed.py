"""`POST /v1/embed`: pictures or texts → embeddings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, field_validator

from moderato.errors import RequestError
from moderato.media.load import Sendable
from moderato.server.desk import BusyDesk, Desk
from moderato.server.errors import REFUSALS
from moderato.server.pictures import Pictures, described, read
from moderato.types import Embedded, Fit

router = APIRouter(tags=["moderation"], responses=REFUSALS)


class EmbedRequest(Pictures):
    """Pictures, or texts in the same space."""

    texts: list[Annotated[str, Field(min_length=1)]] = []
    fit: Fit | None = None

    @field_validator("texts", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class EmbedResult(BaseModel):
    """An embedding of unit length, or why there is none."""

    source: str
    embedding: list[float] | None
    unscannable: str | None = None
    notes: list[str] = []


class EmbedAnswer(BaseModel):
    """One result for each picture or text, in order, and the space they lie in."""

    encoder: str
    results: list[EmbedResult]


@router.post(
    "/v1/embed",
    openapi_extra=described(EmbedRequest, curl="-F images=@picture.jpg", may_be_none=True),
)
async def embed(request: Request, desk: BusyDesk) -> EmbedAnswer:
    """Turn pictures or texts into embeddings."""
    asked, pictures = await read(request, EmbedRequest, desk, may_be_none=True)
    if bool(pictures) == bool(asked.texts):
        raise RequestError("Send 'images' or 'texts', one of the two.")
    desk.check_labels(asked.texts)
    return await desk.in_turn(lambda: _embedded(desk, pictures, asked))


def _embedded(desk: Desk, pictures: list[Sendable], asked: EmbedRequest) -> EmbedAnswer:
    moderator = desk.moderator
    identity = moderator.encoder(moderator.default_encoder).identity
    if asked.texts:
        pairs = zip(asked.texts, moderator.embed_texts(asked.texts), strict=True)
        results = [EmbedResult(source=text, embedding=row.tolist()) for text, row in pairs]
    else:
        results = [_result(answer) for answer in moderator.embed_many(pictures, fit=asked.fit)]
    return EmbedAnswer(encoder=identity, results=results)


def _result(answer: Embedded) -> EmbedResult:
    return EmbedResult(
        source=answer.source,
        embedding=None if answer.embedding is None else answer.embedding.tolist(),
        unscannable=answer.unscannable,
        notes=list(answer.notes),
    )
