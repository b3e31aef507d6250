"""`moderato evaluate` and `moderato calibrate` from end to end, with drawings and the built-in encoder."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from moderato.assemble import load
from moderato.cards import encoder_card
from moderato.cli import main
from moderato.policy import read_policy
from pictures import encoded, photo

SAMPLES = Path(str(files("moderato") / "samples"))
THREATS = ("knife", "pistol", "bottle", "cigarette", "skull")
HARMLESS = ("cat", "fish", "house")
EVIL = '<img src=x onerror="alert(1)">$x_1$\u202egnp.'


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        return " ".join(self.out.split())

    @property
    def complaint(self) -> str:
        assert self.code == 2, self
        assert "Traceback" not in self.err
        return " ".join(self.err.split())


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`moderato` with these arguments, in this process and on a wide terminal."""
    monkeypatch.setenv("COLUMNS", "200")

    def called(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["moderato", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capfd.readouterr())

    return called


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder for each of the shipped drawings, under its name."""
    folder = tmp_path / "samples"
    for name in (*THREATS, *HARMLESS):
        (folder / name).mkdir(parents=True)
        shutil.copy(SAMPLES / f"{name}.png", folder / name)
    return folder


def figures(run: Run, *arguments: object) -> dict[str, Any]:
    ended = run("evaluate", *arguments, "--json", "-")
    assert ended.code == 0, ended
    found: dict[str, Any] = json.loads(ended.out)
    return found


def by_name(points: list[dict[str, Any]], key: str = "name") -> dict[str, dict[str, Any]]:
    return {point[key]: point for point in points}


# A policy


def test_a_policy_is_measured_on_labelled_pictures(run: Run, samples: Path) -> None:
    found = figures(run, samples, "--policy", "demo", "--prevalence", 0.001)
    flagged = by_name(found["overall"])["flagged"]
    assert (flagged["tp"], flagged["fn"], flagged["fp"], flagged["tn"]) == (5, 0, 0, 3)
    assert flagged["recall"]["low"] == pytest.approx(0.4782, abs=5e-5)  # 5 of 5
    assert flagged["precision_at_prevalence"]["low"] < 0.01
    blocked = by_name(found["overall"])["blocked"]
    assert (blocked["tp"], blocked["fn"]) == (2, 0)  # knife and pistol are what it blocks
    assert (found["pictures"], found["prevalence_assumed"]) == (8, False)
    assert found["unmatched"] == {"cat": 1, "fish": 1, "house": 1}
    assert [label["label"] for label in found["labels"]] == list(THREATS)
    assert found["mistakes"] == []
    assert found["cost"]["seconds_per_picture"] > 0
    assert set(found["cost"]["stages"]) == {"load", "prepare", "encode", "score"}


def test_the_terminal_says_the_same_in_words(run: Run, samples: Path) -> None:
    ended = run("evaluate", samples, "--policy", "demo", "--recall", 0.95, "--reviews", 50)
    assert ended.code == 0
    assert ended.out.startswith("On 8 pictures, demo finds 100 % [48 to 100] of what it looks for and raises a false")
    assert "1 in 100 is such a picture (which is assumed; --prevalence says yours)" in ended.words
    assert re.search(r"flagged +5 / 3 +1.00 \[0.48, 1.00\]", ended.out)
    assert "knife: recall 0.95 with 95 % confidence: Too few pictures of knife (1): it takes at least 59." in ended.out
    assert "their pictures taken for harmless: cat (1), fish (1), house (1)." in ended.words
    assert "nan" not in ended.out.lower()


def test_names_of_the_dataset_are_mapped_to_labels(run: Run, samples: Path) -> None:
    (samples / "knife").rename(samples / "blades")
    found = figures(run, samples, "--policy", "demo", "--positive", "knife=blades,house")
    knife = by_name(found["labels"], "label")["knife"]
    assert knife["names"] == ["knife", "blades", "house"]
    point = by_name(knife["points"])["review"]
    assert (point["tp"], point["fn"]) == (1, 1)
    assert found["mistakes"][0]["source"] == "house/house.png"
    assert found["mistakes"][0]["kind"] == "missed"


def test_harmless_pictures_alone_tell_of_false_alarms(run: Run, samples: Path) -> None:
    for name in THREATS:
        shutil.rmtree(samples / name)
    found = figures(run, samples, "--policy", "demo", "--recall", 0.9)
    flagged = by_name(found["overall"])["flagged"]
    assert flagged["fpr"]["value"] == 0
    assert flagged["recall"]["value"] is None
    assert "no pictures of what it looks for" in flagged["recall"]["why"]
    assert run("evaluate", samples, "--policy", "demo").code == 0


def test_what_is_broken_double_or_odd_is_counted_and_listed(run: Run, samples: Path) -> None:
    shutil.copy(SAMPLES / "cut-off.jpg", samples / "knife")
    shutil.copy(SAMPLES / "cat.png", samples / "cat" / "again.png")
    shutil.copy(SAMPLES / "skull.png", samples / "bottle" / "skull too.png")
    (samples / "empty").mkdir()
    Path(os.fsdecode(os.fsencode(samples) + b"/fish/\xff.png")).write_bytes(encoded(photo(60, 60)))
    found = figures(run, samples, "--policy", "demo")
    (failed,) = found["unscannable"]
    assert (failed["source"], failed["truths"]) == ("knife/cut-off.jpg", ["knife"])
    assert found["copies"] == {"cat/cat.png": "cat/again.png", "skull/skull.png": "bottle/skull too.png"}
    assert found["several_labels"] == [{"source": "bottle/skull too.png", "truths": ["bottle", "skull"]}]
    assert found["pictures"] == 9
    assert "The folder 'empty' holds no picture." in found["notes"]
    flagged = by_name(found["overall"])["flagged"]
    assert (flagged["tp"] + flagged["fn"], flagged["fp"] + flagged["tn"]) == (5, 4)
    rate, share = (flagged["tp"] / 5 * 0.01 + flagged["fp"] / 4 * 0.99), 1 / 10
    assert flagged["reviews_per_10000"]["value"] == pytest.approx(10_000 * (share + (1 - share) * rate))
    ended = run("evaluate", samples, "--policy", "demo", "--report", samples.parent / "report.html")
    assert ended.code == 0
    assert "1 picture could not be scanned: in no rate, but in the number of flagged pictures." in ended.words
    assert "cat/cat.png = cat/again.png" in ended.out


def test_a_csv_may_name_files_that_are_not_there(run: Run, samples: Path) -> None:
    table = samples / "set.csv"
    table.write_text("source,label\nknife/knife.png,knife\ncat/cat.png,knfe\nnowhere.png,knife\n")
    found = figures(run, table, "--policy", "demo")
    assert found["pictures"] == 2
    assert found["unmatched"] == {"knfe": 1}
    assert [item["source"] for item in found["unscannable"]] == ["nowhere.png"]
    assert found["unscannable"][0]["reason"].startswith("unreadable")


def test_embeddings_of_the_same_pictures_give_the_same_scores(run: Run, samples: Path, tmp_path: Path) -> None:
    names = [*THREATS, *HARMLESS]
    sources = [str(samples / name / f"{name}.png") for name in names]
    assert run("embed", *sources, "--encoder", "tiny", "--fit", "squash", "--output", tmp_path / "set.npz").code == 0
    made = np.load(tmp_path / "set.npz")
    np.savez(tmp_path / "labelled.npz", embeddings=made["embeddings"], labels=np.array(names))
    fresh, kept = (figures(run, data, "--policy", "demo") for data in (samples, tmp_path / "labelled.npz"))
    for label, again in zip(fresh["labels"], kept["labels"], strict=True):
        assert label["roc_auc"] == again["roc_auc"]
        assert label["calibration_error"]["value"] == pytest.approx(again["calibration_error"]["value"], abs=1e-5)
    assert kept["cost"]["stages"] == {}
    assert "embeddings hold no pictures" in (
        run("evaluate", tmp_path / "labelled.npz", "--policy", "demo", "--copy-to", tmp_path / "x").complaint
    )


def test_embeddings_of_another_size_are_refused(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", embeddings=np.ones((3, 7), "f4"), labels=np.array(["a", "b", "a"]))
    assert "rows of 7 numbers; those of 'tiny' have 128" in (
        run("evaluate", tmp_path / "set.npz", "--policy", "demo").complaint
    )


# Labels and heads


def test_labels_written_on_the_spot(run: Run, samples: Path) -> None:
    arguments = (samples, "--labels", "a cat, a fish, a knife", "--encoder", "tiny", "--threshold", 0.999)
    named = ("--positive", "a cat=cat", "--positive", "a fish=fish", "--positive", "a knife=knife")
    found = figures(run, *arguments, *named)
    assert found["classes"]["confusion"] == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert found["classes"]["accuracy"]["low"] == pytest.approx(0.2924, abs=5e-5)  # 3 of 3
    assert found["pictures"] == 3
    assert found["unmatched"]["house"] == 1
    assert {mistake["kind"] for mistake in found["mistakes"]} <= {"below threshold"}
    ended = run("evaluate", *arguments, *named)
    assert "tiny names 100 % [29 to 100] of 3 pictures rightly." in ended.words
    assert "is ↓ taken for →" in ended.out


def test_labels_that_no_picture_has_are_said_to_be_unmeasurable(run: Run, samples: Path) -> None:
    ended = run("evaluate", samples, "--labels", "a car, a tree", "--encoder", "tiny")
    assert ended.code == 0
    assert "names an unmeasurable share of 0 pictures rightly" in ended.words


def test_a_head_of_one_s_own_on_embeddings_and_on_pictures(run: Run, samples: Path, tmp_path: Path) -> None:
    facts = {"moderato_head": "1", "labels": '["left", "right"]', "encoder": encoder_card("tiny").lineage}
    weight = np.zeros((2, 128), "f4")
    weight[:, 0] = (-50, 50)
    file = tmp_path / "mine.safetensors"
    save_file({"0.weight": weight}, file, {**facts, "output": "sigmoid", "unit": "true"})
    rows = np.random.default_rng(0).normal(size=(40, 128)).astype("f4")
    np.savez(tmp_path / "set.npz", embeddings=rows, labels=np.where(rows[:, 0] > 0, "right", "left"))
    found = figures(run, tmp_path / "set.npz", "--head", file, "--threshold", 0.5)
    assert [label["roc_auc"]["value"] for label in found["labels"]] == [1, 1]
    assert all(by_name(label["points"])["review"]["accuracy"]["value"] == 1 for label in found["labels"])
    assert found["overall"] == []
    seen = figures(run, samples, "--head", file, "--positive", "left=knife,cat")
    assert by_name(seen["labels"], "label")["left"]["points"][0]["tp"] in (0, 1, 2)
    assert seen["pictures"] == 8


# Comparing


def test_two_policies_are_compared_on_the_same_pictures(run: Run, samples: Path, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    text = (files("moderato") / "policies" / "demo.toml").read_text("utf-8")
    strict.write_text(text.replace("review = 0.5", "review = 0.99999").replace("block = 0.9", "block = 1.0"))
    found = figures(run, samples, "--compare", "demo", strict)
    assert (found["first"], found["second"]) == ("demo", str(strict))
    assert found["pictures"] == 8
    assert [section["label"] for section in found["sections"]] == ["flagged", *THREATS]
    flipped = {flip["source"] for flip in found["flips"]}
    assert flipped <= {f"{name}/{name}.png" for name in THREATS}
    assert all(flip["right"] == "first" for flip in found["flips"] if flip["second"] == "allow")
    ended = run("evaluate", samples, "--compare", "demo", strict, "--report", tmp_path / "both.html")
    assert ended.code == 0
    assert f"demo and {strict} differ on {len(flipped)} of 8 pictures." in ended.words
    assert "What flipped" in (tmp_path / "both.html").read_text("utf-8") or not flipped


def test_encoders_are_compared_by_the_labels_asked_about(run: Run, samples: Path) -> None:
    folder = Path(str(files("moderato") / "builtin" / "tiny"))
    found = figures(run, samples, "--labels", "cat, fish, knife", "--compare", "tiny", folder)
    assert found["sections"][0]["label"] == "prediction"
    assert found["flips"] == []


# Files that are written


class Reader(HTMLParser):
    """Everything that a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.forbidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if ("http-equiv", "Content-Security-Policy") in attrs:
            self.forbidden = dict(attrs)["content"] or ""
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]


