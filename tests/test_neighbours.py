"""A service without keys answers this machine, and no web page of a stranger's that is open on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from moderato.errors import Forbidden
from moderato.server.neighbours import check_from_here
from servers import PNG, Served, serving

PORT = 8000


def is_refused(**headers: str) -> bool:
    try:
        check_from_here(Headers(headers))
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8000", "127.0.0.1", "127.8.8.8:1", "[::1]:8000", "[::1]", "localhost", "localhost:8000", "LOCALHOST",
        "localhost.", "moderato.localhost:8000", "192.168.1.7:8000", "8.8.8.8", "[fe80::1]:8000",
    ],
)  # fmt: skip
def test_this_machine_may_be_asked_by_its_names_and_by_any_number(host: str) -> None:
    assert not is_refused(host=host)
    assert not is_refused(host=host, origin=f"http://{host}")
    assert not is_refused(host=host, origin="http://localhost:3000")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1.nip.io:80",
        "xlocalhost", "notlocalhost:8000", "evil.example#localhost", "localhost@evil.example", "evil.example:localhost",
        "moderato", "", ":8000", "[::1].evil.example", "[localhost]", "0x7f.1", "2130706433", "127.1", "a b",
    ],
)  # fmt: skip
def test_another_name_is_refused(host: str) -> None:
    assert is_refused(host=host)
    assert is_refused(host=host, origin=f"http://{host}")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example", "https://evil.example:8000", "null", "", "http://8.8.8.8", "http://127.0.0.1.evil.example",
        "http://localhost.evil.example", "http://localhost@evil.example", "file://", "chrome-extension://abcdefgh",
        "http://[", "evil.example", "http://evil.example/127.0.0.1:8000",
    ],
)  # fmt: skip
def test_a_page_of_another_site_is_refused(origin: str) -> None:
    assert is_refused(host="127.0.0.1:8000", origin=origin)


@given(st.text(st.characters(codec="latin-1")), st.text(st.characters(codec="latin-1")))
def test_whatever_is_sent_is_let_in_or_refused(host: str, origin: str) -> None:
    scope = [(b"host", host.encode("latin-1")), (b"origin", origin.encode("latin-1"))]
    with suppress(Forbidden):
        check_from_here(Headers(raw=scope))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


def check(url: str, **headers: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/check", files={"images": PNG}, headers=headers, trust_env=False, timeout=20)


def test_the_service_answers_its_neighbours_and_nobody_else(served: Served) -> None:
    for headers in ({}, {"host": f"localhost:{PORT}"}, {"origin": served.url}, {"host": "moderato.localhost"}):
        assert check(served.url, **headers).status_code == 200
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}):
        refused = check(served.url, **headers)
        assert refused.status_code == 403
        assert "'moderato keys create --name NAME'" in refused.json()["detail"]
        assert "--open" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/v1/policies", "/metrics", "/no/such", "//healthz/x"])
def test_no_path_but_those_about_health_is_answered_to_a_stranger(served: Served, path: str) -> None:
    stranger = {"host": "evil.example"}
    assert httpx.get(f"{served.url}{path}", headers=stranger, trust_env=False).status_code == 403
    for health in ("/healthz", "//readyz"):
        assert httpx.get(f"{served.url}{health}", headers=stranger, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("path", "more", "status", "read"),
    [
        ("/v1/moderations", {}, 403, lambda said: said["error"]["type"]),
        ("/", {"x-amz-target": "RekognitionService.DetectModerationLabels"}, 400, lambda said: said["__type"]),
        ("/v1/images:annotate", {}, 403, lambda said: said["error"]["status"]),
        ("/contentsafety/image:analyze", {}, 403, lambda said: said["error"]["code"]),
        ("/1.0/check.json", {}, 403, lambda said: said["error"]["type"]),
        ("/v1/detect-images", {}, 403, lambda said: said["error"]["code"]),
    ],
)
def test_the_refusal_has_the_shape_of_its_family(
    served: Served, path: str, more: dict[str, str], status: int, read: Any
) -> None:
    answer = httpx.post(f"{served.url}{path}", headers={"host": "evil.example", **more}, trust_env=False)
    assert answer.status_code == status
    assert read(answer.json()) in (
        "invalid_request_error", "AccessDeniedException", "PERMISSION_DENIED", "403", "credentials_error",
        "AUTHENTICATION_REQUIRED",
    )  # fmt: skip


def test_open_is_for_everyone_under_any_name(tmp_path: Path) -> None:
    with serving(tmp_path, "--open") as served:
        assert check(served.url, host="moderation.example", origin="https://shop.example").status_code == 200


def test_who_shows_a_key_may_ask_under_any_name_and_from_any_page(tmp_path: Path) -> None:
    with serving(tmp_path, with_keys=True) as served:
        headers = {"host": "moderation.example", "origin": "https://shop.example"}
        assert check(served.url, **headers, authorization=f"Bearer {served.key}").status_code == 200
        assert check(served.url, **headers).status_code == 401


def test_a_service_that_never_asks_for_keys_as_the_demo_answers_no_stranger_either(client: httpx.Client) -> None:
    url = str(client.base_url).rstrip("/")
    assert check(url).status_code == 200
    assert check(url, host="evil.example").status_code == 403
