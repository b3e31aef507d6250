"""A model folder's JSON config, read with errors that name the file, the key, what was expected and what was found."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moderato.encoders._towers import Triple
from moderato.errors import WeightsError, nearest

T = TypeVar("T")

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
"""What CLIPs subtract and divide by per channel (0..1) unless their config says otherwise: openai/CLIP, clip.py."""
HALVES = (0.5, 0.5, 0.5)
"""What Google's ViTs and SigLIPs subtract and divide by."""

_MOST_LABELS = 2**16
_MOST = 1e6  # for a colour's mean or spread


@dataclass(frozen=True)
class Config:
    """One table of a JSON file. `at` is the way to it, for error messages."""

    file: Path
    values: Mapping[str, Any]
    at: str = ""

    @classmethod
    def read(cls, file: Path) -> Config:
        """The file's top table. Raises `WeightsError` when it is not a JSON object."""
        try:
            values = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise WeightsError(f"{file}: not a readable JSON file ({error}).") from error
        if not isinstance(values, dict):
            raise WeightsError(f"{file}: expected a JSON object, found {type(values).__name__}.")
        return cls(file, values)

    def section(self, key: str, default: Mapping[str, Any] | None = None) -> Config:
        """A table inside this one."""
        return Config(self.file, self._get(key, dict, default), f"{self.at}{key}.")

    def integer(self, key: str, default: int | None = None, most: int = 2**20) -> int:
        """A whole number above 0 and at most `most`: no file may ask for endless work."""
        value: int = self._get(key, int, default)
        if isinstance(value, bool) or not 0 < value <= most:
            raise self.error(key, f"a whole number from 1 to {most:,}", value)
        return value

    def integers(self, key: str, *default: int) -> tuple[int, ...]:
        """A whole number, or several of them."""
        value = self._get(key, (int, list), [*default])
        values = value if isinstance(value, list) else [value]
        if not values or not all(type(number) is int and number >= 0 for number in values):
            raise self.error(key, "a whole number, or a list of them", value)
        return tuple(values)

    def labels(self, key: str, default: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Words in the order of their numbers: a list, or a table from "0", "1" and so on.

        Some may be alike, as ImageNet's two cranes are; who asks for such a label is told so.
        """
        value = self._get(key, (list, dict), default)
        expected = 'words, as a list or by their numbers from "0" on'
        words = [value.get(str(i)) for i in range(min(len(value), _MOST_LABELS))] if isinstance(value, dict) else value
        if not words or len(words) < len(value) or not all(isinstance(word, str) and word for word in words):
            raise self.error(key, expected, value)
        return tuple(words)

    def number(self, key: str, default: float) -> float:
        """A number above 0."""
        value: float = self._get(key, (int, float), default)
        if isinstance(value, bool) or not 0 < value < math.inf:
            raise self.error(key, "a number above 0", value)
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value: bool = self._get(key, bool, default)
        return value

    def triple(self, key: str, default: Triple) -> Triple:
        """Three numbers, one for each colour channel."""
        value = self._get(key, (list, tuple), default)
        if len(value) != 3 or not all(type(number) in (int, float) and abs(number) < _MOST for number in value):
            raise self.error(key, "three numbers", value)
        return (float(value[0]), float(value[1]), float(value[2]))

    def choice(self, key: str, meanings: Mapping[str, T], default: str) -> T:
        """What one of the known words means."""
        word = str(self.values.get(key, default))
        if word not in meanings:
            raise WeightsError(f"{self.file}: {self.at}{key} is '{word}', which is unknown. {nearest(word, meanings)}")
        return meanings[word]

    def quotient(self, whole: int, key: str, default: int) -> int:
        """`whole` divided by the value of `key`, which must go into it."""
        part = self.integer(key, default)
        if whole % part:
            raise self.error(key, f"a divisor of {whole}", part)
        return whole // part

    def refuse(self, key: str, meaning: str) -> None:
        """Raise when `key` is set: the model is of a kind that this layout cannot express."""
        if self.values.get(key):
            raise WeightsError(f"{self.file}: {self.at}{key} asks for {meaning}, which this version cannot run.")

    def only(self, key: str, word: str) -> None:
        """Raise unless `key` is absent or says `word`."""
        if self.values.get(key, word) != word:
            raise self.error(key, f"'{word}'", self.values[key])

    def required(self, key: str, word: str) -> None:
        """Raise unless `key` says `word`."""
        if self.values.get(key) != word:
            raise self.error(key, f"'{word}'", self.values.get(key))

    def named(self, key: str, pattern: str, meanings: Mapping[str, T]) -> T:
        """What one part of a name means, SIZE in the pattern; numbers may stand for N."""
        value = str(self._get(key, str, None))
        match = re.fullmatch(pattern.replace("SIZE", "([a-z0-9]+)").replace("N", "[0-9]+"), value)
        if not match or match[1] not in meanings:
            raise self.error(key, f"{pattern}, SIZE being one of {', '.join(meanings)}", value)
        return meanings[match[1]]

    def error(self, key: str, expected: str, found: object) -> WeightsError:
        """The error for a value that does not fit."""
        return WeightsError(f"{self.file}: {self.at}{key} should be {expected}, found {found!r}.")

    def _get(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise WeightsError(f"{self.file}: {self.at}{key} is missing.")
        if not isinstance(value, kind):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            raise self.error(key, f"of type {' or '.join(kind.__name__ for kind in kinds)}", value)
        return value
