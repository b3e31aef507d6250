"""What can be asked about a picture: each task names the encoders it needs and makes an answer of what they saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol, TypeVar

import numpy as np

from moderato.encoders import Encoder
from moderato.errors import PolicyError, Unscannable, WeightsError, nearest
from moderato.heads import Head
from moderato.heads.prompts import LabelRows, Prompts, ensemble
from moderato.layers import Floats
from moderato.policy import Policy, Seen, decide, tally
from moderato.types import Embedded, Embeddings, Encoded, Fingerprints, Fit, Source, Verdict, ViewSpec

T_co = TypeVar("T_co", covariant=True)

OpenHead = Callable[[str, str | None], Head]
"""A head by its name or file, and the file that the user brings for it."""


@dataclass(frozen=True, eq=False)
class Need:
    """An encoder, and the views it is to see."""

    encoder: Encoder
    spec: ViewSpec


class Task(Protocol[T_co]):
    """One question, ready to be answered for any number of sources."""

    @property
    def needs(self) -> Mapping[str, Need]:
        """The encoders it asks, each once, by a name of the task's own."""

    def finish(self, source: Source, encoded: Mapping[str, Encoded]) -> T_co:
        """The answer, from what each of the `needs` saw of this source. May raise `Unscannable`."""

    def refuse(self, name: str, reason: Unscannable) -> T_co:
        """The answer when the source cannot be scanned."""


@dataclass(frozen=True)
class Part:
    """Some of a policy's labels, which one head scores from one encoder's rows: `scores` gives `(V, labels)`."""

    encoder: str
    labels: tuple[str, ...]
    scores: Callable[[Encoded], Floats]
    head: Prompts | Head


@dataclass(frozen=True)
class Judge:
    """A policy made ready: encoders open, prompts embedded, heads read. All that can fail on our side is behind it."""

    policy: Policy
    needs: Mapping[str, Need]
    """By the encoder's name in the policy."""
    parts: tuple[Part, ...]
    notes: tuple[str, ...]

    @classmethod
    def ready(cls, policy: Policy, open_encoder: Callable[[str], Encoder], open_head: OpenHead) -> Judge:
        """Open what the policy names and embed what it says.

        Raises `PolicyError` where they do not fit together, and any `OperatorError` of what cannot be opened.
        """
        encoders = {name: open_encoder(name) for name in policy.encoders}
        _check_names(policy, encoders)
        needs = {name: Need(encoder, view_of(encoder, policy.fit)) for name, encoder in encoders.items()}
        parts = [
            *(_described(policy, name, labels, encoders[name]) for name, labels in _in_words(policy).items()),
            *_trained(policy, encoders, open_head),
        ]
        return cls(policy, needs, tuple(parts), _notes(policy, encoders))

    def finish(self, source: Source, encoded: Mapping[str, Encoded]) -> Verdict:
        """Score, then decide. Raises `Unscannable` for scores that are no numbers."""
        seen = self.see(encoded)
        action, reasons = decide(self.policy, seen)
        return Verdict(
            source=source.name,
            action=action,
            policy=self.policy.name,
            reasons=reasons,
            scores={name: seen[name].score for name in self.policy.labels},
            notes=(*self.notes, *self._size_notes(encoded)),
            fingerprints=replace(self._fingerprints, source=source.digest),
        )

    def see(self, encoded: Mapping[str, Encoded]) -> dict[str, Seen]:
        """Every label's score and place."""
        seen = {}
        for part in self.parts:
            mine = encoded[part.encoder]
            scores = part.scores(mine)
            if not np.isfinite(scores).all():  # no threshold is ever met by NaN: it would pass for harmless
                raise Unscannable("no_score", f"the score of {', '.join(part.labels)} is no number.")
            for name, column in zip(part.labels, scores.T, strict=True):
                seen[name] = tally(self.policy, name, column, mine.places)
        return seen

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
    def _fingerprints(self) -> Fingerprints:
        needs = self.needs.values()
        return Fingerprints(
            policy=self.policy.fingerprint,
            views={need.encoder.name: str(need.spec) for need in needs},
            encoders={need.encoder.name: need.encoder.identity for need in needs},
            runtimes={need.encoder.name: need.encoder.execution for need in needs},
            texts={
                need.encoder.name: need.encoder.texts.reading
                for name, need in self.needs.items()
                if need.encoder.texts
                and any(part.encoder == name and isinstance(part.head, Prompts) for part in self.parts)
            },
            heads={
                label: part.head.fingerprint
                for part in self.parts
                if isinstance(part.head, Head)
                for label in part.labels
            },
        )

    def _size_notes(self, encoded: Mapping[str, Encoded]) -> tuple[str, ...]:
        side = max(need.spec.side for need in self.needs.values())
        return _size_notes(next(iter(encoded.values())), side)


