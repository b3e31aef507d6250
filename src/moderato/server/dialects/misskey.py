"""`POST /v1/detect-images`: the contract of Misskey's sensitive-detector, by which its servers judge uploads.

https://github.com/misskey-dev/sensitive-detector, `docs/api-detect-images.md`. Multipart parts under any names; one
result each, in order, with nsfwjs's classes. A picture that cannot be scanned is a failed result, never a harmless one.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Scope

from moderato.server.description import refuses, takes
from moderato.server.desk import BusyDesk
from moderato.server.dialects._judged import judged
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Refused
from moderato.types import Source, Verdict

CATEGORIES = ("Drawing", "Hentai", "Porn", "Sexy")
"""The classes of nsfwjs; the fifth, Neutral, is what the others leave."""

_PATH = "/v1/detect-images"
_FILES = {
    "type": "object",
    "properties": {"image": {"type": "string", "format": "binary"}},
    "required": ["image"],
}
_LIMITS = ("too_many_bytes", "too_many_pixels", "too_wide")


class _Error(BaseModel):
    code: str
    message: str


class DetectRefused(BaseModel):
    """The error of the contract."""

    success: Literal[False]
    error: _Error


router = APIRouter(tags=["dialects"], responses=refuses(DetectRefused, 400, 401, 403, 408, 413, 415, 429, 500, 503))


@router.post(_PATH, openapi_extra=takes({"multipart/form-data": _FILES}, "-F image0=@picture.jpg"))
async def detect_images(request: Request, desk: BusyDesk) -> Response:
    """Say how probable each of nsfwjs's classes is for every picture sent."""
    sent = await _parts(request, desk.options.max_images)
    verdicts = iter(await judged(desk, [part for part in sent if part is not None]))
    meanings = meanings_of(request, "misskey")
    results = [_NO_FILE if part is None else _result(meanings, next(verdicts)) for part in sent]
    return JSONResponse({"success": True, "result": {"results": results}})


async def _parts(request: Request, most: int) -> list[Source | None]:
    """The parts in their order; None for one that is no file. Raises `Refused`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "The content type must be multipart/form-data.")
    async with request.form() as form:
        parts = form.multi_items()
        if not parts:
            raise Refused("There are no parts in the multipart body.", "INVALID_REQUEST")
        if len(parts) > most:
            raise HTTPException(413, f"{len(parts)} parts; the limit is {most}.")
        return [Source(await part.read(), name) if isinstance(part, UploadFile) else None for name, part in parts]


def _failed(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "message": message}}


_NO_FILE = _failed("INVALID_REQUEST", "The part is not a file.")


def _result(meanings: Meanings, verdict: Verdict) -> dict[str, Any]:
    if verdict.unscannable:
        code = verdict.unscannable.partition(":")[0]
        if code == "empty":
            return _failed("INVALID_REQUEST", verdict.unscannable)
        return _failed("REQUEST_TOO_LARGE" if code in _LIMITS else "IMAGE_DECODE_FAILED", verdict.unscannable)
    scores = {name: score for name in CATEGORIES if (score := meanings.score(name, verdict)) is not None}
    if not scores:  # Misskey reads an absent class as 0: it would pass for harmless
        return _failed("MODEL_UNAVAILABLE", f"The policy '{verdict.policy}' judges none of these classes.")
    scores["Neutral"] = 1 - max(scores.values())
    ranked = sorted(scores.items(), key=lambda pair: -pair[1])
    return {"success": True, "predictions": [{"className": name, "probability": score} for name, score in ranked]}


def owns(scope: Scope) -> bool:
    """Its one path."""
    path: str = scope["path"]
    return path.removesuffix("/") == _PATH


def refuse(fault: Fault, request: Request) -> Response:
    """`{"success": false, "error": {"code", "message"}}`, with one of the contract's codes."""
    status = 400 if fault.kind == "ill_typed" else fault.status
    retry = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    return JSONResponse(_failed(_code(fault), fault.sentence), status, {**fault.headers, **retry})


def _code(fault: Fault) -> str:
    match fault.kind:
        case "unauthenticated" | "forbidden":
            return "AUTHENTICATION_REQUIRED"
        case "too_large":
            return "REQUEST_TOO_LARGE"
        case "unavailable" | "limited" | "full":
            return "MODEL_UNAVAILABLE"
        case "crashed":
            return "DETECTION_FAILED"
        case _:
            return "UNSUPPORTED_MEDIA_TYPE" if fault.status == 415 else "INVALID_REQUEST"
