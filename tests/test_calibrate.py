"""Platt's calibration: what is fitted, whether it helps, and what is written into a policy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from moderato.errors import PolicyError
from moderato.evaluate._policy_file import write_platt
from moderato.evaluate.calibrate import (
    LEAST,
    Calibration,
    Refusal,
    apply_platt,
    calibrate,
    calibrate_label,
    fit_platt,
    uncalibrated,
)
from moderato.evaluate.judging import Judged, Picture
from moderato.evaluate.subjects import subject_of_policy
from moderato.policy import Label, Policy, read_policy

LABEL = Label(prompts=["a knife"], anchors=["a spoon"], review=0.5, block=0.9)
POLICY = """\
# Mine.   (kept, byte for byte)
name = "mine"
encoder = "tiny"      # the toy
anchors = [
    "a house",  # harmless
    "a tree",
]
exclusive = [["cat", "dog"]]

[labels.knife]  # sharp
review = 0.5   # from here on

[labels."two words"]
prompts = ['a "skull"']

[labels.cat]
[labels.dog]
# the end
"""


def drawn(count: int, slope: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose probability is sigmoid(slope · logit + shift), and truths drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, count)
    truth = rng.random(count) < 1 / (1 + np.exp(-(slope * logits + shift)))
    return 1 / (1 + np.exp(-logits)), truth


def error(scores: np.ndarray, truth: np.ndarray) -> float:
    """Calibration error over ten bins, worked out without the code that is tested."""
    total = 0.0
    for low in np.arange(0, 1, 0.1):
        mine = (scores >= low) & (scores < low + 0.1)
        if mine.any():
            total += mine.sum() * abs(scores[mine].mean() - truth[mine].mean())
    return total / scores.size


def test_what_scores_were_bent_by_is_found_again() -> None:
    scores, truth = drawn(20_000, 0.6, -1.5)
    assert fit_platt(scores, truth) == pytest.approx((0.6, -1.5), abs=0.05)


def test_calibration_is_nearer_to_the_truth_on_pictures_it_has_not_seen() -> None:
    found = calibrate_label("knife", LABEL, *drawn(600, 0.6, -1.5))
    assert isinstance(found, Calibration)
    fresh, truth = drawn(5000, 0.6, -1.5, seed=1)
    assert error(fresh, truth) > 0.15
    assert error(apply_platt(found.platt, fresh), truth) < 0.03
    assert found.before.value == pytest.approx(error(*drawn(600, 0.6, -1.5)), abs=1e-9)
    assert found.after.value is not None
    assert found.after.value < 0.06
    assert found.change.high is not None
    assert found.change.high < 0
    assert found.positives + found.negatives == 600


def test_a_policy_applies_what_was_fitted_in_the_same_way() -> None:
    scores = np.array([0.0, 1e-9, 0.2, 0.5, 0.999, 1.0])
    label = LABEL.model_copy(update={"platt": (0.7, -0.8)})
    assert label.calibrated(scores.astype("f4")) == pytest.approx(apply_platt((0.7, -0.8), scores), abs=1e-5)


def test_perfect_separation_gives_a_finite_slope() -> None:
    truth = np.arange(80) < 40
    scores = np.where(truth, 0.62, 0.41)
    slope, shift = fit_platt(scores, truth)
    assert 0 < slope < 20
    # Platt 1999: 41 / 42 where there are 40 positives, 1 / 42 for 40 negatives
    assert apply_platt((slope, shift), np.array([0.62, 0.41])) == pytest.approx((41 / 42, 1 / 42), abs=1e-3)
    assert isinstance(calibrate_label("knife", LABEL, scores, truth), Calibration)


def test_scores_of_nought_and_one_are_no_infinity() -> None:
    truth = np.arange(80) < 40
    slope, shift = fit_platt(truth.astype(float), truth)
    assert np.isfinite([slope, shift]).all()


def test_thresholds_are_told_where_the_same_decisions_are() -> None:
    scores, truth = drawn(600, 0.6, -1.5)
    found = calibrate_label("knife", LABEL, scores, truth)
    assert isinstance(found, Calibration)
    assert [(name, old) for name, old, _ in found.moved] == [("review", 0.5), ("block", 0.9)]
    for _, old, new in found.moved:
        assert ((scores >= old) == (apply_platt(found.platt, scores) >= new)).all()


def test_a_threshold_on_calibrated_scores_is_brought_back_first() -> None:
    scores, truth = drawn(600, 0.6, -1.5)
    again = calibrate_label("knife", LABEL.model_copy(update={"platt": (0.5, 1.0)}), scores, truth)
    assert isinstance(again, Calibration)
    flagged = apply_platt((0.5, 1.0), scores) >= 0.5
    assert (flagged == (apply_platt(again.platt, scores) >= again.moved[0][2])).all()


def test_too_few_pictures_are_refused() -> None:
    scores, truth = drawn(400, 1, 0)
    few = np.flatnonzero(truth)[: LEAST - 1]
    kept = np.sort(np.concatenate([few, np.flatnonzero(~truth)]))
    found = calibrate_label("knife", LABEL, scores[kept], truth[kept])
    assert isinstance(found, Refusal)
    assert f"there are {LEAST - 1} and" in found.why


def test_scores_that_point_the_wrong_way_are_refused() -> None:
    found = calibrate_label("knife", LABEL, *drawn(400, -1, 0))
    assert isinstance(found, Refusal)
    assert "no higher for its own pictures" in found.why


def test_what_is_calibrated_already_is_not_made_worse() -> None:
    truth = np.arange(540) < 30
    scores = np.where(truth, 0.9999, 0.0001)
    found = calibrate_label("skull", LABEL, scores, truth)
    assert isinstance(found, Refusal)
    assert "better as it is" in found.why


def test_labels_of_an_exclusive_group_are_left_alone(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, POLICY))
    scores, truth = drawn(400, 0.6, -1)
    pictures = tuple(Picture(str(i), ("knife" if true else "cat",)) for i, true in enumerate(truth))
    judged = Judged(tuple(policy.labels), pictures, np.tile(scores[:, None], (1, 4)), ("allow",) * 400)
    results = calibrate(policy, subject_of_policy(policy, {}).questions, judged)
    assert [(result.label, isinstance(result, Calibration)) for result in results] == [
        ("knife", True),
        ("two words", False),  # nobody put a picture there
        ("cat", False),
        ("dog", False),
    ]
    assert "exclusive group" in next(r.why for r in results if isinstance(r, Refusal) and r.label == "cat")


# The file


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_bytes(text.encode())
    return file


def test_everything_else_in_the_file_stays_byte_for_byte(tmp_path: Path) -> None:
    file = written(tmp_path, POLICY)
    file.chmod(0o640)
    write_platt(file, {"knife": (1.25, -0.5), "two words": (2.0, 0.0)})
    lines = file.read_text().splitlines(keepends=True)
    added = [line for line in lines if line.startswith("platt")]
    assert added == ["platt = [1.25, -0.5]\n", "platt = [2.0, 0.0]\n"]
    assert "".join(line for line in lines if line not in added) == POLICY
    assert read_policy(file).labels["knife"].platt == (1.25, -0.5)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


def test_a_second_calibration_replaces_the_first(tmp_path: Path) -> None:
    file = written(tmp_path, POLICY)
    write_platt(file, {"knife": (1.25, -0.5)})
    write_platt(file, {"knife": (0.75, 0.25)})
    assert file.read_text().count("platt") == 1
    assert read_policy(file).labels["knife"].platt == (0.75, 0.25)
    assert uncalibrated(read_policy(file)) == read_policy(written(tmp_path, POLICY))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("[labels.cat]\n[labels.dog]", "[labels]\ncat = {}\ndog = {}").replace(
            "# Mine", "# M"
        ),
        lambda text: text.replace(
            "[labels.knife]  # sharp\nreview = 0.5   # from here on", "[labels]\nknife.review = 0.5"
        ),
        lambda text: text.replace("[labels.knife]  # sharp\nreview = 0.5", "[labels]\nknife = { review = 0.5 }  #"),
    ],
    ids=["line ends of Windows", "a table of the rest", "dotted", "in a line"],
)
def test_labels_may_be_written_in_any_of_toml_s_ways(tmp_path: Path, change: Callable[[str], str]) -> None:
    file = written(tmp_path, change(POLICY))
    before = read_policy(file)
    write_platt(file, {"knife": (1.25, -0.5)})
    after = read_policy(file)
    assert after.labels["knife"].platt == (1.25, -0.5)
    assert uncalibrated(after) == before
    assert b"# the end" in file.read_bytes()
    assert (b"\r\n" in file.read_bytes()) == ("\r\n" in change(POLICY))


def test_a_file_that_cannot_be_written_is_left_whole(tmp_path: Path) -> None:
    file = written(tmp_path, POLICY)
    beside = tmp_path / f".{file.stem}.{os.getpid()}.toml"
    beside.symlink_to(tmp_path / "nowhere" / "nothing")  # where the new file would first be written
    with pytest.raises(PolicyError, match="cannot be written"):
        write_platt(file, {"knife": (1.0, 0.0)})
    assert file.read_text() == POLICY
    assert not beside.is_symlink()


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file = written(tmp_path / "real", POLICY)
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    write_platt(link, {"knife": (1.25, -0.5)})
    assert link.is_symlink()
    assert "platt" in file.read_text()


def test_a_policy_is_what_it_was_but_for_its_calibration() -> None:
    policy = Policy(name="p", encoder="tiny", labels={"knife": LABEL.model_copy(update={"platt": (1.0, 0.0)})})
    assert uncalibrated(policy) == Policy(name="p", encoder="tiny", labels={"knife": LABEL})


def test_probabilities_are_made_for_the_share_that_the_stream_has() -> None:
    """Learned where half are positives, measured where one in fifty is, of pictures of the same two kinds."""
    rng = np.random.default_rng(5)

    def kinds(positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
        logits = np.concatenate([rng.normal(1, 1, positives), rng.normal(-1, 1, negatives)])
        return 1 / (1 + np.exp(-logits)), np.repeat([True, False], [positives, negatives])

    scores, truth = kinds(4000, 4000)
    here, there = (calibrate_label("knife", LABEL, scores, truth, share) for share in (None, 0.02))
    assert isinstance(here, Calibration)
    assert isinstance(there, Calibration)
    assert (here.share, there.share) == (0.5, 0.02)
    assert there.platt[1] - here.platt[1] == pytest.approx(np.log(0.02 / 0.98), abs=1e-3)
    rare, seldom = kinds(2000, 98_000)
    assert error(apply_platt(there.platt, rare), seldom) < 0.01
    assert error(apply_platt(here.platt, rare), seldom) > 0.1
