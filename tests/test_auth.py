"""Who is let in: every way to send a key, what keys may do, and that they are written nowhere."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from moderato.errors import Unauthenticated
from moderato.server import errors
from moderato.server.app import create_app
from moderato.server.auth import Guard
from moderato.settings import ServeOptions
from moderato.store.allowances import Allowances
from moderato.store.database import Database
from moderato.store.keyring import Keyring
from moderato.store.keys import Keys
from pictures import encoded, photo
from servers import service, wait_until

SCRIPT = str(Path(sys.executable).parent / "moderato")
AWHILE = 0.55  # what a worker knows is never older
PICTURE = bytes(range(256)) * 200


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what arrived."""
    request = Request(scope, receive)
    body = await request.body()
    told = {"path": request.url.path, "query": request.url.query, "body": sha256(body).hexdigest()}
    await JSONResponse(told)(scope, receive, send)


@dataclass
class Door:
    """A guarded echo, and the keys that open it."""

    client: httpx.Client
    keys: Keys
    url: str

    def make(self, name: str = "web", **limits: Any) -> str:
        """A key that is known once `AWHILE` has passed, or at once before the first request."""
        return self.keys.create(name, "me", **limits)[1]


@contextmanager
def served(app: Any) -> Iterator[str]:
    ours = socket.create_server(("127.0.0.1", 0))
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [ours]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{ours.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def in_our_shape(scope: Any, error: Exception) -> Response:
    """Whatever family the path belongs to: these tests are about who is let in."""
    return errors._ours(errors.fault_of(error))


@contextmanager
def guarded(data: Path, **options: Any) -> Iterator[Door]:
    database = Database(f"sqlite:///{data / 'store.sqlite'}")
    keys = Keys(database)
    guard = Guard(echo, Keyring(keys), Allowances(database), **{"refuse": in_our_shape, **options})
    with served(guard) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield Door(client, keys, url)
    database.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with guarded(tmp_path) as door:
        yield door


def signed(url: str, key: str, body: bytes, secret: str | None = None) -> dict[str, str]:
    """The headers that AWS's client sends."""
    headers = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "RekognitionService.DetectModerationLabels",
    }
    request = AWSRequest("POST", url, headers=headers, data=body)
    SigV4Auth(Credentials(key, secret or key), "rekognition", "us-east-1").add_auth(request)
    return dict(request.headers.items())


def carriers(url: str, key: str) -> dict[str, httpx.Request]:
    """A request for each way to send a key."""
    form = {"models": "nudity-2.1", "api_user": "anyone", "api_secret": key}
    media = {"media": ("x.png", PICTURE)}
    aws = b'{"Image": {"Bytes": "aGVsbG8="}}'
    check = f"{url}/1.0/check.json"
    return {
        "Bearer": httpx.Request(
            "POST", f"{url}/v1/moderations", headers={"Authorization": f"Bearer {key}"}, content=PICTURE
        ),
        "bearer": httpx.Request("GET", f"{url}/v1/policies", headers={"Authorization": f"bearer  {key}"}),
        "Google's header": httpx.Request("POST", f"{url}/v1/images:annotate", headers={"x-goog-api-key": key}),
        "Google's query": httpx.Request("POST", f"{url}/v1/images:annotate", params={"key": key, "alt": "json"}),
        "Azure": httpx.Request(
            "POST", f"{url}/contentsafety/image:analyze", headers={"Ocp-Apim-Subscription-Key": key}
        ),
        "AWS": httpx.Request("POST", f"{url}/", headers=signed(f"{url}/", key, aws), content=aws),
        "Sightengine's query": httpx.Request("GET", check, params=form),
        "Sightengine's form": httpx.Request("POST", check, data=form),
        "Sightengine's upload": httpx.Request("POST", check, data=form, files=media),
        "Sightengine's upload, key last": uploaded(check, [("models", "x"), ("api_secret", key)]),
        "Basic for a proxy, and a header": httpx.Request(
            "GET", f"{url}/", headers={"Authorization": "Basic eDp5", "x-goog-api-key": key}
        ),
    }


def uploaded(url: str, fields: list[tuple[str, str]]) -> httpx.Request:
    """A form with its file first, as curl sends Sightengine's own example."""
    parts = b'--x\r\nContent-Disposition: form-data; name="media"; filename="x.png"\r\n\r\n' + PICTURE + b"\r\n"
    for name, value in fields:
        parts += f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    return httpx.Request(
        "POST", url, headers={"Content-Type": "multipart/form-data; boundary=x"}, content=parts + b"--x--\r\n"
    )