def test_the_report_holds_everything_and_nothing_that_a_name_could_smuggle_in(
    run: Run, samples: Path, tmp_path: Path
) -> None:
    evil = samples / EVIL.replace("/", "")
    evil.mkdir()
    shutil.copy(SAMPLES / "knife.png", evil / f"{EVIL}.png")
    (evil / "broken <b>.png").write_bytes(b"")
    arguments = (samples, "--policy", "demo", "--positive", f"pistol={evil.name}", "--report", tmp_path / "report.html")
    ended = run("evaluate", *arguments)
    assert ended.code == 0, ended
    page = (tmp_path / "report.html").read_text("utf-8")
    reader = Reader()
    reader.feed(page)
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(reader.tags)
    assert reader.handlers == []
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in reader.links)
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;$x_1$\\u202egnp." in page
    assert "\u202e" not in page + ended.out
    assert reader.forbidden.startswith("default-src 'none';")
    assert page.count("<svg") >= 5
    assert "blur(" in page
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower().replace("finance", "")


def test_mistakes_are_copied_and_never_moved(run: Run, samples: Path, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "cat.png", samples / "knife" / "knife.png")
    for number in range(2):
        (samples / "skull" / str(number)).mkdir()
        (samples / "skull" / str(number) / "x.png").write_bytes(encoded(photo(80, 60, seed=number)))
    shutil.copy(SAMPLES / "cut-off.jpg", samples / "fish")
    before = sorted(samples.rglob("*"))
    ended = run("evaluate", samples, "--policy", "demo", "--copy-to", tmp_path / "wrong")
    assert ended.code == 0
    copied = sorted(str(path.relative_to(tmp_path / "wrong")) for path in (tmp_path / "wrong").rglob("*.*"))
    assert {"missed/skull/x (2).png", "missed/skull/x.png", "unscannable/cut-off.jpg"} <= set(copied)
    assert sorted(samples.rglob("*")) == before
    again = run("evaluate", samples, "--policy", "demo", "--copy-to", tmp_path / "wrong")
    assert "must be a new or an empty folder" in again.complaint
    inside = run("evaluate", samples, "--policy", "demo", "--copy-to", samples / "wrong")
    assert "would be evaluated next time" in inside.complaint


