"""What can be asked about pictures, on one screen. Read this first.

    sources ─load, prepare→ views ─rows→ embeddings ─score, decide→ verdicts

What is asked of a source is a task (`tasks.py`): a policy made ready, or the embeddings themselves. The pipeline
(`pipeline.py`) runs tasks: `prepare`, a picture each, may fail for that picture alone; views of all pictures, those of
other threads too, share the rows that an encoder takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from moderato.encoders import Encoder, Texts
from moderato.errors import RequestError
from moderato.media import Limits, prepare
from moderato.media.fetch import FetchOptions
from moderato.media.load import Sendable
from moderato.pipeline import Pipeline, Prepare, Times, Watcher
from moderato.policy import Policy, policy_of_labels
from moderato.store.embeddings import EmbeddingCache
from moderato.tasks import Embed, Judge, Need, OpenHead, Task, view_of
from moderato.types import Classification, Embedded, Embeddings, Fit, Verdict, Views

T = TypeVar("T")

_READY = 256  # policies kept ready; labels written on the spot are policies too


class Moderator:
    """Judges pictures by a policy; thread-safe.

    `encoder` (a card's name or a folder) is behind `classify` and `embed`; the policy's when None. `open_encoder` opens
    one by that name and is asked once for each, `open_head` a trained head; `neutral_anchors` says what an encoder
    compares independent labels with. `rows` is how many views one call of an encoder takes at most, `threads` how many
    pictures are decoded at a time, by `prepare`. What encoders saw is looked up in `seen` first, and kept there.
    """

    def __init__(
        self,
        policy: Policy,
        open_encoder: Callable[[str], Encoder],
        open_head: OpenHead,
        neutral_anchors: Callable[[str], Sequence[str]],
        *,
        encoder: str | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
        fetching: FetchOptions = FetchOptions(),  # noqa: B008  frozen
        threads: int = 2,
        rows: int = 16,
        seen: EmbeddingCache | None = None,
        prepare: Prepare = prepare,
    ) -> None:
        self.policy = policy
        self.default_encoder = encoder or policy.encoder
        self.limits = limits
        self.fetching = fetching
        self.seen = seen
        self._open_encoder = open_encoder
        self._open_head = open_head
        self._neutral_anchors = neutral_anchors
        self._encoders: dict[str, Encoder] = {}
        self._judges: dict[str, Judge] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._pipeline = Pipeline(limits, fetching, threads, rows, seen, prepare)

    @property
    def times(self) -> Times:
        """Seconds spent in each stage so far."""
        return self._pipeline.times

    @property
    def waiting(self) -> dict[str, int]:
        """What waits for its turn: pictures to be loaded and prepared (`prepare`), views to be encoded (`encode`)."""
        return self._pipeline.waiting

    def watch(self, watcher: Watcher) -> None:
        """Tell it what happens on the way from now on."""
        self._pipeline.watchers.append(watcher)

    def check(self, source: Sendable, policy: Policy | None = None) -> Verdict:
        """The verdict on one source: bytes, a path, an http(s) URL or a `Source`. A bad picture does not raise."""
        return next(self.check_many([source], policy))

    def check_many(self, sources: Iterable[Sendable], policy: Policy | None = None) -> Iterator[Verdict]:
        """Verdicts in the order of the sources, which are read as they are needed and may be endless."""
        judge = self.ready(policy or self.policy)
        return self.run((source, judge) for source in sources)

    def classify(
        self,
        source: Sendable,
        labels: Sequence[str],
        *,
        independent: bool = False,
        fit: Fit | None = None,
    ) -> Classification:
        """Which of the labels one picture shows; see `classify_many`."""
        return next(self.classify_many([source], labels, independent=independent, fit=fit))

    def classify_many(
        self,
        sources: Iterable[Sendable],
        labels: Sequence[str],
        *,
        independent: bool = False,
        fit: Fit | None = None,
    ) -> Iterator[Classification]:
        """Probabilities of labels written on the spot, in the order of the sources.

        A softmax over the labels, or each for itself when `independent`. Raises `RequestError` when there is no label,
        or the encoder reads no texts.
        """
        self._texts()
        encoder = self.default_encoder
        anchors = self._neutral_anchors(encoder) if independent else ()
        judge = self.ready(policy_of_labels(labels, encoder, anchors=anchors, fit=fit))
        return map(Classification.of, self.run((source, judge) for source in sources))

    def embed_many(self, sources: Iterable[Sendable], *, fit: Fit | None = None) -> Iterator[Embedded]:
        """Embeddings in the order of the sources."""
        encoder = self.encoder(self.default_encoder)
        task = Embed(Need(encoder, view_of(encoder, fit)))
        return self.run((source, task) for source in sources)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings `(N, D)` of texts, in the same space as those of pictures.

        Raises `RequestError` when the encoder reads none.
        """
        return self._texts().encode(texts)

    def _texts(self) -> Texts:
        encoder = self.encoder(self.default_encoder)
        if encoder.texts is None:
            raise RequestError(f"'{encoder.name}' reads no texts, only pictures. Name another encoder.")
        return encoder.texts

    def warm_up(self) -> None:
        """Let every part answer once, so that the first picture finds them open.

        Raises `OperatorError` when one cannot.
        """
        self.ready(self.policy)
        for name in {*self.policy.encoders, self.default_encoder}:
            encoder = self.encoder(name)
            encoder.encode(Views(np.zeros((1, encoder.view.side, encoder.view.side, 3), np.uint8)))
            if encoder.texts:
                encoder.texts.encode(["a picture"])

    def ready(self, policy: Policy) -> Judge:
        """Open what a policy needs and embed its prompts, once for each policy.

        Raises `OperatorError` (weights that cannot be had, above all): here, never while judging.
        """
        key = policy.fingerprint
        with self._lock:
            judge = self._judges.pop(key, None)
        judge = judge or Judge.ready(policy, self.encoder, self._open_head)  # without the lock: others need not wait
        with self._lock:
            self._judges[key] = judge
            if len(self._judges) > _READY:
                del self._judges[next(iter(self._judges))]  # the least recently used
        return judge

    def encoder(self, name: str) -> Encoder:
        """An encoder by its card's name or its folder."""
        if name not in self._encoders:
            with self._opening:
                if name not in self._encoders:
                    self._encoders[name] = self._open_encoder(name)
        return self._encoders[name]

    def run(self, asked: Iterable[tuple[Sendable, Task[T]]]) -> Iterator[T]:
        """Answers in the order of the questions; those about one encoder share its rows, whatever they ask."""
        return self._pipeline.run(asked)