@dataclass(frozen=True)
class Embed:
    """The embedding itself is wanted: the mean over views and frames, of unit length."""

    need: Need

    @property
    def needs(self) -> Mapping[str, Need]:
        """One."""
        return {"": self.need}

    def finish(self, source: Source, encoded: Mapping[str, Encoded]) -> Embedded:
        """One row."""
        mine = encoded[""]
        return Embedded(source.name, ensemble(mine.embeddings), notes=_size_notes(mine, self.need.spec.side))

    def refuse(self, name: str, reason: Unscannable) -> Embedded:
        """No row, and why."""
        return Embedded(name, None, unscannable=str(reason))


def view_of(encoder: Encoder, fit: Fit | None) -> ViewSpec:
    """The encoder's own view, or the same square filled in another way."""
    return replace(encoder.view, fit=fit) if fit else encoder.view


def _check_names(policy: Policy, encoders: Mapping[str, Encoder]) -> None:
    """Two folders may have one name; a verdict could then not tell whose views and fingerprints it means."""
    names = [encoder.name for encoder in encoders.values()]
    for name in names:
        if names.count(name) > 1:
            twice = ", ".join(path for path, encoder in encoders.items() if encoder.name == name)
            raise PolicyError(f"{policy.name}: two encoders are called '{name}' ({twice}). Rename one of the folders.")


def _in_words(policy: Policy) -> dict[str, list[str]]:
    """The labels that prompts describe, by the encoder that reads them."""
    described: dict[str, list[str]] = {}
    for label in policy.labels:
        if policy.prompts_of(label):
            described.setdefault(policy.encoder_of(label), []).append(label)
    return described


def _described(policy: Policy, name: str, labels: Sequence[str], encoder: Encoder) -> Part:
    head = _prompts(policy, labels, encoder)
    return Part(name, tuple(labels), lambda encoded: head.score(encoded.embeddings), head)


def _prompts(policy: Policy, labels: Sequence[str], encoder: Encoder) -> Prompts:
    if encoder.texts is None or encoder.temperature is None or encoder.logit_scale is None:
        raise wordless(policy, labels[0], encoder.name)
    phrases = {text for label in labels for text in (*policy.prompts_of(label), *policy.anchors_of(label))}
    rows = _embedded(sorted(phrases), policy.templates, encoder)

    def stacked(texts: Sequence[str]) -> Floats:
        return np.stack([rows[text] for text in texts]) if texts else np.empty((0, encoder.dim), np.float32)

    return Prompts(
        labels=tuple(LabelRows(stacked(policy.prompts_of(name)), stacked(policy.anchors_of(name))) for name in labels),
        groups=tuple(tuple(labels.index(name) for name in group) for group in policy.exclusive if group[0] in labels),
        temperature=encoder.temperature,
        logit_scale=encoder.logit_scale,
    )


def _embedded(phrases: Sequence[str], templates: Sequence[str], encoder: Encoder) -> dict[str, Floats]:
    """One row for each phrase: its embeddings in all templates, made one."""
    assert encoder.texts
    texts = [template.replace("{}", phrase) for phrase in phrases for template in templates]
    rows = encoder.texts.encode(texts).reshape(len(phrases), len(templates), encoder.dim)
    return {phrase: ensemble(Embeddings(variants)) for phrase, variants in zip(phrases, rows, strict=True)}


