"""The built-in encoder means something, on drawings from another hand than the one that trained it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import moderato
from moderato.assemble import Workshop
from moderato.cards import encoder_card
from moderato.moderator import Moderator
from moderato.policy import read_policy
from moderato.settings import Settings
from pictures import encoded

FOLDER = Path(moderato.__file__).parent / "builtin" / "tiny"
MEASURED = json.loads((FOLDER / "measured.json").read_text())
COLOURS = {"red": "#d62728", "blue": "#1f5fd0", "green": "#2ca02c", "orange": "#ff8c1a", "purple": "#7a3fb0"}


@pytest.fixture(scope="module")
def moderator(tmp_path_factory: pytest.TempPathFactory) -> Moderator:
    return Workshop(Settings(data=tmp_path_factory.mktemp("data"))).moderator("demo")


def circle(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((60, 60, 240, 240), fill=colour)


def square(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rectangle((70, 70, 230, 230), fill=colour)


def triangle(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.polygon(((150, 50), (250, 240), (50, 240)), fill=colour)


def star(draw: ImageDraw.ImageDraw, colour: str) -> None:
    turns = [math.pi * (i / 5 - 0.5) for i in range(10)]
    radii = [110 if i % 2 == 0 else 45 for i in range(10)]
    draw.polygon(
        [(150 + r * math.cos(t), 155 + r * math.sin(t)) for r, t in zip(radii, turns, strict=True)], fill=colour
    )


def heart(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((55, 70, 155, 170), fill=colour)
    draw.ellipse((145, 70, 245, 170), fill=colour)
    draw.polygon(((63, 145), (237, 145), (150, 250)), fill=colour)


def house(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rectangle((80, 140, 220, 245), fill=colour)
    draw.polygon(((60, 140), (150, 60), (240, 140)), fill=colour)
    draw.rectangle((135, 190, 165, 245), fill="white")


def fish(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((50, 100, 200, 200), fill=colour)
    draw.polygon(((190, 150), (255, 95), (255, 205)), fill=colour)
    draw.ellipse((80, 130, 95, 145), fill="white")


def pistol(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rectangle((50, 100, 250, 140), fill=colour)
    draw.polygon(((190, 140), (240, 140), (250, 225), (205, 225)), fill=colour)
    draw.arc((150, 130, 195, 175), 0, 180, fill=colour, width=6)


def bottle(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.rounded_rectangle((110, 130, 190, 260), 12, fill=colour)
    draw.polygon(((110, 140), (135, 100), (165, 100), (190, 140)), fill=colour)
    draw.rectangle((135, 45, 165, 105), fill=colour)


def skull(draw: ImageDraw.ImageDraw, colour: str) -> None:
    draw.ellipse((70, 50, 230, 200), fill=colour)
    draw.rectangle((110, 180, 190, 245), fill=colour)
    draw.ellipse((100, 100, 140, 145), fill="white")
    draw.ellipse((160, 100, 200, 145), fill="white")
    for x in (128, 148, 168):
        draw.line((x, 205, x, 245), fill="white", width=4)


THINGS = (circle, square, triangle, star, heart, house, fish, pistol, bottle, skull)


def drawing(thing: object, colour: str) -> bytes:
    image = Image.new("RGB", (300, 300), "white")
    thing(ImageDraw.Draw(image), COLOURS[colour])  # type: ignore[operator]
    return encoded(image)


def an(colour: str, thing: object) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {thing.__name__}"  # type: ignore[attr-defined]


def test_what_the_card_says_is_what_was_measured() -> None:
    card = encoder_card("tiny")
    stated = {figure.measures: figure.value for figure in card.figures}
    assert card.temperature == pytest.approx(MEASURED["independent_scoring"]["temperature"], abs=0.05)
    measured = [100 * MEASURED[pairs]["thing_and_colour"] for pairs in ("seen_pairs", "held_out_pairs")]
    assert list(stated.values()) == pytest.approx(measured, abs=0.05)
    assert "toy" in card.limits
    assert "not for photographs" in card.limits


def test_what_the_demo_policy_gives_as_evidence_was_measured() -> None:
    rates = MEASURED["independent_scoring"]["from"]
    numbers = [f"{100 * rates['0.5']['found']:.0f} %", f"{100 * rates['0.5']['false_alarms']:.1f} %"]
    numbers += [f"{100 * rates['0.9']['found']:.0f} %", f"{100 * rates['0.9']['false_alarms']:.1f} %"]
    for label in read_policy("demo").labels.values():
        assert all(number in label.evidence for number in numbers)
        assert (label.review, label.block) in ((0.5, 0.9), (0.5, None))


def test_the_files_are_small_enough_for_a_package() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 4 * 2**20


def test_drawings_of_another_hand_are_mostly_recognised(moderator: Moderator) -> None:
    scenes = [(thing, colour) for thing in THINGS for colour in COLOURS]
    labels = [an(colour, thing) for thing, colour in scenes]
    answers = moderator.classify_many([drawing(*scene) for scene in scenes], labels)
    right = [answer.prediction == label for answer, label in zip(answers, labels, strict=True)]
    assert sum(right) >= 0.8 * len(right)  # one in fifty by chance


def test_templates_and_articles_change_nothing(moderator: Moderator) -> None:
    rows = moderator.embed_texts(["red knife", "a red knife", "a drawing of a red knife", "Photo of the RED knife!"])
    assert rows[1:] == pytest.approx(rows[:1].repeat(3, axis=0), abs=1e-6)


@pytest.mark.parametrize("words", ["nsfw", "", "a photo of", "die Katze", "🔪"])
def test_words_that_mean_nothing_are_told(moderator: Moderator, words: str) -> None:
    assert moderator.encoder("tiny").texts.knows_nothing_of(words)


@pytest.mark.parametrize("words", ["knife", "a plastic knife", "something red", "two fish on a yellow background"])
def test_one_known_word_is_enough(moderator: Moderator, words: str) -> None:
    assert not moderator.encoder("tiny").texts.knows_nothing_of(words)


@pytest.mark.parametrize("thing", [pistol, bottle, skull])
def test_the_demo_policy_sees_what_it_is_for(moderator: Moderator, thing: object) -> None:
    acted = [moderator.check(drawing(thing, colour)).action != "allow" for colour in COLOURS]
    assert sum(acted) >= 4


@pytest.mark.parametrize("thing", [house, fish, circle, heart])
def test_the_demo_policy_lets_the_harmless_pass(moderator: Moderator, thing: object) -> None:
    allowed = [moderator.check(drawing(thing, colour)).action == "allow" for colour in COLOURS]
    assert sum(allowed) >= 4
