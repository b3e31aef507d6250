"""The zero-shot head: labels described in words, scored against the picture's embedding.

*Independent* labels are scored on their own: `sigmoid(temperature · (best prompt - best anchor))`, where an anchor
describes a harmless look-alike. Adding a label changes no other score. *Exclusive* groups share a softmax over
`logit_scale · cosine`, CLIP's own zero-shot rule (Radford et al. 2021, section 3.1): one of them must be it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moderato.layers import Floats, sigmoid, softmax
from moderato.types import Embeddings, Scores


@dataclass(frozen=True)
class LabelRows:
    """What one label looks for: prompt embeddings `(P, D)` and anchor embeddings `(A, D)`, rows of unit length."""

    prompts: Floats
    anchors: Floats


@dataclass(frozen=True)
class Prompts:
    """Scores for L labels. `groups` holds the column numbers of each exclusive group; all others are independent."""

    labels: tuple[LabelRows, ...]
    groups: tuple[tuple[int, ...], ...]
    temperature: float
    logit_scale: float

    def score(self, embeddings: Embeddings) -> Scores:
        """Scores `(N, L)` in 0..1 for embeddings `(N, D)`."""
        best = np.stack([_best(embeddings, label.prompts) for label in self.labels], axis=1)
        scores = np.empty_like(best)
        exclusive = {column for group in self.groups for column in group}
        for column, label in enumerate(self.labels):
            if column not in exclusive:
                gap = best[:, column] - _best(embeddings, label.anchors)
                scores[:, column] = sigmoid(self.temperature * gap)
        for group in self.groups:
            scores[:, group] = softmax(self.logit_scale * best[:, group])
        return Scores(scores)


def ensemble(rows: Embeddings) -> Floats:
    """One embedding `(D,)` for one prompt in several templates: their mean, of unit length again.

    As CLIP's own zero-shot classifier does it (open_clip, zero_shot_classifier.py).
    """
    mean = rows.mean(axis=0)
    unit: Floats = mean / np.linalg.norm(mean)
    return unit


def _best(embeddings: Embeddings, rows: Floats) -> Floats:
    cosines: Floats = embeddings @ rows.T  # (N, P)
    best: Floats = cosines.max(axis=1)
    return best
