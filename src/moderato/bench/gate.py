"""The gate: what a faster way of running an encoder must show before it is chosen by itself.

Two things, both against float32 in ONNX Runtime on the same views:

* *Embeddings*: how far they are off once centred on their mean, relative to the spread between pictures
  (`encoders/_parity.py`, which has the bound of each precision and its reason).
* *Verdicts*: those of the policy, on pictures that nothing was fitted to. None may become an allow that was none: that
  is a picture shown which should not be, silently. And of all that change, whichever way, the exact 95 % upper bound
  (Clopper and Pearson 1934) must be at most 5 %: with no change at all that takes 72 pictures.

int8 rounds by what it saw while it was calibrated, so it passes on pictures of the user's alone, of which the policy
must flag some: where nothing is to be found, nothing can be missed. The other precisions round alike whatever they see:
of them the few built-in drawings show enough, where no verdict on one may change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from moderato.bench.pictures import Picture
from moderato.encoders import BOUNDS, Parity, parity
from moderato.errors import Unscannable
from moderato.tasks import Judge
from moderato.types import Action, Precision, Rows, Source, Verdict, unit

MOST_FLIPS = 0.05
"""Share of verdicts that may change, at the upper end of its interval: a person who reviews hardly sees more."""
_FLAGGED = 10
"""Held out pictures that the policy must flag for int8 to pass."""
_LEVEL = 0.95
_HALVINGS = 60


@dataclass(frozen=True)
class Flip:
    """A picture whose verdict changed, and the label that did it: of several the one whose score changed the most."""

    picture: str
    before: Action
    after: Action
    label: str
    score_before: float | None
    score_after: float | None
    """None where it has no score."""

    @property
    def is_silent(self) -> bool:
        """Whether it is now allowed and was not."""
        return self.after == "allow"


@dataclass(frozen=True)
class Comparison:
    """How far one way of running an encoder is from the exact one.

    `judged` pictures have a verdict, `flagged` of them one that is no allow; 0 where the policy does not use the
    encoder. `most_flips`: the upper bound of the share of verdicts that change.
    """

    parity: Parity
    judged: int = 0
    flagged: int = 0
    flips: tuple[Flip, ...] = ()
    most_flips: float = 1.0


def compare(
    encoder: str, rows: Rows, exact: Mapping[str, Rows], pictures: Sequence[Picture], judge: Judge
) -> Comparison:
    """What changes when `encoder` gives these rows, and all other encoders of the policy what is exact.

    `rows` and `exact`: by encoder the rows of all views of the album, whose `pictures` are judged.
    """
    mine = [row for picture in pictures for row in range(*picture.views[encoder].indices(len(rows)))]
    off = parity(unit(Rows(rows[mine])), unit(Rows(exact[encoder][mine])))
    if encoder not in judge.needs:
        return Comparison(off)
    before = [_verdict(judge, picture, exact) for picture in pictures]
    after = [_verdict(judge, picture, {**exact, encoder: rows}) for picture in pictures]
    flips = tuple(_flip(*pair) for pair in zip(before, after, strict=True) if pair[0].action != pair[1].action)
    flagged = sum(verdict.action != "allow" for verdict in before)
    return Comparison(off, len(pictures), flagged, flips, upper_bound(len(flips), len(pictures)))


def refusal(precision: Precision, found: Comparison, own_pictures: bool) -> str | None:
    """Why it does not pass, as a sentence; None when it does. `own_pictures`: whether they are the user's."""
    if not found.parity.within(precision):
        return (
            f"its embeddings are {found.parity.centred:.2g} of their spread off, and their mean "
            f"{found.parity.offset:.2g}; {precision} may be {BOUNDS[precision]:g}."
        )
    silent = sum(flip.is_silent for flip in found.flips)
    if silent:
        return f"it allows {_pictures(silent)} that fp32 does not allow."
    if precision == "int8":
        return _int8(found, own_pictures)
    if found.flips and (not own_pictures or found.most_flips > MOST_FLIPS):
        return _too_many(found)
    return None


def _int8(found: Comparison, own_pictures: bool) -> str | None:
    """What is asked of a precision that was fitted to pictures."""
    if not own_pictures:
        return "int8 is chosen only where it was judged on pictures of yours: --pictures FOLDER."
    if not found.judged:
        return "the policy does not use this encoder, so no verdict shows what int8 changes."
    if found.flagged < _FLAGGED:
        return (
            f"the policy flags {found.flagged} of the pictures held out; at least {_FLAGGED} are needed to see "
            "whether int8 misses any. Add some that it should flag."
        )
    return _too_many(found) if found.most_flips > MOST_FLIPS else None


def _too_many(found: Comparison) -> str:
    few = "" if found.flips else f", and {enough()} held out would show that fewer do"
    return (
        f"{len(found.flips)} of {found.judged} verdicts change, so up to {found.most_flips:.1%} may "
        f"(exact 95 % bound); {MOST_FLIPS:.0%} is allowed{few}."
    )


def enough() -> int:
    """Pictures on which no verdict may change for the gate to be passed."""
    return next(count for count in range(1, 10_000) if upper_bound(0, count) <= MOST_FLIPS)


def upper_bound(hits: int, total: int) -> float:
    """The upper end of the exact two-sided 95 % interval (Clopper and Pearson 1934) of `hits` of `total`.

    The share at which so few hits, or fewer, come with a probability of 2.5 %. 1 where all are hits, or none was drawn.
    """
    if hits >= total:
        return 1.0
    low, high = hits / total, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_likely = _at_most(hits, total, middle) > (1 - _LEVEL) / 2
        low, high = (middle, high) if is_likely else (low, middle)
    return high


def _at_most(hits: int, total: int, share: float) -> float:
    """The probability of so many hits or fewer."""
    return math.fsum(math.comb(total, i) * share**i * (1 - share) ** (total - i) for i in range(hits + 1))


def _verdict(judge: Judge, picture: Picture, rows: Mapping[str, Rows]) -> Verdict:
    encoded = {encoder: picture.encoded(encoder, rows[encoder]) for encoder in judge.needs}
    try:
        return judge.finish(Source(b"", picture.name), encoded)
    except Unscannable as reason:
        return judge.refuse(picture.name, reason)


def _flip(before: Verdict, after: Verdict) -> Flip:
    actions = [{reason.label: reason.action for reason in verdict.reasons} for verdict in (before, after)]
    changed = [name for name in before.scores if actions[0].get(name) != actions[1].get(name)]
    scores = after.scores or before.scores  # what cannot be scanned has none
    label = max(changed, key=lambda name: abs(before.scores[name] - scores[name]), default="")
    return Flip(before.source, before.action, after.action, label, before.scores.get(label), after.scores.get(label))


def _pictures(count: int) -> str:
    return f"{count} {'picture' if count == 1 else 'pictures'}"
