"""The two seeds' own APIs, byte for byte, over real sockets."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from moderato.moderator import Moderator
from moderato.settings import ServeOptions
from pictures import encoded, photo
from servers import BROKEN, PNG, listening, service, web

WIDE = encoded(photo(400, 100, seed=3))
SEEN = ["a red knife", "a blue fish", "a cat"]
MOST = 8

PROVIDE = b"{\"detail\":\"Please provide either 'location' or 'image'.\"}"
BAD_FILE = b'{"detail":"Invalid image file."}'
BAD_URL = b'{"detail":"Invalid image URL."}'
NO_DOWNLOAD = b'{"detail":"Unable to download image from the provided URL."}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Moderator]]:
    ours = service(tmp_path_factory.mktemp("data"), ServeOptions(max_labels=MOST), allow_hosts=("127.0.0.1",))
    with listening(ours) as client:
        yield client, ours.moderator


@pytest.fixture
def client(served: tuple[httpx.Client, Moderator]) -> httpx.Client:
    return served[0]


@pytest.fixture
def moderator(served: tuple[httpx.Client, Moderator]) -> Moderator:
    return served[1]


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with web({"/a.png": PNG, "/page.jpg": BROKEN["page.jpg"][0]}) as url:
        yield url


def thesis(client: httpx.Client, picture: bytes = PNG, /, **form: str) -> httpx.Response:
    return client.post("/classify/", files={"image": ("a.png", picture)}, data=form)


def thumbnails(client: httpx.Client, labels: Any, picture: bytes = PNG, **more: Any) -> httpx.Response:
    data = base64.b64encode(picture).decode()
    return client.post("/", json={"image_data": data, "labels": labels}, **more)


def labels_of(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = answer.json()["result"]["label_probabilities"]
    return found


# (a) POST /classify/


def test_the_thesis_answers_its_own_bytes(client: httpx.Client) -> None:
    answer = thesis(client, classes="a cat, ein schöner Fisch, 猫")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert answer.content == json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    assert list(body) == ["result"]
    assert list(body["result"]) == ["prediction", "label_probabilities", "original_payload"]
    assert list(body["result"]["label_probabilities"]) == ["a cat", "ein schöner Fisch", "猫"]
    assert answer.content.endswith(b',"original_payload":{"location":null,"classifier":"clip"}}}')


def test_the_thesis_predicts_its_likeliest_label_and_sums_to_one(client: httpx.Client) -> None:
    found = labels_of(answer := thesis(client, classes=", ".join(SEEN)))
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert answer.json()["result"]["prediction"] == max(found, key=lambda label: found[label])


@pytest.mark.parametrize("sent", [{}, {"classes": ""}], ids=["absent", "empty"])
def test_classes_are_nsfw_and_sfw_unless_named_and_the_first_of_equals_is_predicted(
    client: httpx.Client, sent: dict[str, str]
) -> None:
    found = labels_of(answer := thesis(client, **sent))
    assert list(found) == ["nsfw", "sfw"]
    first = "nsfw" if found["nsfw"] >= found["sfw"] else "sfw"
    assert answer.json()["result"]["prediction"] == first


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ("cat,dog", ["cat,dog"]),
        ("  a cat, a fish  ", ["a cat", "a fish"]),
        ("a cat,  a fish", ["a cat", " a fish"]),
        ("a cat, ", ["a cat,"]),
        (", a cat", ["", "a cat"]),
        ("   ", [""]),
    ],
)
def test_classes_are_divided_by_a_comma_with_a_space(client: httpx.Client, classes: str, labels: list[str]) -> None:
    found = labels_of(thesis(client, classes=classes))
    assert list(found) == labels
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)


def test_a_single_label_is_certain(client: httpx.Client) -> None:
    assert b'"label_probabilities":{"a cat":1.0}' in thesis(client, classes="a cat").content


def test_a_label_sent_twice_takes_two_shares_and_is_listed_once(client: httpx.Client) -> None:
    once = labels_of(thesis(client, classes="a cat, a fish"))
    twice = labels_of(thesis(client, classes="a cat, a fish, a cat"))
    assert list(twice) == ["a cat", "a fish"]
    assert sum(twice.values()) < 1
    assert 2 * twice["a cat"] + twice["a fish"] == pytest.approx(1, abs=1e-6)
    assert twice["a cat"] / twice["a fish"] == pytest.approx(once["a cat"] / once["a fish"], rel=1e-4)


def test_the_thesis_squashes_and_the_thumbnails_are_cropped(client: httpx.Client, moderator: Moderator) -> None:
    squashed = moderator.classify(WIDE, SEEN, fit="squash").probabilities
    cropped = moderator.classify(WIDE, SEEN, fit="crop").probabilities
    assert squashed != pytest.approx(cropped, abs=1e-4)
    assert labels_of(thesis(client, WIDE, classes=", ".join(SEEN))) == pytest.approx(squashed, abs=1e-5)
    assert thumbnails(client, SEEN, WIDE).json()["result"] == pytest.approx(cropped, abs=1e-5)


def test_an_upload_wins_over_a_location_which_is_still_echoed(client: httpx.Client) -> None:
    answer = thesis(client, classes="a cat", location="ftp://nowhere/x.png", classifier="resnet")
    assert answer.status_code == 200
    assert answer.json()["result"]["original_payload"] == {"location": "ftp://nowhere/x.png", "classifier": "clip"}


def test_a_broken_upload_is_not_replaced_by_the_location(client: httpx.Client, site: str) -> None:
    answer = thesis(client, b"", location=f"{site}/a.png")
    assert (answer.status_code, answer.content) == (400, BAD_FILE)


@pytest.mark.parametrize("multipart", [True, False], ids=["multipart", "urlencoded"])
def test_a_location_is_fetched_and_echoed(client: httpx.Client, site: str, multipart: bool) -> None:
    form = {"location": f"{site}/a.png", "classes": ", ".join(SEEN)}
    sent = {"files": {key: (None, value) for key, value in form.items()}} if multipart else {"data": form}
    answer = client.post("/classify/", **sent)
    assert labels_of(answer) == labels_of(thesis(client, classes=", ".join(SEEN)))
    assert answer.json()["result"]["original_payload"]["location"] == f"{site}/a.png"


def test_the_path_without_a_slash_is_redirected_with_method_and_body(client: httpx.Client) -> None:
    answer = client.post("/classify", files={"image": ("a.png", PNG)}, data={"classes": "a cat"})
    assert (answer.status_code, answer.headers["location"]) == (
        307,
        f"{client.base_url}/classify/".replace("//c", "/c"),
    )
    followed = client.post("/classify", files={"image": ("a", PNG)}, data={"classes": "a cat"}, follow_redirects=True)
    assert labels_of(followed) == {"a cat": 1.0}


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"data": {"location": "", "image": ""}},
        {"files": {"location": (None, ""), "image": (None, "")}},
        {"json": {"location": "https://example.com/a.png"}},
        {"data": {"classes": "a cat"}},
    ],
    ids=["nothing", "both empty", "both empty in multipart", "JSON", "only classes"],
)
def test_a_thesis_request_without_a_picture_is_told_what_to_send(client: httpx.Client, sent: dict[str, Any]) -> None:
    answer = client.post("/classify/", **sent)
    assert (answer.status_code, answer.content) == (400, PROVIDE)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_upload_is_an_invalid_image_file(client: httpx.Client, name: str) -> None:
    answer = thesis(client, BROKEN[name][0])
    assert (answer.status_code, answer.content) == (400, BAD_FILE)


@pytest.mark.parametrize(
    "location", ["ftp://example.com/a.png", "file:///etc/hostname", "/etc/hostname", "a.png", "gopher://x", "data:,x"]
)
def test_a_location_that_is_no_web_address_is_an_invalid_url(client: httpx.Client, location: str) -> None:
    answer = client.post("/classify/", data={"location": location})
    assert (answer.status_code, answer.content) == (400, BAD_URL)


@pytest.mark.parametrize("path", ["/missing.png", "/page.jpg"], ids=["404", "no picture"])
def test_a_download_that_fails_or_is_no_picture_is_said_so(client: httpx.Client, site: str, path: str) -> None:
    answer = client.post("/classify/", data={"location": site + path})
    assert (answer.status_code, answer.content) == (400, NO_DOWNLOAD)


@pytest.mark.parametrize("location", ["http://10.0.0.1/a.png", "http://[::1]/a.png", "http://169.254.169.254/"])
def test_a_private_address_is_not_downloaded(client: httpx.Client, location: str) -> None:
    answer = client.post("/classify/", data={"location": location})
    assert (answer.status_code, answer.content) == (400, NO_DOWNLOAD)


@pytest.mark.parametrize("multipart", [True, False], ids=["multipart", "urlencoded"])
def test_an_image_sent_as_text_is_fastapis_422(client: httpx.Client, multipart: bool) -> None:
    sent = {"files": {"image": (None, "abc")}} if multipart else {"data": {"image": "abc"}}
    answer = client.post("/classify/", **sent)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "image"]


# (b) POST /


def test_the_thumbnails_answer_is_what_json_dumps_writes(client: httpx.Client) -> None:
    labels = ["just a cat", "ein schöner Fisch", "猫"]
    answer = thumbnails(client, labels)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == json.dumps(answer.json()).encode()
    assert re.match(rb'\{"result": \{"just a cat": [0-9.e-]+, "ein sch\\u00f6ner Fisch": ', answer.content)
    assert list(answer.json()["result"]) == labels


def test_the_thumbnails_values_are_float32_widened_and_sum_to_one(client: httpx.Client) -> None:
    labels = [*SEEN, "a green tree", "a house"]
    values = list(thumbnails(client, labels).json()["result"].values())
    assert sum(values) == pytest.approx(1, abs=1e-6)
    assert values == [float(np.float32(value)) for value in values]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_the_thumbnails_read_json_under_any_content_type(client: httpx.Client, kind: str | None) -> None:
    body = json.dumps({"image_data": base64.b64encode(PNG).decode(), "labels": ["a cat"]})
    answer = client.post("/", content=body.encode(), headers={"content-type": kind} if kind else {})
    assert (answer.status_code, answer.content) == (200, b'{"result": {"a cat": 1.0}}')


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\n".join(re.findall(".{1,76}", text)) + "\n",
        lambda text: "*" + text[:10] + " \t#!" + text[10:],
        lambda text: text + "=\r\n" if text.endswith("=") else text + "\r\n",
    ],
    ids=["wrapped", "stray characters", "the end"],
)
def test_the_thumbnails_base64_is_read_as_leniently_as_python_does(client: httpx.Client, change: Any) -> None:
    data = change(base64.b64encode(PNG).decode())
    answer = client.post("/", json={"image_data": data, "labels": SEEN})
    assert answer.content == thumbnails(client, SEEN).content


def test_a_label_sent_twice_to_the_thumbnails_is_listed_once(client: httpx.Client) -> None:
    found = thumbnails(client, ["a cat", "a cat", "a fish"]).json()["result"]
    assert list(found) == ["a cat", "a fish"]
    assert 2 * found["a cat"] + found["a fish"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"image_data=x", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"[]", "'image_data'"),
        (b'{"labels": ["a"]}', "'image_data'"),
        (b'{"image_data": 3, "labels": ["a"]}', "'image_data'"),
        (b'{"image_data": "", "labels": []}', "'labels'"),
        (b'{"image_data": "", "labels": "a"}', "'labels'"),
        (b'{"image_data": "", "labels": [1]}', "'labels'"),
        (b'{"image_data": ""}', "'labels'"),
        (b'{"image_data": "abc", "labels": ["a"]}', "not base64"),
        (b'{"image_data": "\xc3\xa4", "labels": ["a"]}', "not base64"),
        (b'{"image_data": "", "labels": ["a"]}', "empty"),
    ],
)
def test_a_wrong_thumbnails_request_is_a_json_400_that_says_why(client: httpx.Client, body: bytes, words: str) -> None:
    answer = client.post("/", content=body)
    assert answer.status_code == 400
    assert words in answer.json()["message"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_thumbnail_is_a_json_400_with_its_reason(client: httpx.Client, name: str) -> None:
    data, reason = BROKEN[name]
    answer = thumbnails(client, ["a cat"], data)
    assert (answer.status_code, answer.json()) == (400, {"message": reason})


# Both


def test_labels_that_mean_nothing_to_the_toy_are_noted_in_a_header(client: httpx.Client) -> None:
    for answer in (thesis(client, classes="zzyzx, ü"), thumbnails(client, ["zzyzx", "ü"])):
        assert answer.status_code == 200
        assert "knows no word of 'zzyzx'" in answer.headers["X-Moderato-Note"]
    for answer in (thesis(client, classes="a cat, a fish"), thumbnails(client, ["a cat", "a fish"])):
        assert "X-Moderato-Note" not in answer.headers


@pytest.mark.parametrize(
    "label",
    ["zz\r\nSet-Cookie: a=b", "zz\n", "zz\x00", "zz\x7f\x1b[31m", "z" * 900],
    ids=["header", "newline", "nul", "escape", "long"],
)
def test_no_label_can_break_the_headers_of_the_answer(client: httpx.Client, label: str) -> None:
    answer = thumbnails(client, [label, "a cat"])
    assert answer.status_code == 200
    assert list(answer.json()["result"]) == [label, "a cat"]
    assert "set-cookie" not in answer.headers
    assert len(answer.headers["X-Moderato-Note"]) < 8000  # what proxies accept
    assert labels_of(thesis(client, classes=f"{label[:1000]}!, a cat"))


def test_half_a_surrogate_pair_in_a_label_is_the_callers_mistake(client: httpx.Client) -> None:
    body = b'{"image_data": "%s", "labels": ["\\ud800"]}' % base64.b64encode(PNG)
    answer = client.post("/", content=body)
    assert answer.status_code == 400
    assert answer.json()


def test_more_labels_than_the_service_accepts_are_refused_by_both(client: httpx.Client) -> None:
    labels = [f"a cat {n}" for n in range(MOST + 1)]
    assert thesis(client, classes=", ".join(labels[:-1])).status_code == 200
    for answer in (thesis(client, classes=", ".join(labels)), thumbnails(client, labels)):
        assert answer.status_code == 400
        assert str(MOST) in answer.text


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/"), ("PATCH", "/"), ("GET", "/classify/"), ("DELETE", "/classify/")]
)
def test_other_methods_are_not_allowed(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
