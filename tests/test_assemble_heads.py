"""Heads by name, file or encoder: found, fitted to their encoder, or refused with what would be right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import moderato
from commands import Run
from models import SHAPES, write_open_clip
from moderato.assemble import Workshop, check_policy, load_head
from moderato.cards import head_card, head_names
from moderato.errors import CardError, OperatorError, PolicyError, RequestError, SettingsError, WeightsError
from moderato.heads import Head, dense
from moderato.layers import Linear, Network
from moderato.media.fetch import FetchOptions
from moderato.policy import Policy, read_policy, shipped_policies
from moderato.settings import Settings
from pictures import encoded, photo
from vits import VITS, write_hf_vit

ARCHIVES = Path(__file__).parents[2] / "shared" / "heads"
needs_archives = pytest.mark.skipif(not ARCHIVES.is_dir(), reason="LAION's archives are not beside the repository")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def written_head(file: Path, identity: str, dim: int, *labels: str) -> Path:
    weight = np.random.RandomState(3).standard_normal((len(labels), dim)).astype(np.float32)
    network = Network((Linear(weight, np.zeros(len(labels), np.float32)),), "sigmoid")
    dense.write(Head(file.stem, identity, labels, network, licence="CC0", measured="nobody"), file)
    return file


def policy(**labels: dict[str, object]) -> Policy:
    return Policy.model_validate({"name": "mine", "encoder": "openai-b32", "anchors": ["a house"], "labels": labels})


@pytest.mark.parametrize("name", head_names())
def test_every_head_card_states_what_a_user_must_know(name: str) -> None:
    card = head_card(name)
    assert card.limits
    assert card.licence
    assert card.labels
    assert card.evidence.startswith(("measured: ", "weak: ", "unmeasured"))
    assert card.encoder in {f"openai/ViT-{size}" for size in ("B-32", "B-16", "L-14")} | {"laion/ViT-H-14-laion2B"} or (
        card.encoder
        in {encoder.lineage for encoder in map(moderato.cards.encoder_card, moderato.cards.encoder_names())}
    )


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_fit_the_cards(name: str) -> None:
    check_policy(read_policy(name))


@needs_archives
def test_laions_archive_is_found_by_its_name_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATO_MODELS", str(ARCHIVES))
    reference = np.load(ARCHIVES / "laion_nsfw_b32_reference.npz")
    smooth = moderato.load_head("laion-nsfw-b32")
    raw = load_head("laion-nsfw-b32", mode="raw")
    assert np.abs(smooth.score(reference["x"])[:, 0] - reference["x_smooth"].ravel()).max() <= 1e-5
    assert np.abs(raw.score(reference["x"])[:, 0] - reference["x_raw"].ravel()).max() <= 1e-5
    assert smooth.fingerprint != raw.fingerprint


def test_a_head_whose_file_is_not_here_says_where_it_would_come_from() -> None:
    with pytest.raises(WeightsError, match=r"clip_autokeras_nsfw_b32.zip cannot be had .* offline mode") as caught:
        load_head("laion-nsfw-b32")
    assert "MODERATO_MODELS" in str(caught.value)
    with pytest.raises(CardError, match=r"q16-b32: its file does not come with moderato .* file = "):
        load_head("q16-b32")
    with pytest.raises(WeightsError, match="there is no such file"):
        load_head("q16-b32", file="nowhere/prompts.p")


def test_an_unknown_head_names_the_nearest() -> None:
    with pytest.raises(CardError, match="no head 'laion-nsfw-b23'. Did you mean 'laion-nsfw-b32'"):
        load_head("laion-nsfw-b23")
    with pytest.raises(CardError, match="'tiny' is an encoder that classifies nothing"):
        load_head("tiny")
    with pytest.raises(OperatorError, match="none.safetensors"):
        load_head("none.safetensors")


def test_a_head_of_the_users_own_scores_labels_of_a_policy(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "clip", SHAPES["quick"])
    workshop = Workshop(Settings(data=tmp_path / "data"))
    encoder = workshop.encoder(str(folder))
    written_head(tmp_path / "mine.safetensors", encoder.identity, encoder.dim, "spam", "ham")
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nencoder = "./clip"\n[labels.spam]\nhead = "mine.safetensors"\nreview = 0.0\n'
    )
    verdict = workshop.moderator(tmp_path / "mine.toml").check(encoded(photo()))
    (embedded,) = workshop.moderator("demo", str(folder)).embed_many([encoded(photo())])
    assert embedded.embedding is not None
    expected = load_head(tmp_path / "mine.safetensors").score(embedded.embedding[None])[0, 0]
    assert verdict.scores["spam"] == pytest.approx(float(expected), abs=1e-6)
    assert (verdict.action, list(verdict.fingerprints.heads)) == ("review", ["spam"])


def test_a_users_head_for_another_encoder_is_refused_when_the_policy_is_loaded(tmp_path: Path) -> None:
    written_head(tmp_path / "mine.safetensors", "openai/ViT-B-32", 128, "spam")
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\nencoder = "tiny"\n[labels.spam]\nhead = "mine.safetensors"\n')
    with pytest.raises(
        PolicyError, match=r"labels.spam.head is 'mine', which reads embeddings of openai/ViT-B-32; .* "
    ):
        moderato.load(file)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        (
            {"nsfw": {"head": "laion-nsfw-l14"}},
            r"reads embeddings of openai/ViT-L-14; its encoder here, 'openai-b32'",
        ),
        ({"nsfw": {"head": "laion-nsfw-b32", "output": "porn"}}, r"has no output 'porn'. Known: nsfw"),
        ({"nsfw": {"head": "laion-nfsw-b32"}}, r"no head 'laion-nfsw-b32'. Did you mean 'laion-nsfw-b32'"),
        (
            {"cat": {"encoder": "marqo-nsfw-384"}},
            r"labels.cat is described in words, but 'marqo-nsfw-384' reads no texts",
        ),
        ({"nsfw": {"head": "marqo-nsfw-384"}}, r'is an encoder: say encoder = "marqo-nsfw-384" in this label too'),
        ({"nsfw": {"head": "./none.safetensors"}}, r"labels.nsfw.head: there is no ./none.safetensors"),
        ({"nsfw": {"head": "openai-b32"}}, r"is the encoder 'openai-b32' itself, but that classifies nothing"),
        ({"cat": {"encoder": "./nowhere"}}, r"there is no encoder folder ./nowhere"),
        ({"inappropriate": {"head": "q16-b32"}}, r"q16-b32: its file does not come with moderato"),
        ({"cat": {"encoder": "openai-b23"}}, r"no encoder 'openai-b23'. Did you mean 'openai-b32'"),
    ],
)
def test_what_cards_can_tell_is_told_before_anything_is_downloaded(
    labels: dict[str, dict[str, object]], complaint: str
) -> None:
    with pytest.raises(OperatorError, match=complaint):
        check_policy(policy(**labels))


def test_heads_are_listed_shown_and_checked(run: Run) -> None:
    listed = run("models", "list").out
    assert "laion-nsfw-l14" in listed
    shown = run("models", "show", "q16-b32").out
    assert "yours: name a path or a URL" in shown
    assert "Limits." in shown
    assert run("models", "show", "q16-b32", "--json").lines[0]["kind"] == "q16"
    assert {line["card"] for line in run("models", "list", "--json").lines} == {"encoder", "head"}


@needs_archives
def test_a_head_is_pulled_from_a_folder(run: Run, tmp_path: Path) -> None:
    ended = run("models", "pull", "laion-nsfw-b32", "--from", ARCHIVES)
    assert ended.code == 0
    folder = Path(ended.out.strip().partition(": ")[2])
    assert (folder / "clip_autokeras_nsfw_b32.zip").is_file()
    assert Path(run("models", "path", "laion-nsfw-b32").out.strip()) == folder


def test_a_policy_with_heads_shows_who_scores_what(run: Run) -> None:
    shown = run("policies", "show", "laion").out
    assert "head laion-nsfw-b32" in shown
    assert "weak: no accuracy was published" in " ".join(shown.split())
    assert "laion-nsfw-b32:" in shown


def test_a_policys_own_encoder_is_behind_classify_before_others_are(tmp_path: Path) -> None:
    workshop = Workshop(Settings(data=tmp_path))
    mixed = policy(cat={"encoder": "openai-b16"}, dog={})
    assert workshop.moderator(mixed).default_encoder == "openai-b32"
    nsfw = mixed.model_copy(update={"encoder": "marqo-nsfw-384"})
    assert workshop.moderator(nsfw).default_encoder == "openai-b16"
    write_hf_vit(tmp_path / "classifier", VITS["vit"])
    folder = mixed.model_copy(update={"encoder": str(tmp_path / "classifier")})
    assert workshop.moderator(folder).default_encoder == "openai-b16"


def test_embeddings_of_another_shape_are_refused_in_a_sentence(tmp_path: Path) -> None:
    head = load_head(written_head(tmp_path / "mine.safetensors", "openai/ViT-B-32", 128, "spam"))
    for wrong in (np.zeros((2, 64)), np.zeros(128), np.zeros((1, 2, 128))):
        with pytest.raises(RequestError, match=r"'mine' reads embeddings \(N, 128\) of openai/ViT-B-32; these are"):
            head.score(wrong)
    assert head.score(np.ones((0, 128))).shape == (0, 1)
    with pytest.raises(SettingsError, match="takes no file and has no modes"):
        load_head(tmp_path / "mine.safetensors", mode="raw")
    with pytest.raises(SettingsError, match="has no modes"):
        load_head("q16-b32", file="x.npy", mode="raw")


def test_a_loose_file_without_a_hash_is_nobodys(tmp_path: Path) -> None:
    np.save(tmp_path / "prompts.npy", np.ones((2, 512), np.float32))
    workshop = Workshop(Settings(data=tmp_path / "data", models=tmp_path, fetch=FetchOptions()))
    with pytest.raises(WeightsError, match=r"prompts.npy cannot be had .* A file of your own is named as file = "):
        workshop.head("q16-b16", "https://127.0.0.1:9/prompts.npy")
