"""A policy: what is looked for, how sure one must be, and what then happens. Read from TOML, checked whole on loading.

An example with every key::

    name = "example"
    description = "Knives in drawings."
    encoder = "tiny"                      # a card's name, or a folder: ./name is one beside this file
    fit = "cover"                         # crop, squash or cover; the encoder's own way where it is left out
    combine = "max"                       # over frames and views: the highest score, or the "mean"
    unscannable = "review"                # what happens to a picture that cannot be scanned
    templates = ["a drawing of {}"]       # each prompt and anchor is put into each
    anchors = ["a house", "a tree"]       # harmless look-alikes for labels that name none of their own
    exclusive = [["cat", "dog"]]          # groups of labels of which exactly one is true: they need no anchors

    [labels.knife]
    prompts = ["a knife"]                 # the label's own name where it is left out
    anchors = ["a spoon"]
    review = 0.5                          # from this score on; a label without thresholds is only described
    block = 0.9
    evidence = "unmeasured"               # who measured these thresholds, on what

    [labels.cat]
    [labels.dog]
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderato.errors import PolicyError, RequestError, nearest
from moderato.types import ACTIONS, Action, Fit, Reason, Scores, View

SHIPPED = Path(__file__).parent / "policies"

Threshold = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Label(_Table):
    """One label. Without thresholds it is described in the verdict and never acted on."""

    prompts: list[Text] = []
    anchors: list[Text] = []
    review: Threshold | None = None
    block: Threshold | None = None
    evidence: str = "unmeasured"

    @model_validator(mode="after")
    def _in_order(self) -> Label:
        if self.review is not None and self.block is not None and self.review > self.block:
            raise ValueError(f"review ({self.review}) is above block ({self.block}): nothing would be reviewed")
        return self


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
        for name, label in self.labels.items():
            if name not in grouped and not (label.anchors or self.anchors):
                raise ValueError(
                    f"label '{name}' has nothing to be compared with: give it anchors (harmless look-alikes), "
                    "give the policy anchors, or put it into an exclusive group"
                )
        return self

    @property
    def fingerprint(self) -> str:
        """sha256 over everything the policy says; equal policies decide equally."""
        return sha256(self.model_dump_json().encode()).hexdigest()

    def prompts_of(self, name: str) -> list[str]:
        """What a label's prompts say, before templates."""
        return self.labels[name].prompts or [name]

    def anchors_of(self, name: str) -> list[str]:
        """What a label is compared with, before templates; empty in an exclusive group."""
        if any(name in group for group in self.exclusive):
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
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise PolicyError(f"{file}: there is no such file.") from None
    except (OSError, ValueError) as error:
        raise PolicyError(f"{file}: not a readable TOML file ({error}).") from error
    encoder = values.get("encoder")
    if isinstance(encoder, str) and "/" in encoder:  # a bare name is a card's, whatever lies beside the file
        values["encoder"] = str(file.parent / encoder)
    try:
        return Policy.model_validate(values)
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


def decide(
    policy: Policy, scores: Scores, views: Sequence[View]
) -> tuple[Action, tuple[Reason, ...], dict[str, float]]:
    """The action, its reasons (hardest first), and every label's score, from scores `(V, L)` of V views."""
    combined = scores.max(axis=0) if policy.combine == "max" else scores.mean(axis=0)
    best = scores.argmax(axis=0)
    found = dict(zip(policy.labels, map(float, combined), strict=True))
    reasons = [
        reason
        for column, (name, label) in enumerate(policy.labels.items())
        if (reason := _reason(name, label, found[name], views[int(best[column])]))
    ]
    reasons.sort(key=lambda reason: (-ACTIONS.index(reason.action), -reason.score))
    return (reasons[0].action if reasons else "allow"), tuple(reasons), found


def _reason(name: str, label: Label, score: float, view: View) -> Reason | None:
    thresholds: tuple[tuple[Action, float | None], ...] = (("block", label.block), ("review", label.review))
    for action, threshold in thresholds:
        if threshold is not None and score >= threshold:
            return Reason(name, score, threshold, action, view.box, view.time)
    return None


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
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{where + ': ' if where else ''}{message}."
    return f"{where} is {problem['input']!r}. {message}."
