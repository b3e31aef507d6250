"""`DetectModerationLabels` of Amazon Rekognition (AWS JSON 1.1): a POST with `X-Amz-Target`, to whatever path.

The picture comes as `Bytes`, or as an `S3Object` of a bucket for which `MODERATO_DIALECTS__AWS__BUCKETS` names a folder
or the URL of an S3-compatible store.
What the policy scores is answered in the words of taxonomy 7.0, each with all above it; what it does not score is
absent, as is what lies below `MinConfidence`. Every other operation is answered `UnknownOperationException`.
`HumanLoopConfig` and `ProjectVersion` are accepted and change nothing.

https://docs.aws.amazon.com/rekognition/latest/APIReference/API_DetectModerationLabels.html
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from moderato.media.load import Sendable
from moderato.server.desk import BusyDesk
from moderato.server.dialects import _s3
from moderato.server.dialects._judged import judged, scanned
from moderato.server.dialects._meanings import Meanings, meanings_of
from moderato.server.errors import Fault, Kind, Refused
from moderato.server.pictures import read_json
from moderato.settings import AWSOptions
from moderato.types import Source, Verdict

_LOG = logging.getLogger(__name__)
_OPERATION = "DetectModerationLabels"
_TAXONOMY = tomllib.loads(Path(__file__).with_name("_rekognition_taxonomy.toml").read_text("utf-8"))
_VERSION = "7.0"
_MOST_BYTES = 5 * 2**20  # Rekognition's own limit for `Bytes`
_USUAL_CONFIDENCE = 50.0


def _parents() -> Iterable[tuple[str, str]]:
    for top, second in _TAXONOMY.items():
        yield top, ""
        for middle, third in second.items():
            yield middle, top
            yield from ((name, middle) for name in third)


PARENTS: Mapping[str, str] = dict(_parents())
"""The name above each of the 52 names; "" above those of the first level."""
CATEGORIES = tuple(PARENTS)

_CODES: dict[Kind, str] = {
    "wrong": "InvalidParameterException",
    "ill_typed": "SerializationException",
    "unscannable": "InvalidImageFormatException",
    "forbidden": "AccessDeniedException",
    "not_found": "UnknownOperationException",
    "not_allowed": "UnknownOperationException",
    "too_large": "ImageTooLargeException",
    "limited": "ThrottlingException",
    "full": "ThrottlingException",
}
_FOR_PICTURES = {
    "too_many_bytes": "ImageTooLargeException",
    "too_many_pixels": "ImageTooLargeException",
    "too_many_frames": "ImageTooLargeException",
    "too_wide": "ImageTooLargeException",
    "unreadable": "InvalidS3ObjectException",
    "forbidden_url": "InvalidS3ObjectException",
    "forbidden_address": "InvalidS3ObjectException",
    "unfetchable": "InvalidS3ObjectException",
}
_OPENINGS = {  # how AWS's own sentences begin; some callers look for them
    "InvalidParameterException": "Request has invalid parameters",
    "InvalidImageFormatException": "Request has invalid image format",
    "InvalidS3ObjectException": (
        "Unable to get object metadata from S3. Check object key, region and/or access permissions."
    ),
    "MissingAuthenticationTokenException": "Request is missing Authentication Token",
    "UnrecognizedClientException": "The security token included in the request is invalid.",
}


def owns(scope: Scope) -> bool:
    """Whether a request is one to AWS: no other client sends `X-Amz-Target`."""
    return any(name == b"x-amz-target" for name, _ in scope["headers"])


class _AnyPath(APIRoute):
    """The last part of an `endpoint_url` is whatever the caller was told; the header alone says that it is for us."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """A full match, or none: another dialect's `POST /` is not this one's."""
        match, found = super().matches(scope)
        return (match, found) if match is Match.FULL and owns(scope) else (Match.NONE, {})


router = APIRouter(tags=["dialects"], route_class=_AnyPath)


@router.post("/{path:path}", include_in_schema=False)
async def operate(request: Request, desk: BusyDesk) -> Response:
    """Judge one picture."""
    _check_operation(request.headers["x-amz-target"])
    body = await request.body()
    picture, least = await desk.in_turn(lambda: _asked(body, desk.dialects.aws))
    verdict = scanned((await judged(desk, [picture]))[0])
    labels = _labels(meanings_of(request, "aws"), verdict, least)
    return _json({"ModerationLabels": labels, "ModerationModelVersion": _VERSION, "ContentTypes": []}, 200)


def _check_operation(target: str) -> None:
    service, _, operation = target.partition(".")
    if service != "RekognitionService" or operation != _OPERATION:
        raise Refused(
            f"This service answers RekognitionService.{_OPERATION}, and no other operation.",
            "UnknownOperationException",
            "X-Amz-Target",
        )


def _asked(body: bytes, options: AWSOptions) -> tuple[Sendable, float]:
    """The picture, and the confidence from which labels are answered. Raises `Refused`."""
    try:
        values = _table(read_json(body), "the body")
    except ValueError as error:
        raise _unreadable(f"the body is not JSON ({error}).") from error
    image = _table(values.get("Image") or {}, "Image")
    data, stored = image.get("Bytes"), image.get("S3Object")
    if (data is None) == (stored is None):
        raise Refused("Image needs Bytes or S3Object, one of the two.", "InvalidParameterException", "Image")
    picture = _stored(_table(stored, "S3Object"), options) if data is None else Source(_bytes(data), "Bytes")
    return picture, _confidence(values.get("MinConfidence"))


def _table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _unreadable(f"{what} is not a JSON object.")
    return value


def _unreadable(why: str) -> Refused:
    return Refused(f"The request cannot be read: {why}", "SerializationException")


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise _unreadable("Bytes is not a text in base64.")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable(f"Bytes is not base64 ({error}).") from error
    if 0 < len(data) <= _MOST_BYTES:
        return data
    bound = f"less than or equal to {_MOST_BYTES}" if data else "greater than or equal to 1"
    raise Refused(
        f"1 validation error detected: Value at 'image.bytes' failed to satisfy constraint: "
        f"Member must have length {bound}",
        "ValidationException",
        "Image.Bytes",
    )


def _stored(s3: dict[str, Any], options: AWSOptions) -> Sendable:
    bucket, name, version = s3.get("Bucket"), s3.get("Name"), s3.get("Version") or None
    if not (isinstance(bucket, str) and bucket and isinstance(name, str) and name):
        raise Refused("S3Object needs Bucket and Name.", "InvalidParameterException", "S3Object")
    found = _s3.find(options, bucket, name, None if version is None else str(version))
    if found is None:
        raise Refused("", "InvalidS3ObjectException", "S3Object")  # AWS's sentence, and nothing about our folders
    return found


def _confidence(value: Any) -> float:
    if value is None:
        return _USUAL_CONFIDENCE
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise Refused("MinConfidence must be a number from 0 to 100.", "InvalidParameterException", "MinConfidence")
    return float(value)


def _labels(meanings: Meanings, verdict: Verdict, least: float) -> list[dict[str, Any]]:
    """The names from `least` on, surest first; a name is as sure as the surest below it, and comes after it."""
    confidences: dict[str, float] = {}
    for name in CATEGORIES:
        score = meanings.score(name, verdict)
        for above in branch(name) if score is not None else ():
            confidences[above] = max(confidences.get(above, 0.0), round(100 * (score or 0.0), 4))
    found = [name for name, confidence in confidences.items() if confidence >= least]
    found.sort(key=lambda name: (-confidences[name], -len(branch(name))))
    return [
        {
            "Confidence": confidences[name],
            "Name": name,
            "ParentName": PARENTS[name],
            "TaxonomyLevel": len(branch(name)),
        }
        for name in found
    ]


def branch(name: str) -> tuple[str, ...]:
    """A name of the taxonomy and all above it, upwards: as many as the name's level."""
    above = PARENTS[name]
    return (name, *branch(above)) if above else (name,)


