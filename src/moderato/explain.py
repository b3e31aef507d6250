"""Why a picture got its verdict: for every label what spoke for it and what against, and where in the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError, Unscannable, nearest
from moderato.heads.prompts import Prompts
from moderato.layers import logit
from moderato.media import prepare
from moderato.media.heatmap import Heat, draw_heat
from moderato.media.load import Sendable, load
from moderato.moderator import Moderator
from moderato.policy import Policy, Seen
from moderato.tasks import Judge, Need, Part, column_of
from moderato.types import Box, Embeddings, Encoded, Rows, Source, Verdict, View, Views, unit


@dataclass(frozen=True)
class Likeness:
    """A text and its cosine to the picture, -1..1."""

    text: str
    cosine: float


@dataclass(frozen=True)
class Ground:
    """One label's score, and what it rests on in the view where it was highest.

    `prompt` is the one nearest to the picture, `anchor` the nearest harmless look-alike, for labels described in words;
    `head` is the trained head that scored the others, `output` which of its outputs. `review` and `block` are the
    policy's thresholds.
    """

    label: str
    score: float
    review: float | None
    block: float | None
    encoder: str
    box: Box
    time: float
    frame: int
    evidence: str
    prompt: Likeness | None = None
    anchor: Likeness | None = None
    head: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class Explanation:
    """A verdict and its grounds, one a label in the policy's order; none when the picture is unscannable."""

    verdict: Verdict
    grounds: tuple[Ground, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return asdict(self)


def explain(moderator: Moderator, source: Sendable, policy: Policy | None = None) -> Explanation:
    """The grounds of the verdict on one source. A bad picture does not raise."""
    task = _Explain(moderator.ready(policy or moderator.policy))
    return next(moderator.run([(source, task)]))


def draw_heatmap(
    moderator: Moderator, source: Sendable, label: str | None = None, policy: Policy | None = None
) -> tuple[str, bytes]:
    """Where in the picture a label was seen: the label, and a PNG of the frame where its score was highest.

    Each patch token of the encoder is scored as if it alone were the picture; the colours are relative to this picture.
    Without `label`: the hardest reason of the verdict, or the highest score.
    Raises `RequestError` for an unknown label, `Unscannable` for a bad picture.
    """
    judge = moderator.ready(policy or moderator.policy)
    if label is not None and label not in judge.policy.labels:
        raise RequestError(
            f"There is no label '{label}' in '{judge.policy.name}'. {nearest(label, judge.policy.labels)}"
        )
    loaded = load(source, moderator.limits, moderator.fetching)
    explanation = explain(moderator, loaded, judge.policy)
    if explanation.verdict.unscannable:
        raise Unscannable.read(explanation.verdict.unscannable)
    wanted = label or _foremost(explanation)
    ground = next(ground for ground in explanation.grounds if ground.label == wanted)
    part = next(part for part in judge.parts if wanted in part.labels)
    need = judge.needs[part.encoder]
    prepared = prepare(loaded.data, [need.spec], moderator.limits)
    views = [view for view in prepared.views[need.spec] if view.frame == ground.frame]
    heats = [(view.box, heat) for view, heat in zip(views, _heats(need, part, wanted, views), strict=True)]
    return wanted, draw_heat(loaded.data, ground.frame, heats, moderator.limits)


@dataclass(frozen=True)
class _Explain:
    """A judge that also says why."""

    judge: Judge

    @property
    def needs(self) -> Mapping[str, Need]:
        return self.judge.needs

    def finish(self, source: Source, encoded: Mapping[str, Encoded]) -> Explanation:
        seen = self.judge.see(encoded)
        parts = {label: part for part in self.judge.parts for label in part.labels}
        policy = self.judge.policy
        grounds = [
            _ground(policy, parts[name], name, encoded[parts[name].encoder], seen[name]) for name in policy.labels
        ]
        return Explanation(self.judge.finish(source, encoded), tuple(grounds))

    def refuse(self, name: str, reason: Unscannable) -> Explanation:
        return Explanation(self.judge.refuse(name, reason), ())


def _ground(policy: Policy, part: Part, name: str, encoded: Encoded, seen: Seen) -> Ground:
    label, place = policy.labels[name], seen.place
    ground = Ground(
        name,
        seen.score,
        label.review,
        label.block,
        policy.encoder_of(name),
        place.box,
        place.time,
        place.frame,
        label.evidence,
    )
    if not isinstance(part.head, Prompts):
        output = part.head.labels[column_of(policy, name, part.head.name, part.head.labels)]
        return replace(ground, head=part.head.name, output=output)
    rows = part.head.labels[part.labels.index(name)]
    embedding = encoded.embeddings[seen.view]
    return replace(
        ground,
        prompt=_nearest(embedding, rows.prompts, policy.prompts_of(name)),
        anchor=_nearest(embedding, rows.anchors, policy.anchors_of(name)),
    )


def _nearest(embedding: NDArray[np.float32], rows: NDArray[np.float32], texts: list[str]) -> Likeness | None:
    if not texts:
        return None
    cosines = rows @ embedding
    best = int(cosines.argmax())
    return Likeness(texts[best], float(cosines[best]))


def _foremost(explanation: Explanation) -> str:
    """The label a person would ask about."""
    if explanation.verdict.reasons:
        return explanation.verdict.reasons[0].label
    return max(explanation.grounds, key=lambda ground: ground.score).label


def _heats(need: Need, part: Part, label: str, views: list[View]) -> list[Heat]:
    """The label's logit on every patch of every view."""
    rows = need.encoder.project_patches(Views(np.stack([view.pixels for view in views])))
    count, grid, _, dim = rows.shape
    patches = Rows(rows.reshape(-1, dim))
    if isinstance(part.head, Prompts):
        # At the head's own temperature far too many patches would score 0 or 1 to the last bit.
        soft = replace(part.head, temperature=1.0, logit_scale=1.0)
        scores: NDArray[np.float32] = soft.score(Embeddings(unit(patches)))
    else:
        scores = part.scores(Encoded((), patches))
    return list(logit(scores[:, part.labels.index(label)]).reshape(count, grid, grid))
