"""Every vendor's own client through nginx, with the lines that docs/proxy.md tells people to write."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nginx import DOCUMENTED, Proxy, command, configuration, nginx, program
from pictures import CAT, KNIFE
from servers import PNG, Served, serving
from vendors import A_KEY, VENDORS, Answer, Vendor, amazon, knives_for_misskey

MOST = 1_200_000  # more than nginx takes unless it is told otherwise
LARGE = bytes(MOST)

Keyed = tuple[Proxy, Served]


@pytest.fixture(scope="module")
def nginx_() -> str:
    found = program()
    if found is None:
        pytest.skip("nginx is not on this machine")
    return found


@pytest.fixture(scope="module")
def keyed(nginx_: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A service that asks for keys, behind nginx."""
    data = tmp_path_factory.mktemp("keyed")
    with (
        serving(data, with_keys=True, MODERATO_SERVE__MAX_BODY=str(MOST), **knives_for_misskey(data)) as served,
        nginx(nginx_, tmp_path_factory.mktemp("nginx"), served.url) as proxy,
    ):
        yield proxy, served


@pytest.fixture(scope="module")
def keyless(nginx_: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    data = tmp_path_factory.mktemp("keyless")
    with (
        serving(data, **knives_for_misskey(data)) as served,
        nginx(nginx_, tmp_path_factory.mktemp("nginx"), served.url) as proxy,
    ):
        yield proxy


@pytest.fixture
def changed(nginx_: str, keyed: Keyed, tmp_path: Path) -> Any:
    """The same service behind an nginx with changes (old, new) to its lines."""

    @contextmanager
    def behind(*changes: tuple[str, str]) -> Iterator[Proxy]:
        with nginx(nginx_, tmp_path, keyed[1].url, *changes) as proxy:
            yield proxy

    return behind


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


def test_every_client_sees_the_weapon_and_no_other(keyed: Keyed, vendor: Vendor) -> None:
    proxy, served = keyed
    assert vendor.ask(proxy.url, served.key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(proxy.url, served.key, CAT) == Answer(200)


@pytest.mark.parametrize("key", [None, A_KEY], ids=["no key", "some key"])
def test_every_client_does_so_without_keys(keyless: Proxy, vendor: Vendor, key: str | None) -> None:
    assert vendor.ask(keyless.url, key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(keyless.url, key, CAT) == Answer(200)


def test_every_client_tells_its_caller_what_is_wrong(keyed: Keyed, vendor: Vendor) -> None:
    proxy, served = keyed
    assert vendor.ask(proxy.url, None, KNIFE) == vendor.no_key
    assert vendor.ask(proxy.url, "wrong", KNIFE) == vendor.wrong_key
    assert vendor.ask(proxy.url, served.revoked, KNIFE) == vendor.wrong_key
    assert vendor.ask(proxy.url, served.key, b"no picture at all") == vendor.no_picture
    assert vendor.ask(proxy.url, served.key, LARGE) == vendor.too_large
    assert vendor.ask(proxy.url, served.key, None) == vendor.not_offered


def test_every_client_tells_its_caller_that_a_quota_is_used_up(keyed: Keyed, vendor: Vendor) -> None:
    proxy, served = keyed
    if time.time() % 86_400 > 86_400 - 180:
        pytest.skip("the day, and the quota with it, is about to end: what OpenAI's client is told then differs")
    vendor.ask(proxy.url, served.used_up, KNIFE)
    assert vendor.ask(proxy.url, served.used_up, KNIFE) == vendor.used_up


def test_addresses_that_end_in_a_slash_will_do(keyed: Keyed) -> None:
    proxy, served = keyed
    for name in ("openai", "aws", "google", "azure"):
        assert VENDORS[name].ask(f"{proxy.url}/", served.key, KNIFE).sees_weapon, name
    with amazon(f"{proxy.url}//some//where/", served.key) as aws:
        assert aws.detect_moderation_labels(Image={"Bytes": KNIFE})["ModerationLabels"]


@pytest.mark.parametrize(
    "change",
    [
        ("proxy_set_header Host $http_host;", ""),
        ("proxy_set_header Host $http_host;", "proxy_set_header Host moderato;"),
        ("location / {", "location / { rewrite ^/$ /elsewhere break;"),
    ],
    ids=["nginx's own host", "another host", "another path"],
)
def test_a_proxy_that_changes_what_aws_signs_is_told_to_leave_it(
    changed: Any, keyed: Keyed, change: tuple[str, str]
) -> None:
    key = keyed[1].key
    with changed(change) as proxy:
        assert VENDORS["aws"].ask(proxy.url, key, KNIFE) == Answer(400, "InvalidSignatureException")
        with amazon(proxy.url, key) as aws, pytest.raises(aws.exceptions.ClientError, match="proxy in front must pass"):
            aws.detect_moderation_labels(Image={"Bytes": KNIFE})
        for name in ("openai", "google", "azure", "sightengine", "ours"):
            assert VENDORS[name].ask(proxy.url, key, KNIFE).sees_weapon, name


def check(url: str, key: str, **headers: str) -> httpx.Response:
    bearer = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/check", files={"images": PNG}, headers={**bearer, **headers}, trust_env=False)


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "streamed"])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "announced"])
def test_bodies_arrive_whole_however_they_are_sent(changed: Any, keyed: Keyed, buffered: bool, chunked: bool) -> None:
    key = keyed[1].key
    streamed = ("proxy_read_timeout", "proxy_http_version 1.1; proxy_request_buffering off; proxy_read_timeout")
    with changed(*([] if buffered else [streamed])) as proxy:
        form = httpx.Request("POST", proxy.url, files={"images": KNIFE})
        pieces = [form.read()[i : i + 700] for i in range(0, len(form.read()), 700)]
        answer = httpx.post(
            f"{proxy.url}/v1/check",
            content=iter(pieces) if chunked else form.read(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": form.headers["content-type"]},
            trust_env=False,
        )
        assert answer.json()["results"][0]["action"] != "allow"
        for name in ("aws", "sightengine"):
            assert VENDORS[name].ask(proxy.url, key, KNIFE).sees_weapon, name
            assert VENDORS[name].ask(proxy.url, key, LARGE) == VENDORS[name].too_large


def test_the_request_id_passes_both_ways_and_is_in_both_logs(keyed: Keyed) -> None:
    proxy, served = keyed
    answer = check(proxy.url, served.key, **{"x-request-id": "shop-4711"})
    assert answer.headers.get_list("x-request-id") == ["shop-4711"]
    given = check(proxy.url, served.key).headers["x-request-id"]
    assert given.startswith("req_")
    time.sleep(0.2)  # a line is written after its answer
    for log in (proxy.access_log, served.log):
        assert {"shop-4711", given} <= set(re.findall(r"[\w-]+", log.read_text())), log


def test_no_key_is_in_any_log_of_nginx(keyed: Keyed) -> None:
    proxy, served = keyed
    for path in ("/1.0/check.json?models=gore&api_secret=", "/v1/images:annotate?key="):
        httpx.post(f"{proxy.url}{path}{served.key}", content=b"x" * 2_000_000, trust_env=False)  # 413 by moderato
        httpx.post(f"{proxy.url}{path}{served.key}", content=b"x" * 70_000_000, trust_env=False)  # 413 by nginx
    time.sleep(0.2)
    assert "/1.0/check.json" in proxy.access_log.read_text()
    assert served.key not in proxy.access_log.read_text() + proxy.error_log.read_text() + served.log.read_text()


def test_redirects_name_the_address_that_was_asked(changed: Any, keyed: Keyed) -> None:
    key = keyed[1].key
    with changed(("X-Forwarded-Proto $scheme", "X-Forwarded-Proto https")) as proxy:
        headers = {"Authorization": f"Bearer {key}", "Host": "moderation.example"}
        answer = httpx.post(f"{proxy.url}/classify", headers=headers, trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://moderation.example/classify/")


def test_a_service_without_keys_behind_a_name_says_what_it_needs(keyless: Proxy, nginx_: str, tmp_path: Path) -> None:
    refused = check(keyless.url, A_KEY, Host="moderation.example")
    assert refused.status_code == 403
    assert "'moderato serve --open'" in refused.json()["detail"]
    (tmp_path / "data").mkdir()
    (tmp_path / "nginx").mkdir()
    with serving(tmp_path / "data", "--open") as served, nginx(nginx_, tmp_path / "nginx", served.url) as proxy:
        assert check(proxy.url, A_KEY, Host="moderation.example").status_code == 200


def test_headers_that_drip_are_waited_for_only_so_long(changed: Any) -> None:
    with changed(("client_header_timeout 10s", "client_header_timeout 1s")) as proxy:
        host, port = proxy.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            began = time.monotonic()
            raw.sendall(b"POST /v1/check HTTP/1.1\r\nHost: x\r\n")
            raw.settimeout(0.1)
            while True:
                try:
                    said = raw.recv(100)
                    break
                except TimeoutError:
                    raw.sendall(b"A: b\r\n")
    assert 0.8 < time.monotonic() - began < 5
    assert said == b"" or said.startswith(b"HTTP/1.1 408")


def test_nginxs_own_limit_is_an_error_to_every_client(changed: Any, keyed: Keyed, vendor: Vendor) -> None:
    with changed(("client_max_body_size 65m;", "")) as proxy:
        answer = vendor.ask(proxy.url, keyed[1].key, LARGE)
    assert answer.status == (0 if vendor is VENDORS["sightengine"] else 413)  # 0: what it cannot read it raises


def test_a_moderato_that_is_away_is_an_error_to_every_client(nginx_: str, vendor: Vendor, tmp_path: Path) -> None:
    with nginx(nginx_, tmp_path, "http://127.0.0.1:1") as proxy:
        answer = vendor.ask(proxy.url, A_KEY, KNIFE)
    assert answer.status == (0 if vendor is VENDORS["sightengine"] else 502)


def test_the_documented_lines_are_understood_as_they_stand(nginx_: str, tmp_path: Path) -> None:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("needs the openssl program")
    pem, key = tmp_path / "host.pem", tmp_path / "host.key"
    making = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", str(key), "-out", str(pem)]
    subprocess.run([openssl, *making], check=True, capture_output=True)
    lines = DOCUMENTED.replace("/etc/ssl/moderation.example.pem", str(pem))
    config = configuration(tmp_path, lines.replace("/etc/ssl/moderation.example.key", str(key)))
    tested = subprocess.run(command(nginx_, tmp_path, config, "-t"), capture_output=True, text=True)
    assert "test is successful" in tested.stderr, tested.stderr
    assert "[warn]" not in tested.stderr
