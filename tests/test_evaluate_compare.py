"""Two judgements of the same pictures: what differs, how surely, and what flipped."""

from __future__ import annotations

import numpy as np
import pytest

from moderato.errors import RequestError
from moderato.evaluate.compare import Comparison, compare, paired
from moderato.evaluate.judging import Judged, Picture, Unscanned
from moderato.evaluate.measure import Wanted
from moderato.evaluate.subjects import Mode, Question, Subject
from moderato.types import Action

WANTED = Wanted(0.01)


def judged(scores: dict[str, list[float]], truths: list[str], threshold: float = 0.5) -> Judged:
    table = np.array(list(scores.values())).T
    actions: list[Action] = ["review" if (row >= threshold).any() else "allow" for row in table]
    pictures = tuple(Picture(f"{i}.png", (truth,)) for i, truth in enumerate(truths))
    return Judged(tuple(scores), pictures, table, tuple(actions))


def subject(name: str, *labels: str, mode: Mode = "policy", threshold: float = 0.5) -> Subject:
    questions = tuple(Question(label, (label, label.lower()), (("review", threshold),)) for label in labels)
    return Subject(name, mode, questions, exclusive=mode == "labels")


def number(comparison: Comparison, section: str, name: str) -> tuple[float | None, float | None, float | None]:
    (found,) = [part for part in comparison.sections if part.label == section]
    (row,) = [row for row in found.differences if row.name == name]
    return row.first, row.second, row.difference.value


TRUTHS = ["knife"] * 4 + ["house"] * 6
OLD = judged({"knife": [0.9, 0.8, 0.4, 0.3, 0.7, 0.1, 0.1, 0.1, 0.1, 0.1]}, TRUTHS)
NEW = judged({"knife": [0.9, 0.8, 0.6, 0.3, 0.2, 0.8, 0.1, 0.1, 0.1, 0.1]}, TRUTHS)
BOTH = (subject("old", "knife"), subject("new", "knife"))


def test_differences_worked_out_by_hand() -> None:
    found = compare(BOTH, (OLD, NEW), WANTED)
    assert found.pictures == 10
    for section in ("flagged", "knife"):
        assert number(found, section, "recall") == pytest.approx((0.5, 0.75, 0.25))
        assert number(found, section, "false-positive rate") == pytest.approx((1 / 6, 1 / 6, 0))
    first, second, change = number(found, "knife", "ROC AUC")
    assert first == pytest.approx(22 / 24)  # two of the four knives lie below one house
    assert second == pytest.approx((6 + 5.5 + 5 + 5) / 24)  # a tie is a half
    assert change == pytest.approx(second - first)
    loads = number(found, "flagged", "reviews per 10,000")
    assert loads == pytest.approx((1700, 1725, 25))


def test_what_flipped_and_who_is_right() -> None:
    flips = compare(BOTH, (OLD, NEW), WANTED).flips
    assert [(flip.picture.name, flip.first, flip.second, flip.right) for flip in flips] == [
        ("2.png", "allow", "review", "second"),
        ("4.png", "review", "allow", "second"),
        ("5.png", "allow", "review", "first"),
    ]


def test_a_flip_between_review_and_block_is_neither_s_gain() -> None:
    blocked = Judged(OLD.labels, OLD.pictures, OLD.scores, ("block", *OLD.actions[1:]))
    (flip,) = compare(BOTH, (OLD, blocked), WANTED).flips
    assert (flip.first, flip.second, flip.right) == ("review", "block", "")


def test_the_same_twice_differs_in_nothing_and_says_how_sure_that_is() -> None:
    found = compare(BOTH, (OLD, OLD), WANTED)
    assert found.flips == ()
    (recall, *_) = found.sections[0].differences
    assert recall.difference.ends is not None
    value, low, high = recall.difference.ends
    assert value == 0
    assert low < -0.5 < 0.5 < high  # of four knives nobody can say more


