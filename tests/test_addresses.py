"""Private addresses in all their spellings, through every wire format that takes URLs: none leads there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictures import KNIFE
from servers import listening, service

PRIVATE = st.one_of(
    st.sampled_from(["127.0.0.1", "0.0.0.0", "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192"]),
    st.sampled_from([("10.0.0.0", 24), ("172.16.0.0", 20), ("192.168.0.0", 16), ("169.254.0.0", 16), ("127.0.0.0", 24)])
    .flatmap(lambda network: st.integers(0, 2 ** network[1] - 1).map(lambda host: IPv4Address(network[0]) + host))
    .map(str),
)
NUMBER: list[Callable[[int], str]] = [str, hex, lambda n: f"0{n:o}", lambda n: f"0X{n:X}", lambda n: f"0x{n:08x}"]
DIGITS = [{}, *(dict(zip("0123456789", digits, strict=True)) for digits in ("０１２３４５６７８９", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"))]


@st.composite
def spelled(draw: st.DrawFn, address: str) -> str:
    """The host of a URL that means this address to some reader of URLs."""
    number = int(IPv4Address(address))
    high, low = f"{number >> 16:x}", f"{number & 0xFFFF:x}"
    kind = draw(st.sampled_from(["parts", "mapped"]))
    if kind == "mapped":
        prefix = draw(st.sampled_from(["::ffff:", "::FFFF:", "0:0:0:0:0:ffff:", "::", "64:ff9b::", "64:ff9b:1::"]))
        other = [f"[2002:{high}:{low}::]", f"[2001:0:{high}:{low}::]", f"[::ffff:0:{high}:{low}]"]
        return draw(st.sampled_from([f"[{prefix}{address}]", f"[{prefix}{high}:{low}]", *other]))
    count = draw(st.integers(1, 4))
    octets = [number >> 24, number >> 16 & 255, number >> 8 & 255]
    last = number & (1 << 8 * (5 - count)) - 1
    parts = [draw(st.sampled_from(NUMBER))(part) for part in [*octets[: count - 1], last]]
    host = draw(st.sampled_from([".", ".", "。", "．"])).join(parts) + draw(st.sampled_from(["", "."]))
    digits = draw(st.sampled_from(DIGITS))
    return draw(st.sampled_from([str, quote]))("".join(digits.get(letter, letter) for letter in host))


@st.composite
def urls(draw: st.DrawFn, port: int) -> str:
    """A URL of a private address."""
    host = draw(
        PRIVATE.flatmap(spelled) | st.sampled_from(["localhost", "LOCALHOST", "[::1]", "[::]", "0", "[fd00::1]"])
    )
    before = draw(st.sampled_from(["", "", "", "user@", "good.example:80@", "good.example%40"]))
    scheme = draw(st.sampled_from(["http", "http", "HTTP", "https", "ftp", "gopher", "file"]))
    return f"{scheme}://{before}{host}:{port}{draw(st.sampled_from(['', '/', '/a.png?b#c', '#@good.example']))}"


class Web(BaseHTTPRequestHandler):
    """Gives a picture to who comes, or leads on to what `to` says; `seen` are the paths that were asked for."""

    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(self.path)
        to = parse_qs(urlsplit(self.path).query).get("to")
        self.send_response(302 if to else 200)
        if to:
            self.send_header("Location", to[0].encode().decode("latin-1"))  # the bytes of UTF-8
        self.send_header("Content-Length", "0" if to else str(len(KNIFE)))
        self.end_headers()
        self.wfile.write(b"" if to else KNIFE)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def near() -> Iterator[int]:
    """The port on loopback of something that nobody from outside may reach."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def _check(client: httpx.Client, url: str) -> bool:
    (one,) = client.post("/v1/check", json={"images": [{"url": url}]}).json()["results"]
    return not one["unscannable"] or not one["unscannable"].startswith("forbidden_")


def _openai(client: httpx.Client, url: str) -> bool:
    parts = [{"type": "image_url", "image_url": {"url": url}}]
    answer = client.post("/v1/moderations", json={"input": parts}).json()
    return "error" not in answer or not any(
        answer["error"]["code"] == code for code in ("image_url_unavailable", "invalid_image_url")
    )


def _google(client: httpx.Client, url: str) -> bool:
    one = {"image": {"source": {"imageUri": url}}, "features": [{"type": "SAFE_SEARCH_DETECTION"}]}
    (answer,) = client.post("/v1/images:annotate", json={"requests": [one]}).json()["responses"]
    return "error" not in answer or answer["error"]["code"] != 7


def _azure(client: httpx.Client, url: str) -> bool:
    answer = client.post("/contentsafety/image:analyze", json={"image": {"blobUrl": url}}).json()
    return "error" not in answer or "forbidden_" not in answer["error"]["message"]


def _sightengine(client: httpx.Client, url: str) -> bool:
    answer = client.get("/1.0/check.json", params={"models": "weapon", "url": url}).json()
    return answer["status"] == "success" or "forbidden_" not in answer["error"]["message"]


def _thesis(client: httpx.Client, url: str) -> bool:
    answer = client.post("/classify/", data={"location": url})
    refusals = ("Invalid image URL.", "Unable to download image from the provided URL.")
    return answer.status_code != 400 or answer.json()["detail"] not in refusals


WAYS: dict[str, Callable[[httpx.Client, str], bool]] = {
    "check": _check,
    "openai": _openai,
    "google": _google,
    "azure": _azure,
    "sightengine": _sightengine,
    "thesis": _thesis,
}
"""By wire format: asks about a URL; whether it was let through."""


@contextmanager
def unseen() -> Iterator[None]:
    """Fails when the web nearby was asked for anything in the meantime."""
    Web.seen.clear()
    yield
    assert Web.seen == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with listening(service(tmp_path_factory.mktemp("data"))) as client:
        yield client


@pytest.mark.parametrize("way", WAYS)
def test_no_spelling_of_a_private_address_is_fetched(guarded: httpx.Client, near: int, way: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(urls(near))
    def never(url: str) -> None:
        with unseen():
            assert not WAYS[way](guarded, url), url

    never()


@pytest.mark.parametrize("way", WAYS)
def test_no_redirect_leads_to_one_either(client: httpx.Client, near: int, way: str) -> None:
    """By a host that may be reached; a redirect back to that host may be followed."""
    first = f"http://127.0.0.1:{near}/?to="

    @settings(max_examples=60, deadline=None)
    @given(PRIVATE.filter(lambda address: address != "127.0.0.1").flatmap(spelled))
    def never(host: str) -> None:
        Web.seen.clear()
        assert not WAYS[way](client, first + quote(f"http://{host}:{near}/", safe="")), host
        assert len(Web.seen) == 1

    never()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_is_fetched_where_it_is_allowed(client: httpx.Client, near: int, way: str, tmp_path: Path) -> None:
    """The control: these tests could see it."""
    Web.seen.clear()
    assert WAYS[way](client, f"http://127.0.0.1:{near}/a.png")
    assert WAYS[way](client, f"http://127.0.0.1:{near}/?to=/b.png")
    assert Web.seen == ["/a.png", "/?to=/b.png", "/b.png"]
