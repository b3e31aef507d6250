"""OpenTelemetry traces, sent to a collector by OTLP: a span for each request, and one below it for each stage.

Only made where `MODERATO_SERVE__TRACES` names a collector; the SDK's own variables (`OTEL_TRACES_SAMPLER`,
`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_EXPORTER_OTLP_HEADERS`, …) hold too. A caller's `traceparent` is taken up
(https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from moderato.pipeline import Stage, Watcher
from moderato.server.records import Record

_PATH = "/v1/traces"  # https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
_PATIENCE = 2.0  # seconds for a collector to take what is sent: longer would hold up the end of the service


class Traces(Watcher):
    """Makes spans and sends them to the collector at `url`, from a thread of its own."""

    def __init__(self, url: str) -> None:
        resource = Resource.create({SERVICE_NAME: "moderato", SERVICE_VERSION: version("moderato")})
        self._provider = TracerProvider(resource=resource)
        exporter = OTLPSpanExporter(endpoint=url.rstrip("/") + _PATH, timeout=_PATIENCE)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("moderato")

    @contextmanager
    def around(self, record: Record, headers: Mapping[str, str]) -> Iterator[None]:
        """The span of a request. It is named by its route and holds nothing that a caller wrote but the id."""
        with self._tracer.start_as_current_span(
            f"{record.method} {record.route}",
            context=TraceContextTextMapPropagator().extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": record.method, "http.route": record.route, "request.id": record.id},
        ) as span:
            if span.is_recording():
                record.trace = format_trace_id(span.get_span_context().trace_id)
            try:
                yield
            finally:
                span.set_attribute("http.response.status_code", record.status)
                span.set_attribute("moderato.pictures", record.pictures)
                if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(StatusCode.ERROR)

    def during(self, stage: Stage) -> AbstractContextManager[object]:
        """The span of a stage, where it is done for a request. What went wrong in it may name a URL: it is left out."""
        if not get_current_span().is_recording():
            return nullcontext()
        return self._tracer.start_as_current_span(stage, record_exception=False, set_status_on_exception=False)

    def encoding(self, encoder: str, views: int) -> None:
        """Note a batch on the span that is open: of the request whose thread encodes it, alone or with others'."""
        get_current_span().add_event("batch", {"encoder": encoder, "views": views})

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
