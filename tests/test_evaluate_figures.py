"""The arithmetic of an evaluation, against figures worked out by hand or taken from tables."""

from __future__ import annotations

import numpy as np
import pytest

from moderato.errors import RequestError
from moderato.evaluate.classes import measure_classes
from moderato.evaluate.curves import curve_of, quality
from moderato.evaluate.intervals import Figure, bounds, proportion, resample, resampled
from moderato.evaluate.measure import (
    Counts,
    LabelFigures,
    Wanted,
    measure,
    point,
    precision_at,
    precision_band,
    reviews_at,
    sure_recall,
    wanted_of,
)

TRUTH = np.array([True, False, True, False, False])
SCORES = np.array([0.9, 0.7, 0.6, 0.6, 0.3])


def separated(positives: int, negatives: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and truths in which every positive scores higher than every negative."""
    truth = np.arange(positives + negatives) < positives
    return np.where(truth, np.linspace(0.99, 0.6, truth.size), np.linspace(0.4, 0.01, truth.size)), truth


def figures(scores: np.ndarray, truth: np.ndarray, **wanted: float) -> LabelFigures:
    return measure("knife", ("knife",), scores, truth, [("review", 0.5)], Wanted(0.01, **wanted))


# Intervals


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # two-sided 95 %, as tables of the binomial give them
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (8, 10, 0.4439, 0.9748),
        (10, 10, 0.6915, 1.0),
        (1, 1, 0.025, 1.0),
        (15, 50, 0.1786, 0.4461),
    ],
)
def test_proportions_have_the_interval_of_clopper_and_pearson(hits: int, total: int, low: float, high: float) -> None:
    figure = proportion(hits, total, "")
    assert figure.value == hits / total
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=5e-5)
    assert (figure.method, figure.hits, figure.total) == ("exact", hits, total)


def test_a_proportion_of_nothing_is_not_measurable_and_says_why() -> None:
    figure = proportion(0, 0, "There are no pictures of a knife.")
    assert figure.value is None
    assert str(figure) == "not measurable"
    assert figure.why == "There are no pictures of a knife."


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.93, 0.88, 0.97), "0.93 [0.88, 0.97]"),
        (Figure(0.5, 0.31, 0.69), "0.50 [0.31, 0.69]"),
        (Figure(0.0, 0.0, 0.0072), "0.0000 [0.0000, 0.0072]"),
        (Figure(0.02, 0.008, 0.041), "0.020 [0.008, 0.041]"),
        (Figure(1.0, 0.9, 1.0), "1.00 [0.90, 1.00]"),
        (Figure(-0.11, -0.29, -0.04), "-0.11 [-0.29, -0.04]"),
        (Figure(1.0), "1.00 [no interval]"),
    ],
)
def test_a_figure_shows_the_digits_that_tell_something(figure: Figure, text: str) -> None:
    assert str(figure) == text


def test_a_figure_per_ten_thousand() -> None:
    assert Figure(0.0296, 0.0165, 0.0523).text(10_000) == "296 [165, 523]"


def test_resampling_keeps_the_number_of_positives_and_of_negatives() -> None:
    truth = np.arange(30) < 7
    counted = resample(truth, lambda weights: np.column_stack([weights @ truth, weights @ ~truth]))
    assert counted.shape == (1000, 2)
    assert (counted == (7, 23)).all()


def test_resampling_gives_the_same_every_time() -> None:
    drawn = [resample(TRUTH, lambda weights: weights) for _ in range(2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert len(np.unique(drawn[0], axis=0)) > 10


def test_where_resampling_moves_nothing_there_is_no_interval() -> None:
    figure = resampled(1.0, np.ones(1000))
    assert (figure.value, figure.low, figure.high, figure.method) == (1.0, None, None, "none")


def test_an_interval_of_resampling_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(120) < 60
    true_auc = 0.7602  # of normal scores one apart: Phi(1 / sqrt 2)
    covered = 0
    for _ in range(40):
        scores = 1 / (1 + np.exp(-rng.normal(truth.astype(float), 1)))
        auc = quality(scores, truth, "").auc
        assert auc.low is not None
        assert auc.high is not None
        covered += auc.low <= true_auc <= auc.high
    assert 33 <= covered <= 40


# Counts and rates at a threshold


def test_rates_of_a_table_worked_out_by_hand() -> None:
    at = point("review", 0.5, Counts(tp=8, fn=2, fp=5, tn=85), 0.01, "knife")
    assert at.recall.value == pytest.approx(0.8)
    assert at.fpr.value == pytest.approx(5 / 90)
    assert at.precision.value == pytest.approx(8 / 13)
    assert at.accuracy.value == pytest.approx(0.93)
    assert at.f1.value == pytest.approx(16 / 23)
    right, alarmed = 0.8 * 0.01, 5 / 90 * 0.99
    assert at.precision_there.value == pytest.approx(right / (right + alarmed))
    assert at.reviews.value == pytest.approx(right + alarmed)
    for figure in (at.recall, at.fpr, at.precision, at.accuracy, at.f1, at.precision_there, at.reviews):
        assert figure.ends is not None
        value, low, high = figure.ends
        assert 0 <= low < value < high <= 1
        assert figure.method == "exact"


def test_one_in_a_hundred_with_two_per_cent_false_alarms_is_right_one_time_in_three() -> None:
    at = point("review", 0.5, Counts(tp=95, fn=5, fp=20, tn=980), 0.01, "knife")
    assert at.precision_there.value == pytest.approx(0.32, abs=0.005)
    assert at.precision.value == pytest.approx(0.83, abs=0.005)  # what the set itself would make one believe
    assert float(precision_at(0.98, 0.02, 0.001)) == pytest.approx(0.047, abs=0.0005)
    assert reviews_at(0.95, 0.02, 0.01) == pytest.approx(0.0293)


def test_no_false_alarm_in_two_hundred_does_not_make_a_stream_free_of_them() -> None:
    there = point("review", 0.5, Counts(tp=95, fn=5, fp=0, tn=200), 0.001, "knife").precision_there
    assert there.value == 1
    assert there.low is not None
    assert there.low < 0.06  # 2.2 % false alarms would be no surprise: 0.001 · 0.88 / (… + 0.022) = 4 %


def test_the_interval_of_precision_in_a_stream_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        tp, fp = int(rng.binomial(40, 0.9)), int(rng.binomial(200, 0.03))
        figure = point("", None, Counts(tp, 40 - tp, fp, 200 - fp), 0.01, "").precision_there
        assert figure.ends is not None
        covered += figure.ends[1] <= float(precision_at(0.9, 0.03, 0.01)) <= figure.ends[2]
    assert covered / 300 >= 0.95


def test_without_positives_the_false_alarms_are_still_measured() -> None:
    at = point("review", 0.5, Counts(tp=0, fn=0, fp=3, tn=97), 0.01, "knife")
    assert at.fpr.value == 0.03
    for figure in (at.recall, at.f1, at.precision_there, at.reviews):
        assert figure.value is None
        assert "no pictures of knife" in figure.why
    assert "297" in at.reviews.why  # 10,000 · 0.03 · 0.99


def test_without_negatives_and_without_anything_there_is_no_division_by_zero() -> None:
    only = point("review", 0.5, Counts(tp=3, fn=1, fp=0, tn=0), 0.01, "knife")
    assert only.recall.value == 0.75
    assert only.fpr.value is None
    nothing = point("review", 0.5, Counts(0, 0, 0, 0), 0.01, "knife")
    assert nothing.accuracy.value is None
    assert nothing.precision_there.value is None


def test_a_threshold_that_nothing_reaches_has_no_precision() -> None:
    at = point("block", 0.9, Counts(tp=0, fn=10, fp=0, tn=90), 0.01, "knife")
    assert at.precision.value is None
    assert at.precision_there.value is None
    assert at.precision_there.why == "No picture was flagged."
    assert at.reviews.value == 0


def test_what_cannot_be_scanned_adds_to_the_load() -> None:
    counts = Counts(tp=8, fn=2, fp=5, tn=85)
    without = point("flagged", None, counts, 0.01, "").reviews
    with_some = point("flagged", None, counts, 0.01, "", (25, 125)).reviews
    assert without.value is not None
    assert with_some.value == pytest.approx(0.2 + 0.8 * without.value)
    assert with_some.ends is not None
    assert with_some.ends[1] < with_some.ends[0] < with_some.ends[2]


# Curves


def test_areas_worked_out_by_hand() -> None:
    found = quality(SCORES, TRUTH, "knife")
    assert found.auc.value == pytest.approx(4.5 / 6)  # of six pairs four are in order and one is a tie
    assert found.average_precision.value == pytest.approx(0.5 * 1 + 0.5 * 0.5)


def test_areas_agree_with_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    truth = rng.random(500) < 0.2
    scores = np.round(1 / (1 + np.exp(-rng.normal(truth * 1.5, 1))), 2)  # rounded: with many ties
    found = quality(scores, truth, "")
    assert found.auc.value == pytest.approx(roc_auc_score(truth, scores))
    assert found.average_precision.value == pytest.approx(average_precision_score(truth, scores))


def test_a_calibration_error_worked_out_by_hand() -> None:
    found = quality(np.array([0.05, 0.05, 0.85, 0.85]), np.array([False, False, True, False]), "")
    assert found.calibration_error.value == pytest.approx(0.5 * 0.05 + 0.5 * 0.35)
    assert [part.mean for part in found.bins] == pytest.approx([0.05, 0.85])
    assert [(part.share.hits, part.share.total) for part in found.bins] == [(0, 2), (1, 2)]


def test_scores_of_nought_and_one_fall_into_bins() -> None:
    found = quality(np.array([0.0, 1.0, 1.0]), np.array([False, True, True]), "")
    assert found.calibration_error.value == 0


def test_a_curve_counts_what_reaches_a_threshold() -> None:
    curve = curve_of(SCORES, TRUTH)
    assert curve.thresholds.tolist() == [0.9, 0.7, 0.6, 0.3]
    assert curve.counts_at(0.95) == (0, 0)
    assert curve.counts_at(0.9) == (1, 0)  # a score that equals the threshold reaches it
    assert curve.counts_at(0.6) == (2, 2)
    assert curve.counts_at(0.0) == (2, 3)


def test_a_thinned_curve_keeps_its_ends() -> None:
    scores = np.linspace(0, 1, 5000)
    curve = curve_of(scores, scores > 0.3).thinned(200)
    assert curve.thresholds.size <= 200
    assert (curve.thresholds[0], curve.thresholds[-1]) == (1, 0)
    assert (curve.found[-1], curve.alarms[-1]) == (curve.positives, curve.negatives)


def test_one_kind_of_picture_has_no_curve_and_no_warning() -> None:
    for truth in (np.zeros(5, bool), np.ones(5, bool)):
        found = quality(SCORES, truth, "knife")
        assert found.auc.value is None
        assert found.bins == ()


def test_one_positive_is_measured_with_all_that_it_does_not_tell() -> None:
    found = figures(np.array([0.9, 0.1, 0.2, 0.3]), np.array([True, False, False, False]))
    recall = found.points[0].recall
    assert (recall.value, recall.low, recall.high) == pytest.approx((1, 0.025, 1))


def test_the_band_of_precision_contains_its_middle() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(300) < 0.3
    value, low, high = precision_band(curve_of(rng.random(300), truth), 0.01)
    assert (low <= value).all()
    assert (value <= high).all()


# Thresholds that are wanted


def test_the_threshold_for_a_recall_is_the_highest_that_has_it() -> None:
    truth = np.arange(40) < 20
    scores = np.concatenate([np.linspace(0.95, 0.0, 20), np.full(20, 0.01)])
    here, _ = figures(scores, truth, recall=0.9).targets
    assert here.point is not None
    assert here.point.counts.tp == 18
    assert here.point.threshold == pytest.approx(scores[17], abs=1e-6)
    assert here.point.threshold <= scores[17]


def test_a_recall_is_sure_from_fifty_nine_pictures_on() -> None:
    enough = figures(*separated(59, 40), recall=0.95).targets[1]
    assert enough.point is not None
    assert enough.point.counts.fn == 0  # 0.95 to the power of 59 is just below 5 %
    too_few = figures(*separated(58, 40), recall=0.95).targets[1]
    assert too_few.point is None
    assert "58" in too_few.why
    assert "at least 59" in too_few.why


def test_a_sure_recall_is_kept_on_other_pictures_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    first = int(np.argmax(sure_recall(np.arange(1, 151), 150) >= 0.9))  # how many must be found, less one
    thresholds = np.sort(rng.random((2000, 150)), axis=1)[:, ::-1][:, first]
    kept = np.mean(1 - thresholds >= 0.9)  # of evenly spread scores, the recall on all others
    assert 0.94 <= kept <= 0.99


def test_the_threshold_for_a_review_load_is_the_lowest_that_keeps_it() -> None:
    truth = np.arange(1100) < 100
    scores = np.concatenate([np.linspace(0.99, 0.5, 100), np.linspace(0.7, 0.0, 1000)])
    (target,) = figures(scores, truth, reviews=200).targets
    assert target.point is not None
    assert target.point.reviews.value is not None
    assert 10_000 * target.point.reviews.value <= 200
    more = curve_of(scores, truth).counts_at(float(scores[scores < target.point.threshold].max()))
    assert 10_000 * reviews_at(more[0] / 100, more[1] / 1000, 0.01) > 200


def test_a_review_load_that_cannot_be_had_is_said_to_be_so() -> None:
    (target,) = figures(np.array([0.9, 0.8, 0.1]), np.array([False, True, False]), reviews=10).targets
    assert target.point is None
    assert "costs 4950 per 10,000" in target.why


def test_a_wanted_threshold_without_pictures_is_no_crash() -> None:
    found = figures(SCORES, np.zeros(5, bool), recall=0.9, reviews=50)
    assert [target.point for target in found.targets] == [None, None, None]
    assert all("no pictures of knife" in target.why for target in found.targets)


@pytest.mark.parametrize(
    ("asked", "option"),
    [
        ((0.0, None, None), "--prevalence"),
        ((1.0, None, None), "--prevalence"),
        ((float("nan"), None, None), "--prevalence"),
        ((None, 0.0, None), "--recall"),
        ((None, 1.1, None), "--recall"),
        ((None, None, -1.0), "--reviews"),
    ],
)
def test_impossible_wishes_are_refused(asked: tuple[float | None, ...], option: str) -> None:
    with pytest.raises(RequestError, match=option):
        wanted_of(*asked)


def test_a_prevalence_that_nobody_said_is_marked() -> None:
    assert wanted_of(None, None, None) == Wanted(0.01, assumed=True)
    assert wanted_of(0.02, None, None) == Wanted(0.02, assumed=False)


def test_a_sweep_goes_from_everything_to_little() -> None:
    sweep = figures(SCORES, TRUTH).sweep
    assert [p.threshold for p in sweep][:3] == [0.01, 0.05, 0.1]
    found = [p.counts.tp for p in sweep]
    assert found == sorted(found, reverse=True)
    assert (found[0], found[-1]) == (2, 0)


# Labels of which one is true


def test_a_confusion_matrix_worked_out_by_hand() -> None:
    truth = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 2])
    found = measure_classes(["a", "b", "c"], truth, predicted)
    assert found.confusion.tolist() == [[4, 1, 0], [1, 2, 0], [0, 1, 1]]
    assert found.accuracy.value == 0.7
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((0.3475, 0.9333), abs=5e-5)  # 7 of 10
    assert found.precision.value == pytest.approx((5 * 0.8 + 3 * 0.5 + 2 * 1) / 10)
    assert found.f1.value == pytest.approx((5 * 0.8 + 3 * 4 / 7 + 2 * 2 / 3) / 10)
    assert [row.precision.value for row in found.rows] == pytest.approx([0.8, 0.5, 1.0])
    assert [row.recall.value for row in found.rows] == pytest.approx([0.8, 2 / 3, 0.5])
    assert [row.f1.value for row in found.rows] == pytest.approx([0.8, 4 / 7, 2 / 3])
    assert found.f1.method == "bootstrap"


def test_weighted_averages_agree_with_scikit_learn() -> None:
    from sklearn.metrics import precision_recall_fscore_support

    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, 200), rng.integers(0, 4, 200)  # the last is never predicted
    found = measure_classes(list("abcde"), truth, predicted)
    expected = precision_recall_fscore_support(truth, predicted, average="weighted", zero_division=0)
    assert (found.precision.value, found.accuracy.value, found.f1.value) == pytest.approx(expected[:3])


def test_a_label_without_pictures_and_one_never_predicted() -> None:
    found = measure_classes(["a", "b", "c"], np.array([0, 0, 1]), np.array([0, 0, 0]))
    absent, never = found.rows[2], found.rows[1]
    assert (absent.recall.value, absent.f1.value) == (None, None)
    assert (never.precision.value, never.recall.value, never.f1.value) == (None, 0, 0)
    assert never.precision.why == "Nothing was taken for b."


def test_no_picture_at_all_is_not_measurable() -> None:
    found = measure_classes(["a", "b"], np.empty(0, np.int64), np.empty(0, np.int64))
    assert found.accuracy.value is None
    assert found.confusion.tolist() == [[0, 0], [0, 0]]


def test_perfect_predictions_keep_an_honest_accuracy_and_claim_no_other_interval() -> None:
    truth = np.repeat([0, 1], 10)
    found = measure_classes(["a", "b"], truth, truth)
    assert (found.accuracy.value, found.accuracy.low) == pytest.approx((1, 0.8316), abs=5e-5)
    assert found.f1.value == 1
    assert found.f1.low is None


def test_bounds_are_those_of_single_proportions() -> None:
    low, high = bounds(np.array([0, 5, 10]), 10)
    assert low == pytest.approx([0, 0.1871, 0.6915], abs=5e-5)
    assert high == pytest.approx([0.3085, 0.8129, 1], abs=5e-5)
