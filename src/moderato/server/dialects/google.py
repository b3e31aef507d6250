"""`images:annotate` of Google Cloud Vision, for `SAFE_SEARCH_DETECTION`.

Up to 16 pictures in a request; what is wrong with one of them is an error in its own place of a 200. The other features
are skipped. A category that the policy does not score is `UNKNOWN`; how sure one must be for each likelihood is in
`meanings/google.toml`. JSON is read as proto3 says: camelCase or snake_case, enums by name or number, base64 of either
alphabet, padded or not. Overload is 429, never 503, which Google's clients repeat for ten minutes.

https://cloud.google.com/vision/docs/reference/rest/v1/images/annotate
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel
from starlette.types import Scope

from moderato.errors import nearest
from moderato.media.load import Sendable, Url
from moderato.server.description import InBase64, refuses, schema_of, takes
from moderato.server.desk import BusyDesk
from moderato.server.dialects._judged import judged
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Kind, Refused
from moderato.server.pictures import read_json
from moderato.types import Source, Verdict

CATEGORIES = ("adult", "spoof", "medical", "violence", "racy")
LEVELS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")

_NOT_JUDGED = "UNKNOWN"
_MOST_IMAGES = 16
_MOST_FEATURES = 100  # clients send each of the dozen once
_SAFE_SEARCH = 6
_FEATURES = {
    "TYPE_UNSPECIFIED": 0,
    "FACE_DETECTION": 1,
    "LANDMARK_DETECTION": 2,
    "LOGO_DETECTION": 3,
    "LABEL_DETECTION": 4,
    "TEXT_DETECTION": 5,
    "SAFE_SEARCH_DETECTION": _SAFE_SEARCH,
    "IMAGE_PROPERTIES": 7,
    "CROP_HINTS": 9,
    "WEB_DETECTION": 10,
    "DOCUMENT_TEXT_DETECTION": 11,
    "PRODUCT_SEARCH": 12,
    "OBJECT_LOCALIZATION": 19,
}
_OWNED = re.compile(r"/+v1/+(projects/+[^/]+/+(locations/+[^/]+/+)?)?(images|files):.*|/+v1/+projects(/.*)?", re.DOTALL)

# google.rpc.Code: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_INVALID_ARGUMENT, _PERMISSION_DENIED, _UNAVAILABLE = 3, 7, 14
_BAD_IMAGE = "Bad image data."
_FORBIDDEN_URL = "We're not allowed to access the URL on your behalf. Please download the content and pass it in."
_UNFETCHABLE = "We can not access the URL currently. Please download the content and pass it in."

_STATUS: dict[Kind, tuple[int, str]] = {
    "unauthenticated": (401, "UNAUTHENTICATED"),
    "forbidden": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"),
    "not_allowed": (404, "NOT_FOUND"),
    "limited": (429, "RESOURCE_EXHAUSTED"),
    "full": (429, "RESOURCE_EXHAUSTED"),
    "unavailable": (500, "INTERNAL"),
    "crashed": (500, "INTERNAL"),
}
_NO_KEY = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API."
)
_WRONG_KEY = "API key not valid. Please pass a valid API key."
_ABOUT_KEY = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
    "metadata": {"service": "vision.googleapis.com"},
}


class _Message(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class _ImageSource(_Message):
    image_uri: str | None = None
    gcs_image_uri: str | None = None


class _Image(_Message):
    content: InBase64 | None = None
    source: _ImageSource | None = None


class _Feature(_Message):
    type: int | str | None = None

    @field_validator("type")
    @classmethod
    def _number(cls, value: int | str | None) -> int:
        """Names and numbers; an unknown number is a feature that this service was not told of."""
        if isinstance(value, str) and value not in _FEATURES:
            raise ValueError(f"there is no feature '{value}'. {nearest(value, _FEATURES)}")
        return _FEATURES[value] if isinstance(value, str) else value or 0


class _AnnotateRequest(_Message):
    image: _Image | None = None
    features: Annotated[list[_Feature], Field(max_length=_MOST_FEATURES)] | None = None


class _Batch(_Message):
    requests: list[_AnnotateRequest] = Field(min_length=1)


class _Status(BaseModel):
    code: int
    message: str
    status: str
    details: list[dict[str, Any]] = []


class AnnotateRefused(BaseModel):
    """Google's error, of a whole request."""

    error: _Status


router = APIRouter(tags=["dialects"], responses=refuses(AnnotateRefused, 400, 401, 403, 429, 500))

_CURL = """-d '{"requests": [{"image": {"content": "..."}, "features": [{"type": "SAFE_SEARCH_DETECTION"}]}]}'"""


