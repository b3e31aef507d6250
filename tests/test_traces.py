"""Traces: what a collector receives, and what is said when they cannot be made."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from moderato.errors import MissingExtra, SettingsError
from moderato.server.app import create_app
from moderato.settings import ServeOptions
from servers import PNG, Lines, listening, service, wait_until


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """The address of a collector, and the spans that it was sent."""
    spans: list[Span] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
            spans.extend(span for one in sent.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def facts(span: Span) -> dict[str, str | int]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_request_is_a_span_and_its_stages_lie_below_it(tmp_path: Path) -> None:
    with collector() as (url, spans):
        ours = service(tmp_path, ServeOptions(traces=url))
        with listening(ours) as client:
            client.post(
                "/v1/check?api_secret=hush",
                files=[("images", ("hush.png", PNG)), ("images", ("b.png", b""))],
                headers={"x-request-id": "abc", "traceparent": f"00-{'12' * 16}-{'34' * 8}-01"},
            )
        (request,) = (span for span in spans if span.kind == Span.SPAN_KIND_SERVER)
    assert request.name == "POST /v1/check"
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == ("12" * 16, "34" * 8)
    assert facts(request) == {
        "http.request.method": "POST",
        "http.route": "/v1/check",
        "http.response.status_code": 200,
        "request.id": "abc",
        "moderato.pictures": 2,
    }
    stages = [span for span in spans if span is not request]
    assert sorted(span.name for span in stages) == ["encode", "load", "load", "prepare", "prepare", "score", "score"]
    assert {span.parent_span_id for span in stages} == {request.span_id}
    assert all(request.start_time_unix_nano <= span.start_time_unix_nano for span in stages)
    assert "hush" not in str(spans)


def test_the_lines_of_a_request_have_the_id_of_its_trace(lines: Lines, tmp_path: Path) -> None:
    with collector() as (url, spans):
        ours = service(tmp_path, ServeOptions(traces=url))
        with listening(ours) as client:
            client.post("/v1/check", files=[("images", ("a.png", PNG))], headers={"x-request-id": "first"})
            theirs = {"x-request-id": "second", "traceparent": f"00-{'12' * 16}-{'34' * 8}-01"}
            client.post("/v1/check", files=[("images", ("a.png", PNG))], headers=theirs)
            unwanted = {"x-request-id": "third", "traceparent": f"00-{'56' * 16}-{'34' * 8}-00"}
            client.post("/v1/check", files=[("images", ("a.png", PNG))], headers=unwanted)
    sent = {facts(span)["request.id"]: span.trace_id.hex() for span in spans if span.kind == Span.SPAN_KIND_SERVER}
    told = {line["request_id"]: line.get("trace_id") for line in lines() if "request_id" in line}
    assert sent["second"] == "12" * 16
    assert told == {**sent, "third": None}  # its sender does not want it recorded, so there is none to look for


def test_lines_of_the_threads_that_prepare_pictures_have_the_id_of_the_trace(
    lines: Lines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: object) -> None:
        raise RuntimeError("a decoder that fails")

    monkeypatch.setattr("moderato.pipeline.load", failing)
    with collector() as (url, spans), listening(service(tmp_path, ServeOptions(traces=url))) as client:
        client.post("/v1/check", files=[("images", ("a.png", PNG))])
    (told,) = (line for line in lines() if line["logger"] == "moderato.pipeline")
    assert {told["trace_id"]} == {span.trace_id.hex() for span in spans}


def test_a_fault_is_an_error_and_a_warm_up_is_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (url, spans):
        ours = service(tmp_path, ServeOptions(traces=url))
        with listening(ours) as client:
            wait_until(ours.answered.is_set)
            ours.moderator.check(PNG)
            monkeypatch.setattr(ours.moderator, "check_many", None)
            assert client.post("/v1/check", files=[("images", ("a.png", PNG))]).status_code == 500
        (request,) = spans
    assert request.status.code == 2
    assert facts(request)["http.response.status_code"] == 500


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path) -> None:
    with listening(service(tmp_path, ServeOptions(traces="http://127.0.0.1:9"))) as client:
        assert client.post("/v1/check", files=[("images", ("a.png", PNG))]).status_code == 200


def test_without_the_package_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "moderato.server.traces", raising=False)
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=r"pip install 'moderato\[traces\]'"):
        create_app(service(tmp_path, ServeOptions(traces="http://127.0.0.1:4318")))


class Missing:
    """Finds that opentelemetry is not installed."""

    def find_spec(self, name: str, *args: object) -> None:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MODERATO_SERVE__TRACES is 'collector:4318'"):
        create_app(service(tmp_path, ServeOptions(traces="collector:4318")))
