"""`POST /v1/moderations`: OpenAI's moderation API, as `openai`'s own clients speak it.

https://platform.openai.com/docs/api-reference/moderations. Pictures are judged by the service's policy; text is not
judged, and says so. A category is `true` when the policy has a reason among its labels. Beyond OpenAI's own keys,
each result has `moderato`: the policy's action, its scores, and what was not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.types import Scope

from moderato.media.load import Base64, Sendable, Url, is_remote
from moderato.server.description import refuses, takes
from moderato.server.desk import BusyDesk
from moderato.server.dialects._judged import NOT_FETCHED, judged, scanned
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Refused
from moderato.server.pictures import read_json
from moderato.types import ACTIONS, Verdict

CATEGORIES = ("sexual", "self-harm", "self-harm/intent", "self-harm/instructions", "violence", "violence/graphic")
"""Those that OpenAI judges in pictures."""

_ALL = (
    "sexual",
    "sexual/minors",
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "violence",
    "violence/graphic",
)
_MODEL = "omni-moderation-latest"
_PATHS = re.compile("(/v1)?/moderations(/|$)")
_LONGEST = 200  # characters of a model's name, which is echoed
_SECONDS_OF_A_RATE = 120  # the client waits no longer than this: what takes longer is a quota
_TEXT = {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}
_URL = {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}
_PICTURE = {"type": "object", "properties": {"type": {"const": "image_url"}, "image_url": _URL}}
_PARTS = [{**part, "required": list(part["properties"])} for part in (_TEXT, _PICTURE)]
_BODY = {
    "type": "object",
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": _LONGEST, "default": _MODEL},
        "input": {
            "anyOf": [
                {"type": "array", "items": {"anyOf": _PARTS}, "minItems": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "string"},
            ]
        },
    },
    "required": ["input"],
}
_CURL = """-d '{"input": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}]}'"""


class _Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ModerationsRefused(BaseModel):
    """OpenAI's error."""

    error: _Error


router = APIRouter(tags=["dialects"], responses=refuses(ModerationsRefused, 400, 401, 403, 408, 413, 429, 500, 503))


@dataclass(frozen=True)
class _Asked:
    model: str
    results: int
    """How many results are due: one for a list of parts, one for each text otherwise."""
    pictures: list[Sendable]
    has_text: bool


@router.post("/moderations", include_in_schema=False)
@router.post("/v1/moderations", openapi_extra=takes({"application/json": _BODY}, _CURL))
async def moderations(request: Request, desk: BusyDesk) -> Response:
    """Judge the pictures of one input together, as OpenAI's moderation endpoint does."""
    body = await request.body()
    options = desk.dialects.openai
    most = 1 if options.images == "one" else desk.options.max_images
    asked = await desk.in_turn(lambda: _asked(body, most, desk.options.max_labels))
    if not asked.pictures and options.text == "refused":
        raise Refused(_NO_TEXT, "unsupported_input", "input")
    verdicts = [scanned(verdict) for verdict in await judged(desk, asked.pictures)]
    result = _result(meanings_of(request, "openai"), verdicts, asked.has_text)
    answer = {"id": f"modr-{uuid4().hex}", "model": asked.model, "results": [result] * asked.results}
    return JSONResponse(answer)


_NO_TEXT = (
    "This service judges pictures and no text. Send an image_url part, or ask whoever runs it to answer text as not "
    "judged (MODERATO_DIALECTS__OPENAI__TEXT=unjudged)."
)


def _asked(body: bytes, most: int, most_texts: int) -> _Asked:
    """What the body asks for. Raises `Refused`, also for more pictures or separate texts than these."""
    try:
        values = read_json(body)
    except ValueError as error:
        raise Refused(f"The body is not JSON: {error}.", "invalid_json") from error
    if not isinstance(values, dict):
        raise Refused("The body must be a JSON object.", "invalid_type")
    model = _MODEL if values.get("model") is None else values["model"]
    if not isinstance(model, str) or not 0 < len(model) <= _LONGEST:
        raise Refused("'model' must be the name of a model.", "invalid_type", "model")
    sent = values.get("input")
    if sent is None:
        raise Refused("Missing required parameter: 'input'.", "missing_required_parameter", "input")
    if isinstance(sent, str):
        return _Asked(model, 1, [], has_text=True)
    if not isinstance(sent, list) or not sent:
        raise Refused("'input' must be a text, or a list of texts or of parts.", "invalid_type", "input")
    if all(isinstance(part, str) for part in sent):
        if len(sent) > most_texts:
            raise Refused(f"{len(sent)} texts; the limit is {most_texts}.", "array_above_max_length", "input")
        return _Asked(model, len(sent), [], has_text=True)
    pictures = [picture for place, part in enumerate(sent) if (picture := _part(part, f"input[{place}]"))]
    if len(pictures) > most:
        message = f"Number of images ({len(pictures)}) exceeds maximum of {most}"
        raise Refused(message, "too_many_images", "input")
    return _Asked(model, 1, pictures, has_text=len(pictures) < len(sent))


