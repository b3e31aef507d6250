"""What OpenAPI says of our routes where FastAPI cannot know it: bodies that they read themselves, errors, keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

Schema = dict[str, Any]
"""A JSON schema, or what else OpenAPI writes as an object."""

InBase64 = Annotated[str, Field(json_schema_extra={"format": "byte"})]
"""A text that is to be the bytes of a picture: https://spec.openapis.org/registry/format/byte."""

_REFUSALS = {
    400: "A wrong request, or where the contract says so a picture that cannot be scanned.",
    401: "No API key, or one that is not good.",
    403: "The key may not do this; or without keys, whoever asks is not on the machine of the service.",
    408: "The request did not come in time.",
    413: "The request is too large.",
    415: "The body is of another type.",
    429: "The service is full, or the key has used up its rate or quota. `Retry-After` says when to come back.",
    500: "A fault of the service; its log says more.",
    503: "The service is not set up for this; its log says why.",
}
_ABOUT = "The API key, the same in every way to send it. Asked for once the service has keys."
_KEYS: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": _ABOUT},
    "google": {"type": "apiKey", "in": "header", "name": "x-goog-api-key", "description": _ABOUT},
    "google-query": {"type": "apiKey", "in": "query", "name": "key", "description": _ABOUT},
    "azure": {"type": "apiKey", "in": "header", "name": "Ocp-Apim-Subscription-Key", "description": _ABOUT},
    "sightengine": {"type": "apiKey", "in": "query", "name": "api_secret", "description": _ABOUT},
}
NEEDS_NO_KEY: Schema = {"security": []}
"""Of a route that needs no key."""


def takes(bodies: Mapping[str, Schema], curl: str) -> Schema:
    """Of a route that reads its body: the schema of each content type; `curl` is a way to try it."""
    content = {kind: {"schema": schema} for kind, schema in bodies.items()}
    return {"requestBody": {"required": True, "content": content}, "x-curl": curl}


def refuses(body: type[BaseModel], *statuses: int) -> dict[int | str, Schema]:
    """Of routes: with which statuses they answer errors, all with such a body."""
    return {status: {"model": body, "description": _REFUSALS[status]} for status in statuses}


def schema_of(shape: type[BaseModel]) -> Schema:
    """The JSON schema of a model as it is sent, with nothing in it that is written elsewhere."""
    whole = shape.model_json_schema(by_alias=True)
    parts = whole.pop("$defs", {})

    def inlined(value: Any) -> Any:
        if isinstance(value, list):
            return [inlined(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inlined(parts[value["$ref"].rpartition("/")[2]])
        return {name: inlined(each) for name, each in value.items()}

    schema: Schema = inlined(whole)
    return schema


def tell_of_keys(app: FastAPI, are_needed: Callable[[], bool]) -> None:
    """Let the description say that requests need a key, for as long as they do."""
    without = app.openapi

    def told() -> Schema:
        schema = without()
        if not are_needed():
            return schema
        components = {**schema["components"], "securitySchemes": _KEYS}
        return {**schema, "components": components, "security": [{name: []} for name in _KEYS]}

    app.openapi = told  # type: ignore[method-assign]  # https://fastapi.tiangolo.com/how-to/extending-openapi/
