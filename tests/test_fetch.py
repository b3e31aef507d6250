"""Fetching over real sockets, on loopback only; where DNS plays tricks, `socket.getaddrinfo` alone is replaced."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderato.errors import CallerError, FetchError, LimitError, SettingsError
from moderato.media.fetch import FetchOptions, _Stream, _trust, fetch
from moderato.types import Source

LOOPBACK = FetchOptions(allow_hosts=("127.0.0.1",), timeout=5)
PICTURE = bytes(range(256)) * 8
resolve = socket.getaddrinfo

Handler = Callable[[socket.socket, bytes], None]


@pytest.fixture(autouse=True)
def no_dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Names → the answers they give, one a look-up, the last one for ever. Numbers are resolved as always."""
    names: dict[str, list[list[str]]] = {}

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        if host not in names:
            kwargs["flags"] = socket.AI_NUMERICHOST
            return resolve(host, port, *args, **kwargs)
        answers = names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [found for address in addresses for found in resolve(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return names


@contextmanager
def serve(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on 127.0.0.1 that gives each connection, and the head of its request, to `handle`; yields its port."""
    closing = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(10)
            with tls.wrap_socket(connection, server_side=True) if tls else connection as conversation:
                head = b""
                while b"\r\n\r\n" not in head and head[:1] != b"\x16" and (some := conversation.recv(65536)):
                    head += some
                handle(conversation, head)  # 0x16 begins a TLS greeting, which was not meant for us

    def accept() -> None:
        while not closing.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.01)
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            for thread in threads:
                thread.join()


def response(body: bytes = b"", status: str = "200 OK", length: int | None = -1, **headers: str) -> bytes:
    """An HTTP answer; `length` is what its Content-Length claims, None for no such header."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def always(answer: bytes) -> Handler:
    return lambda connection, head: connection.sendall(answer)


def by_path(**answers: bytes) -> Handler:
    return lambda connection, head: connection.sendall(answers[head.split()[1].decode().strip("/")])


def fetch_from(handle: Handler, options: FetchOptions = LOOPBACK, max_bytes: int = 2**20) -> Source:
    with serve(handle) as port:
        return fetch(f"http://127.0.0.1:{port}/picture?token=secret", options, max_bytes)


def refused(url: str, options: FetchOptions = LOOPBACK) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(url, options)
    assert "secret" not in str(caught.value)
    return caught.value


def unfetchable(handle: Handler, options: FetchOptions = LOOPBACK) -> str:
    """The sentence of the FetchError that the server's answer leads to."""
    with serve(handle) as port:
        error = refused(f"http://127.0.0.1:{port}/picture?token=secret", options)
    assert error.code == "unfetchable"
    return error.detail


# What may be fetched


def test_a_picture_comes_with_its_url_as_name() -> None:
    with serve(always(response(PICTURE))) as port:
        url = f"http://127.0.0.1:{port}/picture?token=secret"
        assert fetch(url, LOOPBACK) == Source(PICTURE, url)


def test_the_request_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    def handle(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        here = head.split(b"\r\nHost: ")[1].split(b"\r\n")[0].decode()
        connection.sendall(response(status="302 Found", Location=f"http://{here}/there?a=b", Set_Cookie="a=b"))

    with serve(handle) as port:
        refused(f"http://127.0.0.1:{port}/a%20b?token=secret#part")
    first, second = (head.decode().split("\r\n") for head in heads[:2])
    assert first[0] == "GET /a%20b?token=secret HTTP/1.1"
    assert second[0] == "GET /there?a=b HTTP/1.1"
    assert first[1:] == second[1:]
    assert set(first[1:]) - {""} == {
        f"Host: 127.0.0.1:{port}", "User-Agent: moderato", "Accept: */*", "Accept-Encoding: identity",
        "Connection: close",
    }  # fmt: skip


@pytest.mark.parametrize("length", [-1, None])
def test_a_body_of_exactly_the_limit_is_read(length: int | None) -> None:
    assert fetch_from(always(response(PICTURE, length=length)), max_bytes=len(PICTURE)).data == PICTURE


def test_a_chunked_body_is_read() -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (PICTURE[:5], PICTURE[5:], b""))
    assert fetch_from(always(response(chunks, length=None, Transfer_Encoding="chunked"))).data == PICTURE


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "GZIP"])
def test_a_body_that_is_compressed_unasked_is_inflated(name: str) -> None:
    assert fetch_from(always(response(gzip.compress(PICTURE), Content_Encoding=name))).data == PICTURE


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    away = response(status=f"{status} Elsewhere", Location="/c?d")
    pages = {"picture?token=secret": away, "c?d": response(status="302 Found", Location="e"), "e": response(PICTURE)}
    assert fetch_from(by_path(**pages)).data == PICTURE


@pytest.mark.parametrize(
    "allowed", ["127.0.0.1", "127.0.0.0/8", "Media.Internal.", "media.internal", "::/0 0.0.0.0/0", "127.0.0.9/8"]
)
def test_hosts_are_allowed_by_name_address_or_network(allowed: str, no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["media.internal"] = [["127.0.0.1"]]
    options = FetchOptions(allow_hosts=tuple(allowed.split()))
    with serve(always(response(PICTURE))) as port:
        for host in "media.internal", "MEDIA.internal", "media.internal.":
            assert fetch(f"http://{host}:{port}/", options).data == PICTURE


def test_an_address_that_does_not_answer_gives_way_to_the_next(no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["media.internal"] = [["::1", "127.0.0.1"]]
    with serve(always(response(PICTURE))) as port:
        assert fetch(f"http://media.internal:{port}/", FetchOptions(allow_hosts=("media.internal",))).data == PICTURE


def test_threads_do_not_disturb_one_another() -> None:
    def echo(connection: socket.socket, head: bytes) -> None:
        connection.sendall(response(head.split()[1]))

    with serve(echo) as port:
        found: dict[int, bytes] = {}

        def one(i: int) -> None:
            found[i] = fetch(f"http://127.0.0.1:{port}/{i}", LOOPBACK).data

        threads = [threading.Thread(target=one, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == {i: b"/%d" % i for i in range(20)}


# What may not be fetched


@pytest.mark.parametrize(
    "url",
    [
        "", "picture.jpg", "//example.com/", "http:", "http://", "http:///x", "http:/example.com/", "http:example.com",
        "file:///etc/passwd", "ftp://example.com/", "gopher://127.0.0.1:6379/_x", "data:image/png;base64,AAAA",
        "unix:///run/x.sock", "jar:http://example.com!/", "javascript:alert(1)", " http://example.com/",
        "http://user@example.com/", "http://user:secret@example.com/", "http://:secret@example.com/",
        "http://good.com@127.0.0.1/", "http://good.com:80@127.0.0.1/", "http://good.com\\@127.0.0.1/",
        "http://127.0.0.1\\.example.com/", "http://127.0.0.1\\@example.com:secret/", "http://a@b@127.0.0.1/",
        "http://good.com%40127.0.0.1/", "http://127.0.0.1%00.example.com/", "http://127.0.0.1%2f.example.com/",
        "http://127.0.0.1\t/", "http://127.0.0.1\r\nHost: x/", "http://example.com\x00/", "http://exam ple.com/",
        "http://１２７.0.0.1/", "http://①②⑦.⓪.⓪.①/", "http://[127.0.0.1]/", "http://[::1/", "http://[]/", "http://[::1%25lo]/",
        "http://256.256.256.256/", "http://0127.0.0.1/", "http://a..b/", "http://.a/", "http://./", "http://../",
        "http://example.com:0/", "http://example.com:-1/", "http://example.com:65536/", "http://example.com:secret/",
        "http://example.com:99999999999999999999/", f"http://{'a' * 64}.com/", f"http://{'a.' * 127}com/",
        f"http://example.com/{'a' * 70000}", "http://\ud800/", "http://example.com/\ud800", "http://*.example.com/",
        "http://ｅxample。com：80/",
    ],
)  # fmt: skip
def test_a_url_that_is_not_plain_http_is_forbidden(url: str) -> None:
    assert refused(url).code == "forbidden_url"


@pytest.mark.parametrize(
    "host",
    [
        # loopback and "this host", in all spellings
        "127.0.0.1", "127.0.0.1.", "127.1.2.3", "127.1", "0x7f.1", "0x7f000001", "017700000001", "0177.1", "2130706433",
        "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "0.0.0.0", "0", "0.1.2.3", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]",
        # private, shared, link-local, documentation, benchmarks, reserved, multicast
        "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255", "169.254.0.1",
        "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "192.0.0.1", "192.0.0.9",
        "240.0.0.1", "255.255.255.255", "224.0.0.1", "239.255.255.255", "192.88.99.1",
        "[fe80::1]", "[fec0::1]", "[fc00::1]", "[fd12:3456::1]", "[ff02::1]", "[ff0e::1]", "[100::1]", "[2001:db8::1]",
        "[2001:2::1]", "[2001:4:112::1]", "[2001:20::1]", "[3fff::1]", "[5f00::1]", "[4000::1]",
        # metadata of clouds
        "169.254.169.254", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]", "[fd20:ce::254]", "100.100.100.200",
        "192.0.0.192", "168.63.129.16", "[::ffff:169.254.169.254]", "[::ffff:168.63.129.16]",
        # IPv4 in IPv6: mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:10.0.0.1]", "[::ffff:0.0.0.0]", "[::127.0.0.1]",
        "[::8.8.8.8]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a00:1]", "[64:ff9b::169.254.169.254]",
        "[64:ff9b:1::10.0.0.1]", "[2002:7f00:1::]", "[2002:a00:1::1]", "[2002:808:808::1]",
        "[2001:0:808:808:0:0:80ff:fffe]", "[2001:0:7f00:1::]",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_forbidden(host: str) -> None:
    for scheme in "http", "https":
        error = refused(f"{scheme}://{host}:81/?token=secret", FetchOptions())
        assert error.code == "forbidden_address"
        assert "MODERATO_FETCH__ALLOW_HOSTS" in error.detail


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "172.32.0.1"]
)
def test_a_public_address_is_dialled_as_it_is(
    address: str, monkeypatch: pytest.MonkeyPatch, no_dns: dict[str, list[list[str]]]
) -> None:
    no_dns["example.com"] = [[address], ["127.0.0.1"]]
    dialled = []

    def create_connection(endpoint: tuple[str, int], timeout: float) -> socket.socket:
        dialled.append(endpoint)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    assert refused("https://example.com/").code == "unfetchable"
    assert dialled == [(address, 443)]


def test_a_silent_address_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, no_dns: dict[str, list[list[str]]]
) -> None:
    no_dns["example.com"] = [["2606:4700::1111", "1.1.1.1"]]
    given_seconds = {}

    def create_connection(endpoint: tuple[str, int], timeout: float) -> socket.socket:
        given_seconds[endpoint] = timeout
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", create_connection)
    refused("http://example.com:81/", FetchOptions(timeout=8))
    assert given_seconds == {
        ("2606:4700::1111", 81): pytest.approx(4, abs=0.5), ("1.1.1.1", 81): pytest.approx(8, abs=0.5)
    }  # fmt: skip


@pytest.mark.parametrize("addresses", [["8.8.8.8", "127.0.0.1"], ["2606:4700::1111", "fe80::1"], ["10.0.0.1"]])
def test_one_private_address_among_several_is_enough(addresses: list[str], no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["example.com"] = [addresses]
    error = refused("http://example.com/", FetchOptions())
    assert error.code == "forbidden_address"
    assert not any(address in str(error) for address in addresses)


def test_a_second_dns_answer_is_never_asked_for(no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["example.com"] = [["127.0.0.1"], ["10.0.0.1"]]
    heads: list[bytes] = []

    def handle(connection: socket.socket, head: bytes) -> None:
        heads.append(head)
        connection.sendall(response(PICTURE))

    with serve(handle) as port:
        assert fetch(f"http://example.com:{port}/", LOOPBACK).data == PICTURE
    assert f"Host: example.com:{port}\r\n".encode() in heads[0]
    assert no_dns["example.com"] == [["10.0.0.1"]]


def test_a_redirect_to_the_same_host_is_checked_again(no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["example.com"] = [["127.0.0.1"], ["10.0.0.1"]]
    with serve(always(response(status="302 Found", Location="/again"))) as port:
        assert refused(f"http://example.com:{port}/", LOOPBACK).code == "forbidden_address"


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("http://10.0.0.1/", "forbidden_address"), ("//169.254.169.254/latest", "forbidden_address"),
        ("https://[::1]/", "forbidden_address"), ("http://2852039166/", "forbidden_address"),
        ("file:///etc/passwd", "forbidden_url"), ("ftp://127.0.0.1/", "forbidden_url"),
        ("http://user:secret@127.0.0.1/", "forbidden_url"), ("http://127.0.0.1:x/", "forbidden_url"),
        ("http://[/", "forbidden_url"), ("http://\xff/", "forbidden_url"), ("http:///x@10.0.0.1", "unfetchable"),
        ("http:10.0.0.1", "unfetchable"), ("http://", "unfetchable"),  # these stay where they are, and go round
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_a_url(location: str, code: str) -> None:
    with serve(always(response(status="302 Found", Location=location))) as port:
        assert refused(f"http://127.0.0.1:{port}/?token=secret").code == code


def test_redirects_have_an_end() -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket, head: bytes) -> None:
        seen.append(head)
        connection.sendall(response(status="302 Found", Location="/round?token=secret"))

    assert "MODERATO_FETCH__MAX_REDIRECTS" in unfetchable(handle)
    assert len(seen) == 4
    assert "More than 0" in unfetchable(handle, FetchOptions(allow_hosts=("127.0.0.1",), max_redirects=0))


def test_a_redirect_must_say_where_to() -> None:
    assert "status 302" in unfetchable(always(response(status="302 Found")))


@pytest.mark.parametrize(
    "entry", ["", ".", "http://media.internal", "media.internal:80", "10.0.0.0/33", "*.internal", "[::1]", "a b"]
)
def test_an_entry_of_allow_hosts_that_no_host_can_match_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="allow_hosts"):
        FetchOptions(allow_hosts=(entry,))


@pytest.mark.parametrize("allowed", ["internal", "media.internal.example", "edia.internal", "127.0.0.2", "128.0.0.0/1"])
def test_allowing_one_host_allows_no_other(allowed: str, no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["media.internal"] = [["127.0.0.1"]]
    assert refused("http://media.internal/", FetchOptions(allow_hosts=(allowed,))).code == "forbidden_address"


# Answers that are not a picture


@pytest.mark.parametrize("status", [204, 206, 300, 304, 401, 404, 429, 500, 503, 999])
def test_any_status_but_200_is_named(status: int) -> None:
    assert f"status {status}" in unfetchable(always(response(status=f"{status} Why", length=0)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "proper HTTP"),
        (b"secret\r\n\r\n", "proper HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "proper HTTP"),
        (b"HTTP/1.1 secret OK\r\n\r\n", "proper HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "proper HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 30000 + b"\r\n", "proper HTTP"),
        (response(PICTURE, length=len(PICTURE) + 1), "broke off"),
        (response(PICTURE, length=-7), "proper HTTP"),
        (response(b"zz\r\n", length=None, Transfer_Encoding="chunked"), "proper HTTP"),
        (response(b"5\r\nab", length=None, Transfer_Encoding="chunked"), "broke off"),
        (response(PICTURE, Content_Encoding="gzip"), "damaged"),
        (response(gzip.compress(PICTURE)[:-9], Content_Encoding="gzip"), "damaged"),
        (response(PICTURE, Content_Encoding="br"), "compressed"),
        (response(PICTURE, Content_Encoding="gzip, gzip"), "compressed"),
    ],
)
def test_a_broken_answer_is_explained(answer: bytes, words: str) -> None:
    assert words in unfetchable(always(answer))


def test_bytes_beyond_the_content_length_are_not_read() -> None:
    assert fetch_from(always(response(PICTURE, length=9))).data == PICTURE[:9]


def test_a_reset_connection_is_explained() -> None:
    def reset(connection: socket.socket, head: bytes) -> None:
        connection.sendall(response(PICTURE, length=10**6))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert "broke off" in unfetchable(reset)


def test_a_closed_port_is_explained() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = refused(f"http://127.0.0.1:{port}/?token=secret")
    assert error.code == "unfetchable"
    assert f"http://127.0.0.1:{port} cannot be reached" in error.detail


def test_a_name_without_an_address_is_explained() -> None:
    error = refused("http://nowhere.example/?token=secret")
    assert error.code == "unfetchable"
    assert "http://nowhere.example cannot be reached" in error.detail


# Too large


def oversize(handle: Handler, max_bytes: int = 1000) -> None:
    with pytest.raises(LimitError) as caught:
        fetch_from(handle, FetchOptions(allow_hosts=("127.0.0.1",), timeout=5), max_bytes)
    assert caught.value.code == "too_many_bytes"
    assert "MODERATO_MEDIA__MAX_BYTES" in caught.value.detail


def test_a_large_content_length_is_believed_at_once() -> None:
    oversize(always(response(b"", length=10**12)))


@pytest.mark.parametrize("headers", [{}, {"Content_Encoding": "identity"}])
def test_a_large_body_ends_at_the_limit(headers: dict[str, str]) -> None:
    sent = 0

    def endless(connection: socket.socket, head: bytes) -> None:
        nonlocal sent
        connection.sendall(response(length=None, **headers))
        while True:
            sent += connection.send(b"x" * 65536)

    oversize(endless)
    assert sent < 2**25


def test_small_chunks_add_up() -> None:
    oversize(always(response(b"1\r\nx\r\n" * 1001, length=None, Transfer_Encoding="chunked")))


def test_a_gzip_bomb_ends_at_the_limit() -> None:
    oversize(always(response(gzip.compress(bytes(2**26)), Content_Encoding="gzip")), max_bytes=2**17)


# Too slow


def late(url: str, seconds: float = 0.2) -> str:
    """The sentence about a deadline of `seconds`, which ends the fetch and not much later."""
    began = time.monotonic()
    error = refused(url, FetchOptions(allow_hosts=("127.0.0.1", "slow.example"), timeout=seconds))
    assert seconds * 0.9 <= time.monotonic() - began < seconds + 2
    assert error.code == "unfetchable"
    return error.detail


def drip(first: bytes, drop: bytes) -> Handler:
    def handle(connection: socket.socket, head: bytes) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(drop)
            time.sleep(0.02)

    return handle


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (response(length=10**6), b"x"),
        (response(length=None), b"x"),
        (response(length=None, Transfer_Encoding="chunked"), b"1\r\nx\r\n"),
        (response(gzip.compress(b"")[:10], length=None, Content_Encoding="gzip"), b"\x00\x00\x00\xff\xff"),
    ],
)
def test_a_dripping_answer_ends_at_the_deadline(first: bytes, drop: bytes) -> None:
    with serve(drip(first, drop)) as port:
        assert "MODERATO_FETCH__TIMEOUT" in late(f"http://127.0.0.1:{port}/?token=secret")


def test_the_deadline_is_one_for_all_redirects() -> None:
    def handle(connection: socket.socket, head: bytes) -> None:
        time.sleep(0.15)
        connection.sendall(response(status="302 Found", Location="/"))

    with serve(handle) as port:
        late(f"http://127.0.0.1:{port}/")


def test_a_slow_resolver_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(10) and resolve("127.0.0.1", 80))
    late("http://slow.example/")
    answered.set()


def test_a_silent_tls_server_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connects from its backlog, and never says a word
        late(f"https://127.0.0.1:{listener.getsockname()[1]}/?token=secret")


def test_a_request_that_nobody_reads_ends_at_the_deadline() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as sock,
        pytest.raises(TimeoutError),
    ):  # no URL is long enough to fill the buffers of loopback
        _Stream(sock, time.monotonic() + 0.2).write(bytes(2**25))


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority, ca.pem, and what it signed for pictures.example and 127.0.0.1."""
    if not (program := shutil.which("openssl")):
        pytest.skip("needs the openssl program")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run([program, *words], cwd=folder, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    (folder / "ca.cnf").write_text(
        "[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nbasicConstraints=critical,CA:TRUE\n"
        "keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n"
    )
    (folder / "host.cnf").write_text(
        "subjectAltName=DNS:pictures.example,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
    )
    openssl("req", "-x509", "-config", "ca.cnf", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=tests")
    openssl("req", "-config", "ca.cnf", *key, "-keyout", "host.key", "-out", "host.csr", "-subj", "/CN=host")
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "1",
            "-extfile", "host.cnf", "-out", "host.pem")  # fmt: skip
    return folder


@pytest.fixture
def tls(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ssl.SSLContext]:
    """A server's side of TLS, for pictures.example; the fetching side trusts its authority for one test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "host.pem", authority / "host.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    _trust.cache_clear()
    yield context
    _trust.cache_clear()


def test_tls_is_spoken_with_the_name_at_the_checked_address(
    tls: ssl.SSLContext, no_dns: dict[str, list[list[str]]]
) -> None:
    no_dns["pictures.example"] = [["127.0.0.1"]]
    asked = []
    tls.sni_callback = lambda connection, name, context: asked.append(name)
    with serve(always(response(PICTURE)), tls) as port:
        for host in "pictures.example", "PICTURES.example.", "127.0.0.1":
            assert fetch(f"https://{host}:{port}/", LOOPBACK).data == PICTURE
    assert asked == ["pictures.example", "pictures.example", None]


def test_a_certificate_for_another_name_is_refused(tls: ssl.SSLContext, no_dns: dict[str, list[list[str]]]) -> None:
    no_dns["other.example"] = [["127.0.0.1"]]
    with serve(always(response(PICTURE)), tls) as port:
        error = refused(f"https://other.example:{port}/?token=secret")
    assert error.code == "unfetchable"
    assert "certificate" in error.detail
    assert "other.example" in error.detail


def test_a_certificate_of_an_unknown_authority_is_refused(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, no_dns: dict[str, list[list[str]]]
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    no_dns["pictures.example"] = [["127.0.0.1"]]
    with serve(always(response(PICTURE)), tls) as port:
        assert "certificate" in refused(f"https://pictures.example:{port}/").detail


def test_a_server_without_tls_is_explained() -> None:
    with serve(always(response(PICTURE))) as port:
        assert refused(f"https://127.0.0.1:{port}/?token=secret").code == "unfetchable"


def test_a_dripping_answer_over_tls_ends_at_the_deadline(tls: ssl.SSLContext) -> None:
    with serve(drip(response(length=None), b"x"), tls) as port:
        late(f"https://127.0.0.1:{port}/?token=secret", seconds=0.5)


# Anything at all

hosts = st.sampled_from(
    ["127.0.0.1", "[::1]", "0x7f.1", "a", "xn--a", "a.b", "１２７.1", "[::ffff:10.0.0.1]", "a" * 64]
)
pieces = st.one_of(
    st.text(max_size=5), hosts, st.sampled_from([*"/\\@:?#[]%.\t", "://", "//", "http://", "https:", "80"])
)
urls = st.one_of(
    st.text(), st.lists(pieces, max_size=8).map("".join), st.lists(pieces).map(lambda p: "http://" + "".join(p))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(url=urls)
def test_no_string_connects_or_leaks_another_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolve("127.0.0.1", 80))
    monkeypatch.setattr(socket, "create_connection", None)
    with pytest.raises(CallerError):
        fetch(url)


heads = st.sampled_from(
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 302 Found\r\nLocation: ", b"HTTP/1.1 100 Continue\r\n"]
)
lines = st.sampled_from(
    [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Encoding: gzip\r\n", b"\r\n"]
)
answers = st.builds(lambda head, rest: head + b"".join(rest), heads, st.lists(st.one_of(lines, st.binary(max_size=20))))


def test_no_answer_leaks_another_error() -> None:
    answer = b""
    with serve(lambda connection, head: connection.sendall(answer)) as port:

        @settings(deadline=None)
        @given(answers)
        def check(drawn: bytes) -> None:
            nonlocal answer
            answer = drawn
            with suppress(CallerError):
                fetch(f"http://127.0.0.1:{port}/", LOOPBACK)

        check()
