"""`GET` and `POST /1.0/check.json`: Sightengine's picture check.

https://sightengine.com/docs/reference. Fields that the service's policy does not judge are absent, and `moderato` says
which models they leave empty; `none` of nudity is what its other fields leave. Every error is JSON: the vendor's client
reads no status.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any, Literal
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.types import Scope

from moderato.media.load import Sendable, Url, name_of
from moderato.server.description import refuses, takes
from moderato.server.desk import BusyDesk, Desk
from moderato.server.dialects._judged import judged, scanned
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Kind, Refused
from moderato.types import Source, Verdict

CATEGORIES = (
    "nudity.sexual_activity",
    "nudity.sexual_display",
    "nudity.erotica",
    "nudity.very_suggestive",
    "nudity.suggestive",
    "nudity.mildly_suggestive",
    "gore.prob",
    *(
        f"gore.classes.{name}"
        for name in (
            "very_bloody",
            "slightly_bloody",
            "body_organ",
            "serious_injury",
            "superficial_injury",
            "corpse",
            "skull",
            "unconscious",
            "body_waste",
            "other",
        )
    ),
    *(f"weapon.classes.{name}" for name in ("firearm", "firearm_gesture", "firearm_toy", "knife")),
    *(f"offensive.{name}" for name in ("prob", "nazi", "confederate", "supremacist", "terrorist", "middle_finger")),
    "recreational_drug.prob",
    "alcohol.prob",
    "tobacco.prob",
    "violence.prob",
    "self-harm.prob",
)
"""A model and one of its fields. What a policy may give; models are these and no other."""

_MODELS = tuple(dict.fromkeys(category.partition(".")[0] for category in CATEGORIES))
_VERSION = re.compile(r"-\d+(\.\d+)*$")
_PATH = "/1.0/check.json"
_FORM = {
    "type": "object",
    "properties": {
        "media": {"type": "string", "format": "binary"},
        "url": {"type": "string"},
        "models": {"type": "string"},
    },
    "required": ["models"],
}
_IN_QUERY = {
    "parameters": [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}} for name in ("models", "url")
    ],
    "x-curl": "-G -d models=nudity-2.1 -d url=https://example.com/picture.jpg",
}


class _Request(BaseModel):
    id: str
    timestamp: float
    operations: int


class _Error(BaseModel):
    type: str
    code: int
    message: str


class CheckRefused(BaseModel):
    """Sightengine's error."""

    status: Literal["failure"]
    request: _Request
    error: _Error


router = APIRouter(tags=["dialects"], responses=refuses(CheckRefused, 400, 401, 403, 408, 413, 429, 500, 503))


@router.get(_PATH, openapi_extra=_IN_QUERY)
async def check_url(request: Request, desk: BusyDesk) -> Response:
    """Judge the picture at a URL by the models that are named."""
    asked = request.query_params
    return await _checked(request, desk, _models(asked.get("models", "")), _picture(None, asked.get("url", "")))


@router.post(
    _PATH,
    openapi_extra=takes({"multipart/form-data": _FORM}, "-F media=@picture.jpg -F models=nudity-2.1,gore-2.0"),
)
async def check_media(request: Request, desk: BusyDesk) -> Response:
    """Judge one picture, uploaded or at a URL, by the models that are named."""
    async with request.form() as form:
        fields = FormData([*request.query_params.multi_items(), *form.multi_items()])
        models, media, url = fields.get("models", ""), fields.get("media"), fields.get("url", "")
        if isinstance(models, UploadFile) or isinstance(url, UploadFile) or isinstance(media, str):
            raise Refused("'media' must be a file, 'models' and 'url' texts.", "argument_error")
        upload = Source(await media.read(), media.filename or "media") if media else None
    return await _checked(request, desk, _models(models), _picture(upload, url))


def _models(text: str) -> list[str]:
    """Names without versions, each once. Raises `Refused` for none and for unknown ones."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise Refused("Missing parameter: models", "argument_error")
    found = dict.fromkeys(_VERSION.sub("", name) for name in names)
    for name in found:
        if name not in _MODELS:
            raise Refused(f"Unknown model: {name[:100]}. Known: {', '.join(_MODELS)}", "argument_error")
    return list(found)


def _picture(upload: Source | None, url: str) -> Sendable:
    """An upload wins over a URL."""
    if upload is None and not url:
        raise Refused("Missing parameter: media or url", "argument_error")
    return upload or Url(url)


async def _checked(request: Request, desk: Desk, models: Sequence[str], picture: Sendable) -> Response:
    meanings = meanings_of(request, "sightengine")
    (verdict,) = await judged(desk, [picture])
    fields = _fields(meanings, models, scanned(verdict))
    if not fields:
        raise Refused(f"The policy '{verdict.policy}' judges none of: {', '.join(models)}", "argument_error")
    answer = {
        "status": "success",
        "request": {**_identity(), "operations": len(models)},
        **fields,
        "media": {"id": f"med_{uuid4().hex}", "uri": name_of(picture)},
        "moderato": {
            "action": verdict.action,
            "scores": verdict.scores,
            "not_judged": [model for model in models if model not in fields],
            "notes": verdict.notes,
        },
    }
    return JSONResponse(answer)


def _fields(meanings: Meanings, models: Sequence[str], verdict: Verdict) -> dict[str, dict[str, Any]]:
    """What is judged of each model, as the vendor nests it."""
    fields: dict[str, dict[str, Any]] = {}
    for category in CATEGORIES:
        model, *groups, name = category.split(".")
        score = meanings.score(category, verdict)
        if model in models and score is not None:
            place = fields.setdefault(model, {})
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = score
    if "nudity" in fields:
        fields["nudity"]["none"] = 1 - max(fields["nudity"].values())
    return fields


def _identity() -> dict[str, Any]:
    return {"id": f"req_{uuid4().hex}", "timestamp": time.time()}


def owns(scope: Scope) -> bool:
    """All of version 1.0, also what is not answered here (video, feedback)."""
    path: str = scope["path"]
    return path.startswith("/1.0/")


_TYPES: dict[Kind, str] = {
    "unscannable": "media_error",
    "unauthenticated": "argument_error",
    "forbidden": "credentials_error",
    "not_found": "request_error",
    "not_allowed": "request_error",
    "too_large": "request_error",
    "limited": "usage_limit",
    "full": "usage_limit",
    "unavailable": "api_error",
    "crashed": "api_error",
}


def refuse(fault: Fault, request: Request) -> Response:
    """`{"status": "failure", "error": {"type", "code", "message"}}`; the code is 1 for keys, else the status."""
    is_key = fault.kind == "unauthenticated"
    status = 400 if fault.kind == "ill_typed" else fault.status
    error = {
        "type": _TYPES.get(fault.kind, "argument_error"),
        "code": 1 if is_key else status,
        "message": "Incorrect API user or API secret" if is_key else fault.sentence,
    }
    retry = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    body = {"status": "failure", "request": {**_identity(), "operations": 0}, "error": error}
    return JSONResponse(body, status, {**fault.headers, **retry})
