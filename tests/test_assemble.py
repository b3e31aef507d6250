from __future__ import annotations

import json
from pathlib import Path

import pytest

from models import SHAPES, write_open_clip
from moderato.assemble import Workshop, neutral_anchors
from moderato.cards import encoder_card, encoder_names
from moderato.cli import main
from moderato.errors import CardError, WeightsError
from moderato.policy import read_policy, shipped_policies
from moderato.settings import Settings
from pictures import encoded, photo

SHAPE = next(iter(SHAPES.values()))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(Settings(data=tmp_path / "data", models=tmp_path / "models"))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", encoder_names())
def test_every_card_is_readable_permissive_and_states_its_limits(name: str) -> None:
    card = encoder_card(name)
    assert card.limits
    assert card.licence.startswith(("MIT", "Apache-2.0"))
    assert (card.repo is None) == (name == "tiny")


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_name_encoders_with_a_card(name: str) -> None:
    assert read_policy(name).encoder in encoder_names()


def test_an_unknown_encoder_names_the_nearest(workshop: Workshop) -> None:
    with pytest.raises(CardError, match="no encoder 'openai-b23'. Did you mean 'openai-b32'"):
        workshop.encoder("openai-b23")


def test_weights_that_cannot_be_had_say_which_why_and_the_ways_out(workshop: Workshop) -> None:
    with pytest.raises(WeightsError) as caught:
        workshop.encoder("openai-b32")
    for part in ("open_clip_model.safetensors", "timm/vit_base_patch32_clip_224.openai", "offline"):
        assert part in str(caught.value)
    for way in ("HF_ENDPOINT", "MODERATO_MODELS", "moderato models pull openai-b32 --from", "--policy demo"):
        assert way in str(caught.value)


def test_files_that_contradict_their_card_are_refused(workshop: Workshop, tmp_path: Path) -> None:
    write_open_clip(tmp_path / "models" / "openai-b32", SHAPE)
    with pytest.raises(CardError, match=r"openai-b32: the card states side = 224, the files in .* have"):
        workshop.encoder("openai-b32")


def test_a_folder_is_an_encoder_with_the_hash_of_its_tensors(workshop: Workshop, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_open_clip(folder, SHAPE)
    first = workshop.encoder(str(folder))
    assert first.identity.startswith("sha256:")
    assert first.identity in (tmp_path / "data" / "identities.json").read_text()
    assert Workshop(workshop.settings).encoder(str(folder)).identity == first.identity
    answer = workshop.moderator("demo", str(folder)).classify(encoded(photo()), ["a cat", "a dog"], independent=True)
    assert set(answer.probabilities) == {"a cat", "a dog"}


def test_only_policies_whose_encoder_is_here_are_served(workshop: Workshop) -> None:
    own = read_policy("demo").model_copy(update={"name": "mine"})
    assert set(workshop.policies_here(own)) == {"demo", "mine"}


def test_independent_labels_always_have_something_to_be_compared_with() -> None:
    assert neutral_anchors("tiny") == encoder_card("tiny").anchors
    assert neutral_anchors("/some/folder") == neutral_anchors("openai-b32")


def test_listings_are_lines_of_json_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command, key in (("models list", "licence"), ("models show tiny", "limits"), ("policies list", "labels"),
                         ("policies show demo", "labels")):  # fmt: skip
        monkeypatch.setattr("sys.argv", ["moderato", *command.split(), "--json"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert lines
        assert all(key in line for line in lines)
