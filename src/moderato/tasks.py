"""What can be asked about a picture: each task wants views for one encoder and makes an answer of their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np

from moderato.encoders import Encoder
from moderato.errors import Unscannable
from moderato.heads.prompts import LabelRows, Prompts, Rows, ensemble
from moderato.media import Prepared
from moderato.policy import Policy, decide
from moderato.types import Embedded, Embeddings, Fit, Source, Verdict, ViewSpec

T_co = TypeVar("T_co", covariant=True)


class Task(Protocol[T_co]):
    """One question, ready to be answered for any number of sources."""

    @property
    def encoder(self) -> Encoder:
        """Who makes the embeddings."""

    @property
    def spec(self) -> ViewSpec:
        """The views it is to see."""

    def finish(self, source: Source, prepared: Prepared, embeddings: Embeddings) -> T_co:
        """The answer, from the embeddings `(V, D)` of this source's V views."""

    def refuse(self, name: str, reason: Unscannable) -> T_co:
        """The answer when the source cannot be scanned."""


@dataclass(frozen=True)
class Judge:
    """A policy made ready: its encoder open, its prompts embedded. All that can fail on our side lies behind it."""

    policy: Policy
    encoder: Encoder
    spec: ViewSpec
    head: Prompts
    notes: tuple[str, ...]

    @classmethod
    def ready(cls, policy: Policy, encoder: Encoder) -> Judge:
        """Embed what the policy says. Raises `OperatorError` when the text tower cannot be had."""
        return cls(policy, encoder, view_of(encoder, policy.fit), _head(policy, encoder), _notes(policy, encoder))

    def finish(self, source: Source, prepared: Prepared, embeddings: Embeddings) -> Verdict:
        """Score, then decide."""
        action, reasons, scores = decide(self.policy, self.head.score(embeddings), prepared.views[self.spec])
        return Verdict(
            source=source.name,
            action=action,
            policy=self.policy.name,
            reasons=reasons,
            scores=scores,
            notes=(*self.notes, *_size_notes(prepared, self.spec)),
            fingerprints={"source": source.digest, **self._fingerprints},
        )

    def refuse(self, name: str, reason: Unscannable) -> Verdict:
        """Unscannable: the policy says what happens to it."""
        return Verdict(
            source=name,
            action=self.policy.unscannable,
            policy=self.policy.name,
            unscannable=str(reason),
            notes=self.notes,
            fingerprints=self._fingerprints,
        )

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {"encoder": self.encoder.identity, "policy": self.policy.fingerprint}


@dataclass(frozen=True)
class Embed:
    """The embedding itself is wanted: the mean over views and frames, of unit length."""

    encoder: Encoder
    spec: ViewSpec

    def finish(self, source: Source, prepared: Prepared, embeddings: Embeddings) -> Embedded:
        """One row."""
        return Embedded(source.name, ensemble(embeddings), notes=_size_notes(prepared, self.spec))

    def refuse(self, name: str, reason: Unscannable) -> Embedded:
        """No row, and why."""
        return Embedded(name, None, unscannable=str(reason))


def view_of(encoder: Encoder, fit: Fit | None) -> ViewSpec:
    """The encoder's own view, or the same square filled in another way."""
    return replace(encoder.view, fit=fit) if fit else encoder.view


def _head(policy: Policy, encoder: Encoder) -> Prompts:
    names = list(policy.labels)
    phrases = {text for name in names for text in (*policy.prompts_of(name), *policy.anchors_of(name))}
    rows = _embedded(sorted(phrases), policy.templates, encoder)

    def stacked(texts: Sequence[str]) -> Rows:
        return np.stack([rows[text] for text in texts]) if texts else np.empty((0, encoder.dim), np.float32)

    return Prompts(
        labels=tuple(LabelRows(stacked(policy.prompts_of(name)), stacked(policy.anchors_of(name))) for name in names),
        groups=tuple(tuple(names.index(name) for name in group) for group in policy.exclusive),
        temperature=encoder.temperature,
        logit_scale=encoder.logit_scale,
    )


def _embedded(phrases: Sequence[str], templates: Sequence[str], encoder: Encoder) -> dict[str, Rows]:
    """One row for each phrase: its embeddings in all templates, made one."""
    texts = [template.replace("{}", phrase) for phrase in phrases for template in templates]
    rows = encoder.texts.encode(texts).reshape(len(phrases), len(templates), encoder.dim)
    return {phrase: ensemble(Embeddings(variants)) for phrase, variants in zip(phrases, rows, strict=True)}


def _notes(policy: Policy, encoder: Encoder) -> tuple[str, ...]:
    """Labels whose every prompt is beyond the encoder's words."""
    unknown = [
        name
        for name in policy.labels
        if all(encoder.texts.knows_nothing_of(prompt) for prompt in policy.prompts_of(name))
    ]
    return tuple(f"'{encoder.name}' knows no word of '{name}': its score means nothing." for name in unknown)


def _size_notes(prepared: Prepared, spec: ViewSpec) -> tuple[str, ...]:
    width, height = prepared.size
    if min(width, height) >= spec.side:
        return ()
    return (
        f"The picture is {width} x {height} pixels, smaller than the {spec.side} x {spec.side} that the encoder "
        "looks at: it errs more on such pictures.",
    )
