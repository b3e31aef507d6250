"""The pictures of a request, whichever way they come: as multipart files, or in JSON as URLs and base64."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile

from moderato.errors import RequestError
from moderato.media.load import Base64, Sendable, Url
from moderato.server.description import InBase64, schema_of, takes
from moderato.server.desk import Desk
from moderato.types import Source


class SentPicture(BaseModel):
    """One picture: a URL, or its bytes in base64 (a `data:` URL is fine too)."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["data"]}]}
    )

    url: Annotated[str, Field(min_length=1)] | None = None
    data: InBase64 | None = None
    id: str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> SentPicture:
        if (self.url is None) == (self.data is None):
            raise ValueError("give 'url' or 'data', one of the two")
        return self

    def sendable(self, place: int) -> Sendable:
        """The picture as the moderator takes it."""
        if self.url is not None:
            return Url(self.url, self.id or self.url)
        return Base64(self.data or "", self.id or f"images[{place}]")


class Pictures(BaseModel):
    """What every request about pictures holds."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    images: list[SentPicture] = []

    def sendables(self) -> list[Sendable]:
        """The pictures in the order of the request."""
        return [picture.sendable(place) for place, picture in enumerate(self.images)]


Asked = TypeVar("Asked", bound=Pictures)

_TOLD = 5  # problems of one request


async def read(
    request: Request, shape: type[Asked], desk: Desk, *, may_be_none: bool = False
) -> tuple[Asked, list[Sendable]]:
    """The request's fields and its pictures in order. Raises `RequestError` for a wrong request, `Overloaded`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        asked, sent = await _read_form(request, shape, desk.options.max_images)
    else:
        body = await request.body()
        asked = await desk.in_turn(lambda: _validated(shape, _json(body, desk.options.max_images)))
        sent = asked.sendables()
    if not sent and not may_be_none:
        raise RequestError("Send at least one picture, as 'images'.")
    desk.expect(max(1, len(sent)))
    return asked, sent


async def _read_form(request: Request, shape: type[Asked], most: int) -> tuple[Asked, list[Sendable]]:
    async with request.form(max_files=most, max_part_size=1 << 20) as form:
        sent: list[Sendable] = []
        fields: dict[str, Any] = {}
        for name, value in form.multi_items():
            if name == "images":
                if not isinstance(value, UploadFile):
                    raise RequestError("'images' must be files (curl: -F images=@picture.jpg).")
                sent.append(Source(await value.read(), value.filename or f"images[{len(sent)}]"))
            elif isinstance(value, UploadFile):
                raise RequestError(f"'{name}' is not a file field; pictures are sent as 'images'.")
            elif name in fields:
                fields[name] = [*_listed(fields[name]), value]  # an array in a form is the same field again
            else:
                fields[name] = value
    return _validated(shape, fields), sent


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def read_json(body: bytes) -> Any:
    """What a JSON body says. Raises `ValueError` for one that cannot be read, or not be answered."""
    try:
        values = json.loads(body)
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair could not be answered
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return values


def _json(body: bytes, most: int) -> Any:
    try:
        values = read_json(body)
    except ValueError as error:
        raise RequestError(f"The body is neither multipart/form-data nor JSON ({error}).") from error
    images = values.get("images") if isinstance(values, dict) else None
    if isinstance(images, list) and len(images) > most:
        raise RequestError(f"{len(images)} pictures in one request; the limit is {most}.")
    return values


def _validated(shape: type[Asked], values: Any) -> Asked:
    try:
        return shape.model_validate(values)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        problems = "; ".join(_sentence(problem["loc"], problem["msg"]) for problem in found[:_TOLD])
        raise RequestError(f"{problems}{f' and {len(found) - _TOLD} more' if len(found) > _TOLD else ''}.") from error


def _sentence(where: Sequence[int | str], message: str) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    return f"{place or 'the body'}: {message.removeprefix('Value error, ')}"


def described(shape: type[Pictures], curl: str, *, may_be_none: bool = False) -> dict[str, Any]:
    """The request for OpenAPI: the shape as JSON, or its fields as a form with files; `curl` is a way to try it."""
    schema = schema_of(shape)
    files: dict[str, Any] = {"type": "array", "items": {"type": "string", "format": "binary"}}
    if not may_be_none:
        schema["required"] = ["images", *schema.get("required", ())]
        files["minItems"] = schema["properties"]["images"]["minItems"] = 1
    form = {**schema, "properties": {**schema["properties"], "images": files}}
    return takes({"application/json": schema, "multipart/form-data": form}, curl)
