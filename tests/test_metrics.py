"""What /metrics tells: everything that happened, in series whose number nobody outside decides. And the cache."""

from __future__ import annotations

import json
import re
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import httpx
import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from models import SHAPES, write_open_clip
from moderato.assemble import Workshop
from moderato.policy import Policy
from moderato.server.desk import Desk
from moderato.settings import ServeOptions, Settings
from moderato.store.embeddings import CacheOptions, EmbeddingCache
from moderato.types import Encoded, Place, Rows, Source, Views
from pictures import encoded, photo
from servers import BROKEN, PNG, listening, service, wait_until

ROOT = Path(__file__).parent.parent
DASHBOARD = ROOT / "deploy" / "grafana" / "moderato.json"
DOCUMENT = ROOT / "docs" / "observing.md"
KNIFE = (ROOT / "src" / "moderato" / "samples" / "knife.png").read_bytes()


def told(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def value(client: httpx.Client, metric: str, **labels: str) -> float:
    return told(client)[(metric, tuple(sorted(labels.items())))]


def check(client: httpx.Client, *pictures: bytes) -> httpx.Response:
    return client.post("/v1/check", files=[("images", (f"{n}.png", picture)) for n, picture in enumerate(pictures)])


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    with listening(service(tmp_path)) as client:
        yield client


def test_pictures_verdicts_and_their_reasons_are_counted(client: httpx.Client) -> None:
    answers = check(client, KNIFE, PNG, *(data for data, _ in BROKEN.values())).json()["results"]
    client.post("/v1/embed", files=[("images", ("a.png", PNG)), ("images", ("b.png", b""))])
    actions = [one["action"] for one in answers]
    assert {"block", "review"} <= set(actions)
    for action in ("allow", "review", "block"):
        assert value(client, "moderato_verdicts_total", policy="demo", action=action) == actions.count(action)
    (reason,) = (reason for one in answers for reason in one["reasons"] if reason["label"] == "knife")
    assert value(client, "moderato_reasons_total", policy="demo", label="knife", action=reason["action"]) == 1
    assert value(client, "moderato_pictures_total") == len(answers) + 2
    assert value(client, "moderato_unscannable_total", reason="empty") == 2
    assert value(client, "moderato_unscannable_total", reason="truncated") == 2


def test_requests_are_counted_by_route_and_status_with_their_seconds(client: httpx.Client) -> None:
    check(client, PNG)
    check(client)
    client.get("/v1/check")
    named = {"method": "POST", "route": "/v1/check"}
    assert value(client, "moderato_requests_total", **named, status="200") == 1
    assert value(client, "moderato_requests_total", **named, status="400") == 1
    assert value(client, "moderato_requests_total", method="GET", route="/v1/check", status="405") == 1
    assert value(client, "moderato_request_seconds_count", **named) == 2
    assert 0 < value(client, "moderato_request_seconds_sum", **named) < 30


def test_what_a_stranger_sends_never_names_a_series(client: httpx.Client) -> None:
    def stranger(n: int) -> None:
        client.get(f"/{n}/wp-login.php")
        client.post(f"/v1/check?key=secret{n}", json={"policy": f"mine{n}", "images": [{"data": "?", "id": f"pic{n}"}]})
        client.request(f"BREW{n}", "/v1/check")
        client.post("/v1/classify", files=[("images", (f"{n}.png", PNG))], data={"labels": f"word{n}, other{n}"})

    stranger(0)
    before = set(told(client)) | set(told(client))
    for n in range(1, 5):
        stranger(n)
    assert set(told(client)) == before
    assert value(client, "moderato_requests_total", method="GET", route="none", status="404") == 5
    assert value(client, "moderato_requests_total", method="OTHER", route="/v1/check", status="405") == 5
    text = client.get("/metrics").text
    assert not re.search(r"wp-login|secret|mine|pic\d|word\d|BREW", text)


def test_a_request_that_never_reached_its_route_is_counted_under_it(tmp_path: Path) -> None:
    with listening(service(tmp_path, ServeOptions(max_body=1000))) as client:
        check(client, bytes(2000))
        assert value(client, "moderato_requests_total", method="POST", route="/v1/check", status="413") == 1


def test_stages_and_batches_are_measured(client: httpx.Client) -> None:
    check(client, *(encoded(photo(64, 48, seed)) for seed in range(5)))
    for stage in ("load", "prepare", "score"):
        assert value(client, "moderato_stage_seconds_count", stage=stage) == 5
    views = value(client, "moderato_batch_views_sum", encoder="tiny")
    batches = value(client, "moderato_batch_views_count", encoder="tiny")
    assert views >= 5
    assert value(client, "moderato_stage_seconds_count", stage="encode") == batches < 5
    assert value(client, "moderato_stage_seconds_sum", stage="encode") > 0


def test_what_is_in_hand_is_seen_while_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = service(tmp_path)
    go = threading.Event()
    encoder = ours.moderator.encoder("tiny")
    project = encoder.project

    def held(views: Views) -> Rows:
        assert go.wait(30)
        return project(views)

    with listening(ours) as client, ThreadPoolExecutor(3) as pool:
        wait_until(ours.answered.is_set)
        monkeypatch.setattr(encoder, "project", held)
        asked = [pool.submit(check, client, PNG)]
        wait_until(lambda: value(client, "moderato_stage_working", stage="encode") == 1)
        asked += [pool.submit(check, client, PNG) for _ in range(2)]
        wait_until(lambda: value(client, "moderato_waiting", what="encode") == 2)
        assert value(client, "moderato_in_hand") == 3
        assert value(client, "moderato_requests_open") == 3 + 1
        assert value(client, "moderato_ready") == 1
        go.set()
        assert {one.result().status_code for one in asked} == {200}
        assert value(client, "moderato_in_hand") == 0
        assert [value(client, "moderato_waiting", what=what) for what in ("begin", "prepare", "encode")] == [0, 0, 0]
        assert value(client, "moderato_stage_working", stage="encode") == 0
        assert value(client, "moderato_in_hand_limit") == ours.room


def test_what_went_wrong_is_counted_whatever_the_status(tmp_path: Path) -> None:
    ours = service(tmp_path, ServeOptions(max_waiting=1))
    with listening(ours) as client:
        client.post("/v1/check", json={"policy": "no such", "images": [{"data": ""}]})
        ours.in_hand += ours.room
        check(client, PNG)
        ours.in_hand -= ours.room
        assert value(client, "moderato_faults_total", kind="wrong") == 1
        assert value(client, "moderato_faults_total", kind="full") == 1


def test_the_process_and_its_version_are_told(client: httpx.Client) -> None:
    assert value(client, "process_resident_memory_bytes") > 2**20
    assert any(name == "moderato_build_info" and dict(labels)["version"] for name, labels in told(client))


def test_openmetrics_is_written_when_asked_for(client: httpx.Client) -> None:
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert "moderato_requests" in {family.name for family in read_openmetrics(answer.text)}


# The document and the dashboard


def families(client: httpx.Client) -> set[str]:
    """As PromQL names them: counters with their `_total`, histograms and gauges bare."""
    client.post("/v1/check", files=[("images", ("a.png", PNG)), ("images", ("b.png", b""))])
    check(client)
    found = text_string_to_metric_families(client.get("/metrics").text)
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in found}


