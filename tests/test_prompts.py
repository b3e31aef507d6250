from __future__ import annotations

import math

import numpy as np
import pytest

from moderato.heads.prompts import LabelRows, Prompts, ensemble
from moderato.types import Embeddings


def unit(*numbers: float) -> np.ndarray:
    row = np.array(numbers, dtype=np.float32)
    return row / np.linalg.norm(row)


def head(**changes: object) -> Prompts:
    label = LabelRows(
        prompts=np.stack([unit(1, 0, 0), unit(0, 1, 0)]), anchors=np.stack([unit(0, 0, 1), unit(1, 1, 0)])
    )
    other = LabelRows(prompts=np.stack([unit(0, 0, 1)]), anchors=np.stack([unit(1, 0, 0)]))
    facts = {"labels": (label, other), "groups": (), "temperature": 5.0, "logit_scale": 10.0, **changes}
    return Prompts(**facts)  # type: ignore[arg-type]


PICTURES = Embeddings(np.stack([unit(1, 0, 0), unit(0, 0, 1), unit(3, 4, 12)]))


def test_independent_labels_are_best_prompt_against_best_anchor() -> None:
    scores = head().score(PICTURES)
    x, y, z = 3 / 13, 4 / 13, 12 / 13
    gaps = [
        [1 - math.sqrt(0.5), 0 - 1],
        [0 - 1, 1 - 0],
        [max(x, y) - max(z, (x + y) / math.sqrt(2)), z - x],
    ]
    assert scores == pytest.approx(np.array([[1 / (1 + math.exp(-5 * gap)) for gap in row] for row in gaps]), abs=1e-6)


def test_a_further_label_changes_no_independent_score() -> None:
    alone = head(labels=head().labels[:1]).score(PICTURES)
    assert np.array_equal(alone[:, 0], head().score(PICTURES)[:, 0])


def test_an_exclusive_group_is_a_softmax_over_scaled_cosines() -> None:
    scores = head(groups=((0, 1),)).score(PICTURES)
    logits = np.array([[10, 0], [0, 10], [10 * 4 / 13, 10 * 12 / 13]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores == pytest.approx(expected, abs=1e-6)
    assert scores.sum(axis=1) == pytest.approx(np.ones(3))


def test_extreme_gaps_do_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise"):
        scores = head(temperature=1e4, groups=()).score(PICTURES)
        assert head(logit_scale=1e4, groups=((0, 1),)).score(PICTURES).sum(axis=1) == pytest.approx(np.ones(3))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_templates_become_one_row_of_unit_length() -> None:
    rows = Embeddings(np.stack([unit(1, 0, 0), unit(0, 1, 0)]))
    assert ensemble(rows) == pytest.approx(unit(1, 1, 0), abs=1e-6)
