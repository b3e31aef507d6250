"""The whole way of a picture, on one screen. Read this first.

    sources ─load, prepare→ views ─rows→ embeddings ─score, decide→ verdicts

`prepare` runs in threads, a picture each, and may fail for that picture alone. Views of all pictures of a run, whatever
is asked of them, share the rows that an encoder takes. What is asked is a task (`tasks.py`): a policy made ready, or
the embeddings themselves.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, TypeVar

import numpy as np

from moderato.encoders import Encoder
from moderato.errors import DecodeError, Unscannable
from moderato.media import Limits, Prepared, prepare
from moderato.media.fetch import FetchOptions
from moderato.media.load import Sendable, is_remote, load, name_of
from moderato.policy import Policy, policy_of_labels
from moderato.tasks import Embed, Judge, Task, view_of
from moderato.types import Classification, Embedded, Embeddings, Fit, Source, Verdict, Views

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_AHEAD = 16  # pictures on their way at a time: most wait for a network or a disk, `threads` of them decode
_READY = 256  # policies kept ready; labels written on the spot are policies too


@dataclass
class _Item(Generic[T]):
    """One source on its way: what it became, or why it could not be scanned."""

    name: str
    task: Task[T]
    future: Future[tuple[Source, Prepared]]

    @cached_property
    def views(self) -> list[np.ndarray]:
        """Its views, none when it is unscannable."""
        if isinstance(self.future.exception(), Unscannable):
            return []
        return [view.pixels for view in self.future.result()[1].views[self.task.spec]]

    def answer(self, embeddings: Embeddings) -> T:
        """What the task makes of it."""
        reason = self.future.exception()
        if isinstance(reason, Unscannable):
            return self.task.refuse(self.name, reason)
        return self.task.finish(*self.future.result(), embeddings)


class Moderator:
    """Judges pictures by a policy; thread-safe.

    `encoder` (a card's name or a folder) is behind `classify` and `embed`; the policy's when None. `open_encoder` opens
    one by that name and is asked once for each; `neutral_anchors` says what it compares independent labels with.
    `rows` is how many views one call of an encoder takes at most, `threads` how many pictures are decoded at a time.
    """

    def __init__(
        self,
        policy: Policy,
        open_encoder: Callable[[str], Encoder],
        neutral_anchors: Callable[[str], Sequence[str]],
        *,
        encoder: str | None = None,
        limits: Limits = Limits(),  # noqa: B008  frozen
        fetching: FetchOptions = FetchOptions(),  # noqa: B008  frozen
        threads: int = 2,
        rows: int = 16,
    ) -> None:
        self.policy = policy
        self.default_encoder = encoder or policy.encoder
        self._open_encoder = open_encoder
        self._neutral_anchors = neutral_anchors
        self._limits = limits
        self._fetching = fetching
        self._rows = rows
        self._encoders: dict[str, Encoder] = {}
        self._judges: dict[str, Judge] = {}
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._cores = threading.Semaphore(threads)
        self._pools = {remote: ThreadPoolExecutor(_AHEAD, thread_name_prefix="prepare") for remote in (False, True)}

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

        A softmax over the labels, or each for itself when `independent`. Raises `RequestError` when there is no label.
        """
        encoder = self.default_encoder
        anchors = self._neutral_anchors(encoder) if independent else ()
        judge = self.ready(policy_of_labels(labels, encoder, anchors=anchors, fit=fit))
        return map(Classification.of, self.run((source, judge) for source in sources))

    def embed_many(self, sources: Iterable[Sendable], *, fit: Fit | None = None) -> Iterator[Embedded]:
        """Embeddings in the order of the sources."""
        encoder = self.encoder(self.default_encoder)
        task = Embed(encoder, view_of(encoder, fit))
        return self.run((source, task) for source in sources)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embeddings `(N, D)` of texts, in the same space as those of pictures."""
        return self.encoder(self.default_encoder).texts.encode(texts)

    def warm_up(self) -> None:
        """Let every part answer once, so that the first picture finds them open.

        Raises `OperatorError` when one cannot.
        """
        self.ready(self.policy)
        for name in {self.policy.encoder, self.default_encoder}:
            encoder = self.encoder(name)
            encoder.encode(Views(np.zeros((1, encoder.view.side, encoder.view.side, 3), np.uint8)))
            encoder.texts.encode(["a picture"])

    def ready(self, policy: Policy) -> Judge:
        """Open what a policy needs and embed its prompts, once for each policy.

        Raises `OperatorError` (weights that cannot be had, above all): here, never while judging.
        """
        key = policy.fingerprint
        with self._lock:
            judge = self._judges.pop(key, None)
        judge = judge or Judge.ready(policy, self.encoder(policy.encoder))  # without the lock: others need not wait
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
        batch: list[_Item[T]] = []
        waiting = 0
        for item in self._prepared(asked):
            batch.append(item)
            waiting += max(1, len(item.views))  # the unscannable are answered too, however many they are
            if waiting >= self._rows:
                yield from self._answers(batch)
                batch, waiting = [], 0
        yield from self._answers(batch)

    def _prepared(self, asked: Iterable[tuple[Sendable, Task[T]]]) -> Iterator[_Item[T]]:
        """Items in order. Threads prepare ahead, a bounded number of pictures."""
        ahead: deque[_Item[T]] = deque()
        try:
            for source, task in asked:
                pool = self._pools[is_remote(source)]  # a network that does not answer holds up no upload
                ahead.append(_Item(name_of(source), task, pool.submit(self._prepare, source, task)))
                if len(ahead) > _AHEAD:
                    yield ahead.popleft()
            while ahead:
                yield ahead.popleft()
        finally:
            for item in ahead:  # nobody waits for them any more
                item.future.cancel()

    def _prepare(self, source: Sendable, task: Task[T]) -> tuple[Source, Prepared]:
        try:
            loaded = load(source, self._limits, self._fetching)
            with self._cores:
                return loaded, prepare(loaded.data, [task.spec], self._limits)
        except Unscannable:
            raise
        except Exception as error:  # a fault of ours with one picture must not take the others with it
            _LOG.exception("a picture could not be prepared")
            raise DecodeError(
                "fault", f"moderato failed on it ({type(error).__name__}); its log says where."
            ) from error

    def _answers(self, batch: Sequence[_Item[T]]) -> Iterator[T]:
        """Encode all views of a batch, then let every item take its own rows back."""
        rows: dict[int, Iterator[np.ndarray]] = {}
        for encoder in {id(item.task.encoder): item.task.encoder for item in batch}.values():
            mine = [view for item in batch if item.task.encoder is encoder for view in item.views]
            rows[id(encoder)] = iter(self._encode(encoder, mine))
        for item in batch:
            own = [next(rows[id(item.task.encoder)]) for _ in item.views]
            yield item.answer(Embeddings(np.array(own)))

    def _encode(self, encoder: Encoder, views: Sequence[np.ndarray]) -> list[np.ndarray]:
        chunks = [views[i : i + self._rows] for i in range(0, len(views), self._rows)]
        return [row for chunk in chunks for row in encoder.encode(Views(np.stack(chunk)))]
