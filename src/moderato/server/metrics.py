"""What Prometheus reads at `/metrics`; docs/observing.md says what each number means.

Every label is one of a bounded set: route templates, served policies and their labels, stages, encoders, codes.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from moderato.pipeline import STAGES, Stage, Watcher
from moderato.server.desk import Desk
from moderato.server.records import Record, code_of, served
from moderato.types import ACTIONS

_PREFIX = "moderato"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_STAGE_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_VIEWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# When each series began would be a series more for each; Prometheus has no use for it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics(Watcher):
    """The figures of one service, in a registry of their own; thread-safe."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._policies = {policy.fingerprint for policy in desk.policies.values()}
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        facts = {"version": version("moderato"), "python": platform.python_version()}
        Info("build", "Which moderato answers.", namespace=_PREFIX, registry=self.registry).info(facts)
        self._follow_requests()
        self._follow_pictures()
        self._follow_stages()
        self._follow_desk()

    def _follow_requests(self) -> None:
        named = ("method", "route")
        self._requests = self._counter("requests", "Requests that were answered.", *named, "status")
        self._request_seconds = self._histogram(
            "request_seconds", "From the first byte of a request to the last of its answer.", _SECONDS, *named
        )
        self._faults = self._counter("faults", "Requests that were answered with an error of ours.", "kind")
        self._open = self._gauge("requests_open", "Requests that came and are not yet answered.")

    def _follow_pictures(self) -> None:
        self._verdicts = self._counter("verdicts", "Verdicts by a served policy.", "policy", "action")
        self._reasons = self._counter(
            "reasons", "Labels that reached a threshold in verdicts.", "policy", "label", "action"
        )
        self._pictures = self._counter("pictures", "Pictures that were answered, whatever was asked of them.")
        self._unscannable = self._counter("unscannable", "Pictures that could not be scanned.", "reason")
        for name, policy in self._desk.policies.items():  # a rate is known from the first picture on
            for action in ACTIONS:
                self._verdicts.labels(name, action)
                for label, acts in policy.labels.items():
                    if getattr(acts, action, None) is not None:
                        self._reasons.labels(name, label, action)

    def _follow_stages(self) -> None:
        self._stage_seconds = self._histogram(
            "stage_seconds", "What a stage took, for a picture or a batch.", _STAGE_SECONDS, "stage"
        )
        self._working = self._gauge("stage_working", "Pictures, or batches, that are in a stage now.", "stage")
        for stage in STAGES:
            self._stage_seconds.labels(stage)
            self._working.labels(stage)
        self._batches = self._histogram(
            "batch_views", "Views that went through an encoder together.", _VIEWS, "encoder"
        )
        self._lookups = self._counter(
            "cache_lookups", "Embeddings of pictures that were looked for in the cache.", "result"
        )
        self._gauge("cache_bytes", "Memory that embeddings of pictures take.").set_function(self._cache_bytes)
        self._known, self._missing = self._lookups.labels("hit"), self._lookups.labels("miss")

    def _cache_bytes(self) -> float:
        seen = self._desk.moderator.seen
        return seen.bytes_in_memory if seen else 0

    def _follow_desk(self) -> None:
        desk = self._desk
        self._gauge("in_hand", "Work that was admitted and is not yet answered.").set_function(lambda: desk.in_hand)
        waiting = self._gauge("waiting", "What was admitted and waits for its turn.", "what")
        for what in desk.waiting:
            waiting.labels(what).set_function(partial(self._waiting, what))
        self._gauge("in_hand_limit", "Beyond so much in hand, requests are refused.").set_function(lambda: desk.room)
        self._gauge("ready", "1 once the encoder has answered.").set_function(desk.answered.is_set)

    def _waiting(self, what: str) -> float:
        return self._desk.waiting[what]

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(name, about, labels, namespace=_PREFIX, registry=self.registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, namespace=_PREFIX, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, about, labels, namespace=_PREFIX, registry=self.registry, buckets=buckets)

    @contextmanager
    def around(self, record: Record, headers: Mapping[str, str]) -> Iterator[None]:
        """Count a request while it is open, and how it ended."""
        self._open.inc()
        try:
            yield
        finally:
            self._open.dec()
            self._requests.labels(record.method, record.route, record.status).inc()
            if record.fault:
                self._faults.labels(record.fault).inc()
            self._request_seconds.labels(record.method, record.route).observe(record.seconds)

    @contextmanager
    def during(self, stage: Stage) -> Iterator[None]:
        """Count what is in a stage, and time it."""
        working = self._working.labels(stage)
        working.inc()
        started = perf_counter()
        try:
            yield
        finally:
            self._stage_seconds.labels(stage).observe(perf_counter() - started)
            working.dec()

    def encoding(self, encoder: str, views: int) -> None:
        """Measure a batch."""
        self._batches.labels(encoder).observe(views)

    def looked_up(self, known: int, missing: int) -> None:
        """Count what the cache knew and what not."""
        self._known.inc(known)
        self._missing.inc(missing)

    def answered(self, answer: object) -> None:
        """Count a picture, its verdict and the labels that led to it, or why it could not be scanned."""
        self._pictures.inc()
        if code := code_of(answer):
            self._unscannable.labels(code).inc()
        if verdict := served(answer, self._policies):
            self._verdicts.labels(verdict.policy, verdict.action).inc()
            for reason in verdict.reasons:
                self._reasons.labels(verdict.policy, reason.label, reason.action).inc()

    def written(self, accept: str) -> tuple[bytes, str]:
        """All figures as Prometheus reads them, and the content type, as its `Accept` header asks."""
        encoded, content_type = choose_encoder(accept)
        return encoded(_Signed(self.registry, self._desk.worker)), content_type


class _Signed:
    """A registry whose samples say which of several workers they are of: behind one port each scrape reaches another.

    Without that label a series would jump from one worker's count to another's, which Prometheus takes for restarts.
    """

    def __init__(self, registry: CollectorRegistry, worker: str) -> None:
        self._registry = registry
        self._labels = {"worker": worker} if worker else {}

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [one._replace(labels={**one.labels, **self._labels}) for one in family.samples]
            yield family