def test_the_document_tells_the_meaning_of_every_metric_and_of_no_other(client: httpx.Client) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert all(len(meaning) > 20 for _, _, meaning in rows)
    assert sorted(name for name, _, _ in rows) == sorted(families(client))


def test_the_document_names_every_label(client: httpx.Client) -> None:
    meanings = dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    families(client)
    for name, labels in told(client):
        bare = next(known for known in (name, re.sub("_(bucket|sum|count)$", "", name)) if known in meanings)
        assert all(f"`{label}`" in meanings[bare] for label in dict(labels) if label != "le"), name


def test_every_metric_of_the_dashboard_exists_and_the_first_ones_are_there(client: httpx.Client) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    shown = set()
    for panel in panels:
        assert panel["title"]
        assert panel["targets"]
        for target in panel["targets"]:
            shown |= set(re.findall(r"\b(?:moderato|process)_\w+", target["expr"]))
    known = families(client)
    bare = {name if name in known else re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert bare <= known
    assert {name for name in known if name.startswith("moderato_")} <= bare


def test_the_dashboard_can_be_imported_anywhere(client: httpx.Client) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["id"] is None
    assert dashboard["schemaVersion"] >= 38  # Grafana 10: https://grafana.com/docs/grafana/v10.0/dashboards/
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"} == {"${datasource}"}


# Embeddings are kept


def kept(folder: Path, cache: CacheOptions) -> Desk:
    """A service with this cache."""
    workshop = Workshop(Settings(data=folder, cache=cache))
    moderator = workshop.moderator("demo", seen=workshop.cache())
    return Desk(moderator, {moderator.policy.name: moderator.policy})


def counted(ours: Desk, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many views each call of the encoder got."""
    encoder = ours.moderator.encoder("tiny")
    project = encoder.project
    calls: list[int] = []

    def counting(views: Views) -> Rows:
        calls.append(len(views))
        return project(views)

    monkeypatch.setattr(encoder, "project", counting)
    return calls


def test_a_picture_sent_again_is_not_encoded_again_whatever_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = kept(tmp_path, CacheOptions())
    demo = ours.moderator.policy
    ours.policies["other"] = Policy(
        name="other", encoder="tiny", fit=demo.fit, anchors=["a house"], labels={"knife": {"review": 0.5}}
    )
    with listening(ours) as client:
        wait_until(ours.answered.is_set)
        calls = counted(ours, monkeypatch)
        first = check(client, KNIFE, PNG).json()
        assert len(calls) == 1
        assert check(client, KNIFE, PNG).json() == first
        client.post("/v1/check", json={"policy": "other", "images": []})
        other = client.post("/v1/check", files=[("images", ("k.png", KNIFE))], data={"policy": "other"}).json()
        assert other["results"][0]["policy"] == "other"
        assert len(calls) == 1
        assert value(client, "moderato_cache_lookups_total", result="hit") == 3
        assert value(client, "moderato_cache_lookups_total", result="miss") == 2
        assert value(client, "moderato_cache_bytes") > 0
    assert not (tmp_path / "embeddings.sqlite").exists()


def test_a_kept_picture_costs_a_small_part_of_a_new_one(tmp_path: Path) -> None:
    shape = next(iter(SHAPES.values()))
    write_open_clip(tmp_path / "clip", shape)
    policy = Policy(name="mine", encoder=str(tmp_path / "clip"), anchors=["a house"], labels={"knife": {"review": 0.5}})
    workshop = Workshop(Settings(data=tmp_path))
    moderator = workshop.moderator(policy, seen=workshop.cache())
    moderator.warm_up()
    pictures = [Source(encoded(photo(1600, 1200, seed), "JPEG"), "a") for seed in range(4)]

    def seconds() -> float:
        started = perf_counter()
        assert all(not verdict.unscannable for verdict in moderator.check_many(pictures))
        return perf_counter() - started

    first = seconds()
    assert min(seconds() for _ in range(3)) < first / 3


def test_nothing_is_kept_when_it_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = kept(tmp_path, CacheOptions(where="off"))
    calls = counted(ours, monkeypatch)
    ours.moderator.check(PNG)
    ours.moderator.check(PNG)
    assert len(calls) == 2


def test_on_disk_they_outlive_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = kept(tmp_path, CacheOptions(where="disk")).moderator.check(KNIFE)
    later = kept(tmp_path, CacheOptions(where="disk"))
    calls = counted(later, monkeypatch)
    assert later.moderator.check(KNIFE) == first
    (tmp_path / "embeddings.sqlite").unlink()
    assert later.moderator.check(KNIFE) == first
    assert calls == []


def entry(n: int, views: int) -> dict[str, Encoded]:
    places = tuple(Place((n + 1000, n + 2000, n + 3000, n + 4000), n + 0.5, n) for _ in range(views))
    return {f"{n:064}": Encoded(places, Rows(np.full((views, 512), n, np.float32)), (n + 1000, n + 2000))}


def test_the_least_recently_used_go_and_memory_is_what_was_allowed() -> None:
    cache = EmbeddingCache(None, max_memory=2**20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(1000):
            cache.put(entry(n, 1 + n % 3))
            assert cache.get([f"{0:064}"])
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken == pytest.approx(2**20, rel=0.15)
    assert 0.95 * 2**20 < cache.bytes_in_memory <= 2**20
    assert not cache.get([f"{1:064}"])
    assert cache.get([f"{999:064}"])[f"{999:064}"].rows[0, 0] == 999


def test_one_that_is_larger_than_the_memory_is_not_kept() -> None:
    cache = EmbeddingCache(None, max_memory=1000)
    cache.put(entry(1, 3))
    assert cache.get([f"{1:064}"]) == {}
    assert cache.bytes_in_memory == 0


def test_threads_share_the_memory(tmp_path: Path) -> None:
    cache = EmbeddingCache(None, max_memory=50_000)

    def use(seed: int) -> None:
        for n in np.random.RandomState(seed).randint(0, 40, 500):
            cache.put(entry(int(n), 1))
            for found in cache.get([f"{n:064}"]).values():
                assert found.rows[0, 0] == n

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert 0 < cache.bytes_in_memory <= 50_000
