"""Sightengine's check.json, by Sightengine's own client and, where that hides something, by a plain one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from moderato.errors import Forbidden, MissingExtra, Overloaded, RateLimited, Unauthenticated
from moderato.server.desk import Desk
from moderato.settings import DialectOption, DialectOptions, ServeOptions
from pictures import SAMPLES
from servers import BROKEN, PNG, listening, service, web
from vendors import sightengine_at

KNIFE, SKULL = SAMPLES / "knife.png", SAMPLES / "skull.png"
PATH = "/1.0/check.json"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Desk]]:
    ours = service(tmp_path_factory.mktemp("data"), ServeOptions(max_body=200_000), allow_hosts=("127.0.0.1",))
    with listening(ours) as client:
        yield client, ours


@pytest.fixture
def plain(served: tuple[httpx.Client, Desk]) -> httpx.Client:
    return served[0]


@pytest.fixture
def desk(served: tuple[httpx.Client, Desk]) -> Desk:
    return served[1]


def asking(plain: httpx.Client, *models: str) -> Any:
    """The vendor's client, pointed here."""
    return sightengine_at(str(plain.base_url), "secret", *models)


def refused(answer: dict[str, Any]) -> tuple[str, int]:
    assert list(answer) == ["status", "request", "error"]
    assert answer["status"] == "failure"
    assert answer["request"]["id"].startswith("req_")
    assert answer["request"]["operations"] == 0
    assert answer["error"]["message"]
    return answer["error"]["type"], answer["error"]["code"]


@pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")  # its client's
@pytest.mark.parametrize("way", ["file", "bytes", "url"])
def test_a_picture_is_judged_by_the_models_asked_for(plain: httpx.Client, desk: Desk, way: str) -> None:
    check = asking(plain, "weapon-2.1", "gore-2.0", "alcohol", "tobacco")
    with web({"/knife.png": KNIFE.read_bytes()}) as site:
        sent = {"file": str(KNIFE), "bytes": KNIFE.read_bytes(), "url": f"{site}/knife.png"}[way]
        answer = getattr(check, f"set_{way}")(sent)
    scores = desk.moderator.check(KNIFE).scores
    assert answer["status"] == "success"
    assert answer["request"]["operations"] == 4
    assert answer["weapon"] == {"classes": pytest.approx({"firearm": scores["pistol"], "knife": scores["knife"]})}
    assert answer["gore"] == {
        "prob": pytest.approx(scores["skull"]),
        "classes": {"skull": pytest.approx(scores["skull"])},
    }
    assert answer["alcohol"] == {"prob": pytest.approx(scores["bottle"])}
    assert answer["tobacco"] == {"prob": pytest.approx(scores["cigarette"])}
    assert answer["weapon"]["classes"]["knife"] > 0.5
    assert answer["media"]["id"].startswith("med_")
    assert answer["moderato"]["action"] == desk.moderator.check(KNIFE).action
    if way == "file":
        assert answer["media"]["uri"] == "knife.png"


def test_a_model_that_the_policy_does_not_judge_is_absent_and_named(plain: httpx.Client) -> None:
    answer = asking(plain, "nudity-2.1", "gore-2.0").set_bytes(SKULL.read_bytes())
    assert "nudity" not in answer
    assert answer["moderato"]["not_judged"] == ["nudity"]
    assert answer["gore"]["prob"] > 0.5


def test_models_of_which_none_is_judged_are_an_error_and_no_success(plain: httpx.Client) -> None:
    answer = asking(plain, "nudity-2.1", "offensive").set_bytes(PNG)
    assert refused(answer)[0] == "argument_error"
    assert "demo" in answer["error"]["message"]