def test_a_label_cannot_lead_a_copy_out_of_its_folder(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "set.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [("source", "label"), (SAMPLES / "cat.png", "../../x"), (SAMPLES / "fish.png", "y")]
        )
    ended = run(
        *("evaluate", tmp_path / "set.csv", "--labels", "../../x, y", "--encoder", "tiny", "--threshold", 1),
        *("--copy-to", tmp_path / "wrong"),
    )
    assert ended.code == 0, ended
    assert not (tmp_path.parent / "x").exists()
    copies = [str(path.relative_to(tmp_path / "wrong")) for path in tmp_path.rglob("*.png")]
    assert len(copies) >= 2
    assert all(re.fullmatch(r"(confused|below-threshold)/(_.._x|y)/(cat|fish).png", copy) for copy in copies)


def test_json_in_a_file_leaves_the_table_on_the_terminal(run: Run, samples: Path, tmp_path: Path) -> None:
    ended = run("evaluate", samples, "--policy", "demo", "--json", tmp_path / "found.json")
    assert "On 8 pictures" in ended.out
    assert json.loads((tmp_path / "found.json").read_text())["pictures"] == 8
    lost = run("evaluate", samples, "--policy", "demo", "--json", tmp_path / "no" / "found.json")
    assert lost.code == 2
    assert "cannot be written" in lost.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy", "demo", "--labels", "a, b"], "one of the three"),
        (["--policy", "demo", "--positive", "knief=cat"], "Did you mean 'knife'?"),
        (["--policy", "demo", "--positive", "knife=caat"], "no picture has this label. Did you mean 'cat'?"),
        (["--policy", "demo", "--positive", "knife"], "LABEL=NAME"),
        (["--policy", "demo", "--prevalence", "5"], "a share between 0 and 1"),
        (["--policy", "dmo"], "Did you mean 'demo'?"),
        (["--head", "nothing"], "There is no head 'nothing'"),
        (["--compare", "demo", "dmo"], "Did you mean 'demo'?"),
        (["--head", "x", "--compare", "demo", "demo"], "leave --head out"),
        (["--labels", " , ", "--encoder", "tiny"], "Name at least one label"),
    ],
)
def test_wrong_usage_is_one_sentence(run: Run, samples: Path, options: list[str], words: str) -> None:
    assert words in run("evaluate", samples, *options).complaint


