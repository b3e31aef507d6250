"""Everything moderato raises on purpose, as a tree by who can put it right.

ModeratoError is never raised itself::

    ModeratoError
    ├── CallerError             what was sent is wrong
    │   ├── RequestError          the request as a whole: no labels, an unknown policy, a bad form
    │   ├── Unauthenticated       no key, or one that is not good
    │   ├── Forbidden             a key that may not do this, or a place from where nobody may
    │   └── Unscannable           one picture; it becomes the verdict's `unscannable`
    │       ├── FetchError          its URL could not be read, or may not be
    │       ├── DecodeError         its bytes are not a picture that can be read to the end
    │       └── LimitError          it is larger than the limits allow
    ├── Overloaded              nobody: try again later
    │   └── RateLimited           by the rate or the quota of a key
    └── OperatorError           how moderato is set up is wrong
        ├── SettingsError         an environment variable or an option
        ├── PolicyError           a policy file
        ├── CardError             a card, or a model folder that contradicts its card
        ├── WeightsError          model files that cannot be had, read or trusted
        └── MissingExtra          a package that is not installed
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ModeratoError(Exception):
    """Base of all errors raised on purpose; `str()` of one is a sentence for a person."""


class CallerError(ModeratoError):
    """What was sent is wrong, and whoever sent it can put it right."""


class RequestError(CallerError):
    """The request as a whole cannot be answered."""


class Unauthenticated(CallerError):
    """No key was sent where one is needed, or one that is unknown, expired or revoked. `given`: one was sent."""

    def __init__(self, message: str, given: bool = False) -> None:
        super().__init__(message)
        self.given = given


class Forbidden(CallerError):
    """The key may not do this, or without a key nobody may from there."""


class Unscannable(CallerError):
    """One picture cannot be scanned. The others of the same request are not affected.

    `code` is one stable word for programs, `detail` a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    @classmethod
    def read(cls, text: str) -> Unscannable:
        """The error behind a verdict's `unscannable`."""
        code, _, detail = text.partition(": ")
        return cls(code, detail)


class FetchError(Unscannable):
    """A URL could not be fetched, or is one that may not be fetched."""


class DecodeError(Unscannable):
    """The bytes are not a picture, or not one that can be read to its end."""


class LimitError(Unscannable):
    """The picture is larger than the limits allow; it was not decoded."""


class Overloaded(ModeratoError):
    """More is asked at once than can be answered soon. Trying again after `retry_after` seconds helps."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimited(Overloaded):
    """The key has used up its rate or its quota."""


class OperatorError(ModeratoError):
    """The way moderato is set up is wrong, and whoever runs it can put it right."""


class SettingsError(OperatorError):
    """An environment variable or an option has a value that cannot be used."""


class PolicyError(OperatorError):
    """A policy cannot be read, or asks for something impossible."""


class CardError(OperatorError):
    """A card is wrong, or a model folder contradicts what is stated about it."""


class WeightsError(OperatorError):
    """Model files cannot be had, cannot be read, or are not the ones recorded."""


class ExecutionError(OperatorError):
    """An encoder cannot be run here in the way that was asked for."""


class MissingExtra(OperatorError):
    """An optional package is not installed."""


def nearest(wrong: str, allowed: Iterable[str]) -> str:
    """What to add to an error about `wrong`: the nearest right spelling, and all that is allowed."""
    names = sorted(allowed)
    guess = get_close_matches(wrong, names, n=1)
    hint = f"Did you mean '{guess[0]}'? " if guess else ""
    return f"{hint}Known: {', '.join(names) or 'none'}."


def visible(text: str) -> str:
    """The text with everything spelt out that would not show: control characters, broken bytes, turned directions."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
