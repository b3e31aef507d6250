"""Every error, wherever it is raised, in the shape of whoever owns the path: middleware, routing, overload, crashes."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Response
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from moderato.errors import (
    Forbidden,
    MissingExtra,
    ModeratoError,
    Overloaded,
    RateLimited,
    RequestError,
    Unauthenticated,
    Unscannable,
)
from moderato.server.desk import Desk
from moderato.server.errors import answer
from moderato.server.paths import OneSlash
from moderato.settings import ServeOptions
from servers import PNG, listening, service

AWS = {"x-amz-target": "RekognitionService.DetectModerationLabels", "content-type": "application/x-amz-json-1.1"}
FORM = {"content-type": "application/x-www-form-urlencoded"}

Shape = Callable[[Any], bool]
FAMILIES: dict[str, tuple[str, dict[str, str], Shape]] = {
    "our own": ("/v1/check", {}, lambda body: list(body) == ["detail"]),
    "thesis": ("/classify/", FORM, lambda body: list(body) == ["detail"]),
    "openai": ("/v1/moderations", {}, lambda body: list(body["error"]) == ["message", "type", "param", "code"]),
    "openai without v1": ("/moderations", {}, lambda body: list(body["error"]) == ["message", "type", "param", "code"]),
    "aws": ("/", AWS, lambda body: bool(body["__type"]) and bool(body.get("Message") or body.get("message"))),
    "google": ("/v1/images:annotate", {}, lambda body: {"code", "message", "status"} <= set(body["error"])),
    "google of a project": (
        "/v1/projects/p/locations/l/images:annotate",
        {},
        lambda body: {"code", "message", "status"} <= set(body["error"]),
    ),
    "azure": ("/contentsafety/image:analyze", {}, lambda body: {"code", "message"} <= set(body["error"])),
    "misskey": (
        "/v1/detect-images",
        {"content-type": "multipart/form-data; boundary=a"},
        lambda body: body["success"] is False and bool(body["error"]["code"]),
    ),
    "sightengine": ("/1.0/check.json", FORM, lambda body: body["status"] == "failure" and bool(body["error"]["type"])),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Desk]]:
    ours = service(tmp_path_factory.mktemp("data"), ServeOptions(max_body=50_000))
    with listening(ours) as client:
        yield client, ours


def has_shape(family: str, found: httpx.Response | Response) -> bool:
    body = found.json() if isinstance(found, httpx.Response) else httpx.Response(200, content=bytes(found.body)).json()
    return found.status_code >= 400 and FAMILIES[family][2](body)


@pytest.mark.parametrize("slashes", ["", "/"], ids=["one slash", "two slashes"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "announced"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_body_that_is_too_large(served: tuple[httpx.Client, Desk], family: str, chunked: bool, slashes: str) -> None:
    path, headers, _ = FAMILIES[family]
    body = b'--a\r\nContent-Disposition: form-data; name="x"; filename="y"\r\n\r\n' + bytes(60_000)
    url = httpx.URL(f"{served[0].base_url}/").copy_with(path=f"{slashes}{path}")
    found = served[0].post(url, content=iter([body[:30_000], body[30_000:]]) if chunked else body, headers=headers)
    assert found.status_code == (400 if family.startswith(("aws", "google")) else 413)
    assert has_shape(family, found), found.text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_that_is_full(served: tuple[httpx.Client, Desk], family: str) -> None:
    client, desk = served
    path, headers, _ = FAMILIES[family]
    desk.in_hand += 10_000
    try:
        found = client.post(path, content=b"", headers=headers)
    finally:
        desk.in_hand -= 10_000
    assert found.status_code == (400 if family == "aws" else 429)
    assert has_shape(family, found), found.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_method_that_is_not_there(served: tuple[httpx.Client, Desk], family: str, method: str) -> None:
    path, headers, _ = FAMILIES[family]
    found = served[0].request(method, path, headers=headers)
    assert 400 <= found.status_code < 500
    assert has_shape(family, found), found.text


ERRORS: list[Exception] = [
    RequestError("wrong"),
    Unscannable("truncated", "the file ends early"),
    Unauthenticated("no key"),
    Unauthenticated("sk-secret", given=True),
    Forbidden("not with this key"),
    Overloaded("full", retry_after=2),
    RateLimited("used up", retry_after=60),
    MissingExtra("/secret/folder"),
    ZeroDivisionError("a secret"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("family", FAMILIES)
def test_middleware_answers_by_the_scope_alone(family: str, error: Exception) -> None:
    path, headers, _ = FAMILIES[family]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    for asked in (scope, Request(scope)):
        found = answer(asked, error)
        assert has_shape(family, found)
        if not isinstance(error, ModeratoError) or isinstance(error, MissingExtra):
            assert found.status_code >= 500
            assert b"secret" not in found.body
        else:
            assert found.status_code < 500


def test_slashes_are_one_for_whoever_routes_and_as_they_came_for_whoever_signs() -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    async def nowhere(message: Message) -> None:
        pass

    scope = {"type": "http", "path": "//v1///images:annotate", "raw_path": b"//v1///images:annotate"}
    asyncio.run(OneSlash(app)(scope, nothing, nowhere))
    assert (seen[0]["path"], seen[0]["raw_path"]) == ("/v1/images:annotate", b"//v1///images:annotate")


def test_our_own_routes_are_found_behind_two_slashes_too(served: tuple[httpx.Client, Desk]) -> None:
    base = served[0].base_url
    assert served[0].get(httpx.URL(f"{base}/").copy_with(path="//v1//policies")).json()["serving"] == "demo"
    assert served[0].get("/v1/policies/").status_code == 307


def test_a_client_that_does_not_send_is_dropped_and_holds_no_place(tmp_path: Path) -> None:
    ours = service(tmp_path, ServeOptions(body_seconds=0.3))
    with listening(ours) as client:
        began = time.monotonic()
        for path, headers in (
            ("/v1/check", b"content-type: multipart/form-data; boundary=x"),
            ("/v1/moderations", b"content-type: application/json"),
            ("/", b"x-amz-target: RekognitionService.DetectModerationLabels"),
        ):
            with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as slow:
                slow.sendall(b"POST %s HTTP/1.1\r\nhost: localhost\r\n%s\r\n" % (path.encode(), headers))
                slow.sendall(b"content-length: 1000\r\n\r\n--x")
                said = b""
                while piece := slow.recv(4096):
                    said += piece
            assert said.startswith((b"HTTP/1.1 408", b"HTTP/1.1 400")), said
            assert b"did not come within 0.3 seconds" in said
            assert b"connection: close" in said.lower()
        assert time.monotonic() - began < 3 * (0.3 + 2.5)
        assert ours.in_hand == 0
        assert client.post("/v1/check", files={"images": PNG}).status_code == 200
