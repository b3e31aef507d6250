"""A policy: what is looked for, how sure one must be, and what then happens. Read from TOML, checked whole on loading.

An example with every key::

    name = "example"
    description = "Knives in drawings, and what a trained head says."
    encoder = "tiny"                      # a card's name, or a folder: ./name is one beside this file
    fit = "cover"                         # crop, squash or cover; the encoder's own way where it is left out
    combine = "max"                       # over frames and views: the highest score, or the "mean"
    unscannable = "review"                # what happens to a picture that cannot be scanned
    templates = ["a drawing of {}"]       # each prompt and anchor is put into each
    anchors = ["a house", "a tree"]       # harmless look-alikes for labels that name none of their own
    exclusive = [["cat", "dog"]]          # groups of labels of which exactly one is true: they need no anchors

    [labels.knife]                        # a label described in words
    prompts = ["a knife"]                 # the label's own name where it is left out
    anchors = ["a spoon"]
    platt = [1.3, -0.4]                   # calibrated: sigmoid(1.3 · logit(score) - 0.4); see `moderato calibrate`
    review = 0.5                          # from this score on; a label without thresholds is only described
    block = 0.9
    evidence = "unmeasured"               # or "measured: by whom, on what", or "weak: why"

    [labels.nsfw]                         # a label scored by a trained head
    head = "laion-nsfw-b32"               # a card's name, ./file.safetensors, or the encoder itself when it classifies
    output = "nsfw"                       # which of its outputs; not needed when there is one, or one of this name
    encoder = "openai-b32"                # when it is not the policy's; each encoder runs once a view
    review = 0.5

    [labels.inappropriate]
    head = "q16-b32"
    file = "./prompts.p"                  # or a URL: for heads whose file you must bring yourself
    encoder = "openai-b32"

    [labels.cat]
    [labels.dog]
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderato.errors import PolicyError, RequestError, nearest
from moderato.layers import Floats, logit, sigmoid
from moderato.types import ACTIONS, Action, Fit, Place, Reason

SHIPPED = Path(__file__).parent / "policies"

Threshold = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]

_STEEPEST = 1e4  # far beyond what any fit gives, and nothing overflows
_EVIDENCE = re.compile(r"(measured|weak): .+|unmeasured", re.DOTALL)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Label(_Table):
    """One label. Without thresholds it is described in the verdict and never acted on."""

    prompts: list[Text] = []
    anchors: list[Text] = []
    head: Text | None = None
    output: Text | None = None
    file: Text | None = None
    encoder: Text | None = None
    platt: tuple[float, float] | None = None
    """Slope a and shift b of `sigmoid(a · logit(score) + b)`: Platt's calibration, fitted on labelled pictures."""
    review: Threshold | None = None
    block: Threshold | None = None
    evidence: str = "unmeasured"
    """Who measured these thresholds, on what."""

    @model_validator(mode="before")
    @classmethod
    def _pair(cls, values: Any) -> Any:
        """TOML has no tuples, and a list would not be hashable."""
        if isinstance(values, dict) and isinstance(pair := values.get("platt"), list):
            return {**values, "platt": tuple(pair)}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Label:
        if self.review is not None and self.block is not None and self.review > self.block:
            raise ValueError(f"review ({self.review}) is above block ({self.block}): nothing would be reviewed")
        if self.head and (self.prompts or self.anchors):
            raise ValueError("a label is scored by its head or by prompts and anchors, not by both")
        if not self.head and (self.output or self.file):
            raise ValueError(
                f"'{'output' if self.output else 'file'}' is about a head, but the label names none: add head = ..."
            )
        if self.platt and not (0 < self.platt[0] <= _STEEPEST and abs(self.platt[1]) <= _STEEPEST):
            raise ValueError(f"platt is [slope, shift]: a slope above 0, and both at most {_STEEPEST:g}")
        if not _EVIDENCE.fullmatch(self.evidence):
            raise ValueError("evidence says 'measured: by whom, on what', 'weak: why', or 'unmeasured'")
        return self

    def calibrated(self, scores: Floats) -> Floats:
        """The scores as probabilities: through `platt` where there is one, unchanged otherwise."""
        if self.platt is None:
            return scores
        slope, shift = self.platt
        return sigmoid((slope * logit(scores) + shift).astype(np.float32))


