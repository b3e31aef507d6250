"""Why a picture got its verdict, and where in it a label was seen."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import moderato
from commands import Run
from moderato.assemble import Workshop
from moderato.errors import RequestError, Unscannable
from moderato.explain import draw_heatmap, explain
from moderato.media import Limits
from moderato.media.heatmap import draw_heat
from moderato.moderator import Moderator
from moderato.settings import Settings
from moderato.types import Source
from pictures import animation, encoded

SAMPLES = Path(moderato.__file__).parent / "samples"


@pytest.fixture
def moderator(tmp_path: Path) -> Moderator:
    return Workshop(Settings(data=tmp_path / "data")).moderator("demo")


def knife_on_the_right() -> bytes:
    """The sample's knife on white paper, in the right half of a wide picture."""
    knife = Image.open(SAMPLES / "knife.png").convert("RGB").resize((300, 225))
    paper = Image.new("RGB", (600, 225), knife.getpixel((2, 2)))
    paper.paste(knife, (300, 0))
    return encoded(paper)


def test_every_label_has_its_ground(moderator: Moderator) -> None:
    explanation = explain(moderator, SAMPLES / "knife.png")
    verdict = moderator.check(SAMPLES / "knife.png")
    assert explanation.verdict == verdict
    grounds = {ground.label: ground for ground in explanation.grounds}
    assert {name: ground.score for name, ground in grounds.items()} == verdict.scores
    knife, bottle = grounds["knife"], grounds["bottle"]
    assert (knife.review, knife.block, bottle.block) == (0.5, 0.9, None)
    assert knife.prompt is not None
    assert knife.anchor is not None
    assert knife.prompt.text == "a knife"
    assert knife.prompt.cosine > knife.anchor.cosine
    assert bottle.anchor is not None
    assert bottle.anchor.text == "a knife"  # the nearest of its harmless look-alikes here
    assert knife.evidence.startswith("measured: ")


def test_the_score_follows_from_the_cosines(moderator: Moderator) -> None:
    temperature = moderator.encoder("tiny").temperature
    assert temperature is not None
    for ground in explain(moderator, SAMPLES / "skull.png").grounds:
        assert ground.prompt is not None
        assert ground.anchor is not None
        gap = temperature * (ground.prompt.cosine - ground.anchor.cosine)
        assert ground.score == pytest.approx(1 / (1 + np.exp(-gap)), abs=1e-5)


def test_the_unscannable_have_no_grounds(moderator: Moderator) -> None:
    explanation = explain(moderator, b"nothing")
    assert explanation.grounds == ()
    assert explanation.verdict.unscannable
    with pytest.raises(Unscannable):
        draw_heatmap(moderator, b"nothing")


def test_the_heatmap_is_red_where_the_thing_is(moderator: Moderator) -> None:
    label, png = draw_heatmap(moderator, knife_on_the_right(), "knife")
    drawn = np.asarray(Image.open(io.BytesIO(png)), dtype=np.float32)
    assert (label, drawn.shape) == ("knife", (225, 600, 3))
    redness = drawn[..., 0] - drawn[..., 1]  # yellow is not red yet
    hottest = redness >= np.quantile(redness, 0.9)
    assert hottest[:, 300:].sum() > 3 * hottest[:, :300].sum()


def test_without_a_label_the_foremost_is_drawn(moderator: Moderator) -> None:
    assert draw_heatmap(moderator, SAMPLES / "bottle.png")[0] == "bottle"
    with pytest.raises(RequestError, match="no label 'knive' in 'demo'. Did you mean 'knife'"):
        draw_heatmap(moderator, SAMPLES / "bottle.png", "knive")


def test_of_an_animation_the_frame_is_drawn_where_the_label_was_seen(moderator: Moderator) -> None:
    data = animation("GIF")
    source = Source(data, "moving")
    label = explain(moderator, source).grounds[0].label
    time = explain(moderator, source).grounds[0].time
    _, png = draw_heatmap(moderator, source, label)
    middle = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert middle.shape == (32, 48, 3)
    assert 0 <= time <= 2