def _part(part: Any, where: str) -> Sendable | None:
    """The picture of a part; None for a text."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return None
    if kind == "image_url" and isinstance(part.get("image_url"), dict):
        return _picture(part["image_url"].get("url"), where)
    if kind in ("text", "image_url"):
        raise Refused(f"'{where}.{kind}' is missing or of the wrong type.", "invalid_type", f"{where}.{kind}")
    raise Refused(f"'{where}' must be a part of type 'text' or 'image_url'.", "invalid_value", f"{where}.type")


def _picture(url: Any, where: str) -> Sendable:
    where = f"{where}.image_url.url"
    if not isinstance(url, str):
        raise Refused(f"'{where}' is missing or no text.", "invalid_type", where)
    if url[:5].lower() == "data:":
        return Base64(f"data:{url[5:]}", where)
    if is_remote(url):
        return Url(url, where)
    raise Refused(f"'{where}' must be a data: URL or begin with http:// or https://.", "invalid_image_url", where)


def _result(meanings: Meanings, verdicts: Sequence[Verdict], has_text: bool) -> dict[str, Any]:
    """One result for all pictures together: the highest score of each category. Without pictures nothing is judged."""
    found = {category: _highest(meanings, category, verdicts) for category in _ALL}
    flags = {category: any(meanings.action(category, one) != "allow" for one in verdicts) for category in _ALL}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {category: score or 0.0 for category, score in found.items()},
        "category_applied_input_types": {
            category: [] if score is None else ["image"] for category, score in found.items()
        },
        "moderato": _more(verdicts, [category for category in CATEGORIES if found[category] is None], has_text),
    }


def _highest(meanings: Meanings, category: str, verdicts: Sequence[Verdict]) -> float | None:
    scores = [score for verdict in verdicts if (score := meanings.score(category, verdict)) is not None]
    return max(scores, default=None)


def _more(verdicts: Sequence[Verdict], unjudged: list[str], has_text: bool) -> dict[str, Any]:
    """What OpenAI's contract has no place for."""
    return {
        "action": max((verdict.action for verdict in verdicts), key=ACTIONS.index, default=None),
        "scores": {
            label: max(verdict.scores[label] for verdict in verdicts)
            for label in (verdicts[0].scores if verdicts else ())
        },
        "not_judged": [*(["text"] if has_text else []), *unjudged],
        "notes": list(dict.fromkeys(note for verdict in verdicts for note in verdict.notes)),
    }


def owns(scope: Scope) -> bool:
    """Its paths, and whatever OpenAI's own clients ask for besides."""
    is_mine = _PATHS.match(scope["path"]) is not None
    return is_mine or any(name == b"x-stainless-lang" for name, _ in scope["headers"])


def refuse(fault: Fault, request: Request) -> Response:
    """`{"error": {"message", "type", "param", "code"}}`, and the headers by which the client decides to try again."""
    message, status, kind, code = fault.sentence, fault.status, "invalid_request_error", fault.code
    headers: Mapping[str, str] = {}
    match fault.kind:
        case "ill_typed":
            status = 400
        case "unscannable":
            message, code = _unscannable(fault)
        case "unauthenticated":
            message, code = (_WRONG_KEY, "invalid_api_key") if fault.given else (_NO_KEY, None)
        case "not_found":
            message, code = f"Invalid URL ({request.method} {request.url.path})", None
        case "not_allowed":
            message, code = f"Not allowed to {request.method} on {request.url.path}.", "method_not_supported"
        case "limited" | "full":
            kind, code, headers = _later(fault)
        case "unavailable" | "crashed":
            kind, code = "server_error", "server_error"
    body = {"message": message, "type": kind, "param": fault.where, "code": code}
    return JSONResponse({"error": body}, status, {**fault.headers, **headers})


_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY)."
)
_WRONG_KEY = "Incorrect API key provided: ****. Ask whoever runs this service for a key of its own."


def _unscannable(fault: Fault) -> tuple[str, str]:
    word, _, detail = fault.sentence.partition(": ")
    if word == "forbidden_url":
        return f"Failed to download image: {detail}", "invalid_image_url"
    if word in NOT_FETCHED:
        return f"Failed to download image: {detail}", "image_url_unavailable"
    return f"The image cannot be read: {detail}", "invalid_image_format"


def _later(fault: Fault) -> tuple[str, str, Mapping[str, str]]:
    """The type, the code and the headers of "not now"."""
    wait = fault.retry_after if fault.retry_after is not None else 1
    headers = {"Retry-After": str(wait)}
    if fault.kind == "limited" and wait > _SECONDS_OF_A_RATE:
        return "insufficient_quota", "insufficient_quota", {**headers, "x-should-retry": "false"}
    return "requests", "rate_limit_exceeded", headers