def _trained(policy: Policy, encoders: Mapping[str, Encoder], open_head: OpenHead) -> list[Part]:
    """The labels that trained heads score, each head run once."""
    asked: dict[tuple[str, str, str | None], list[str]] = {}
    for name, label in policy.labels.items():
        if label.head:
            asked.setdefault((policy.encoder_of(name), label.head, label.file), []).append(name)
    parts = []
    for (encoder, named, file), labels in asked.items():
        head = _head(policy, labels[0], encoders[encoder], named == encoder, partial(open_head, named, file))
        columns = [column_of(policy, label, head.name, head.labels) for label in labels]
        parts.append(Part(encoder, tuple(labels), _columns(head, columns), head))
    return parts


def _head(policy: Policy, label: str, encoder: Encoder, is_classifier: bool, opened: Callable[[], Head]) -> Head:
    """The head a label names. Raises `PolicyError` when it was made for another encoder."""
    where = f"{policy.name}: labels.{label}.head"
    if is_classifier:
        if encoder.classifier is None:
            raise PolicyError(f"{where} is the encoder '{encoder.name}' itself, but that classifies nothing.")
        if policy.labels[label].file:
            raise PolicyError(f"{where} is the encoder '{encoder.name}' itself, which takes no file of its own.")
        return classifier_of(encoder)
    head = opened()
    check_fits(where, head, encoder)
    if not np.isfinite(head.score(np.full((1, head.dim), head.dim**-0.5))).all():
        raise WeightsError(f"{where}: '{head.name}' gives scores that are no numbers: its weights are damaged.")
    return head


def wordless(policy: Policy, label: str, encoder: str) -> PolicyError:
    """The error for a label in words whose encoder knows none."""
    return PolicyError(
        f"{policy.name}: labels.{label} is described in words, but '{encoder}' reads no texts. "
        "Give the label a head, or another encoder."
    )


def check_fits(where: str, head: Head, encoder: Encoder) -> None:
    """Raises `PolicyError` unless the head reads the encoder's embeddings."""
    check_space(where, head.name, head.encoder, encoder.name, encoder.identity)
    if head.dim != encoder.dim:
        raise PolicyError(f"{where} reads {head.dim} numbers; an embedding of '{encoder.name}' has {encoder.dim}.")


def classifier_of(encoder: Encoder) -> Head:
    """An encoder's own classifier as a head."""
    assert encoder.classifier
    return Head(encoder.name, encoder.identity, encoder.classifier.labels, encoder.classifier.network)


def check_space(where: str, head: str, reads: str, encoder: str, identity: str) -> None:
    """Raises `PolicyError` unless the head reads the embeddings of the encoder that is to feed it."""
    if reads != identity:
        raise PolicyError(
            f"{where} is '{head}', which reads embeddings of {reads}; its encoder here, '{encoder}', is {identity}. "
            "Name the encoder that the head was made for."
        )


def column_of(policy: Policy, label: str, head: str, outputs: Sequence[str]) -> int:
    """Which of a head's outputs a label means: the one it names, the one of its own name, or the only one.

    Raises `PolicyError` listing the outputs.
    """
    wanted = policy.labels[label].output
    if wanted is None:
        wanted = outputs[0] if len(outputs) == 1 else label
    matches = [i for i, name in enumerate(outputs) if name.lower() == wanted.lower()]
    if len(matches) != 1:
        where = f"{policy.name}: labels.{label}.output"
        found = "several outputs" if matches else "no output"
        raise PolicyError(f"{where}: '{head}' has {found} '{wanted}'. {nearest(wanted, outputs)}")
    return matches[0]


def _columns(head: Head, columns: Sequence[int]) -> Callable[[Encoded], Floats]:
    return lambda encoded: head.score(encoded.rows)[:, columns]


def _notes(policy: Policy, encoders: Mapping[str, Encoder]) -> tuple[str, ...]:
    """Labels whose every prompt is beyond their encoder's words."""
    return tuple(
        f"'{encoder.name}' knows no word of '{name}': its score means nothing."
        for name in policy.labels
        if (prompts := policy.prompts_of(name))
        and (encoder := encoders[policy.encoder_of(name)]).texts
        and all(encoder.texts.knows_nothing_of(prompt) for prompt in prompts)
    )


def _size_notes(encoded: Encoded, side: int) -> tuple[str, ...]:
    if encoded.size is None or min(encoded.size) >= side:
        return ()
    width, height = encoded.size
    return (
        f"The picture is {width} x {height} pixels, smaller than the {side} x {side} that the encoder "
        "looks at: it errs more on such pictures.",
    )
