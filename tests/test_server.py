"""Our own routes over real sockets: what is answered, what is refused, and how."""

from __future__ import annotations

import base64
import json
import logging
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import moderato
from moderato.moderator import Moderator
from moderato.policy import read_policy, shipped_policies
from moderato.settings import ServeOptions
from moderato.types import ACTIONS, Source
from pictures import encoded, photo
from servers import BROKEN, PNG, listening, service, wait_until, web

PICTURES = [encoded(photo(96 + 16 * n, 64, seed=n)) for n in range(4)]
LABELS = ["a red knife", "a blue fish", "ein schöner Baum", "猫"]
OPTIONS = ServeOptions(max_images=4, max_labels=5, max_body=200_000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Moderator]]:
    ours = service(tmp_path_factory.mktemp("data"), OPTIONS)
    with listening(ours) as client:
        wait_until(ours.answered.is_set)
        yield client, ours.moderator


@pytest.fixture
def client(served: tuple[httpx.Client, Moderator]) -> httpx.Client:
    return served[0]


@pytest.fixture
def moderator(served: tuple[httpx.Client, Moderator]) -> Moderator:
    return served[1]


@pytest.fixture(scope="module")
def open_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a service that may fetch from 127.0.0.1."""
    with listening(service(tmp_path_factory.mktemp("data"), allow_hosts=("127.0.0.1",))) as client:
        yield client


def as_base64(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def uploads(*pictures: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{n}.png", picture)) for n, picture in enumerate(pictures)]


def in_json(*pictures: bytes) -> list[dict[str, str]]:
    return [{"data": as_base64(picture)} for picture in pictures]


def results(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert list(answer.json())[-1] == "results"
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def refused(answer: httpx.Response, status: int = 400) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert detail.strip()
    return detail


# /v1/check


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "JSON"])
def test_pictures_get_the_librarys_verdicts_in_their_order(
    client: httpx.Client, moderator: Moderator, form: bool
) -> None:
    sent = {"files": uploads(*PICTURES)} if form else {"json": {"images": in_json(*PICTURES)}}
    found = results(client.post("/v1/check", **sent))
    names = [f"{n}.png" if form else f"images[{n}]" for n in range(len(PICTURES))]
    expected = moderator.check_many([Source(data, name) for data, name in zip(PICTURES, names, strict=True)])
    for one, verdict in zip(found, expected, strict=True):
        assert one == {**json.loads(json.dumps(verdict.to_dict())), "scores": pytest.approx(verdict.scores, abs=1e-5)}


def test_actions_follow_from_scores_and_thresholds(client: httpx.Client) -> None:
    (policy,) = client.get("/v1/policies").json()["policies"]
    for one in results(client.post("/v1/check", files=uploads(*PICTURES))):
        assert list(one["scores"]) == list(policy["labels"])
        acts = []
        for label, score in one["scores"].items():
            assert 0 <= score <= 1
            for action in ("block", "review"):
                threshold = policy["labels"][label][action]
                if threshold is not None and score >= threshold:
                    acts.append(action)
                    break
        assert sorted(acts) == sorted(reason["action"] for reason in one["reasons"])
        assert one["action"] == max(acts, key=ACTIONS.index, default="allow")


def test_bad_pictures_are_answered_among_the_good_ones(client: httpx.Client) -> None:
    found = results(client.post("/v1/check", files=uploads(PICTURES[0], b"", b"<html>", PICTURES[1])))
    assert [one["source"] for one in found] == ["0.png", "1.png", "2.png", "3.png"]
    assert [bool(one["unscannable"]) for one in found] == [False, True, True, False]
    assert [one["action"] for one in found[1:3]] == ["review", "review"]
    assert [one["scores"] for one in found[1:3]] == [{}, {}]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_has_one_reason_by_upload_by_base64_and_by_python(
    client: httpx.Client, moderator: Moderator, name: str
) -> None:
    data, reason = BROKEN[name]
    by_upload = results(client.post("/v1/check", files=[("images", (name, data))]))
    by_base64 = results(client.post("/v1/check", json={"images": in_json(data)}))
    assert [one["unscannable"] for one in by_upload + by_base64] == [reason, reason]
    assert moderator.check(data).unscannable == reason
    for kind in ("classify", "embed"):
        fields = {"labels": "a cat"} if kind == "classify" else {}
        (one,) = results(client.post(f"/v1/{kind}", files=uploads(data), data=fields))
        assert one["unscannable"] == reason
        assert not one.get("probabilities")
        assert one.get("embedding") is one.get("prediction") is None


@pytest.mark.parametrize("path", ["missing.png", ""], ids=["missing", "a folder"])
def test_python_answers_for_a_path_that_is_no_file(moderator: Moderator, tmp_path: Path, path: str) -> None:
    verdict = moderator.check(tmp_path / path)
    assert verdict.action == "review"
    assert verdict.unscannable
    assert verdict.unscannable.startswith("unreadable: the file cannot be read")


def test_the_library_needs_three_lines() -> None:
    verdict = moderato.load("demo").check(PNG)
    assert verdict.action in ACTIONS


@pytest.mark.parametrize(
    "text",
    [
        as_base64(PNG),
        f"data:image/png;base64,{as_base64(PNG)}",
        f"data:text/html;base64,{as_base64(PNG)}",
        f"data:;base64,{as_base64(PNG)}",
        "\r\n".join(as_base64(PNG)[i : i + 76] for i in range(0, 10**5, 76)),
    ],
    ids=["bare", "data URL", "wrong mime type", "no mime type", "wrapped"],
)
def test_base64_comes_with_or_without_the_head_of_a_data_url(client: httpx.Client, text: str) -> None:
    (one,) = results(client.post("/v1/check", json={"images": [{"data": text, "id": "my picture"}]}))
    assert one["unscannable"] is None
    assert one["source"] == "my picture"
    assert one["fingerprints"]["source"] == Source(PNG).digest


@pytest.mark.parametrize("text", ["???", "abc", "ä", "http://x,y", "data:text/plain,hello", "data:image/png;base64,??"])
def test_what_is_no_base64_is_unscannable(client: httpx.Client, text: str) -> None:
    (one,) = results(client.post("/v1/check", json={"images": [{"data": text}]}))
    assert one["unscannable"].startswith("bad_base64: ")


def test_urls_are_fetched_and_one_that_fails_says_why(open_client: httpx.Client) -> None:
    with web({"/a.png": PNG, "/page.jpg": BROKEN["page.jpg"][0]}) as site:
        images = [{"url": f"{site}/a.png"}, {"url": f"{site}/b.png", "id": "b"}, {"url": f"{site}/page.jpg"}]
        found = results(open_client.post("/v1/check", json={"images": [*images, *in_json(PNG)]}))
    assert [one["source"] for one in found] == [f"{site}/a.png", "b", f"{site}/page.jpg", "images[3]"]
    assert found[0]["scores"] == found[3]["scores"]
    assert found[1]["unscannable"].startswith("unfetchable: ")
    assert "status 404" in found[1]["unscannable"]
    assert found[2]["unscannable"] == BROKEN["page.jpg"][1]


@pytest.mark.parametrize("head", ["", "file://", "FILE://", "file:", "http:", "data:", "//", "ftp://127.0.0.1"])
def test_no_url_reads_a_file(client: httpx.Client, open_client: httpx.Client, tmp_path: Path, head: str) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    for way in (client, open_client):
        (one,) = results(way.post("/v1/check", json={"images": [{"url": f"{head}{tmp_path}/secret.png"}]}))
        assert one["unscannable"].startswith(("forbidden_url: ", "unfetchable: "))
        assert one["scores"] == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::1]", "0x7f.1", "0"])
def test_private_addresses_are_refused(client: httpx.Client, host: str) -> None:
    (one,) = results(client.post("/v1/check", json={"images": [{"url": f"http://{host}/a.png"}]}))
    assert one["unscannable"].startswith(("forbidden_address: ", "forbidden_url: ", "unfetchable: "))
    assert (one["action"], one["scores"]) == ("review", {})


@pytest.mark.parametrize("name", ["demmo", "standard", "thesis", "demo.toml", "/etc/hostname", "../policies/demo", ""])
def test_a_policy_that_is_not_here_is_refused_and_those_that_are_listed(client: httpx.Client, name: str) -> None:
    assert set(shipped_policies()) >= {"demo", "standard", "thesis"}  # the other two would need a download
    for sent in ({"json": {"images": in_json(PNG), "policy": name}}, {"files": uploads(PNG), "data": {"policy": name}}):
        assert "Known: demo." in refused(client.post("/v1/check", **sent))


# What is wrong with a request


@pytest.mark.parametrize("route", ["check", "classify", "embed"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "nor JSON"),
        (b"{", "nor JSON"),
        (b"\xff\xfe", "nor JSON"),
        (b"[" * 50_000, "nor JSON"),
        (b"[]", "the body"),
        (b"null", "the body"),
        (b'"text"', "the body"),
        (b'{"images": 3}', "images"),
        (b'{"images": {"url": "x"}}', "images"),
        (b'{"images": ["x"]}', "images[0]"),
        (b'{"images": [{}]}', "images[0]: give 'url' or 'data'"),
        (b'{"images": [{"url": "http://a/b", "data": ""}]}', "images[0]: give 'url' or 'data'"),
        (b'{"images": [{"url": ""}]}', "images[0].url"),
        (b'{"images": [{"url": 3}]}', "images[0].url"),
        (b'{"images": [{"data": NaN}]}', "images[0].data"),
        (b'{"images": [{"data": "", "id": 3}]}', "images[0].id"),
        (b'{"images": [{"data": "", "name": "x"}]}', "images[0].name"),
        (b'{"images": [{"data": "", "id": "\\ud800"}]}', ""),  # half a surrogate pair: no text that could be answered
        (b'{"images": [{"data": "%s"}], "labels": ["\\ud800"]}' % base64.b64encode(PNG), ""),
        (b'{"images": [{"data": ""}], "policy": "\\ud800", "labels": ["a"]}', ""),
        (b'{"images": [], "\\ud800": 3}', ""),
        (b'{"texts": ["\\ud800"]}', ""),
        (b'{"pictures": []}', "pictures"),
    ],
)
def test_wrong_json_is_refused_and_says_where(client: httpx.Client, route: str, body: bytes, words: str) -> None:
    assert words in refused(client.post(f"/v1/{route}", content=body))


@pytest.mark.parametrize("route", ["check", "classify", "embed"])
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"files": [("image", ("a.png", PNG))]}, "'images'"),
        ({"files": [("images", (None, "a.png"))]}, "must be files"),
        ({"files": uploads(PNG), "data": {"polcy": "demo"}}, "polcy"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=abc"}}, "multipart"),
        ({"data": {"images": "a.png"}}, "neither multipart"),
    ],
    ids=["image for images", "no file", "unknown field", "no boundary", "no form", "urlencoded"],
)
def test_a_wrong_form_is_refused_and_says_why(client: httpx.Client, route: str, sent: Any, words: str) -> None:
    assert words in refused(client.post(f"/v1/{route}", **sent))


@pytest.mark.parametrize("count", [5, 6, 40])
@pytest.mark.parametrize("route", ["check", "classify", "embed"])
def test_too_many_pictures_are_refused(client: httpx.Client, route: str, count: int) -> None:
    fields = {"labels": "a"} if route == "classify" else {}
    assert str(OPTIONS.max_images) in refused(client.post(f"/v1/{route}", files=uploads(*[b""] * count), data=fields))
    images = [{"data": "", "id": "x"}] * count
    assert str(OPTIONS.max_images) in refused(client.post(f"/v1/{route}", json={"images": images, **fields}))


def test_a_body_said_to_be_too_large_is_refused_before_it_comes(client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as raw:
        raw.sendall(b"POST /v1/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200001\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/v1/check", "/v1/classify", "/v1/embed", "/", "/classify/"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=abc", "application/json"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "announced"])
def test_a_body_that_is_too_large_is_413(client: httpx.Client, path: str, kind: str, chunked: bool) -> None:
    kind = "application/x-www-form-urlencoded" if (path, kind[-4:]) == ("/classify/", "json") else kind
    body = b'--abc\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n' + bytes(240_000)
    pieces = [body[i : i + 10_000] for i in range(0, len(body), 10_000)]
    content = iter(pieces) if chunked else body
    detail = refused(client.post(path, content=content, headers={"content-type": kind}), 413)
    assert "200,000" in detail
    assert client.get("/healthz").status_code == 200


def test_unknown_paths_and_methods_are_answered_in_json(client: httpx.Client) -> None:
    assert refused(client.get("/v1/nothing"), 404) == "Not Found"
    assert refused(client.get("/v1/check"), 405) == "Method Not Allowed"
    assert refused(client.post("/v1/encoders"), 405) == "Method Not Allowed"
    for path, methods in (("/", "GET, POST"), ("/1.0/check.json", "GET, POST"), ("/healthz", "GET, HEAD")):
        assert client.delete(path).headers["allow"] == methods


def test_what_nobody_foresaw_is_answered_in_json_without_a_traceback(
    client: httpx.Client, moderator: Moderator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderator, "check_many", None)
    detail = refused(client.post("/v1/check", files=uploads(PNG)), 500)
    assert "NoneType" not in detail


def test_a_client_that_leaves_is_no_error_of_ours(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    time.sleep(0.2)  # lines about the requests of the test before come after their answers
    caplog.clear()
    kinds = [b"application/json", b"multipart/form-data; boundary=abc"]
    for path in (b"/v1/check", b"/classify/", b"/"):
        for kind in kinds:
            with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as raw:
                head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n" % (path, kind)
                raw.sendall(head + b"Content-Length: 1000\r\n\r\n--abc\r\n")
    body = json.dumps({"images": in_json(PNG)}).encode()
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as raw:
        raw.sendall(b"POST /v1/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    for _ in range(3):
        assert results(client.post("/v1/check", files=uploads(PNG)))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


# /v1/classify


@pytest.mark.parametrize("form", [True, False], ids=["multipart", "JSON"])
@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("fit", [None, "squash", "cover"])
def test_labels_get_the_librarys_probabilities_in_their_order(
    client: httpx.Client, moderator: Moderator, form: bool, independent: bool, fit: Any
) -> None:
    fields: dict[str, Any] = {"fit": fit} if fit else {}
    if form:
        fields |= {"labels": " , ".join(LABELS) + ",", "independent": str(independent).lower()}
        answer = client.post("/v1/classify", files=uploads(*PICTURES), data=fields)
    else:
        fields |= {"labels": LABELS, "independent": independent}
        answer = client.post("/v1/classify", json={"images": in_json(*PICTURES), **fields})
    expected = moderator.classify_many(PICTURES, LABELS, independent=independent, fit=fit)
    for one, classified in zip(results(answer), expected, strict=True):
        found = one["probabilities"]
        assert list(found) == LABELS
        assert one["prediction"] == max(found, key=lambda label: found[label]) == classified.prediction
        assert found == pytest.approx(classified.probabilities, abs=1e-5)
        if not independent:
            assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_a_label_that_the_toy_does_not_know_is_noted(client: httpx.Client) -> None:
    (one,) = results(client.post("/v1/classify", files=uploads(PNG), data={"labels": "zzyzx, a cat"}))
    assert one["notes"] == ["'tiny' knows no word of 'zzyzx': its score means nothing."]


def test_labels_may_be_repeated_in_a_form(client: httpx.Client) -> None:
    fields = [("labels", (None, "a cat")), ("labels", (None, "a fish"))]  # what the documented array is sent as
    (one,) = results(client.post("/v1/classify", files=[*uploads(PNG), *fields]))
    assert list(one["probabilities"]) == ["a cat", "a fish"]


@pytest.mark.parametrize(
    "labels",
    [[], [""], ["  "], ["a", ""], "", " , ,", None, 3, [3], ["x" * 1001], list("abcdef"), "a,b,c,d,e,f"],
    ids=repr,
)
def test_labels_that_are_none_blank_or_too_many_are_refused(client: httpx.Client, labels: Any) -> None:
    body = json.dumps({"images": in_json(PNG), "labels": labels})
    assert "label" in refused(client.post("/v1/classify", content=body))


def test_classify_wants_labels_and_a_fit_that_exists(client: httpx.Client) -> None:
    assert "labels" in refused(client.post("/v1/classify", files=uploads(PNG)))
    wrong = refused(client.post("/v1/classify", files=uploads(PNG), data={"labels": "a", "fit": "squish"}))
    assert "fit" in wrong
    assert "squash" in wrong


def test_requests_at_the_same_time_never_mix_their_results(client: httpx.Client, moderator: Moderator) -> None:
    pictures = [encoded(photo(64 + n, 64, seed=n)) for n in range(16)]
    labels = [["a cat", f"a fish {n % 4}", "a red knife"] for n in range(16)]
    alone = [moderator.classify(picture, asked) for picture, asked in zip(pictures, labels, strict=True)]

    def ask(n: int) -> dict[str, Any]:
        images = [*in_json(pictures[n]), *in_json(b"")]
        found = results(client.post("/v1/classify", json={"images": images, "labels": labels[n]}))
        assert [bool(one["unscannable"]) for one in found] == [False, True]
        return found[0]

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(16)))
    for one, expected in zip(together, alone, strict=True):
        assert list(one["probabilities"]) == list(expected.probabilities)
        assert one["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


# /v1/embed


def test_embeddings_of_pictures_are_the_librarys_and_of_unit_length(client: httpx.Client, moderator: Moderator) -> None:
    answer = client.post("/v1/embed", files=uploads(PICTURES[0], b"", PICTURES[1]))
    found = results(answer)
    assert answer.json()["encoder"] == "moderato/tiny-1"
    assert [one["source"] for one in found] == ["0.png", "1.png", "2.png"]
    assert found[1]["embedding"] is None
    rows = np.array([found[0]["embedding"], found[2]["embedding"]], np.float32)
    expected = [answer.embedding for answer in moderator.embed_many(PICTURES[:2])]
    np.testing.assert_allclose(rows, np.array(expected), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_embeddings_of_texts_are_the_librarys_and_of_unit_length(client: httpx.Client, moderator: Moderator) -> None:
    found = results(client.post("/v1/embed", json={"texts": LABELS}))
    assert [one["source"] for one in found] == LABELS
    rows = np.array([one["embedding"] for one in found], np.float32)
    np.testing.assert_allclose(rows, moderator.embed_texts(LABELS), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "body", [{}, {"images": [], "texts": []}, {"images": in_json(PNG), "texts": ["a"]}, {"texts": list("abcdef")}]
)
def test_embed_wants_either_pictures_or_not_too_many_texts(client: httpx.Client, body: Any) -> None:
    refused(client.post("/v1/embed", json=body))


# What the service says of itself


def test_the_catalogue_says_what_serves_and_what_else_there_is(client: httpx.Client) -> None:
    encoders = client.get("/v1/encoders").json()
    assert encoders["serving"] == "tiny"
    cards = {card["name"]: card for card in encoders["encoders"]}
    assert {"tiny", "openai-b32", "datacomp-l14"} <= set(cards)
    assert all(card["licence"] and card["limits"] for card in cards.values())
    heads = {head["name"]: head for head in client.get("/v1/heads").json()["heads"]}
    assert heads["laion-nsfw-b32"]["encoder"] == cards["openai-b32"]["lineage"]
    assert all(head["licence"] and head["limits"] and head["evidence"] for head in heads.values())
    policies = client.get("/v1/policies").json()
    assert policies["serving"] == "demo"
    assert [policy["name"] for policy in policies["policies"]] == ["demo"]
    assert {"knife", "pistol"} <= set(policies["policies"][0]["labels"])


def test_openapi_documents_every_route_and_both_kinds_of_body(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {path: list(methods) for path, methods in paths.items()} == {
        "/": ["post"],
        "/1.0/check.json": ["get", "post"],
        "/classify/": ["post"],
        "/contentsafety/image:analyze": ["post"],
        "/healthz": ["get"],
        "/readyz": ["get"],
        "/v1/check": ["post"],
        "/v1/classify": ["post"],
        "/v1/detect-images": ["post"],
        "/v1/embed": ["post"],
        "/v1/encoders": ["get"],
        "/v1/heads": ["get"],
        "/v1/images:annotate": ["post"],
        "/v1/moderations": ["post"],
        "/v1/policies": ["get"],
    }
    assert all(route["description"] for methods in paths.values() for route in methods.values())
    for name in ("check", "classify", "embed"):
        content = paths[f"/v1/{name}"]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        one, many = (content[kind]["schema"]["properties"]["images"]["items"] for kind in sorted(content))
        assert set(one["properties"]) == {"url", "data", "id"}
        assert many["format"] == "binary"
    assert {"image_data", "labels"} <= set(
        paths["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    )


def test_the_docs_are_one_page_that_loads_nothing_and_whose_lines_work(client: httpx.Client, tmp_path: Path) -> None:
    page = client.get("/", follow_redirects=True)
    assert page.url.path == "/docs"
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page.text)
    lines = [unescape(line) for line in re.findall(r"<pre>(.+?)</pre>", page.text)]
    paths = client.get("/openapi.json").json()["paths"]
    operations = [path for path, methods in paths.items() for _ in methods]
    assert [line.removeprefix("curl ").split(str(client.base_url).rstrip("/"))[-1] for line in lines] == operations
    (tmp_path / "picture.jpg").write_bytes(PNG)
    for line in lines if shutil.which("curl") else []:
        ended = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert (ended.returncode, '"detail"' in ended.stdout) == (0, False), line


def test_the_service_is_ready_only_when_the_encoder_has_answered(tmp_path: Path) -> None:
    ours = service(tmp_path)
    may_answer, warm_up = threading.Event(), ours.moderator.warm_up

    def slow() -> None:
        assert may_answer.wait(20)
        warm_up()

    ours.moderator.warm_up = slow  # type: ignore[method-assign]
    with listening(ours) as client:
        try:
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 503
        finally:
            may_answer.set()
        wait_until(ours.answered.is_set)
        assert client.get("/readyz").status_code == 200
        assert client.get("/healthz").text == "ok"


def test_requests_beyond_those_that_may_wait_are_429_and_the_others_are_answered(tmp_path: Path) -> None:
    ours = service(tmp_path, ServeOptions(max_waiting=2))
    may_answer, check_many = threading.Event(), ours.moderator.check_many

    def slow(*arguments: Any) -> Any:
        assert may_answer.wait(20)
        return check_many(*arguments)

    ours.moderator.check_many = slow  # type: ignore[method-assign, assignment]
    with listening(ours) as client, ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(client.post, "/v1/check", files=uploads(PNG)) for _ in range(40)]
        try:
            wait_until(lambda: any(answer.done() for answer in asked))
            assert client.get("/healthz").text == "ok"
        finally:
            may_answer.set()
        answers = [answer.result() for answer in asked]
    full = [answer for answer in answers if answer.status_code == 429]
    assert full
    assert all("again later" in refused(answer, 429) and int(answer.headers["Retry-After"]) > 0 for answer in full)
    assert all(results(answer)[0]["scores"] for answer in answers if answer not in full)
    assert len(answers) - len(full) >= 2


def test_a_service_whose_encoder_fails_lives_and_is_never_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = service(tmp_path)
    ours.moderator.warm_up = None  # type: ignore[method-assign, assignment]
    with listening(ours) as client:
        wait_until(lambda: "not ready" in caplog.text)
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503


def test_no_path_of_the_operators_is_shown(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nencoder = "./clip"\nanchors = ["a"]\n[labels.dog]\nhead = "./secret/mine.safetensors"\n'
        '[labels.inappropriate]\nhead = "q16-b32"\nfile = "https://me:word@host/prompts.p?token=1"\nencoder = "./far"\n'
    )
    ours = service(tmp_path / "data")
    ours.policies["mine"] = read_policy(tmp_path / "mine.toml")
    with listening(ours) as client:
        shown = client.get("/v1/policies")
    assert str(tmp_path) not in shown.text
    assert not any(secret in shown.text for secret in ("word", "token", "secret"))
    labels = {policy["name"]: policy for policy in shown.json()["policies"]}["mine"]["labels"]
    assert (labels["dog"]["head"], labels["inappropriate"]["file"]) == ("mine.safetensors", "prompts.p")
