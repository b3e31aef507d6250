"""`POST /v1/classify`: pictures and labels → probabilities."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, field_validator

from moderato.server.desk import BusyDesk
from moderato.server.errors import REFUSALS
from moderato.server.pictures import Pictures, described, read
from moderato.types import Classification, Fit

router = APIRouter(tags=["moderation"], responses=REFUSALS)


class ClassifyRequest(Pictures):
    """Pictures and labels; in a form, labels are divided by commas."""

    labels: Annotated[list[Annotated[str, Field(pattern=r"\S")]], Field(min_length=1)]
    independent: bool = False
    fit: Fit | None = None

    @field_validator("labels", mode="before")
    @classmethod
    def _divided(cls, value: Any) -> Any:
        return [label.strip() for label in value.split(",") if label.strip()] if isinstance(value, str) else value


class ClassifyAnswer(BaseModel):
    """One classification for each picture, in the order of the request."""

    results: list[Classification]


@router.post(
    "/v1/classify",
    openapi_extra=described(ClassifyRequest, curl="-F images=@picture.jpg -F 'labels=a cat, a dog'"),
)
async def classify(request: Request, desk: BusyDesk) -> ClassifyAnswer:
    """Say which of some labels each picture shows: a softmax over them, or each for itself when `independent`."""
    asked, pictures = await read(request, ClassifyRequest, desk)
    desk.check_labels(asked.labels)
    answers = await desk.in_turn(
        lambda: list(desk.moderator.classify_many(pictures, asked.labels, independent=asked.independent, fit=asked.fit))
    )
    return ClassifyAnswer(results=answers)
