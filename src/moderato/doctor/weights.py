"""Whether the models of the shipped policies are on this machine. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator

from moderato.assemble import Workshop, cards_of
from moderato.doctor import Finding
from moderato.errors import WeightsError
from moderato.policy import Policy, read_policy, shipped_policies


def examine(workshop: Workshop) -> Iterator[Finding]:
    """A line for the user's own folder of models, where one is set, and one for each policy."""
    models = workshop.settings.models
    if models and not models.is_dir():
        yield Finding("folder", "wrong", f"MODERATO_MODELS names {models}, which is no folder", "mkdir, or unset it")
    for name in shipped_policies():
        yield _complete(read_policy(name), workshop)


def _complete(policy: Policy, workshop: Workshop) -> Finding:
    try:
        missing = [card.name for card in cards_of(policy) if workshop.place(card) is None]
    except WeightsError as error:
        return Finding(policy.name, "wrong", str(error))
    if missing:
        lacking = f"{', '.join(missing)} not on this machine"
        return Finding(policy.name, "note", lacking, f"moderato models pull {' '.join(missing)}")
    return Finding(policy.name, "well", "all it needs is on this machine")
