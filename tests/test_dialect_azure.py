"""Azure AI Content Safety's `image:analyze`, by Azure's own client, and by a plain one for what that cannot send."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from azure.ai.contentsafety import ContentSafetyClient
from azure.ai.contentsafety.models import AnalyzeImageOptions, ImageCategory, ImageData
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from moderato.errors import Forbidden, ModeratoError, Overloaded, RateLimited, Unauthenticated
from moderato.policy import Policy, read_policy
from moderato.server.desk import Desk
from moderato.server.dialects._meanings import read_meanings
from moderato.server.dialects.azure import CATEGORIES, LEVELS
from moderato.server.errors import answer
from pictures import CAT, KNIFE, encoded, photo
from servers import BROKEN, MOST_BYTES
from vendors import content_safety

ANALYZE = "/contentsafety/image:analyze?api-version=2023-10-01"


@pytest.fixture(scope="module")
def azure(client: httpx.Client) -> Iterator[ContentSafetyClient]:
    with content_safety(str(client.base_url)) as azure:
        yield azure


@pytest.fixture
def whole(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Policy:
    """A policy that scores a label of each category; that of Sexual finds knives."""
    demo = read_policy("demo")
    drawn = {"hate_symbols": "skull", "self_harm": "pistol", "nudity": "knife", "violence": "bottle"}
    labels = {label: demo.labels[drawing] for label, drawing in drawn.items()}
    policy = demo.model_copy(update={"name": "whole", "labels": labels})
    monkeypatch.setattr(desk.moderator, "policy", policy)
    return policy


def options(data: bytes = KNIFE, **more: Any) -> AnalyzeImageOptions:
    return AnalyzeImageOptions(image=ImageData(content=data), **more)


def severities(azure: ContentSafetyClient, asked: AnalyzeImageOptions) -> dict[str, int | None]:
    return {str(one.category): one.severity for one in azure.analyze_image(asked).categories_analysis}


def post(client: httpx.Client, image: Any, **more: Any) -> httpx.Response:
    return client.post(ANALYZE, json={"image": image, **more})


def told(refused: httpx.Response) -> dict[str, Any]:
    """What an error says, in Azure's shape."""
    assert list(refused.json()) == ["error"]
    error: dict[str, Any] = refused.json()["error"]
    assert refused.headers["x-ms-error-code"] == error["code"]
    assert error["message"]
    return error


@pytest.mark.usefixtures("whole")
def test_all_categories_are_answered_in_their_order_unless_some_are_named(azure: ContentSafetyClient) -> None:
    everything = severities(azure, options())
    assert list(everything) == ["Hate", "SelfHarm", "Sexual", "Violence"]
    assert everything == {"Hate": 0, "SelfHarm": 0, "Sexual": 6, "Violence": 0}
    assert set(severities(azure, options(CAT)).values()) == {0}
    some = severities(azure, options(categories=[ImageCategory.VIOLENCE, ImageCategory.SEXUAL]))
    assert some == {"Violence": 0, "Sexual": 6}
    assert severities(azure, options(categories=[], output_type="FourSeverityLevels")) == everything


@pytest.mark.parametrize(("score", "severity"), [(0, "0"), (0.49, "0"), (0.5, "2"), (0.8, "4"), (0.95, "6"), (1, "6")])
def test_a_severity_begins_at_a_stated_score(score: float, severity: str) -> None:
    assert read_meanings("azure", CATEGORIES, LEVELS).level(score) == severity


def test_what_is_not_judged_is_absent_and_refused_when_it_is_named(azure: ContentSafetyClient) -> None:
    assert severities(azure, options()) == {"Violence": 6}
    with pytest.raises(HttpResponseError, match="Not judged by the policy of this service, 'demo': Hate") as ended:
        azure.analyze_image(options(categories=[ImageCategory.HATE, ImageCategory.VIOLENCE]))
    assert (ended.value.status_code, ended.value.error.code) == (400, "InvalidRequestBody")


def test_nothing_judged_is_never_an_empty_answer(
    desk: Desk, azure: ContentSafetyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = read_policy("demo")
    other = demo.model_copy(update={"name": "other", "labels": {"cigarette": demo.labels["cigarette"]}})
    monkeypatch.setattr(desk.moderator, "policy", other)
    with pytest.raises(HttpResponseError, match="no category of Content Safety"):
        azure.analyze_image(options())


def test_an_endpoint_that_ends_in_a_slash_will_do(client: httpx.Client) -> None:
    with content_safety(f"{client.base_url}/") as azure:
        assert severities(azure, options()) == {"Violence": 6}


def test_the_version_and_the_type_of_the_body_do_not_matter(client: httpx.Client) -> None:
    content = json.dumps({"image": {"content": base64.b64encode(KNIFE).decode()}})
    for query in ("", "?api-version=2024-09-01", "?api-version=x"):
        answered = client.post(f"{client.base_url}//contentsafety/image:analyze{query}", content=content)
        assert answered.json() == {"categoriesAnalysis": [{"category": "Violence", "severity": 6}]}


@pytest.mark.parametrize("mode", ["LA", "CMYK", "1", "P"])
def test_pictures_of_every_mode_are_judged(azure: ContentSafetyClient, mode: str) -> None:
    picture = encoded(photo().convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert severities(azure, options(picture))["Violence"] in (0, 2, 4, 6)


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "empty.jpg"])
def test_a_picture_that_cannot_be_scanned_is_refused(azure: ContentSafetyClient, name: str) -> None:
    data, why = BROKEN[name]
    with pytest.raises(HttpResponseError) as ended:
        azure.analyze_image(options(data))
    assert (ended.value.status_code, ended.value.error.code) == (400, "InvalidRequestBody")
    assert why in ended.value.error.message


