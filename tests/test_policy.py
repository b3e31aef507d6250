from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moderato.errors import PolicyError, RequestError
from moderato.policy import Label, Policy, Seen, decide, policy_of_labels, read_policy, shipped_policies, tally
from moderato.types import Action, Place, Reason

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


def decided(policy: Policy, *rows: list[float]) -> tuple[Action, tuple[Reason, ...], dict[str, float]]:
    """What the policy makes of scores, a row a view; the view's number is its second and its box's left edge."""
    places = [Place((i, 0, i + 1, 1), float(i)) for i in range(len(rows))]
    columns = np.array(rows, dtype=np.float32).T
    seen: dict[str, Seen] = {
        name: tally(policy, name, column, places) for name, column in zip(policy.labels, columns, strict=True)
    }
    return *decide(policy, seen), {name: found.score for name, found in seen.items()}


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
        assert label.head is None
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
        (("review = 0.5", 'head = "x"'), r"labels.knife: a label is scored by its head or by prompts and anchors"),
        (('anchors = ["a fish"]', 'output = "x"'), r"labels.cat: 'output' is about a head, but the label names none"),
        (('anchors = ["a fish"]', 'file = "x.npy"'), r"labels.cat: 'file' is about a head"),
        (('anchors = ["a fish"]', 'haed = "x"'), r"labels.cat.haed is not a key here. Did you mean 'head'"),
        (
            ("review = 0.5", "platt = [0.0, 1.0]"),
            r"labels.knife: platt is \[slope, shift\]: a slope above 0, and both at most 10000",
        ),
        (("review = 0.5", "platt = [1.0]"), r"labels.knife.platt"),
        (("review = 0.5", "platt = [1e39, -1e39]"), r"both at most 10000"),
        (("review = 0.5", f"platt = [{10**400}, 0]"), r"labels.knife"),
        (("review = 0.5", "platt = [true, false]"), r"labels.knife.platt"),
        (("[labels.knife]", "x = " + "[" * 5000), "not a readable TOML file"),
        (("review = 0.5", 'platt = ["a", 1]'), r"labels.knife.platt"),
        (("review = 0.5", 'evidence = "none"'), r"labels.knife: evidence says 'measured: by whom, on what'"),
        (
            (
                'anchors = ["a house"]\n\n[labels.knife]',
                'exclusive = [["knife", "cat"]]\n\n[labels.knife]\nplatt = [1, 0]',
            ),
            r"exclusive names 'knife', which has platt",
        ),
        (
            (
                'anchors = ["a house"]\n\n[labels.knife]',
                'exclusive = [["knife", "cat"]]\n\n[labels.knife]\nencoder = "b"',
            ),
            r"exclusive puts labels of different encoders together: knife, cat",
        ),
        (
            ('["a house"]\n', '["a house"]\nexclusive = [["dog"]]\n\n[labels.dog]\nhead = "x"\n'),
            r"exclusive names 'dog', which a head scores",
        ),
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


def test_what_heads_are_named_by_is_found_beside_the_policy_too(tmp_path: Path) -> None:
    head = "[labels.knife]\nhead = {}\nfile = {}\nencoder = {}\n"
    text = 'name = "mine"\nencoder = "tiny"\n'

    def read(*values: str) -> Label:
        return read_policy(written(tmp_path, text + head.format(*map(repr, values)))).labels["knife"]

    bare = read("q16-b32", "prompts.p", "openai-b32")
    assert (bare.head, bare.file, bare.encoder) == ("q16-b32", str(tmp_path / "prompts.p"), "openai-b32")
    paths = read("mine.safetensors", "https://somewhere/prompts.p", "./folder")
    assert (paths.head, paths.file) == (str(tmp_path / "mine.safetensors"), "https://somewhere/prompts.p")
    assert paths.encoder == str(tmp_path / "folder")


def test_every_encoder_a_policy_needs_is_named_once() -> None:
    policy = Policy.model_validate(
        {
            "name": "two",
            "encoder": "tiny",
            "anchors": ["a house"],
            "labels": {
                "a": {},
                "b": {"head": "x", "encoder": "other"},
                "c": {"head": "y", "encoder": "other"},
                "d": {},
            },
        }
    )
    assert policy.encoders == ["tiny", "other"]
    assert [policy.prompts_of(name) for name in "ab"] == [["a"], []]
    assert policy.anchors_of("b") == []


def test_platt_calibrates_before_the_threshold_is_asked(tmp_path: Path) -> None:
    text = GOOD.replace("review = 0.5", "platt = [0.5, -1]\nreview = 0.5")
    policy = read_policy(written(tmp_path, text))
    # sigmoid(0.5 · logit(0.9) - 1) = sigmoid(0.5 · ln 9 - 1) = 3 / (3 + e)
    action, _, found = decided(policy, [0.9, 0.2])
    assert found == pytest.approx({"knife": 3 / (3 + np.e), "cat": 0.2})
    assert action == "review"
    assert decided(policy, [0.85, 0.2])[0] == "allow"
    certain = decided(policy, [1.0, 0.0])[2]
    assert 0.99 < certain["knife"] < 1  # not infinity, not NaN


def test_platt_keeps_the_order_so_the_highest_view_stays_the_highest(tmp_path: Path) -> None:
    text = GOOD.replace("review = 0.5", "platt = [2.0, 0.3]\nreview = 0.5")
    _, (reason,), _ = decided(read_policy(written(tmp_path, text)), [0.1, 0.2], [0.95, 0.1], [0.3, 0.3])
    assert reason.time == 1.0


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD, "utf-8-sig")
    assert read_policy(file).name == "mine"


def test_where_a_policy_lies_is_no_part_of_its_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace('"tiny"', '"./sub/../weights"')
    here = read_policy(written(tmp_path, text))
    monkeypatch.chdir(tmp_path)
    assert read_policy("mine.toml").fingerprint == here.fingerprint
    assert read_policy("mine.toml").encoder == str(tmp_path / "weights")
    assert here.fingerprint != read_policy(written(tmp_path, text.replace("weights", "others"))).fingerprint


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
    found_action, reasons, found = decided(policy, [knife, 0.99])
    assert found_action == action
    assert [reason.label for reason in reasons] == ([] if action == "allow" else ["knife"])
    assert found["cat"] == pytest.approx(0.99)


def test_the_highest_view_counts_and_the_reason_says_where_and_when(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, GOOD))
    action, (reason,), found = decided(policy, [0.1, 0.2], [0.95, 0.1], [0.3, 0.3])
    assert (action, reason.time, reason.box, reason.threshold) == ("block", 1.0, (1, 0, 2, 1), 0.9)
    assert found == pytest.approx({"knife": 0.95, "cat": 0.3})


def test_the_hardest_reason_comes_first(tmp_path: Path) -> None:
    text = GOOD.replace('anchors = ["a fish"]', 'anchors = ["a fish"]\nreview = 0.1')
    policy = read_policy(written(tmp_path, text))
    action, reasons, _ = decided(policy, [0.92, 0.99])
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
    _, _, found = decided(policy, [0.9, 0.1], [0.2, 0.8])
    assert sum(found.values()) == pytest.approx(1)
