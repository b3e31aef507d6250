"""Our own description of the service holds, whatever schemathesis makes of it.

What is not checked: that bodies which fit their schema are accepted (a schema cannot say that a text is a picture in
base64), that all which do not fit are refused (dialects take what their vendors take), and that other methods are 405
(Azure and Google say 404).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers import Served, serving

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "missing_required_header",
]


@pytest.fixture(scope="module", params=[False, True], ids=["no keys", "keys"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data"), with_keys=request.param) as served:
        yield served


def described(served: Served) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {served.key}"} if served.key else {}
    found: dict[str, Any] = httpx.get(f"{served.url}/openapi.json", headers=headers, trust_env=False).json()
    return found


@pytest.mark.timeout(240)
def test_no_request_is_our_fault_and_every_answer_is_as_described(served: Served, tmp_path: Path) -> None:
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    ended = subprocess.run(
        [
            *(Path(sys.executable).parent / "schemathesis", "run", f"{served.url}/openapi.json"),
            *("--checks", ",".join(CHECKS), "--phases", "coverage,fuzzing", "--mode", "all"),
            *("--max-examples", "40", "--generation-deterministic", "--no-color"),
            *(("--header", f"Authorization: Bearer {served.key}") if served.key else ()),
        ],
        cwd=tmp_path,  # it leaves a folder
        env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=220,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    paths = described(served)["paths"]
    assert f"Tested: {sum(map(len, paths.values()))}" in ended.stdout
    assert '"level": "error"' not in served.log.read_text()


def test_keys_are_described_once_they_are_needed(served: Served) -> None:
    told = described(served)
    assert ("security" in told) == bool(served.key)
    if served.key:
        schemes = told["components"]["securitySchemes"]
        assert {name for one in told["security"] for name in one} == set(schemes)
        assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in schemes)  # OpenAPI 3.1, 4.8.7.1
        places = {(each["type"], each.get("in"), each.get("name", each.get("scheme"))) for each in schemes.values()}
        assert places == {
            ("http", None, "bearer"),
            ("apiKey", "header", "x-goog-api-key"),
            ("apiKey", "query", "key"),
            ("apiKey", "header", "Ocp-Apim-Subscription-Key"),
            ("apiKey", "query", "api_secret"),
        }
        for scheme in schemes.values():
            if scheme["type"] == "apiKey":
                sent = {f"{'params' if scheme['in'] == 'query' else 'headers'}": {scheme["name"]: served.key}}
                assert httpx.get(f"{served.url}/v1/policies", trust_env=False, **sent).status_code == 200
    assert told["paths"]["/healthz"]["get"]["security"] == []


def test_whatever_is_described_to_need_a_key_does(served: Served) -> None:
    for path, methods in described(served)["paths"].items():
        for method, told in methods.items():
            status = httpx.request(method, f"{served.url}{path}", trust_env=False).status_code
            needs_key = bool(served.key) and told.get("security") != []
            assert (status in (401, 403)) == needs_key, (method, path)
