"""Every vendor's own client against `moderato serve`, with keys and without: what it sees, and what it is told."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from botocore.compat import get_current_datetime
from botocore.exceptions import ClientError

from moderato import plugins
from pictures import CAT, KNIFE
from servers import Served, serving
from vendors import A_KEY, VENDORS, Answer, Vendor, amazon, knives_for_misskey

MOST = 300_000
TARGET = {"X-Amz-Target": "RekognitionService.DetectModerationLabels"}


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("keyless")
    with serving(data, **knives_for_misskey(data)) as served:
        yield served


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("keyed")
    with serving(data, with_keys=True, MODERATO_SERVE__MAX_BODY=str(MOST), **knives_for_misskey(data)) as served:
        yield served


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


def test_no_wire_format_is_left_out() -> None:
    assert set(VENDORS) == {*plugins.names("moderato.server.dialects"), "ours"}


@pytest.mark.parametrize("key", [None, A_KEY], ids=["no key", "some key"])
def test_without_keys_every_client_sees_the_weapon_and_no_other(
    keyless: Served, vendor: Vendor, key: str | None
) -> None:
    assert vendor.ask(keyless.url, key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(keyless.url, key, CAT) == Answer(200)


def test_with_a_key_every_client_sees_the_weapon_and_no_other(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, keyed.key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(keyed.url, keyed.key, CAT) == Answer(200)


def test_every_client_tells_its_caller_what_is_wrong_with_the_key(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, None, KNIFE) == vendor.no_key
    assert vendor.ask(keyed.url, "wrong", KNIFE) == vendor.wrong_key
    assert vendor.ask(keyed.url, keyed.revoked, KNIFE) == vendor.wrong_key


def test_every_client_tells_its_caller_that_a_quota_is_used_up(keyed: Served, vendor: Vendor) -> None:
    if time.time() % 86_400 > 86_400 - 180:
        pytest.skip("the day, and the quota with it, is about to end: what OpenAI's client is told then differs")
    vendor.ask(keyed.url, keyed.used_up, KNIFE)
    assert vendor.ask(keyed.url, keyed.used_up, KNIFE) == vendor.used_up


def test_every_client_tells_its_caller_what_is_wrong_with_the_request(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, keyed.key, b"no picture at all") == vendor.no_picture
    assert vendor.ask(keyed.url, keyed.key, bytes(MOST)) == vendor.too_large
    assert vendor.ask(keyed.url, keyed.key, None) == vendor.not_offered


@pytest.mark.parametrize("minutes", [-16, 16])
def test_aws_signatures_are_of_the_key_and_of_now(keyed: Served, minutes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = {"Bytes": KNIFE}
    with amazon(keyed.url, keyed.key, token="a session") as aws:
        assert aws.detect_moderation_labels(Image=picture)["ModerationLabels"]
    with amazon(keyed.url, keyed.key, secret="another") as aws, pytest.raises(ClientError) as ended:
        aws.detect_moderation_labels(Image=picture)
    assert ended.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert "does not match" in ended.value.response["Error"]["Message"]
    then = get_current_datetime() + timedelta(minutes=minutes)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: then)
    with amazon(keyed.url, keyed.key) as aws, pytest.raises(ClientError) as ended:
        aws.detect_moderation_labels(Image=picture)
    assert ended.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert "expired or not yet current" in ended.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/", {"Authorization": "AWS4-HMAC-SHA256 Credential=what", **TARGET}, 400, "IncompleteSignatureException"),
        ("/", {"Authorization": "Bearer wrong", **TARGET}, 400, "UnrecognizedClientException"),
        ("/v1/images:annotate?key=wrong", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/images:annotate", {"Authorization": "Bearer wrong"}, 401, "UNAUTHENTICATED"),
        ("/v1/moderations", {"Authorization": "Bearer "}, 401, None),
        ("/contentsafety/image:analyze", {"Authorization": "Bearer wrong"}, 401, "401"),
        ("/1.0/check.json?api_secret=wrong", {}, 401, 1),
    ],
)
def test_keys_that_the_clients_cannot_send_so_are_refused_in_shape_too(
    keyed: Served, path: str, headers: dict[str, str], status: int, code: str | int | None
) -> None:
    answer = requests.post(keyed.url + path, headers=headers)
    told = answer.json()
    error = told.get("error", told)
    assert (answer.status_code, error.get("__type", error.get("status", error.get("code")))) == (status, code)


@pytest.mark.parametrize("way", ["header", "query", "bearer"])
def test_googles_key_may_come_in_each_of_its_ways(keyed: Served, way: str) -> None:
    """As curl's users and google-api-python-client send it; `test_with_a_key` has the header of the newer client."""
    sent: dict[str, Any] = {
        "header": {"headers": {"x-goog-api-key": keyed.key}},
        "query": {"params": {"key": keyed.key, "alt": "json"}},
        "bearer": {"headers": {"Authorization": f"Bearer {keyed.key}", "x-goog-user-project": "shop"}},
    }[way]
    image = {"content": base64.b64encode(KNIFE).decode()}
    asked = {"requests": [{"image": image, "features": [{"type": "SAFE_SEARCH_DETECTION"}]}]}
    (one,) = requests.post(f"{keyed.url}/v1/images:annotate", json=asked, **sent).json()["responses"]
    assert one["safeSearchAnnotation"]["violence"] == "VERY_LIKELY"