def refuse(fault: Fault, request: Request) -> Response:
    """AWS's body: 400 whatever the caller did wrong, 500 where it is our fault."""
    code = _code(fault)
    opening = _OPENINGS.get(code, "")
    message = opening if opening.endswith(".") else ": ".join(filter(None, (opening, fault.sentence)))
    if code == "InvalidS3ObjectException" and fault.sentence:  # how stores are reached is for the log
        _LOG.warning("An S3Object cannot be read: %s", fault.sentence)
    status = 500 if code == "InternalServerError" else 400
    retry = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
    headers = {**fault.headers, **retry, "x-amzn-errortype": code}
    return _json({"__type": code, "Message": message}, status, headers)


def _code(fault: Fault) -> str:
    if fault.kind == "unscannable":
        return _FOR_PICTURES.get(fault.code or "", _CODES["unscannable"])
    if fault.code:  # AWS's own word already, also for what is wrong with a signature
        return fault.code
    if fault.kind == "unauthenticated":
        return "UnrecognizedClientException" if fault.given else "MissingAuthenticationTokenException"
    return _CODES.get(fault.kind, "InternalServerError")


def _json(values: dict[str, Any], status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        json.dumps(values),
        status,
        {"x-amzn-RequestId": str(uuid4()), **(headers or {})},
        media_type="application/x-amz-json-1.1",
    )
