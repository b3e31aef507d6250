"""Misskey's contract for a detector of its own, as its server speaks it: multipart in, nsfwjs's classes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moderato.errors import MissingExtra, Overloaded, Unauthenticated
from moderato.server.desk import Desk
from moderato.settings import DialectOption, DialectOptions, ServeOptions
from pictures import KNIFE, encoded, photo
from servers import BROKEN, PNG, listening, service

MEANINGS = '[categories]\nPorn = ["knife"]\nSexy = ["pistol", "bottle"]\n'
PATH = "/v1/detect-images"
MOST = 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Desk]]:
    """The demo policy, whose drawings stand for what Misskey looks for."""
    data = tmp_path_factory.mktemp("data")
    (data / "mine.toml").write_text(MEANINGS)
    ours = service(data, ServeOptions(max_images=MOST, max_body=200_000))
    ours.dialects = DialectOptions(misskey=DialectOption(data / "mine.toml"))
    with listening(ours) as client:
        yield client, ours


@pytest.fixture
def client(served: tuple[httpx.Client, Desk]) -> httpx.Client:
    return served[0]


@pytest.fixture
def desk(served: tuple[httpx.Client, Desk]) -> Desk:
    return served[1]


def uploads(*pictures: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [(f"image{n}", (f"{n}.png", picture, "image/png")) for n, picture in enumerate(pictures)]


def results(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    found: list[dict[str, Any]] = answer.json()["result"]["results"]
    return found


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["success", "error"]
    assert answer.json()["success"] is False
    assert list(answer.json()["error"]) == ["code", "message"]
    code: str = answer.json()["error"]["code"]
    return code


def test_every_picture_gets_its_classes_in_order(client: httpx.Client, desk: Desk) -> None:
    sent = [KNIFE, PNG, encoded(photo(299, 299, seed=5), "WEBP")]
    found = results(client.post(PATH, files=uploads(*sent)))
    for one, picture in zip(found, sent, strict=True):
        scores = desk.moderator.check(picture).scores
        by_class = {each["className"]: each["probability"] for each in one["predictions"]}
        porn, sexy = scores["knife"], max(scores["pistol"], scores["bottle"])
        assert by_class == pytest.approx({"Porn": porn, "Sexy": sexy, "Neutral": 1 - max(porn, sexy)}, abs=1e-5)
        assert list(by_class.values()) == sorted(by_class.values(), reverse=True)
    assert found[0]["predictions"][0]["className"] == "Porn"


def test_a_part_that_fails_is_answered_among_the_others(client: httpx.Client) -> None:
    sent = [*uploads(PNG, b"<html>", b""), ("note", (None, "hello"))]
    found = results(client.post(PATH, files=sent))
    assert [one["success"] for one in found] == [True, False, False, False]
    assert [one["error"]["code"] for one in found[1:]] == ["IMAGE_DECODE_FAILED", "INVALID_REQUEST", "INVALID_REQUEST"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_never_harmless(client: httpx.Client, name: str) -> None:
    (one,) = results(client.post(PATH, files=uploads(BROKEN[name][0])))
    large = {"bomb.png", "large.png", "wide.png"}
    code = "REQUEST_TOO_LARGE" if name in large else "INVALID_REQUEST" if name == "empty.jpg" else "IMAGE_DECODE_FAILED"
    assert (one["success"], one["error"]["code"], "predictions" in one) == (False, code, False)


def test_a_policy_that_judges_none_of_it_does_not_say_zero(tmp_path: Path) -> None:
    with listening(service(tmp_path)) as client:
        (one,) = results(client.post(PATH, files=uploads(PNG)))
    assert (one["success"], one["error"]["code"]) == (False, "MODEL_UNAVAILABLE")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"json": {}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content": PNG, "headers": {"content-type": "image/png"}}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "INVALID_REQUEST"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, 400, "INVALID_REQUEST"),
        (
            {"content": b"--a--\r\n", "headers": {"content-type": "multipart/form-data; boundary=a"}},
            400,
            "INVALID_REQUEST",
        ),
        ({"files": uploads(*[PNG] * (MOST + 1))}, 413, "REQUEST_TOO_LARGE"),
        ({"files": uploads(bytes(300_000))}, 413, "REQUEST_TOO_LARGE"),
    ],
)
def test_a_wrong_request_is_refused_in_the_contracts_shape(
    client: httpx.Client, sent: Any, status: int, code: str
) -> None:
    assert refused(client.post(PATH, **sent), status) == code


def test_another_method_is_refused_in_the_contracts_shape(client: httpx.Client) -> None:
    assert refused(client.get(PATH), 405) == "INVALID_REQUEST"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthenticated("no key"), 401, "AUTHENTICATION_REQUIRED"),
        (Overloaded("full", retry_after=3), 429, "MODEL_UNAVAILABLE"),
        (MissingExtra("/secret"), 503, "MODEL_UNAVAILABLE"),
        (ZeroDivisionError("secret"), 500, "DETECTION_FAILED"),
    ],
)
def test_what_fails_on_our_side_has_the_contracts_codes(
    client: httpx.Client, desk: Desk, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(desk.moderator, "check_many", fail)
    answer = client.post(PATH, files=uploads(PNG))
    assert refused(answer, status) == code
    assert "secret" not in answer.text
    assert answer.headers.get("retry-after") == ("3" if status == 429 else None)
