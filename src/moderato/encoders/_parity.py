"""Whether another precision or runtime sees what fp32 sees.

Cosines hide the answer: unrelated pictures of one encoder lie in a narrow cone, and their embeddings agree to 0.9 and
more whatever was lost. What is compared is therefore how pictures differ from one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moderato.errors import SettingsError
from moderato.types import Embeddings, Precision

BOUNDS: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.1, "fp16": 0.1, "int8": 0.1}
"""The most that `Parity.centred` and `Parity.offset` may be; a tenth of what tells pictures apart."""

_FEWEST = 8


@dataclass(frozen=True)
class Parity:
    """How far embeddings are from their reference, both relative to the spread between the reference's pictures."""

    centred: float
    """What is wrong about how pictures differ from one another: the error after both means are taken away."""
    offset: float
    """What is wrong about all of them alike: how far the two means are apart. It moves every score of a prompt."""

    def within(self, precision: Precision) -> bool:
        """Whether both are within the bound of a precision."""
        return max(self.centred, self.offset) <= BOUNDS[precision]  # not so for NaN


def parity(embeddings: Embeddings, reference: Embeddings) -> Parity:
    """Compare embeddings `(N, D)` with those of the same views in fp32.

    Raises `SettingsError` for fewer than 8 views, or views that are all alike: they have no spread to compare with.
    """
    mean, expected = embeddings.mean(axis=0), reference.mean(axis=0)
    spread = float(np.linalg.norm(reference - expected))
    if len(reference) < _FEWEST or spread < 1e-4 * float(np.linalg.norm(reference)):
        raise SettingsError(f"Precisions are compared on {_FEWEST} or more pictures that differ from one another.")
    error = float(np.linalg.norm((embeddings - mean) - (reference - expected)))
    offset = float(np.linalg.norm(mean - expected)) * len(reference) ** 0.5
    return Parity(error / spread, offset / spread)