def test_a_paired_difference_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        draws = rng.random(80)
        first, second = draws < 0.7, (draws < 0.65) | (draws > 0.9)  # 0.75 - 0.70
        ends = paired(first, second).ends
        assert ends is not None
        covered += ends[1] <= 0.05 <= ends[2]
    assert covered / 300 >= 0.95


def test_many_pictures_make_a_difference_sure() -> None:
    first, second = np.arange(400) < 300, np.arange(400) < 340
    ends = paired(first, second).ends
    assert ends is not None
    assert 0 < ends[1] < ends[0] == 0.1 < ends[2]


def test_only_pictures_that_both_could_scan_are_compared() -> None:
    fewer = NEW.taken(range(1, 10))
    lost = Judged(
        fewer.labels, fewer.pictures, fewer.scores, fewer.actions, (Unscanned(NEW.pictures[0], "unreadable"),)
    )
    assert compare(BOTH, (OLD, lost), WANTED).pictures == 9
    with pytest.raises(RequestError, match="no picture that both could scan"):
        compare(BOTH, (OLD, NEW.taken([])), WANTED)


def test_heads_are_compared_by_their_outputs_whatever_the_case() -> None:
    first = judged({"NSFW": OLD.scores[:, 0].tolist()}, ["nsfw"] * 4 + ["sfw"] * 6)
    second = judged({"nsfw": NEW.scores[:, 0].tolist()}, ["nsfw"] * 4 + ["sfw"] * 6)
    heads = (subject("a", "NSFW", mode="head"), subject("b", "nsfw", mode="head"))
    found = compare(heads, (first, second), WANTED)
    assert [section.label for section in found.sections] == ["NSFW"]
    assert number(found, "NSFW", "recall") == pytest.approx((0.5, 0.75, 0.25))
    assert next((flip.label, flip.first, flip.second) for flip in found.flips) == ("NSFW", "no", "yes")


def test_predictions_of_two_encoders() -> None:
    truths = ["cat", "cat", "dog", "dog"]
    first = judged({"cat": [0.9, 0.4, 0.2, 0.6], "dog": [0.1, 0.6, 0.8, 0.4]}, truths)
    second = judged({"cat": [0.9, 0.7, 0.6, 0.7], "dog": [0.1, 0.3, 0.4, 0.3]}, truths)
    labels = (subject("small", "cat", "dog", mode="labels"), subject("large", "cat", "dog", mode="labels"))
    found = compare(labels, (first, second), WANTED)
    assert number(found, "prediction", "accuracy") == pytest.approx((0.5, 0.5, 0))
    assert [(flip.picture.name, flip.first, flip.second, flip.right) for flip in found.flips] == [
        ("1.png", "dog", "cat", "second"),
        ("2.png", "dog", "cat", "first"),
    ]


def test_subjects_without_a_label_in_common_are_refused() -> None:
    other = judged({"skull": [0.5] * 10}, TRUTHS)
    with pytest.raises(RequestError, match="no label in common: old has knife; new, skull"):
        compare((subject("old", "knife"), subject("new", "skull")), (OLD, other), WANTED)


def test_pictures_of_one_kind_only_are_no_crash() -> None:
    truths = ["house"] * 10
    first, second = (judged({"knife": part.scores[:, 0].tolist()}, truths) for part in (OLD, NEW))
    found = compare(BOTH, (first, second), WANTED)
    assert number(found, "knife", "recall") == (None, None, None)
    assert number(found, "knife", "ROC AUC") == (None, None, None)
    assert number(found, "knife", "precision at the prevalence") == (None, None, None)
    assert number(found, "knife", "false-positive rate") == pytest.approx((0.3, 0.4, 0.1))


def test_a_judge_that_flags_nothing_has_no_precision_to_compare() -> None:
    silent = judged({"knife": [0.1] * 10}, TRUTHS)
    first, second, change = number(compare(BOTH, (OLD, silent), WANTED), "knife", "precision at the prevalence")
    assert first is not None
    assert (second, change) == (None, None)
