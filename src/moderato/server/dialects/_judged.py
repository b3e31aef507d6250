"""Pictures of any dialect → verdicts by the service's own policy."""

from __future__ import annotations

from collections.abc import Sequence

from moderato.errors import Unscannable
from moderato.media.load import Sendable
from moderato.server.desk import Desk
from moderato.types import Verdict

NOT_FETCHED = frozenset({"forbidden_url", "forbidden_address", "unfetchable"})
"""The codes of an `Unscannable` that are about a URL and not about the picture behind it."""


async def judged(desk: Desk, pictures: Sequence[Sendable]) -> list[Verdict]:
    """One verdict for each picture, in order; a picture that cannot be scanned has `unscannable` in its own."""
    desk.expect(max(1, len(pictures)))
    return await desk.in_turn(lambda: list(desk.moderator.check_many(pictures)))


def scanned(verdict: Verdict) -> Verdict:
    """The verdict itself. Raises the `Unscannable` that it tells of."""
    if verdict.unscannable:
        raise Unscannable.read(verdict.unscannable)
    return verdict
