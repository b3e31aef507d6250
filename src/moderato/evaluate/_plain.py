"""Figures as plain values, ready for JSON: what cannot be measured is null, and says why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from moderato.evaluate.classes import ClassFigures
from moderato.evaluate.compare import Comparison
from moderato.evaluate.curves import Curve, Quality
from moderato.evaluate.evaluation import Evaluation, Mistake
from moderato.evaluate.intervals import Figure
from moderato.evaluate.judging import Cost, Picture
from moderato.evaluate.measure import LabelFigures, Point, precision_at
from moderato.evaluate.words import summary

_POINTS = 200  # of a curve


def evaluation_values(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as plain values."""
    judged, subject = evaluation.judged, evaluation.subject
    return {
        "data": evaluation.place,
        "subject": {"name": subject.name, "mode": subject.mode, "questions": [asdict(q) for q in subject.questions]},
        "summary": summary(evaluation),
        "prevalence": evaluation.wanted.prevalence,
        "prevalence_assumed": evaluation.wanted.assumed,
        "pictures": len(judged.pictures),
        "overall": [_point(point) for point in evaluation.overall],
        "labels": [_label(figures, evaluation.wanted.prevalence) for figures in evaluation.labels],
        "classes": _classes(evaluation.classes),
        "mistakes": [_mistake(mistake) for mistake in evaluation.mistakes],
        "unscannable": [{**_picture(item.picture), "reason": item.reason} for item in judged.unscannable],
        "copies": judged.copies,
        "unmatched": evaluation.unmatched,
        "several_labels": [_picture(picture) for picture in evaluation.several],
        "notes": list(evaluation.notes),
        "cost": _cost(evaluation.cost),
    }


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain values."""
    return {
        "first": comparison.first,
        "second": comparison.second,
        "pictures": comparison.pictures,
        "sections": [
            {
                "label": section.label,
                "thresholds": section.thresholds,
                "differences": [
                    {"name": d.name, "first": d.first, "second": d.second, "difference": _figure(d.difference)}
                    for d in section.differences
                ],
            }
            for section in comparison.sections
        ],
        "flips": [
            {**_picture(flip.picture), "label": flip.label, "first": flip.first, "second": flip.second}
            | {"right": flip.right or None}
            for flip in comparison.flips
        ],
    }


def _figure(figure: Figure, scale: float = 1) -> dict[str, Any]:
    values = {name: None if (v := getattr(figure, name)) is None else scale * v for name in ("value", "low", "high")}
    rest = {"why": figure.why or None, "hits": figure.hits, "total": figure.total}
    return {**values, "method": figure.method, **{name: value for name, value in rest.items() if value is not None}}


def _point(point: Point) -> dict[str, Any]:
    return {
        "name": point.name,
        "threshold": point.threshold,
        **asdict(point.counts),
        **{name: _figure(getattr(point, name)) for name in ("recall", "fpr", "precision", "f1", "accuracy")},
        "precision_at_prevalence": _figure(point.precision_there),
        "reviews_per_10000": _figure(point.reviews, 10_000),
    }


def _label(figures: LabelFigures, prevalence: float) -> dict[str, Any]:
    return {
        "label": figures.label,
        "names": figures.names,
        "points": [_point(point) for point in figures.points],
        "targets": [
            {
                "wanted": target.wanted,
                "point": _point(target.point) if target.point else None,
                "why": target.why or None,
            }
            for target in figures.targets
        ],
        **_quality(figures.quality),
        "sweep": [_point(point) for point in figures.sweep],
        "curve": _curve(figures.curve, prevalence),
    }


def _quality(quality: Quality) -> dict[str, Any]:
    return {
        "roc_auc": _figure(quality.auc),
        "average_precision": _figure(quality.average_precision),
        "calibration_error": _figure(quality.calibration_error),
        "calibration_curve": [{"mean_score": part.mean, "share": _figure(part.share)} for part in quality.bins],
    }


def _curve(curve: Curve, prevalence: float) -> dict[str, list[float]] | None:
    """Both curves at up to 200 thresholds, None where there is only one kind of picture."""
    if not curve.positives or not curve.negatives:
        return None
    thin = curve.thinned(_POINTS)
    precision = thin.found / np.maximum(thin.found + thin.alarms, 1)
    return {
        "threshold": thin.thresholds.tolist(),
        "recall": thin.recall.tolist(),
        "fpr": thin.fpr.tolist(),
        "precision": precision.tolist(),
        "precision_at_prevalence": precision_at(thin.recall, thin.fpr, prevalence).tolist(),
    }


def _classes(classes: ClassFigures | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    return {
        "labels": classes.labels,
        "confusion": classes.confusion.tolist(),
        "accuracy": _figure(classes.accuracy),
        "weighted_precision": _figure(classes.precision),
        "weighted_recall": _figure(classes.accuracy),
        "weighted_f1": _figure(classes.f1),
        "rows": [
            {"label": row.label, "pictures": row.pictures}
            | {name: _figure(getattr(row, name)) for name in ("precision", "recall", "f1")}
            for row in classes.rows
        ],
    }


def _mistake(mistake: Mistake) -> dict[str, Any]:
    return {"kind": mistake.kind, **_picture(mistake.picture), "label": mistake.label, "score": mistake.score}


def _picture(picture: Picture) -> dict[str, Any]:
    return {"source": picture.name, "truths": picture.truths}


def _cost(cost: Cost) -> dict[str, Any]:
    return {**asdict(cost), "seconds_per_picture": cost.per_picture}