def test_frames_without_times_are_told_apart(moderator: Moderator) -> None:
    frames = [Image.open(SAMPLES / f"{name}.png").convert("RGB") for name in ("cat", "cat", "knife", "cat")]
    source = Source(encoded(frames[0], "TIFF", save_all=True, append_images=frames[1:]), "pages")
    explanation = explain(moderator, source)
    knife = next(ground for ground in explanation.grounds if ground.label == "knife")
    assert (knife.time, knife.frame) == (0, 2)
    assert knife.prompt is not None
    assert knife.anchor is not None
    assert knife.prompt.cosine > knife.anchor.cosine
    drawn = np.asarray(Image.open(io.BytesIO(draw_heatmap(moderator, source, "knife")[1])), float).mean(axis=2)
    pages = [np.asarray(frame.convert("L"), float) for frame in frames]
    alike = [np.corrcoef(drawn.ravel(), page.ravel())[0, 1] for page in pages]
    assert np.argmax(alike) == 2


def test_overlapping_views_share_the_canvas_and_what_no_view_shows_stays_grey() -> None:
    grey = Image.new("RGB", (100, 50), (100, 100, 100))
    ImageDraw.Draw(grey).rectangle((0, 0, 9, 9), fill=(0, 0, 0))
    cold, hot = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
    png = draw_heat(encoded(grey), 0, [((0, 0, 40, 50), cold), ((20, 0, 60, 50), hot)], Limits())
    drawn = np.asarray(Image.open(io.BytesIO(png)), dtype=int)
    assert tuple(drawn[30, 80]) == (100, 100, 100)
    assert tuple(drawn[30, 10]) == (100, 100, 100)  # the coldest is not coloured either
    red = drawn[30, :, 0] - drawn[30, :, 2]
    assert red[50] > red[30] > red[10]


def test_explain_prints_grounds_and_draws(run: Run, tmp_path: Path) -> None:
    ended = run("explain", SAMPLES / "knife.png", "--policy", "demo", "--heatmap", tmp_path / "heat.png")
    assert ended.code == 0
    assert "knife 0.9" in ended.out
    assert "a knife (0." in ended.out
    assert "where 'knife' was seen" in ended.err
    with Image.open(tmp_path / "heat.png") as drawn:
        assert drawn.size == (480, 360)
    (line,) = run("explain", SAMPLES / "knife.png", "--policy", "demo", "--json").lines
    assert line["verdict"]["action"] == "block"
    assert line["grounds"][0]["prompt"]["text"] == "a knife"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--label", "knife"], "--label says what --heatmap draws"),
        (["--heatmap", "nowhere/x.png"], "cannot be written"),
        (["--heatmap", "x.png", "--label", "knive"], "Did you mean 'knife'"),
    ],
)
def test_a_wrong_use_of_explain_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("explain", SAMPLES / "knife.png", "--policy", "demo", *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_explain_looks_at_one_picture(run: Run) -> None:
    assert "holds 9 pictures; explain looks at one" in run("explain", SAMPLES, "--policy", "demo").complaint


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    folder = tmp_path / "cases"
    for action, names in {"block": ["knife", "pistol"], "allow": ["cat", "house"], "review": ["bottle"]}.items():
        (folder / action).mkdir(parents=True)
        for name in names:
            shutil.copy(SAMPLES / f"{name}.png", folder / action)
    (folder / "unscannable").mkdir()
    (folder / "unscannable" / "cut.jpg").write_bytes((SAMPLES / "cut-off.jpg").read_bytes())
    return folder


def test_a_policy_whose_cases_hold_passes(run: Run, cases: Path) -> None:
    ended = run("policies", "test", "demo", "--cases", cases)
    assert (ended.code, ended.out) == (0, "demo: 6 of 6 cases hold.\n")


def test_a_case_that_does_not_hold_is_listed_and_exits_with_1(run: Run, cases: Path) -> None:
    shutil.copy(SAMPLES / "fish.png", cases / "block")
    ended = run("policies", "test", "demo", "--cases", cases)
    assert ended.code == 1
    assert "fish.png" in ended.out
    assert "6 of 7 cases hold" in ended.out
    lines = run("policies", "test", "demo", "--cases", cases, "--json").lines
    assert [line["holds"] for line in lines].count(False) == 1
    assert {line["found"] for line in lines} == {"allow", "review", "block", "unscannable"}


def test_cases_that_are_none_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "blocked").mkdir()
    assert "Did you mean 'block'?" in run("policies", "test", "demo", "--cases", tmp_path).complaint
    (tmp_path / "blocked").rename(tmp_path / "block")
    assert "holds no cases" in run("policies", "test", "demo", "--cases", tmp_path).complaint
    assert "cannot be read" in run("policies", "test", "demo", "--cases", tmp_path / "none").complaint
