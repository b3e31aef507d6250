"""Google Vision's SafeSearch, by Google's own client over REST, and by a plain one as its other users do it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import vision

from moderato.errors import Forbidden, ModeratoError, RateLimited, Unauthenticated
from moderato.policy import read_policy
from moderato.server.desk import Desk
from moderato.server.dialects._meanings import read_meanings
from moderato.server.dialects.google import CATEGORIES, LEVELS
from moderato.server.errors import answer
from pictures import CAT, KNIFE, encoded, photo
from servers import BROKEN, MOST_BYTES
from vendors import vision_at

ANNOTATE = "/v1/images:annotate"
SAFE_SEARCH = [{"type": "SAFE_SEARCH_DETECTION"}]


@pytest.fixture(scope="module")
def google(client: httpx.Client) -> Iterator[vision.ImageAnnotatorClient]:
    with vision_at(str(client.base_url)) as google:
        yield google


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sent(data: bytes, features: Any = SAFE_SEARCH) -> dict[str, Any]:
    return {"image": {"content": b64(data)}, "features": features}


def annotated(client: httpx.Client, *requests: dict[str, Any], path: str = ANNOTATE) -> list[dict[str, Any]]:
    answered = client.post(path, json={"requests": requests})
    assert answered.status_code == 200, answered.text
    responses: list[dict[str, Any]] = answered.json()["responses"]
    assert len(responses) == len(requests)
    return responses


def safe_search(client: httpx.Client, request: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = annotated(client, request)[0]["safeSearchAnnotation"]
    return found


def error(client: httpx.Client, request: dict[str, Any]) -> tuple[int, str]:
    (answered,) = annotated(client, request)
    assert list(answered) == ["error"]
    return answered["error"]["code"], answered["error"]["message"]


def test_all_five_categories_are_answered_and_those_that_are_not_judged_are_unknown(client: httpx.Client) -> None:
    found = safe_search(client, sent(KNIFE))
    assert list(found) == ["adult", "spoof", "medical", "violence", "racy"]
    assert found == {**dict.fromkeys(found, "UNKNOWN"), "violence": "VERY_LIKELY"}
    assert safe_search(client, sent(CAT))["violence"] == "VERY_UNLIKELY"


def test_the_policy_decides_what_is_judged(
    desk: Desk, google: vision.ImageAnnotatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = read_policy("demo")
    labels = {"nudity": demo.labels["skull"], "nsfw": demo.labels["knife"]}
    monkeypatch.setattr(desk.moderator, "policy", demo.model_copy(update={"name": "own", "labels": labels}))
    found = google.safe_search_detection(image=vision.Image(content=KNIFE)).safe_search_annotation
    assert found.adult == found.racy == vision.Likelihood.VERY_LIKELY
    assert found.violence == found.spoof == found.medical == vision.Likelihood.UNKNOWN


@pytest.mark.parametrize(
    ("score", "likelihood"),
    [
        (0, "VERY_UNLIKELY"),
        (0.2, "UNLIKELY"),
        (0.5, "POSSIBLE"),
        (0.79, "POSSIBLE"),
        (0.8, "LIKELY"),
        (1, "VERY_LIKELY"),
    ],
)
def test_a_likelihood_begins_at_a_stated_score(score: float, likelihood: str) -> None:
    assert read_meanings("google", CATEGORIES, LEVELS).level(score) == likelihood


def test_googles_client_sees_what_was_judged(google: vision.ImageAnnotatorClient) -> None:
    helped = google.safe_search_detection(image=vision.Image(content=KNIFE))
    assert helped.safe_search_annotation.violence == vision.Likelihood.VERY_LIKELY
    assert not helped.error.message
    everything = google.annotate_image({"image": {"content": KNIFE}})  # all features, most of which are skipped
    assert everything.safe_search_annotation == helped.safe_search_annotation


def test_an_endpoint_that_ends_in_a_slash_will_do(client: httpx.Client) -> None:
    with vision_at(f"{client.base_url}/") as google:
        found = google.safe_search_detection(image=vision.Image(content=KNIFE))
    assert found.safe_search_annotation.violence == vision.Likelihood.VERY_LIKELY


def test_each_picture_of_a_batch_has_its_own_answer_or_error(google: vision.ImageAnnotatorClient, site: str) -> None:
    feature = vision.Feature(type_=vision.Feature.Type.SAFE_SEARCH_DETECTION)
    images = [
        vision.Image(content=KNIFE),
        vision.Image(content=b"no picture"),
        vision.Image(source=vision.ImageSource(image_uri=f"{site}/knife.png")),
        vision.Image(),
        vision.Image(content=CAT),
    ]
    requests = [vision.AnnotateImageRequest(image=image, features=[feature]) for image in images]
    responses = google.batch_annotate_images(requests=requests).responses
    assert [one.safe_search_annotation.violence for one in responses] == [5, 0, 5, 0, 1]
    assert [one.error.code for one in responses] == [0, 3, 0, 3, 0]
    assert responses[1].error.message == "Bad image data."


@pytest.mark.parametrize(
    "path",
    [
        ANNOTATE,
        "/v1/projects/p/images:annotate",
        "/v1/projects/p/locations/eu/images:annotate",
        "//v1//images:annotate",
    ],
)
def test_every_path_of_the_method_is_answered(client: httpx.Client, path: str) -> None:
    assert (
        annotated(client, sent(KNIFE), path=f"{client.base_url}{path}")[0]["safeSearchAnnotation"]["violence"]
        == "VERY_LIKELY"
    )


@pytest.mark.parametrize(
    "request_",
    [
        sent(KNIFE, [{"type": 6}]),
        sent(KNIFE, [{"type": "SAFE_SEARCH_DETECTION", "maxResults": 5, "model": "builtin/latest"}]),
        sent(KNIFE, [{"type": 4}, {"type": "SAFE_SEARCH_DETECTION"}, {"type": 4711}, {"type": None}, {}]),
        {"image": {"content": base64.urlsafe_b64encode(KNIFE).decode().rstrip("=")}, "features": SAFE_SEARCH},
        {"image": {"content": base64.encodebytes(KNIFE).decode()}, "features": SAFE_SEARCH},
        {**sent(KNIFE), "imageContext": {"languageHints": ["en"]}, "image_context": None},
        {"image": {"content": b64(KNIFE), "source": {"imageUri": "file:///x"}}, "features": SAFE_SEARCH},
    ],
    ids=["number", "more of a feature", "several", "URL-safe", "lines", "more", "content wins"],
)
def test_a_request_may_be_written_in_many_ways(client: httpx.Client, request_: dict[str, Any]) -> None:
    assert safe_search(client, request_)["violence"] == "VERY_LIKELY"


@pytest.mark.parametrize("key", ["imageUri", "image_uri", "gcsImageUri", "gcs_image_uri"])
def test_a_picture_may_be_fetched(client: httpx.Client, site: str, key: str) -> None:
    request = {"image": {"source": {key: f"{site}/knife.png"}}, "features": SAFE_SEARCH}
    assert safe_search(client, request)["violence"] == "VERY_LIKELY"


def test_the_body_is_json_whatever_its_type_and_query_say(client: httpx.Client) -> None:
    content = json.dumps({"requests": [sent(KNIFE)], "parent": "projects/p", "labels": {"a": "b"}})
    query = "?%24alt=json%3Benum-encoding%3Dint&key=k"
    answered = client.post(ANNOTATE + query, content=content, headers={"Content-Type": "text/plain"})
    assert answered.json()["responses"][0]["safeSearchAnnotation"]["violence"] == "VERY_LIKELY"


def test_features_that_are_not_offered_are_skipped(client: httpx.Client) -> None:
    assert annotated(client, sent(KNIFE, [{"type": "LABEL_DETECTION"}]), sent(CAT, [{"type": 1}])) == [{}, {}]


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "empty.jpg"])
def test_a_picture_that_cannot_be_scanned_is_an_error_in_its_place(client: httpx.Client, name: str) -> None:
    data, why = BROKEN[name]
    large = why.startswith("too_")
    message = f"The image is too large: {why.partition(': ')[2]}" if large else "Bad image data."
    assert error(client, sent(data)) == (3, message)


@pytest.mark.parametrize("mode", ["LA", "CMYK", "1", "P"])
def test_pictures_of_every_mode_are_judged(client: httpx.Client, mode: str) -> None:
    picture = encoded(photo().convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert safe_search(client, sent(picture))["violence"] in LEVELS


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("{site}/none.png", 14, "We can not access the URL currently. Please download the content and pass it in."),
        ("{site}/page.jpg", 3, "Bad image data."),
        ("http://10.0.0.1/x.png", 7, "We're not allowed to access the URL on your behalf."),
        ("http://169.254.169.254/latest", 7, "We're not allowed to access the URL on your behalf."),
        ("file:///etc/passwd", 7, "We're not allowed to access the URL on your behalf."),
        ("gs://bucket/x.png", 7, "We're not allowed to access the URL on your behalf."),
    ],
)
def test_a_url_that_gives_no_picture_is_an_error_in_its_place(
    client: httpx.Client, site: str, url: str, code: int, message: str
) -> None:
    image = {"source": {"imageUri": url.format(site=site)}}
    found = error(client, {"image": image, "features": SAFE_SEARCH})
    assert found[0] == code
    assert found[1].startswith(message)


@pytest.mark.parametrize("request_", [{"features": SAFE_SEARCH}, {"image": {}}, {"image": {"content": b64(KNIFE)}}, {}])
def test_a_request_without_picture_or_features_is_an_error_in_its_place(
    client: httpx.Client, request_: dict[str, Any]
) -> None:
    assert error(client, request_)[0] == 3


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"requests": []}',
        b'{"requests": {}}',
        b'{"requests": [3]}',
        b'{"requests": [{"image": {"content": 3}}]}',
        json.dumps({"requests": [sent(KNIFE, [{"type": "SAFE_SEARCH"}])]}).encode(),
        json.dumps({"requests": [{"image": {"content": "!!"}, "features": SAFE_SEARCH}]}).encode(),
        json.dumps({"requests": [{"image": {"content": "QQQQQ"}, "features": SAFE_SEARCH}]}).encode(),
        json.dumps({"requests": [sent(KNIFE)] * 17}).encode(),
        json.dumps({"requests": [sent(KNIFE, SAFE_SEARCH * 101)]}).encode(),
        b" " * (MOST_BYTES + 1),
    ],
)
def test_a_wrong_request_is_an_invalid_argument(client: httpx.Client, body: bytes) -> None:
    refused = client.post(ANNOTATE, content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]
    assert refused.json()["error"]["code"] == 400
    assert refused.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert refused.json()["error"]["message"]


def test_sixteen_pictures_are_not_too_many(google: vision.ImageAnnotatorClient) -> None:
    feature = vision.Feature(type_=vision.Feature.Type.SAFE_SEARCH_DETECTION)
    request = vision.AnnotateImageRequest(image=vision.Image(content=KNIFE), features=[feature])
    assert len(google.batch_annotate_images(requests=[request] * 16).responses) == 16
    with pytest.raises(exceptions.BadRequest, match="17"):
        google.batch_annotate_images(requests=[request] * 17)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/images:asyncBatchAnnotate"), ("POST", "/v1/projects/p/files:annotate"), ("GET", ANNOTATE)],
)
def test_what_is_not_offered_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    refused = client.request(method, path)
    assert refused.status_code == 404
    assert refused.json()["error"]["status"] == "NOT_FOUND"


def test_overload_is_429_which_the_client_does_not_repeat(
    desk: Desk, google: vision.ImageAnnotatorClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "in_hand", 1000)
    feature = vision.Feature(type_=vision.Feature.Type.SAFE_SEARCH_DETECTION)
    request = vision.AnnotateImageRequest(image=vision.Image(content=KNIFE), features=[feature])
    started = time.monotonic()
    with pytest.raises(exceptions.TooManyRequests) as ended:
        google.batch_annotate_images(requests=[request])
    assert time.monotonic() - started < 0.5
    assert ended.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("fault", ["crash", "setup"])
def test_our_own_fault_is_500_and_never_503(
    desk: Desk, google: vision.ImageAnnotatorClient, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "crash":
        monkeypatch.setattr(desk, "moderator", None)
    else:
        nowhere = desk.moderator.policy.model_copy(update={"encoder": "nowhere"})
        monkeypatch.setattr(desk.moderator, "policy", nowhere)
    with pytest.raises(exceptions.InternalServerError) as ended:
        google.safe_search_detection(image=vision.Image(content=KNIFE))
    assert "nowhere" not in str(ended.value)


KEY, TOKEN = (b"x-goog-api-key", b"wrong"), (b"authorization", b"Bearer wrong")


@pytest.mark.parametrize(
    ("error", "header", "status", "name"),
    [
        (Unauthenticated("No key."), None, 403, "PERMISSION_DENIED"),
        (Unauthenticated("Wrong.", given=True), KEY, 400, "INVALID_ARGUMENT"),
        (Unauthenticated("Wrong.", given=True), TOKEN, 401, "UNAUTHENTICATED"),
        (Forbidden("Not yours."), KEY, 403, "PERMISSION_DENIED"),
        (RateLimited("Used up.", 60), KEY, 429, "RESOURCE_EXHAUSTED"),
    ],
)
def test_what_is_refused_before_the_picture_is_looked_at_has_the_same_shape(
    error: ModeratoError, header: tuple[bytes, bytes] | None, status: int, name: str
) -> None:
    headers = [header] if header else []
    refused = answer(
        {"type": "http", "method": "POST", "path": f"/{ANNOTATE}", "headers": headers, "query_string": b""}, error
    )
    told = json.loads(refused.body)["error"]
    assert (refused.status_code, told["code"], told["status"]) == (status, status, name)
    read = exceptions.from_http_status(status, told["message"], details=told.get("details", []))
    assert isinstance(read, exceptions.GoogleAPICallError)
    if status == 400:
        assert told["message"] == "API key not valid. Please pass a valid API key."
        assert told["details"][0]["reason"] == "API_KEY_INVALID"
