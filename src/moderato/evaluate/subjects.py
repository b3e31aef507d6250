"""What is evaluated, as questions: each label asks of a picture whether a person gave it one of certain names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from moderato.errors import RequestError, nearest
from moderato.policy import Label, Policy
from moderato.types import Action

ASSUMED = 0.5
"""The threshold at which a label without one is measured."""

Mode = Literal["policy", "labels", "head"]
Positive = Mapping[str, Sequence[str]]
"""By label: further names under which people may have put its pictures."""


@dataclass(frozen=True)
class Question:
    """One label. `names`: what people call its pictures. `thresholds`: where it is measured, the mildest first, each
    with its name. `acts`: whether the policy does anything about it.
    """

    label: str
    names: tuple[str, ...]
    thresholds: tuple[tuple[str, float], ...]
    acts: bool = True


@dataclass(frozen=True)
class Subject:
    """What is evaluated: its name, how it was asked for, its questions.

    `exclusive` says whether exactly one of the labels is true of a picture; `below` is then the score under which a
    prediction is unsure. `unscannable`: what happens to a picture that cannot be scanned.
    """

    name: str
    mode: Mode
    questions: tuple[Question, ...]
    exclusive: bool = False
    unscannable: Action = "allow"
    below: float | None = None


def subject_of_policy(policy: Policy, positive: Positive, name: str | None = None) -> Subject:
    """A policy: yes or no for each label, at its thresholds."""
    exclusive = any(len(group) == len(policy.labels) > 1 for group in policy.exclusive)
    questions = tuple(_question(label, facts, positive, ASSUMED) for label, facts in policy.labels.items())
    _check(positive, policy.labels)
    return Subject(name or policy.name, "policy", questions, exclusive, policy.unscannable)


def subject_of_labels(policy: Policy, positive: Positive, threshold: float, name: str) -> Subject:
    """Labels written on the spot: the highest score is the prediction."""
    _check(positive, policy.labels)
    questions = tuple(_question(label, facts, positive, threshold) for label, facts in policy.labels.items())
    return Subject(name, "labels", questions, exclusive=True, below=threshold)


def subject_of_head(name: str, labels: Sequence[str], positive: Positive, threshold: float) -> Subject:
    """A trained head: yes or no for each output."""
    _check(positive, labels)
    own = Label(head=name, review=threshold)
    return Subject(name, "head", tuple(_question(label, own, positive, threshold) for label in labels))


def policy_of_head(name: str, labels: Sequence[str], encoder: str, file: str | None, threshold: float) -> Policy:
    """The policy that shows pictures to a head: all of its outputs, each reviewed from the threshold on."""
    scored = {label: Label(head=name, output=label, file=file, review=threshold) for label in labels}
    return Policy(name=name, encoder=encoder, labels=scored)


def read_positive(options: Sequence[str]) -> dict[str, list[str]]:
    """`LABEL=NAME,NAME` as people write it, several times perhaps. Raises `RequestError` for anything else."""
    found: dict[str, list[str]] = {}
    for option in options:
        label, _, names = option.partition("=")
        listed = [name.strip() for name in names.split(",") if name.strip()]
        if not label.strip() or not listed:
            raise RequestError(f"--positive {option}: it is LABEL=NAME or LABEL=NAME,NAME.")
        found.setdefault(label.strip(), []).extend(listed)
    return found


def check_names(subject: Subject, given: Mapping[str, int]) -> None:
    """Raises `RequestError` where a name that was said to count as a label is no label of the dataset."""
    for question in subject.questions:
        for name in question.names:
            if name != question.label and name not in given:
                said = f"--positive {question.label}={name}"
                raise RequestError(f"{said}: no picture has this label. {nearest(name, given)}")


def _question(name: str, label: Label, positive: Positive, threshold: float) -> Question:
    own = tuple((kind, at) for kind, at in (("review", label.review), ("block", label.block)) if at is not None)
    names = tuple(dict.fromkeys((name, *positive.get(name, ()))))
    return Question(name, names, own or (("assumed", threshold),), acts=bool(own))


def _check(positive: Positive, labels: Mapping[str, object] | Sequence[str]) -> None:
    for name in positive:
        if name not in labels:
            raise RequestError(f"--positive {name}=…: there is no such label. {nearest(name, labels)}")
