"""`POST /v1/classify`: pictures and labels → probabilities."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, field_validator

from moderato.errors import RequestError
from moderato.server.pictures import Pictures, described, read
from moderato.server.service import TheService
from moderato.types import Classification, Fit

router = APIRouter(tags=["moderation"])

_LONGEST = 1000  # characters in a label; encoders read some 77 tokens


class ClassifyRequest(Pictures):
    """Pictures and labels; in a form, labels are divided by commas."""

    labels: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=_LONGEST, pattern=r"\S")]], Field(min_length=1)
    ]
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
    responses={400: {"description": "A wrong request"}},
)
async def classify(request: Request, service: TheService) -> ClassifyAnswer:
    """Say which of some labels each picture shows: a softmax over them, or each for itself when `independent`."""
    asked, pictures = await read(request, ClassifyRequest, service)
    if len(asked.labels) > service.options.max_labels:
        raise RequestError(f"{len(asked.labels)} labels in one request; the limit is {service.options.max_labels}.")
    answers = await service.in_turn(
        lambda: list(
            service.moderator.classify_many(pictures, asked.labels, independent=asked.independent, fit=asked.fit)
        )
    )
    return ClassifyAnswer(results=answers)