def test_a_picture_may_be_fetched(azure: ContentSafetyClient, site: str) -> None:
    asked = AnalyzeImageOptions(image=ImageData(blob_url=f"{site}/knife.png"))
    assert severities(azure, asked) == {"Violence": 6}


@pytest.mark.parametrize(
    "url", ["{site}/none.png", "{site}/page.jpg", "http://10.0.0.1/x", "http://169.254.169.254/", "file:///etc/passwd"]
)
def test_a_url_that_gives_no_picture_is_refused(azure: ContentSafetyClient, site: str, url: str) -> None:
    with pytest.raises(HttpResponseError) as ended:
        azure.analyze_image(AnalyzeImageOptions(image=ImageData(blob_url=url.format(site=site))))
    assert (ended.value.status_code, ended.value.error.code) == (400, "InvalidRequestBody")


GOOD = {"content": base64.b64encode(KNIFE).decode()}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"image": null}',
        b'{"image": {}}',
        b'{"image": {"content": ""}}',
        b'{"image": {"content": 3}}',
        b'{"image": {"content": "!!"}}',
        json.dumps({"image": {**GOOD, "blobUrl": "http://127.0.0.1/x"}}).encode(),
        json.dumps({"image": GOOD, "categories": ["Nudity"]}).encode(),
        json.dumps({"image": GOOD, "categories": "Violence"}).encode(),
        json.dumps({"image": GOOD, "outputType": "EightSeverityLevels"}).encode(),
    ],
)
def test_a_wrong_request_is_an_invalid_request_body(client: httpx.Client, body: bytes) -> None:
    refused = client.post(ANALYZE, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert told(refused)["code"] == "InvalidRequestBody"
    assert "retry-after" not in refused.headers


def test_a_body_over_the_limit_is_too_large(client: httpx.Client) -> None:
    refused = client.post(ANALYZE, content=b" " * (MOST_BYTES + 1))
    assert (refused.status_code, told(refused)["code"]) == (413, "InvalidRequestBody")


def test_what_is_not_offered_is_not_found(client: httpx.Client, azure: ContentSafetyClient) -> None:
    with pytest.raises(ResourceNotFoundError):
        azure.analyze_text({"text": "hello"})
    for method, path in (
        ("POST", "/contentsafety/text:analyze"),
        ("GET", ANALYZE),
        ("POST", f"{client.base_url}//contentsafety/x"),
    ):
        refused = client.request(method, path)
        assert (refused.status_code, told(refused)["code"]) == (404, "404")


def test_overload_is_429_and_says_when_to_come_back(
    desk: Desk, client: httpx.Client, azure: ContentSafetyClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "in_hand", 1000)
    with pytest.raises(HttpResponseError) as ended:
        azure.analyze_image(options())
    assert (ended.value.status_code, ended.value.error.code) == (429, "TooManyRequests")
    assert post(client, GOOD).headers["retry-after"] == "1"


@pytest.mark.parametrize(("fault", "status", "code"), [("crash", 500, "InternalError"), ("setup", 503, "ServerBusy")])
def test_our_own_fault_carries_no_retry_after(
    desk: Desk, client: httpx.Client, monkeypatch: pytest.MonkeyPatch, fault: str, status: int, code: str
) -> None:
    if fault == "crash":
        monkeypatch.setattr(desk, "moderator", None)
    else:
        nowhere = desk.moderator.policy.model_copy(update={"encoder": "nowhere"})
        monkeypatch.setattr(desk.moderator, "policy", nowhere)
    refused = post(client, GOOD)
    assert (refused.status_code, told(refused)["code"]) == (status, code)
    assert "retry-after" not in refused.headers
    assert "nowhere" not in refused.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthenticated("No key."), 401, "401"),
        (Unauthenticated("Wrong.", given=True), 401, "401"),
        (Forbidden("Not yours."), 403, "403"),
        (RateLimited("Used up.", 60), 429, "TooManyRequests"),
        (Overloaded("Full."), 429, "TooManyRequests"),
    ],
)
def test_what_is_refused_before_the_picture_is_looked_at_has_the_same_shape(
    error: ModeratoError, status: int, code: str
) -> None:
    refused = answer({"type": "http", "method": "POST", "path": "//contentsafety/x", "headers": []}, error)
    assert (refused.status_code, json.loads(refused.body)["error"]["code"]) == (status, code)
    assert refused.headers.get("retry-after") == (str(getattr(error, "retry_after", "")) or None)
    if status == 401:
        assert json.loads(refused.body)["error"]["message"].startswith("Access denied due to invalid subscription key")