def test_a_missing_package_ends_in_the_line_that_installs_it() -> None:
    code = (
        "import sys\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('sklearn', 'scipy'):\n"
        "            raise ModuleNotFoundError(name=name)\n"
        "import importlib.util\n"
        "real = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, package=None: None if name in ('sklearn', 'scipy') else real(name)\n"
        "sys.argv = ['moderato', 'evaluate', 'x']\n"
        "from moderato.cli import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "Evaluation needs scipy, sklearn, which are not installed: pip install 'moderato[evaluate]'" in ended.stderr


# Calibration


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Embeddings near the drawings of a knife and of a house, noisy enough to be mistaken."""
    moderator = load("demo")
    rng = np.random.default_rng(0)
    rows, labels = [], []
    for name in ("knife", "house"):
        (row,) = (answer.embedding for answer in moderator.embed_many([SAMPLES / f"{name}.png"]))
        assert row is not None
        rows.append(row + rng.normal(0, 0.08, (60, row.size)))
        labels += [name] * 60
    stacked = np.concatenate(rows).astype("f4")
    np.savez(tmp_path / "many.npz", embeddings=stacked / np.linalg.norm(stacked, axis=1)[:, None], labels=labels)
    return tmp_path / "many.npz"


def test_calibrate_writes_what_it_fitted_and_says_what_thresholds_mean_now(
    run: Run, many: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes((files("moderato") / "policies" / "demo.toml").read_bytes())
    before = file.read_text()
    ended = run("calibrate", many, "--policy", file)
    assert ended.code == 0, ended
    assert "'skull' is not calibrated. It takes 30 pictures of it and 30 others; there are 0 and 120." in ended.words
    platt = read_policy(file).labels["knife"].platt
    assert platt is not None
    kept = [line for line in file.read_text().splitlines() if not line.startswith("platt")]
    assert kept == before.splitlines()
    assert "60 / 60" in ended.out
    place = 1 / (1 + np.exp(-(platt[1])))  # of the old threshold of 0.5, whose logit is 0
    assert f"review = 0.5 was left in the file. The same decisions as before: review = {place:.4g}" in ended.words
    assert "where 50 % of the pictures are of it" in ended.words


def test_calibrate_refuses_shipped_policies_and_too_few_pictures(run: Run, samples: Path, tmp_path: Path) -> None:
    assert "Copy it to a file of your own" in run("calibrate", samples, "--policy", "demo").complaint
    file = tmp_path / "mine.toml"
    file.write_bytes((files("moderato") / "policies" / "demo.toml").read_bytes())
    ended = run("calibrate", samples, "--policy", file)
    assert ended.code == 2
    assert "the file is as it was" in ended.err
    assert file.read_bytes() == (files("moderato") / "policies" / "demo.toml").read_bytes()
