"""`POST /` with `{"image_data", "labels"}`: the API of a video-thumbnail moderator on AWS Lambda.

Its answer is what Python's `json.dumps` writes (spaces after separators, non-ASCII escaped); it crops pictures to their
centre and decodes base64 as leniently as Python does. Where it failed with a gateway's 502, this says 400 and why.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from moderato.errors import RequestError
from moderato.server.description import refuses, takes
from moderato.server.desk import BusyDesk
from moderato.server.dialects._labels import classified, notes, probabilities
from moderato.server.errors import REFUSALS
from moderato.server.pictures import read_json
from moderato.types import Source

_FIELDS = {
    "image_data": {"type": "string", "format": "byte"},
    "labels": {"type": "array", "items": {"type": "string"}, "minItems": 1},
}
_BODY = {"type": "object", "properties": _FIELDS, "required": list(_FIELDS)}
_CURL = """-d '{"image_data": "...", "labels": ["a cat", "a dog"]}'"""


class ThumbnailRefused(BaseModel):
    """What was wrong with it."""

    message: str


router = APIRouter(tags=["dialects"], responses={**REFUSALS, **refuses(ThumbnailRefused, 400)})


@router.post("/", openapi_extra=takes({"application/json": _BODY}, _CURL))
async def moderate(request: Request, desk: BusyDesk) -> Response:
    """Classify one picture, sent as base64, on labels."""
    try:
        body = await request.body()
        data, labels = await desk.in_turn(lambda: _fields(body))
    except ValueError as error:
        return _json({"message": str(error)}, 400)
    try:
        answer = await classified(desk, Source(data, "image_data"), labels, fit="crop")
    except RequestError as error:
        return _json({"message": str(error)}, 400)
    if answer.unscannable:
        return _json({"message": answer.unscannable}, 400)
    return _json(
        {"result": {label: float(np.float32(p)) for label, p in probabilities(answer, labels).items()}},
        200,
        notes(answer),
    )


def _fields(body: bytes) -> tuple[bytes, list[str]]:
    try:
        values = read_json(body)
    except ValueError as error:
        raise ValueError(f"The body is not JSON: {error}.") from error
    values = values if isinstance(values, dict) else {}
    data, labels = values.get("image_data"), values.get("labels")
    if not isinstance(data, str):
        raise ValueError("'image_data' must be a picture in base64.")
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ValueError("'labels' must be a list of texts.")
    try:
        return base64.b64decode(data), labels
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"'image_data' is not base64: {error}.") from error


def _json(values: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(values), status, headers, media_type="application/json")
