"""How well a policy, labels or a trained head do on labelled pictures, said with intervals and at your prevalence.

What words mean here:

* The *truth* is the label, or the labels, that people gave a picture, and all of them: what a picture was not called it
  is not. The same bytes twice are one picture, with the labels of both.
* *A policy* asks yes or no for each of its labels: positive is a picture that people gave this label, or a name that
  `--positive LABEL=NAME,NAME` maps to it. Names that match no label are harmless to all, and are listed, so that a
  mistyped one is seen. *Flagged* is any action but allow, measured against all labels that have a threshold; *blocked*
  likewise, against those that block. A label without thresholds is measured at 0.5.
* *Labels* written on the spot share a softmax: the highest is the prediction. Pictures that have none of them, or
  several, are in no figure. A policy of one exclusive group gets the same figures of predictions.
* *A head* asks yes or no for each of its outputs, from `--threshold` on.
* *Unscannable* pictures have no score: they are counted and listed, are in no rate, and add to the review load of a
  policy that flags them.

`dataset` reads what is evaluated on, `judging` has it judged, `evaluation` makes figures of that with `measure`,
`curves`, `classes` and `intervals`; `compare` sets two judgements against each other, `calibrate` fits them, `words`,
`report` and the command line say what came out.
"""

from __future__ import annotations

from importlib.util import find_spec

from moderato.errors import MissingExtra

_PACKAGES = ("matplotlib", "psutil", "scipy", "sklearn")

if _missing := [name for name in _PACKAGES if find_spec(name) is None]:
    raise MissingExtra(
        f"Evaluation needs {', '.join(_missing)}, which {'is' if len(_missing) == 1 else 'are'} not installed: "
        "pip install 'moderato[evaluate]'"
    )