class Policy(_Table):
    """See the module's docstring for the keys, in the order of a policy file."""

    name: Text
    description: str = ""
    encoder: Text
    fit: Fit | None = None
    combine: Literal["max", "mean"] = "max"
    """How a label's score is taken over frames and views: the highest, which no picture can water down, or the mean."""
    unscannable: Action = "review"
    templates: Annotated[list[str], Field(min_length=1)] = ["{}"]
    anchors: list[Text] = []
    exclusive: list[Annotated[list[str], Field(min_length=1)]] = []
    """Groups of labels of which exactly one is taken to be true: a softmax, and no anchors."""
    labels: Annotated[dict[str, Label], Field(min_length=1)]

    @model_validator(mode="after")
    def _whole(self) -> Policy:
        for template in self.templates:
            if template.count("{}") != 1:
                raise ValueError(f"template {template!r} must hold {{}} once")
        grouped = [label for group in self.exclusive for label in group]
        for member in grouped:
            if member not in self.labels:
                raise ValueError(f"exclusive names '{member}', which is no label. {nearest(member, self.labels)}")
            if grouped.count(member) > 1:
                raise ValueError(f"exclusive names '{member}' twice")
        for group in self.exclusive:
            self._check_group(group)
        for name, label in self.labels.items():
            if name not in grouped and not (label.head or label.anchors or self.anchors):
                raise ValueError(
                    f"label '{name}' has nothing to be compared with: give it anchors (harmless look-alikes), "
                    "give the policy anchors, put it into an exclusive group, or name a head"
                )
        return self

    def _check_group(self, group: Sequence[str]) -> None:
        """An exclusive group shares one softmax over prompts in one space."""
        for name in group:
            if self.labels[name].head:
                raise ValueError(f"exclusive names '{name}', which a head scores: only prompts share a softmax")
            if self.labels[name].platt:
                raise ValueError(
                    f"exclusive names '{name}', which has platt: calibrated alone, they would not sum to 1"
                )
        if len({self.encoder_of(name) for name in group}) > 1:
            raise ValueError(f"exclusive puts labels of different encoders together: {', '.join(group)}")

    @property
    def fingerprint(self) -> str:
        """sha256 over everything the policy says, wherever its files lie: those have fingerprints of their own."""
        return sha256(self.without_paths().model_dump_json().encode()).hexdigest()

    def without_paths(self) -> Policy:
        """The same policy, with only the last part of each path and URL: the rest is its owner's affair."""
        labels = {name: label.model_copy(update=_last_parts(label, *_PATHS)) for name, label in self.labels.items()}
        return self.model_copy(update={**_last_parts(self, "encoder"), "labels": labels})

    @property
    def encoders(self) -> list[str]:
        """Every encoder the labels need, in their order."""
        return list(dict.fromkeys(map(self.encoder_of, self.labels)))

    def encoder_of(self, name: str) -> str:
        """Which encoder reads for a label."""
        return self.labels[name].encoder or self.encoder

    def prompts_of(self, name: str) -> list[str]:
        """What a label's prompts say, before templates; empty where a head scores it."""
        return [] if self.labels[name].head else self.labels[name].prompts or [name]

    def anchors_of(self, name: str) -> list[str]:
        """What a label is compared with, before templates; empty in an exclusive group and with a head."""
        if self.labels[name].head or any(name in group for group in self.exclusive):
            return []
        return self.labels[name].anchors or self.anchors


def shipped_policies() -> list[str]:
    """Names of the policies that come with moderato."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def read_policy(name_or_file: str | Path) -> Policy:
    """A shipped policy by name, or one from a TOML file.

    Raises `PolicyError` naming the file, the key, what is allowed there and the nearest right spelling.
    """
    file = Path(name_or_file)
    if str(name_or_file) in shipped_policies():
        file = SHIPPED / f"{name_or_file}.toml"
    elif file.suffix != ".toml":
        raise PolicyError(
            f"There is no policy '{name_or_file}'. {nearest(str(name_or_file), shipped_policies())} "
            "A policy of your own is named by its .toml file."
        )
    try:
        values = tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise PolicyError(f"{file}: there is no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise PolicyError(f"{file}: not a readable TOML file ({error}).") from error
    try:
        return Policy.model_validate(_beside(file.parent, values))
    except ValidationError as error:
        raise PolicyError("\n".join(f"{file}: {line}" for line in _sentences(error))) from None


def policy_of_labels(
    labels: Sequence[str], encoder: str, *, anchors: Sequence[str] = (), fit: Fit | None = None
) -> Policy:
    """The policy behind `classify`: labels as they are written, described and never acted on.

    Exclusive without `anchors`, independent with them. Over several frames or views the mean is taken, so that an
    exclusive group still sums to 1. Raises `RequestError` when there are no labels.
    """
    if isinstance(labels, str):
        raise RequestError(f"Labels are a list of texts; this is one text: {labels!r}.")
    names = list(dict.fromkeys(labels))
    if not names:
        raise RequestError("Name at least one label.")
    try:
        return Policy(
            name="labels",
            encoder=encoder,
            fit=fit,
            combine="mean",
            anchors=list(anchors),
            exclusive=[] if anchors else [names],
            labels={name: Label() for name in names},
        )
    except ValidationError as error:
        raise RequestError(" ".join(_sentences(error))) from None


@dataclass(frozen=True)
class Seen:
    """A label's score for a whole source, and the place where it was highest."""

    score: float
    place: Place
    view: int
    """The place's number among those of its encoder."""


