"""Make probabilities of a policy's scores, by labelled pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from moderato.assemble import Workshop
from moderato.cli._output import print_line, print_table, titled, watched
from moderato.errors import RequestError, visible
from moderato.evaluate._policy_file import write_platt
from moderato.evaluate.calibrate import Calibration, Refusal, uncalibrated
from moderato.evaluate.calibrate import calibrate as calibrated
from moderato.evaluate.dataset import open_dataset
from moderato.evaluate.judging import judge
from moderato.evaluate.subjects import check_names, read_positive, subject_of_policy
from moderato.evaluate.words import percent
from moderato.policy import read_policy, shipped_policies
from moderato.settings import read_settings


def calibrate(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Labelled pictures, as for `moderato evaluate`.")],
    policy: Annotated[str, typer.Option(metavar="FILE", help="The policy's .toml file, which is written to.")],
    positive: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=NAME,NAME", help="Names in DATA that count as a label.")
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(min=1e-9, max=0.999999, help="Each label's share of your stream; that of DATA without it."),
    ] = None,
) -> None:
    """Fit each label's `platt` to labelled pictures and write it into the policy's file.

    Thresholds stay as they are and mean something else afterwards: the same decisions are where this says.
    """
    if policy in shipped_policies():
        raise RequestError(f"--policy {policy} comes with moderato. Copy it to a file of your own and name that.")
    file = Path(policy)
    bare = uncalibrated(read := read_policy(file))
    subject = subject_of_policy(bare, read_positive(positive or []))
    found = open_dataset(data)
    check_names(subject, found.labels)
    judged, _ = judge(Workshop(read_settings()).moderator(bare, keep=True), bare, found, watched)
    results = calibrated(read, subject.questions, judged, prevalence)
    done = [result for result in results if isinstance(result, Calibration)]
    for result in results:
        if isinstance(result, Refusal):
            print_line(f"'{visible(result.label)}' is not calibrated. {result.why}")
    if not done:
        raise RequestError(f"No label of {file} could be calibrated; the file is as it was.")
    write_platt(file, {result.label: result.platt for result in done})
    _print(done, len(judged.unscannable), found.notes)
    if read.combine == "mean":
        print_line(
            "Note: the policy takes the mean over views and calibrates each; what was fitted is for the mean itself."
        )
    print_line(f"\n{file}: platt is written for {', '.join(visible(result.label) for result in done)}.")


def _print(done: Sequence[Calibration], unscannable: int, notes: Iterable[str]) -> None:
    titles = ("label", "its pictures / others", "platt", "calibration error before", "after, held out", "change")
    table = titled(*titles, whole_words=True)
    for result in done:
        table.add_row(
            escape(visible(result.label)),
            f"{result.positives:,} / {result.negatives:,}",
            escape(str(list(result.platt))),
            *(escape(str(figure)) for figure in (result.before, result.after, result.change)),
        )
    print_table(table)
    for result in done:
        here = result.share == result.positives / (result.positives + result.negatives)
        where = f"{percent(result.share)} of the pictures are of it{', as here' if here else ''}"
        print_line(f"\n'{visible(result.label)}' is now a probability where {where}.")
        if result.change.high is not None and result.change.high >= 0:
            print_line("  Nothing shows that this is nearer to the truth than before: its interval holds 0.")
        for name, old, new in result.moved:
            print_line(f"  {name} = {old:g} was left in the file. The same decisions as before: {name} = {new:.4g}")
    if unscannable:
        print_line(f"\n{unscannable} pictures could not be scanned and taught nothing.")
    for note in notes:
        print_line(f"Note: {visible(note)}")