@router.post("/v1/images:annotate", openapi_extra=takes({"application/json": schema_of(_Batch)}, _CURL))
@router.post("/v1/projects/{project}/images:annotate", include_in_schema=False)
@router.post("/v1/projects/{project}/locations/{location}/images:annotate", include_in_schema=False)
async def annotate(request: Request, desk: BusyDesk) -> JSONResponse:
    """Judge pictures; each has its answer or its error, in their order."""
    body = await request.body()
    most = min(_MOST_IMAGES, desk.options.max_images)
    asked = await desk.in_turn(lambda: _asked(body, most))
    pictures = [one for one in asked if not isinstance(one, dict)]
    verdicts = iter(await judged(desk, pictures)) if pictures else iter(())
    meanings = meanings_of(request, "google")
    answers = [one if isinstance(one, dict) else _answer(meanings, next(verdicts)) for one in asked]
    return JSONResponse({"responses": answers})


_Answer = dict[str, Any]


def _asked(body: bytes, most: int) -> list[Sendable | _Answer]:
    """For each request its picture, or the answer it has without one being looked at. Raises `Refused`."""
    try:
        values = read_json(body)
        listed = values.get("requests") if isinstance(values, dict) else None
        if isinstance(listed, list) and len(listed) > most:  # before each of them is looked at
            raise _wrong(f"Too many images per request: {len(listed)}; the limit is {most}.")
        batch = _Batch.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise _wrong(f"Invalid value at '{'.'.join(map(str, found['loc']))}': {found['msg']}") from error
    except ValueError as error:
        raise _wrong(f"Invalid JSON payload received. {error}") from error
    return [_one(place, one) for place, one in enumerate(batch.requests)]


def _wrong(message: str) -> Refused:
    return Refused(message, "INVALID_ARGUMENT")


def _one(place: int, asked: _AnnotateRequest) -> Sendable | _Answer:
    image = asked.image or _Image()
    source = image.source or _ImageSource()
    url = source.image_uri or source.gcs_image_uri
    if not image.content and not url:
        return _error(_INVALID_ARGUMENT, "No image present.")
    if not asked.features:
        return _error(_INVALID_ARGUMENT, "No features present.")
    if all(feature.type != _SAFE_SEARCH for feature in asked.features):
        return {}
    if image.content:
        return Source(_decoded(place, image.content), f"requests[{place}]")
    return Url(url or "", f"requests[{place}]")


def _decoded(place: int, text: str) -> bytes:
    plain = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        where = f"requests[{place}].image.content"
        raise _wrong(f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed ({error})") from error


def _answer(meanings: Meanings, verdict: Verdict) -> _Answer:
    if verdict.unscannable:
        return _unscannable(*verdict.unscannable.split(": ", 1))
    scores = {category: meanings.score(category, verdict) for category in CATEGORIES}
    return {
        "safeSearchAnnotation": {
            category: _NOT_JUDGED if score is None else meanings.level(score) for category, score in scores.items()
        }
    }


def _unscannable(code: str, detail: str = "") -> _Answer:
    if code in ("forbidden_url", "forbidden_address"):
        return _error(_PERMISSION_DENIED, _FORBIDDEN_URL)
    if code == "unfetchable":
        return _error(_UNAVAILABLE, _UNFETCHABLE)
    return _error(_INVALID_ARGUMENT, f"The image is too large: {detail}" if code.startswith("too_") else _BAD_IMAGE)


def _error(code: int, message: str) -> _Answer:
    return {"error": {"code": code, "message": message}}


def owns(scope: Scope) -> bool:
    """Whether a request is one to Google Vision, also to what of it is not offered here."""
    return _OWNED.fullmatch(scope["path"]) is not None


def refuse(fault: Fault, request: Request) -> JSONResponse:
    """google.rpc.Status inside of `error`. Without a key 403, with a wrong one 400: a 401 is tried three times."""
    status, name = _STATUS.get(fault.kind, (400, "INVALID_ARGUMENT"))
    message, details = fault.sentence, []
    if fault.kind == "unauthenticated" and not fault.given:
        status, name, message = 403, "PERMISSION_DENIED", _NO_KEY
    elif fault.kind == "unauthenticated" and _sent_a_key(request):
        status, name, message, details = 400, "INVALID_ARGUMENT", _WRONG_KEY, [_ABOUT_KEY]
    retry = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    return JSONResponse(
        {"error": {**error, "details": details} if details else error}, status, {**fault.headers, **retry}
    )


def _sent_a_key(request: Request) -> bool:
    """A key, rather than a token: those two are refused differently."""
    return "x-goog-api-key" in request.headers or "key" in request.query_params