def tally(policy: Policy, name: str, scores: Floats, places: Sequence[Place]) -> Seen:
    """One score of a label's scores `(V,)` on V views: calibrated, then the highest or the mean, as the policy says."""
    calibrated = policy.labels[name].calibrated(scores)
    score = calibrated.max() if policy.combine == "max" else calibrated.mean()
    best = int(scores.argmax())  # before calibration: after it several may be 1
    return Seen(float(score), places[best], best)


def decide(policy: Policy, seen: Mapping[str, Seen]) -> tuple[Action, tuple[Reason, ...]]:
    """The action, and its reasons, hardest first."""
    reasons = [reason for name, label in policy.labels.items() if (reason := _reason(name, label, seen[name]))]
    reasons.sort(key=lambda reason: (-ACTIONS.index(reason.action), -reason.score))
    return (reasons[0].action if reasons else "allow"), tuple(reasons)


def _reason(name: str, label: Label, seen: Seen) -> Reason | None:
    thresholds: tuple[tuple[Action, float | None], ...] = (("block", label.block), ("review", label.review))
    for action, threshold in thresholds:
        # Both as float32: a score of 0.9 is stored as 0.8999999762, and meets 0.9.
        if threshold is not None and np.float32(seen.score) >= np.float32(threshold):
            return Reason(name, seen.score, threshold, action, seen.place.box, seen.place.time)
    return None


_PATHS = ("encoder", "head", "file")


def _last_parts(table: BaseModel, *keys: str) -> dict[str, str]:
    named = {key: getattr(table, key) for key in keys}
    return {key: Path(value.partition("?")[0]).name for key, value in named.items() if value}


def _beside(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The same values, with the paths in them relative to the policy's folder.

    A bare name is a card's, whatever lies beside the file; a path has a slash, or is a head's file.
    """
    labels = values.get("labels")
    if isinstance(labels, dict):
        values = {**values, "labels": {name: _label_beside(folder, label) for name, label in labels.items()}}
    return _placed(folder, values, "encoder")


def _label_beside(folder: Path, label: Any) -> Any:
    if not isinstance(label, dict):
        return label  # the validation says what is wrong with it
    head = label.get("head")
    placed = _placed(folder, label, "encoder", "file")
    return _placed(folder, placed, "head", always=isinstance(head, str) and head.endswith(".safetensors"))


def _placed(folder: Path, values: dict[str, Any], *keys: str, always: bool = False) -> dict[str, Any]:
    def moves(key: str) -> bool:
        value = values.get(key)
        is_path = isinstance(value, str) and (always or key == "file" or "/" in value)
        return is_path and "://" not in str(value)

    return {**values, **{key: os.path.abspath(folder / values[key]) for key in keys if moves(key)}}


def _sentences(error: ValidationError) -> list[str]:
    """A pydantic error as sentences: where, what is wrong, what would be right."""
    return [_sentence(problem) for problem in error.errors(include_url=False)]


def _sentence(problem: Mapping[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        allowed = Label.model_fields if problem["loc"][0] == "labels" else Policy.model_fields
        return f"{where} is not a key here. {nearest(key, allowed)}"
    if problem["type"] == "missing":
        return f"{where} is missing."
    message = problem["msg"].removeprefix("Value error, ").removesuffix(".")
    if problem["type"] == "value_error":
        return f"{where + ': ' if where else ''}{message}."
    return f"{where} is {problem['input']!r}. {message}."
