"""A model folder's JSON config, read with errors that name the file, the key, what was expected and what was found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from moderato.errors import WeightsError, nearest

T = TypeVar("T")
Triple = tuple[float, float, float]


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
        except (OSError, ValueError) as error:
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
        if len(value) != 3 or not all(isinstance(number, int | float) for number in value):
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
            name = kind.__name__ if isinstance(kind, type) else "number"
            raise self.error(key, f"of type {name}", value)
        return value
