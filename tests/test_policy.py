from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moderato.errors import PolicyError, RequestError
from moderato.policy import Policy, decide, policy_of_labels, read_policy, shipped_policies
from moderato.types import Scores, View

GOOD = """
name = "mine"
encoder = "tiny"
anchors = ["a house"]

[labels.knife]
prompts = ["a knife", "a dagger"]
review = 0.5
block = 0.9

[labels.cat]
anchors = ["a fish"]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "mine.toml"
    file.write_text(text)
    return file


def views(count: int) -> list[View]:
    return [View(np.zeros((1, 1, 3), np.uint8), (i, 0, i + 1, 1), float(i)) for i in range(count)]


def scores(*rows: list[float]) -> Scores:
    return Scores(np.array(rows, dtype=np.float32))


@pytest.mark.parametrize("name", shipped_policies())
def test_shipped_policies_hold_and_say_what_they_are(name: str) -> None:
    policy = read_policy(name)
    assert policy.name == name
    assert policy.description
    assert policy.unscannable == "review"


def test_where_nobody_measured_nothing_is_blocked() -> None:
    standard = read_policy("standard")
    assert set(standard.labels) == {
        *("nudity", "sexual", "gore", "violence", "weapons", "drugs", "tobacco", "alcohol"),
        *("hate_symbols", "self_harm", "offensive_gestures"),
    }
    assert standard.encoder == "openai-b32"
    for label in standard.labels.values():
        assert label.evidence == "unmeasured"
        assert label.review is not None
        assert label.block is None


def test_faces_are_described_and_never_acted_on() -> None:
    labels = read_policy("thesis").labels
    described = {name for name, label in labels.items() if label.review is None and label.block is None}
    assert described == {"glasses", "beard", "smile", "face_covered"}


def test_prompts_and_anchors_have_their_defaults(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, GOOD))
    assert policy.prompts_of("cat") == ["cat"]
    assert policy.anchors_of("cat") == ["a fish"]
    assert policy.anchors_of("knife") == ["a house"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("review = 0.5", "reviw = 0.5"), r"mine.toml: labels.knife.reviw is not a key here. Did you mean 'review'"),
        (("encoder =", "encodr ="), r"encodr is not a key here. Did you mean 'encoder'"),
        (("review = 0.5", "review = 1.5"), r"labels.knife.review is 1.5. Input should be less than or equal to 1"),
        (("review = 0.5", "review = 0.95"), r"review \(0.95\) is above block \(0.9\)"),
        (("review = 0.5", 'review = "high"'), r"labels.knife.review is 'high'"),
        (('anchors = ["a house"]', ""), r"label 'knife' has nothing to be compared with"),
        (('anchors = ["a house"]', 'exclusive = [["knife", "cta"]]'), r"'cta', which is no label. Did you mean 'cat'"),
        (('anchors = ["a house"]', 'exclusive = [["knife"], ["knife", "cat"]]'), r"names 'knife' twice"),
        (
            ('anchors = ["a house"]', 'anchors = ["a"]\ntemplates = ["a photo"]'),
            r"template 'a photo' must hold {} once",
        ),
        (
            ('anchors = ["a house"]', 'anchors = ["a"]\nfit = "stretch"'),
            r"fit is 'stretch'. .*'crop', 'squash' or 'cover'",
        ),
        (('name = "mine"', ""), "name is missing"),
        (("[labels.knife]", "[labels.knife"), "not a readable TOML file"),
    ],
)
def test_mistakes_are_named_with_file_key_and_what_would_be_right(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    text = GOOD.replace(*change)
    assert text != GOOD
    with pytest.raises(PolicyError, match=complaint) as caught:
        read_policy(written(tmp_path, text))
    assert "mine.toml" in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        read_policy(written(tmp_path, GOOD.replace("review =", "reviw =").replace("block =", "blok =")))
    assert len(str(caught.value).splitlines()) == 2


def test_an_unknown_name_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="no policy 'standart'. Did you mean 'standard'"):
        read_policy("standart")
    with pytest.raises(PolicyError, match="there is no such file"):
        read_policy(tmp_path / "none.toml")


def test_an_encoder_folder_is_found_beside_the_policy(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    policy = read_policy(written(tmp_path, GOOD.replace('"tiny"', '"./weights"')))
    assert policy.encoder == str(tmp_path / "weights")


def test_equal_policies_have_equal_fingerprints(tmp_path: Path) -> None:
    first = read_policy(written(tmp_path, GOOD))
    assert first.fingerprint == read_policy(written(tmp_path, "# a comment\n" + GOOD)).fingerprint
    assert first.fingerprint != read_policy(written(tmp_path, GOOD.replace("0.9", "0.8"))).fingerprint


@pytest.mark.parametrize(
    ("knife", "action"),
    [(0.0, "allow"), (0.49, "allow"), (0.5, "review"), (0.89, "review"), (0.9, "block"), (1.0, "block")],
)
def test_a_threshold_is_met_from_its_value_on(tmp_path: Path, knife: float, action: str) -> None:
    policy = read_policy(written(tmp_path, GOOD))
    decided, reasons, found = decide(policy, Scores(np.array([[knife, 0.99]])), views(1))
    assert decided == action
    assert [reason.label for reason in reasons] == ([] if action == "allow" else ["knife"])
    assert found["cat"] == pytest.approx(0.99)


def test_the_highest_view_counts_and_the_reason_says_where_and_when(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, GOOD))
    action, (reason,), found = decide(policy, scores([0.1, 0.2], [0.95, 0.1], [0.3, 0.3]), views(3))
    assert (action, reason.time, reason.box, reason.threshold) == ("block", 1.0, (1, 0, 2, 1), 0.9)
    assert found == pytest.approx({"knife": 0.95, "cat": 0.3})


def test_the_hardest_reason_comes_first(tmp_path: Path) -> None:
    text = GOOD.replace('anchors = ["a fish"]', 'anchors = ["a fish"]\nreview = 0.1')
    policy = read_policy(written(tmp_path, text))
    action, reasons, _ = decide(policy, scores([0.92, 0.99]), views(1))
    assert action == "block"
    assert [reason.action for reason in reasons] == ["block", "review"]


def test_labels_on_the_spot_are_exclusive_unless_they_have_anchors() -> None:
    exclusive = policy_of_labels(["a", "b", "a"], "tiny")
    assert exclusive.exclusive == [["a", "b"]]
    independent = policy_of_labels(["a", "b"], "tiny", anchors=["c"])
    assert (independent.exclusive, independent.anchors_of("a")) == ([], ["c"])
    with pytest.raises(RequestError, match="at least one label"):
        policy_of_labels([], "tiny")


def test_an_exclusive_group_over_views_still_sums_to_one() -> None:
    policy: Policy = policy_of_labels(["a", "b"], "tiny")
    _, _, found = decide(policy, scores([0.9, 0.1], [0.2, 0.8]), views(2))
    assert sum(found.values()) == pytest.approx(1)
