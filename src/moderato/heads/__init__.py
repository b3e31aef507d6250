"""Heads: embeddings → scores. One kind a file; a trained head of any kind becomes a `Head`.

Each kind's module has `read(file, card)`, which raises `WeightsError` for a file that is not what it should be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError
from moderato.layers import Network
from moderato.types import Scores


@dataclass(frozen=True, eq=False)
class Head:
    """A trained head: what it is called, whose embeddings it reads, what its outputs mean.

    `encoder` is the identity of the embedding space. `measured` says who measured it, on what.
    """

    name: str
    encoder: str
    labels: tuple[str, ...]
    network: Network = field(repr=False)
    licence: str = ""
    measured: str = ""

    def score(self, embeddings: NDArray[np.floating]) -> Scores:
        """Scores `(N, L)` in 0..1 for embeddings `(N, D)` of any float type; NaN for a row that is not finite.

        Raises `RequestError` for another shape.
        """
        try:
            rows = np.asarray(embeddings)
        except ValueError as error:  # rows of different lengths
            raise RequestError(f"'{self.name}' reads an array of embeddings; this is none ({error}).") from error
        if rows.ndim != 2 or rows.shape[1] != self.dim or rows.dtype.kind not in "fiu":
            raise RequestError(
                f"'{self.name}' reads embeddings (N, {self.dim}) of {self.encoder}; "
                f"these are {rows.dtype} of the shape {rows.shape}."
            )
        return self.network(rows)

    @property
    def dim(self) -> int:
        """D, the size of the embeddings it reads."""
        return self.network.dim

    @property
    def fingerprint(self) -> str:
        """sha256 over everything that decides its scores and what they mean."""
        return sha256(f"{self.encoder} {self.labels} {self.network.fingerprint}".encode()).hexdigest()