# -- carriers ----------------------------------------------------------------------------------------------------------


def test_the_same_key_opens_in_every_carrier_and_bodies_arrive_whole(door: Door) -> None:
    key = door.make()
    for what, request in carriers(door.url, key).items():
        answer = door.client.send(request)
        assert answer.status_code == 200, (what, answer.text)
        assert answer.json()["body"] == sha256(request.read()).hexdigest(), what
        assert key not in answer.text, what


def test_a_wrong_key_is_refused_in_every_carrier(door: Door) -> None:
    key = door.make()
    wrong = key[:-7] + ("a" if key[-7] != "a" else "b") + key[-6:]
    for what, request in carriers(door.url, wrong).items():
        answer = door.client.send(request)
        assert (answer.status_code, answer.json()) == (401, {"detail": "The API key is not known here."}), what
        assert answer.headers["www-authenticate"] == "Bearer"


def test_no_key_is_another_refusal_than_a_wrong_one(tmp_path: Path) -> None:
    told = []

    def refuse(scope: Scope, error: Exception) -> Response:
        told.append((scope["path"], type(error), getattr(error, "given", None)))
        return PlainTextResponse("in the family's way", 418)

    with guarded(tmp_path, refuse=refuse) as door:
        door.make()
        for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic eDp5"}, {"x-goog-api-key": ""}):
            answer = door.client.post("/v1/moderations", headers=headers)
            assert (answer.status_code, answer.text) == (418, "in the family's way")
        door.client.post("/v1/moderations", headers={"Authorization": "Bearer x"})
        door.client.post("/1.0/check.json", data={"models": "x"})
        door.client.post("/1.0/check.json", content=b"no form", headers={"Content-Type": "multipart/form-data"})
        door.client.post("/", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=what"})
    none = ("/v1/moderations", Unauthenticated, False)
    assert told[:5] == [none] * 4 + [("/v1/moderations", Unauthenticated, True)]
    assert told[5:7] == [("/1.0/check.json", Unauthenticated, False)] * 2
    assert told[7][2]
    assert told[7][1].code == "IncompleteSignatureException"


def test_a_signature_must_be_that_of_the_request(door: Door) -> None:
    key = door.make()
    headers = signed(f"{door.url}/", key, b"{}")
    assert door.client.post("/", headers=headers, content=b"{}").status_code == 200
    assert "does not match" in door.client.post("/", headers=headers, content=b"{ }").json()["detail"]
    assert door.client.post("/other", headers=headers, content=b"{}").status_code == 401
    other = signed(f"{door.url}/", key, b"{}", secret="another secret")
    assert door.client.post("/", headers=other, content=b"{}").status_code == 401
    prefixed = signed(f"{door.url}/a%20b//c", key, b"{}")
    assert door.client.post("/a%20b//c", headers=prefixed, content=b"{}").status_code == 200


def test_keys_in_queries_go_no_further(door: Door) -> None:
    key = door.make()
    for query in (f"a=1&key={key}&b=%20", f"a=1&b=%20&api_secret={key}", f"k%65y={key}&a=1&b=%20"):
        assert door.client.get(f"/v1/x?{query}").json()["query"] == "a=1&b=%20"


# -- what is refused and when ------------------------------------------------------------------------------------------


def test_without_keys_all_come_in_and_after_the_first_nobody_does_without(door: Door) -> None:
    assert door.client.post("/v1/check").status_code == 200
    assert door.client.get("/v1/x?key=dummy&a=1").json()["query"] == "a=1"
    key = door.make()
    time.sleep(AWHILE)
    assert door.client.post("/v1/check").status_code == 401
    door.keys.revoke("web", "me")
    time.sleep(AWHILE)
    assert door.client.post("/v1/check").status_code == 401
    assert door.client.post("/v1/check", headers={"Authorization": f"Bearer {key}"}).status_code == 401


def test_health_needs_no_key_and_every_other_path_does(door: Door) -> None:
    door.make()
    for path in ("/healthz", "/readyz"):
        assert door.client.get(path).status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/classify/", "/healthz/x", "/healthzz", "/no/such/path"):
        assert door.client.get(path).status_code == 401, path


def test_only_admins_see_what_is_for_them(door: Door) -> None:
    check, admin = door.make("a"), door.make("b", scope="admin")
    for path in ("/metrics", "//metrics", "/admin/keys", "/admin", "/%6detrics"):
        refused = httpx.get(f"{door.url}{path}", headers={"x-goog-api-key": check}, trust_env=False)
        assert refused.status_code == 403, path
        assert refused.json()["detail"] == "The API key 'a' has the scope 'check'; this needs 'admin'."
        assert httpx.get(f"{door.url}{path}", headers={"x-goog-api-key": admin}, trust_env=False).status_code == 200
    assert door.client.get("/metricsx", headers={"x-goog-api-key": check}).status_code == 200
    assert door.client.get("/v1/check", headers={"x-goog-api-key": admin}).status_code == 200


def test_an_expired_key_is_refused(door: Door) -> None:
    key = door.make(expires=time.time() + 1)
    headers = {"Authorization": f"Bearer {key}"}
    assert door.client.get("/", headers=headers).status_code == 200
    time.sleep(1)
    assert door.client.get("/", headers=headers).json() == {"detail": "The API key is expired."}


def test_a_rate_that_is_used_up_is_told_with_the_wait(door: Door) -> None:
    key = door.make(quota=2)
    answers = [door.client.get("/", headers={"Authorization": f"Bearer {key}"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 86_400
    assert "2 requests a day" in answers[3].json()["detail"]
    assert door.client.get("/").status_code == 401  # a request without a key costs nobody's quota


def test_requests_at_once_spend_a_limit_exactly(door: Door) -> None:
    key = door.make(quota=130)

    async def flood() -> list[int]:
        async with httpx.AsyncClient(base_url=door.url, trust_env=False, timeout=30) as client:
            sent = (client.get("/", headers={"Authorization": f"Bearer {key}"}) for _ in range(200))
            return [answer.status_code for answer in await asyncio.gather(*sent)]

    codes = asyncio.run(flood())
    assert (codes.count(200), codes.count(429)) == (130, 70)


def test_refused_uploads_are_answered_not_reset(door: Door) -> None:
    door.make()
    large = b"x" * 30_000_000
    for _ in range(3):
        assert door.client.post("/v1/moderations", content=large, headers={"x-goog-api-key": "no"}).status_code == 401


def test_forms_of_strangers_are_held_only_so_far(tmp_path: Path) -> None:
    with guarded(tmp_path, max_unknown=100_000) as door:
        key = door.make()
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = door.client.post("/1.0/check.json", content=b"x" * 200_000, headers=headers)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert door.client.post(f"/1.0/check.json?api_secret={key}", content=b"x" * 200_000).status_code == 200
        for _ in range(5):  # what was held is let go
            assert door.client.send(uploaded(f"{door.url}/1.0/check.json", [("api_secret", key)])).status_code == 200


def test_a_client_that_leaves_amid_its_body_harms_nothing(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    key = door.make()
    headers = signed(f"{door.url}/", key, b"{}")
    host, port = door.url.removeprefix("http://").split(":")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"POST / HTTP/1.1\r\nHost: {host}:{port}\r\n{lines}Content-Length: 99\r\n\r\nhalf".encode())
    time.sleep(0.1)
    assert door.client.get("/", headers={"x-goog-api-key": key}).status_code == 200
    assert caplog.text == ""


def test_a_store_that_is_gone_is_503_and_told_in_the_log(
    door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = door.make()
    assert door.client.get("/", headers={"x-goog-api-key": key}).status_code == 200
    (tmp_path / "store.sqlite").unlink()
    time.sleep(AWHILE)
    answer = door.client.get("/", headers={"x-goog-api-key": key})
    assert (answer.status_code, str(tmp_path) in answer.text) == (503, False)
    assert "has lost its keys" in caplog.text
    assert key not in caplog.text
    assert door.client.get("/healthz").status_code == 200


# -- several processes -------------------------------------------------------------------------------------------------

WORKER = """
import socket, sys
import uvicorn
sys.path.insert(0, sys.argv[2])
from test_auth import echo
from moderato.server.auth import Guard
from moderato.server.errors import answer
from moderato.store.allowances import Allowances
from moderato.store.database import Database
from moderato.store.keyring import Keyring
from moderato.store.keys import Keys
database = Database(sys.argv[1])
ours = socket.create_server(("127.0.0.1", 0))
ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print(ours.getsockname()[1], flush=True)
guard = Guard(echo, Keyring(Keys(database)), Allowances(database), answer)
uvicorn.Server(uvicorn.Config(guard, log_level="warning", lifespan="off")).run(sockets=[ours])
"""


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Keys, list[httpx.Client]]]:
    """The keys of two processes that guard the same store."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shared') / 'store.sqlite'}"
    command = [sys.executable, "-c", WORKER, url, str(Path(__file__).parent)]
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(2)]
        for process in started:
            stack.callback(process.terminate)
        ports = [int(process.stdout.readline()) for process in started if process.stdout]
        clients = [
            stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)) for port in ports
        ]
        database = Database(url)
        stack.callback(database.close)
        yield Keys(database), clients


def test_a_revoked_key_is_refused_by_every_process_within_a_second(
    workers: tuple[Keys, list[httpx.Client]],
) -> None:
    keys, clients = workers
    for name in ("first", "second"):
        _, key = keys.create(name, "me")
        headers = {"Authorization": f"Bearer {key}"}
        wait_until(lambda headers=headers: all(c.get("/", headers=headers).status_code == 200 for c in clients), 1)
        keys.revoke(name, "me")
        revoked = time.monotonic()
        last = revoked
        while time.monotonic() < revoked + 1.2:
            if any(client.get("/", headers=headers).status_code == 200 for client in clients):
                last = time.monotonic()
        assert last - revoked < 0.9


def test_processes_hold_a_rate_together(workers: tuple[Keys, list[httpx.Client]]) -> None:
    keys, clients = workers
    _, key = keys.create("limited", "me", quota=150)
    headers = {"Authorization": f"Bearer {key}"}
    time.sleep(AWHILE)
    codes = [client.get("/", headers=headers).status_code for _ in range(110) for client in clients]
    assert codes.count(200) == 150
    assert codes.count(429) == 70


# -- the whole service -------------------------------------------------------------------------------------------------


def test_the_seed_routes_need_a_key_too_and_work_with_one(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    keys = Keys(database)
    _, key = keys.create("web", "me")
    picture = encoded(photo(64, 48))
    thumbnail = {"image_data": base64.b64encode(picture).decode(), "labels": ["a cat", "a dog"]}
    with served(create_app(service(tmp_path), keys)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.post("/", json=thumbnail).status_code == 401
        assert client.post("/classify/", files={"image": picture}).status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        assert set(client.post("/", json=thumbnail).json()["result"]) == {"a cat", "a dog"}
        assert "result" in client.post("/classify/", files={"image": picture}).json()
        assert client.post("/v1/check", files={"images": picture}).status_code == 200
    database.close()


def test_bodies_over_the_limit_are_refused_also_where_the_key_needs_them_read(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    keys = Keys(database)
    _, key = keys.create("web", "me")
    options = ServeOptions(max_body=10_000)
    with served(create_app(service(tmp_path, options), keys)) as url, httpx.Client(trust_env=False) as client:
        body = b"x" * 20_000
        pieces = (body[:5000] for _ in range(4))  # without a Content-Length
        for sent in (body, pieces):
            refused = client.post(url, content=sent, headers=signed(url, key, body))
            assert refused.status_code == 400  # where AWS has no 413
            assert "10,000" in refused.text
        assert client.send(uploaded(f"{url}/1.0/check.json", [("api_secret", key)])).status_code == 413
    database.close()


def test_keys_are_in_no_output_of_the_service(tmp_path: Path) -> None:
    """Right and wrong ones, in every carrier, on paths that exist and that do not, with a store that fails too."""
    file = tmp_path / "data" / "store.sqlite"
    made = subprocess.run([SCRIPT, "keys", "create", "--name", "web"], check=True, capture_output=True, text=True)
    key = made.stdout.strip()
    wrong = key[:-7] + ("a" if key[-7] != "a" else "b") + key[-6:]
    command = [SCRIPT, "serve", "--policy", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        url = re.search(r"http://\S+?:\d+", process.stdout.readline())
        assert url
        try:
            with httpx.Client(trust_env=False, timeout=20) as client:
                codes = {client.send(each).status_code for k in (key, wrong) for each in carriers(url[0], k).values()}
                codes.add(client.get(f"{url[0]}/v1/policies?key={key}").status_code)
                codes.add(client.get(f"{url[0]}/classify?key={key}", follow_redirects=False).status_code)
                file.write_bytes(b"this is no database any more" * 50)
                time.sleep(AWHILE)
                codes.add(client.get(f"{url[0]}/v1/policies?key={key}").status_code)
        finally:
            process.terminate()
        output = process.stdout.read()
    assert {200, 401, 503} <= codes
    assert "cannot be used" in output  # there is a log, and it was read
    for secret in (key, wrong, key[9:-6], key[17:49]):
        assert secret not in output
        assert secret not in json.dumps(made.stderr)
