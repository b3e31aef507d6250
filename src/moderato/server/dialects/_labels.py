"""What the two seed APIs share: a softmax over labels as they were sent."""

from __future__ import annotations

from collections.abc import Sequence

from moderato.media.load import Sendable
from moderato.server.desk import Desk
from moderato.types import Classification, Fit

_LONGEST = 2000  # characters in a header


async def classified(desk: Desk, picture: Sendable, labels: Sequence[str], fit: Fit) -> Classification:
    """The classification of one picture. Raises `RequestError` for more or longer labels than are accepted."""
    desk.check_labels(labels)
    return await desk.in_turn(lambda: desk.moderator.classify(picture, labels, fit=fit))


def probabilities(answer: Classification, labels: Sequence[str]) -> dict[str, float]:
    """Probabilities by label. A label sent twice takes its share twice and is listed once: the sum is then below 1."""
    total = sum(answer.probabilities[label] for label in labels)
    return {label: answer.probabilities[label] / total for label in labels}


def notes(answer: Classification) -> dict[str, str]:
    """What a person should know, as a header: these APIs' bodies have no place for it."""
    text = " ".join(answer.notes).encode("unicode_escape").decode()  # a label may hold what no header can
    return {"X-Moderato-Note": text[:_LONGEST]} if text else {}
