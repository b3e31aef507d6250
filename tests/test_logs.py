"""Log lines: one a request, with its id, with nothing secret; an id on every answer."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from moderato.server import logs
from moderato.server.desk import Desk
from moderato.server.records import Record
from moderato.settings import ServeOptions
from servers import PNG, Lines, listening, service, wait_until, web


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def ours(tmp_path: Path) -> Desk:
    return service(tmp_path, ServeOptions(max_body=100_000), allow_hosts=("127.0.0.1",))


@pytest.fixture
def client(ours: Desk) -> Iterator[httpx.Client]:
    with listening(ours) as client:
        wait_until(ours.answered.is_set)
        yield client


def requests(lines: Lines, count: int) -> list[dict[str, Any]]:
    """The lines about requests, once there are so many: the last answer may be faster than its line."""

    def found() -> list[dict[str, Any]]:
        return [line for line in lines() if line["logger"] == "moderato.requests"]

    wait_until(lambda: len(found()) >= count)
    assert len(found()) == count
    return found()


def test_a_request_is_one_line_of_json(lines: Lines, client: httpx.Client) -> None:
    answer = client.post("/v1/check", files=[("images", ("a.png", PNG)), ("images", ("b.png", b""))])
    (line,) = requests(lines, 1)
    assert line["level"] == "info"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/check", 200)
    assert 0 < line["seconds"] < 30
    assert line["pictures"] == 2
    actions = [one["action"] for one in answer.json()["results"]]
    assert line["actions"] == {action: actions.count(action) for action in actions}
    assert line["unscannable"] == {"empty": 1}
    assert line["request_id"] == answer.headers["x-request-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/v1/policies", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("GET", "/v1/check", {}, 405),
        ("POST", "/v1/check", {"json": {}}, 400),
        ("POST", "/v1/check", {"content": bytes(200_000)}, 413),
        ("POST", "/classify/", {"data": {"image": "text"}}, 422),
        ("POST", "/classify", {}, 307),
        ("GET", "/healthz", {}, 200),
    ],
)
def test_every_answer_has_an_id(
    client: httpx.Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    own = client.request(method, path, headers={"x-request-id": "mine-1:2.3/4+5=6@7"}, **options)
    assert (own.status_code, own.headers.get_list("x-request-id")) == (status, ["mine-1:2.3/4+5=6@7"])
    first, second = (client.request(method, path, **options).headers["x-request-id"] for _ in range(2))
    assert first != second
    assert re.fullmatch("req_[0-9a-f]{32}", first)


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "ü", 'a"b', "a\tb", "<script>", "a,b"])
def test_an_id_that_is_not_short_and_plain_is_not_taken_over(client: httpx.Client, sent: str) -> None:
    answer = client.get("/healthz", headers=[(b"x-request-id", sent.encode())])
    assert answer.headers["x-request-id"].startswith("req_")


def test_two_ids_are_none(client: httpx.Client) -> None:
    answer = client.get("/healthz", headers=[("x-request-id", "a"), ("x-request-id", "b")])
    assert answer.headers["x-request-id"].startswith("req_")


def test_a_fault_of_ours_has_the_id_in_its_answer_and_in_every_line(
    lines: Lines, client: httpx.Client, ours: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours.moderator, "check_many", None)
    answer = client.post("/v1/check", files=[("images", ("a.png", PNG))], headers={"x-request-id": "broken-1"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "broken-1")
    (line,) = requests(lines, 1)
    assert (line["level"], line["status"], line["fault"]) == ("error", 500, "crashed")
    told = [line for line in lines() if line["level"] == "error"]
    assert len(told) == 2
    assert {line["request_id"] for line in told} == {"broken-1"}
    assert "TypeError" in told[0]["traceback"]


def test_lines_of_the_threads_that_prepare_pictures_have_the_id(
    lines: Lines, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object) -> None:
        raise RuntimeError("a decoder that fails")

    monkeypatch.setattr("moderato.pipeline.load", failing)
    client.post("/v1/check", files=[("images", ("a.png", PNG))], headers={"x-request-id": "picture-1"})
    (line,) = (line for line in lines() if line["logger"] == "moderato.pipeline")
    assert line["request_id"] == "picture-1"
    assert "a decoder that fails" in line["traceback"]


def test_requests_at_the_same_time_keep_their_own_ids(lines: Lines, client: httpx.Client) -> None:
    def ask(n: int) -> None:
        files = [("images", ("a.png", PNG))] * (1 + n % 3) + [("images", ("b.png", b""))] * (n % 2)
        assert (
            client.post("/v1/check", files=files, headers={"x-request-id": f"n{n}"}).headers["x-request-id"] == f"n{n}"
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(24)))
    for line in requests(lines, 24):
        n = int(line["request_id"][1:])
        assert line["pictures"] == 1 + n % 3 + n % 2
        assert line.get("unscannable", {}) == ({"empty": 1} if n % 2 else {})


def test_nothing_secret_is_in_a_line(lines: Lines, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with web({"/a.png": PNG}) as site:
        images = [{"url": f"{site}/{name}?token=hush"} for name in ("a.png", "gone.png")]
        client.post("/v1/check?api_secret=hush", json={"images": [*images, {"data": "hush", "id": "hush.png"}]})
    client.get("/hush?key=hush", headers={"authorization": "Bearer hush", "x-goog-api-key": "hush"})
    client.post("/v1/check", files=[("images", ("hush.png", PNG))], data={"policy": "hush"})
    client.post("/v1/classify", files=[("images", ("hush.png", PNG))], data={"labels": "hush, other"})
    monkeypatch.setattr("moderato.pipeline.load", None)
    client.post("/v1/check", files=[("images", ("hush.png", PNG))])
    assert len(requests(lines, 5)) == 5
    assert "TypeError" in str(lines())
    assert "hush" not in str(lines())


def test_a_client_that_leaves_is_told_as_499(lines: Lines, client: httpx.Client) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port)) as leaving:
        leaving.sendall(b"POST /v1/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    (line,) = requests(lines, 1)
    assert (line["status"], line["level"]) == (499, "info")


def test_the_name_of_the_key_is_told(lines: Lines) -> None:
    with logs.around(Record("a", "POST", "/v1/check", key="shop", status=200), {}):
        pass
    (line,) = requests(lines, 1)
    assert line["key"] == "shop"
    assert "key shop" in line["message"]


def test_probes_that_find_all_well_have_no_line(lines: Lines, client: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/policies"):
        assert client.get(path).status_code == 200
    client.post("/healthz")
    assert [line["status"] for line in requests(lines, 2)] == [200, 405]


@pytest.mark.parametrize(
    ("style", "stream", "in_json"),
    [("auto", io.StringIO, True), ("auto", Terminal, False), ("json", Terminal, True), ("text", io.StringIO, False)],
)
def test_lines_are_plain_on_a_terminal_unless_told_otherwise(
    logging_anew: None, monkeypatch: pytest.MonkeyPatch, style: Any, stream: type[io.StringIO], in_json: bool
) -> None:
    written = stream()
    monkeypatch.setattr("sys.stderr", written)
    logs.set_up(style)
    logging.getLogger("moderato.x").info("all is %s", "well")
    logging.getLogger("other").info("not told")
    logging.getLogger("other").warning("told \x1b[31m\nin two lines")
    if in_json:
        first, second = map(json.loads, written.getvalue().splitlines())
        assert (first["message"], first["level"], first["logger"]) == ("all is well", "info", "moderato.x")
        assert (second["message"], second["level"]) == ("told \x1b[31m\nin two lines", "warning")
    else:
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d all is well\n\d\d:\d\d:\d\d WARNING told \\x1b\[31m\nin two lines\n", written.getvalue()
        )


def test_a_plain_line_about_a_request_says_the_same(
    logging_anew: None, monkeypatch: pytest.MonkeyPatch, client: httpx.Client
) -> None:
    written = Terminal()
    monkeypatch.setattr("sys.stderr", written)
    logs.set_up("auto")
    client.post("/v1/check", files=[("images", ("a.png", b""))], headers={"x-request-id": "abc"})
    wait_until(lambda: "\n" in written.getvalue())
    assert re.fullmatch(
        r"[\d:]{8} POST /v1/check 200 in \d+\.\d{3} s, pictures 1 \(review 1, empty 1\) \[abc\]\n", written.getvalue()
    )