def test_what_nudity_leaves_is_none(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[categories]\n"nudity.erotica" = ["knife"]\n')
    ours = service(tmp_path)
    ours.dialects = DialectOptions(sightengine=DialectOption(tmp_path / "mine.toml"))
    with listening(ours) as client:
        answer = asking(client, "nudity").set_bytes(KNIFE.read_bytes())
    score = ours.moderator.check(KNIFE).scores["knife"]
    assert answer["nudity"] == pytest.approx({"erotica": score, "none": 1 - score})


@pytest.mark.parametrize("models", [",", " ", "nudity-2.1,nonsense", "video", "gore-x", "classes"])
def test_no_model_or_one_that_does_not_exist_is_an_argument_error(plain: httpx.Client, models: str) -> None:
    assert refused(asking(plain, models).set_bytes(PNG)) == ("argument_error", 400)
    assert refused(asking(plain, models).set_url("http://127.0.0.1:1/a.png")) == ("argument_error", 400)


@pytest.mark.parametrize(
    "sent",
    [
        {"method": "GET"},
        {"method": "GET", "params": {"models": "gore"}},
        {"method": "POST"},
        {"method": "POST", "data": {"models": "gore"}},
        {"method": "POST", "data": {"models": "gore", "media": "text"}},
        {"method": "POST", "files": {"models": ("a", b"gore"), "media": ("a", PNG)}},
        {"method": "POST", "json": {"models": "gore"}},
        {"method": "POST", "content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}},
        {"method": "POST", "content": b"x", "headers": {"content-type": "multipart/form-data"}},
    ],
)
def test_a_wrong_request_is_an_argument_error(plain: httpx.Client, sent: dict[str, Any]) -> None:
    answer = plain.request(url=PATH, **sent)
    assert answer.status_code == 400
    assert refused(answer.json()) == ("argument_error", 400)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_a_media_error(plain: httpx.Client, name: str) -> None:
    answer = asking(plain, "gore-2.0").set_bytes(BROKEN[name][0])
    assert refused(answer)[0] == "media_error"


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a.png", "file:///etc/hostname", "ftp://x/a", "x", "http://127.0.0.1:1/"]
)
def test_an_address_that_may_not_or_cannot_be_fetched_is_a_media_error(plain: httpx.Client, url: str) -> None:
    assert refused(asking(plain, "gore-2.0").set_url(url)) == ("media_error", 400)


def test_form_and_query_are_read_alike(plain: httpx.Client) -> None:
    with web({"/a.png": PNG}) as site:
        fields = {"models": "gore", "url": f"{site}/a.png"}
        answers = [plain.get(PATH, params=fields), plain.post(PATH, data=fields), plain.post(PATH, params=fields)]
    assert [answer.json()["gore"] for answer in answers] == [answers[0].json()["gore"]] * 3


def test_what_is_not_spoken_here_is_refused_in_json(plain: httpx.Client) -> None:
    check = asking(plain, "gore-2.0")
    assert refused(check.video_sync("http://example.com/a.mp4")) == ("request_error", 404)
    assert refused(plain.put(PATH).json()) == ("request_error", 405)
    assert refused(check.set_bytes(bytes(300_000))) == ("request_error", 413)


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (Unauthenticated("no key"), ("argument_error", 1), 401),
        (Unauthenticated("sk-1234", given=True), ("argument_error", 1), 401),
        (Forbidden("not this key"), ("credentials_error", 403), 403),
        (RateLimited("used up", retry_after=9), ("usage_limit", 429), 429),
        (Overloaded("full", retry_after=9), ("usage_limit", 429), 429),
        (MissingExtra("/hidden"), ("api_error", 503), 503),
        (ZeroDivisionError("hidden"), ("api_error", 500), 500),
    ],
)
def test_whatever_else_goes_wrong_is_json_too(
    plain: httpx.Client,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: tuple[str, int],
    status: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(desk.moderator, "check_many", fail)
    assert refused(asking(plain, "gore-2.0").set_bytes(PNG)) == kind
    answer = plain.post(PATH, files={"media": PNG}, data={"models": "gore"})
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == ("9" if status == 429 else None)
    assert "hidden" not in answer.text
    assert "sk-1234" not in answer.text
