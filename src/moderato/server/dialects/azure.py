"""`image:analyze` of Azure AI Content Safety.

The severities are 0, 2, 4 and 6; `meanings/azure.toml` says from which score on. Azure has no word for "not judged",
and a severity of 0 would call safe what nobody looked at. So a category that the policy does not score is absent when
all were asked for; when it was asked for by name, or when nothing is left to answer, the answer is 400.
`Retry-After` goes with 429 alone: Azure's clients repeat whatever carries it, ten times.

https://learn.microsoft.com/rest/api/contentsafety/image-operations/analyze-image
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import Scope

from moderato.media.load import Sendable, Url
from moderato.policy import Policy
from moderato.server.description import InBase64, refuses, schema_of, takes
from moderato.server.desk import BusyDesk
from moderato.server.dialects._judged import judged, scanned
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Kind, Refused
from moderato.server.pictures import read_json
from moderato.types import Source, Verdict

CATEGORIES = ("Hate", "SelfHarm", "Sexual", "Violence")
LEVELS = ("0", "2", "4", "6")

_WRONG = "InvalidRequestBody"
_PATH = "/contentsafety/image:analyze"
_OWNED = re.compile(r"/+contentsafety(/.*)?", re.DOTALL)
_NO_ACCESS = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_CODES: dict[Kind, tuple[int, str]] = {
    "unauthenticated": (401, "401"),
    "forbidden": (403, "403"),
    "not_found": (404, "404"),
    "not_allowed": (404, "404"),
    "too_large": (413, _WRONG),
    "limited": (429, "TooManyRequests"),
    "full": (429, "TooManyRequests"),
    "unavailable": (503, "ServerBusy"),
    "crashed": (500, "InternalError"),
}


class _Image(BaseModel):
    content: InBase64 | None = None
    blob_url: str | None = Field(None, alias="blobUrl")


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True)

    image: _Image
    categories: list[Literal["Hate", "SelfHarm", "Sexual", "Violence"]] | None = None
    output_type: Literal["FourSeverityLevels"] | None = Field(None, alias="outputType")


class _Error(BaseModel):
    code: str
    message: str
    target: str | None = None


class AnalyzeRefused(BaseModel):
    """Azure's error."""

    error: _Error


router = APIRouter(tags=["dialects"], responses=refuses(AnalyzeRefused, 400, 401, 403, 413, 429, 500, 503))

_CURL = """-d '{"image": {"content": "..."}}'"""


@router.post(_PATH, openapi_extra=takes({"application/json": schema_of(_Asked)}, _CURL))
async def analyze(request: Request, desk: BusyDesk) -> JSONResponse:
    """Judge one picture."""
    body = await request.body()
    asked = await desk.in_turn(lambda: _read(body))
    picture = await desk.in_turn(lambda: _picture(asked.image))
    meanings = meanings_of(request, "azure")
    categories = _judged_of(asked.categories or (), meanings, desk.moderator.policy)
    verdict = scanned((await judged(desk, [picture]))[0])
    return JSONResponse({"categoriesAnalysis": [_severity(category, meanings, verdict) for category in categories]})


def _read(body: bytes) -> _Asked:
    try:
        return _Asked.model_validate(read_json(body))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, found["loc"]))
        raise Refused(f"{where or 'The body'}: {found['msg']}.", _WRONG, where or None) from error
    except ValueError as error:
        raise Refused(f"The body is not JSON ({error}).", _WRONG) from error


def _picture(image: _Image) -> Sendable:
    if bool(image.content) == bool(image.blob_url):
        raise Refused("The image needs 'content' or 'blobUrl', one of the two.", _WRONG, "image")
    if image.blob_url:
        return Url(image.blob_url, "blobUrl")
    try:
        return Source(base64.b64decode("".join((image.content or "").split()), validate=True), "content")
    except (binascii.Error, ValueError) as error:
        raise Refused(f"The image's content is not base64 ({error}).", _WRONG, "image.content") from error


def _judged_of(named: Sequence[str], meanings: Meanings, policy: Policy) -> list[str]:
    """The categories to answer: those named, or else all that the policy judges. Raises `Refused`; see the module."""
    judged = [category for category in CATEGORIES if meanings.labels(category, policy.labels)]
    missing = [category for category in named if category not in judged]
    if missing or not judged:
        raise Refused(
            f"Not judged by the policy of this service, '{policy.name}': {', '.join(missing or CATEGORIES)}. "
            f"It judges: {', '.join(judged) or 'no category of Content Safety'}.",
            _WRONG,
            "categories",
        )
    return list(dict.fromkeys(named)) or judged


def _severity(category: str, meanings: Meanings, verdict: Verdict) -> dict[str, Any]:
    score = meanings.score(category, verdict)
    assert score is not None, category  # `_judged_of` chose by the same labels
    return {"category": category, "severity": int(meanings.level(score))}


def owns(scope: Scope) -> bool:
    """Whether a request is one to Content Safety, also to what of it is not offered here."""
    return _OWNED.fullmatch(scope["path"]) is not None


def refuse(fault: Fault, request: Request) -> JSONResponse:
    """Azure's body and its header; `Retry-After` with 429 alone."""
    status, code = _CODES.get(fault.kind, (400, _WRONG))
    error: dict[str, Any] = {
        "code": code,
        "message": _NO_ACCESS if fault.kind == "unauthenticated" else fault.sentence,
    }
    if fault.where:
        error["target"] = fault.where
    headers = {name: value for name, value in fault.headers.items() if name.lower() != "retry-after"}
    if status == 429:
        headers["Retry-After"] = str(fault.retry_after or 1)
    return JSONResponse({"error": error}, status, {**headers, "x-ms-error-code": code})
