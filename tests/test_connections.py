"""Clients that are slow to say what they want."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from moderato.server.connections import prompt
from servers import wait_until

_SECONDS = 0.3
_WHOLE = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


async def _told(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", _told, methods=["GET", "POST"])])
    server = uvicorn.Server(uvicorn.Config(app, http=prompt(_SECONDS), log_config=None, timeout_keep_alive=5))
    with socket.create_server(("127.0.0.1", 0)) as ours:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [ours]})
        thread.start()
        wait_until(lambda: server.started)
        yield ours.getsockname()
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.create_connection(address, timeout=10) as client:
        yield client


def _answer(client: socket.socket, body: bytes) -> bytes:
    """What comes, up to a body."""
    said = b""
    while not said.endswith(b"\r\n\r\n" + body):
        piece = client.recv(1000)
        assert piece, said
        said += piece
    return said


def _seconds_until_closed(client: socket.socket, drip: bytes) -> float:
    """How long it may send a byte of a head every now and then."""
    began = time.monotonic()
    for byte in drip:
        try:
            client.sendall(bytes([byte]))
        except OSError:
            break
        client.settimeout(0.05)
        try:
            if not client.recv(1):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


@pytest.mark.parametrize("sent", [b"", b"G", _WHOLE[:-2]])
def test_a_connection_on_which_no_head_comes_is_closed(client: socket.socket, sent: bytes) -> None:
    began = time.monotonic()
    client.sendall(sent)
    assert client.recv(100) == b""
    assert _SECONDS * 0.9 < time.monotonic() - began < _SECONDS + 2


def test_a_head_that_drips_is_late_all_the_same(client: socket.socket) -> None:
    assert _seconds_until_closed(client, _WHOLE[:-2] + b"a: b\r\n" * 100) < _SECONDS + 2


def test_a_second_request_has_its_own_time(client: socket.socket) -> None:
    for _ in range(3):
        client.sendall(_WHOLE)
        assert _answer(client, b"0").startswith(b"HTTP/1.1 200")
        time.sleep(_SECONDS * 1.5)  # idle between two is uvicorn's matter
    assert _seconds_until_closed(client, _WHOLE[:-2] + b"a: b\r\n" * 100) < _SECONDS + 2


def test_a_body_may_take_longer(client: socket.socket) -> None:
    client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\n")
    for _ in range(4):
        time.sleep(_SECONDS / 2)
        client.sendall(b"x")
    assert _answer(client, b"4").startswith(b"HTTP/1.1 200")
