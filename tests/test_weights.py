"""Model files over a hub on loopback: found, fetched once, continued, recorded, checked, and refused with a way out."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from filelock import FileLock
from huggingface_hub import constants, hf_hub_download

from hub import Hub
from moderato import weights
from moderato.errors import CardError, WeightsError
from moderato.weights import HubFiles, Store, UrlFile, _download, _files

BIG = random.Random(1).randbytes(600_000)
OTHER = random.Random(2).randbytes(600_000)
REPO = "timm/clip"
FILES = {"config.json": b'{"side": 224}', "open.safetensors": BIG, "merges.txt": b"a b"}
CLIP = HubFiles(REPO, (("config.json",), ("open.safetensors", "model.safetensors")), ("merges.txt", "absent.json"))
RECORD = "data/records/clip.json"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub believes in; its settings are read at import, so they are set where they ended up."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(_download, "sleep", lambda seconds: None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub.put(REPO, FILES)
        yield hub


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def url_file(hub: Hub, content: bytes = BIG, served: bytes | None = None) -> UrlFile:
    hub.plain["/heads/head.bin"] = content if served is None else served
    return UrlFile(f"{hub.url}/heads/head.bin?key=secret", hashlib.sha256(content).hexdigest())


def holds(folder: Path, files: dict[str, bytes]) -> bool:
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return there == files


def lay(folder: Path, files: dict[str, bytes]) -> Path:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)
    return folder


def flip(path: Path) -> None:
    """One byte changed, nothing else: not the size, not the modification time."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


SCRIPT = """
import sys
from pathlib import Path
from moderato.errors import WeightsError
from moderato.weights import HubFiles, Store, UrlFile
try:
    print(Store(Path(sys.argv[1])).path("clip", eval(sys.argv[2])))
except WeightsError as error:
    sys.exit(str(error))
"""


def start(origin: HubFiles | UrlFile, tmp_path: Path, **env: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path / "data"), repr(origin)],
        env={**clean, "PYTHONPATH": str(Path(weights.__file__).parents[2]), "HF_HOME": str(tmp_path / "home"), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---- had once ----


def test_files_are_fetched_once_and_recorded(hub: Hub, store: Store, tmp_path: Path) -> None:
    assert store.present("clip", CLIP) is None
    assert hub.asked == []
    folder = store.path("clip", CLIP)
    assert folder == tmp_path / "data/models/clip"
    assert holds(folder, FILES)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["commit"] == [*hub.commits[REPO]][-1]
    assert {file: (of["sha256"], of["size"]) for file, of in record["files"].items()} == {
        file: (hashlib.sha256(content).hexdigest(), len(content)) for file, content in FILES.items()
    }
    asked = len(hub.asked)
    assert store.path("clip", CLIP) == store.present("clip", CLIP) == folder
    assert len(hub.asked) == asked == 1 + 3 + 1  # the listing, three files, one redirect
    assert {asked.headers["User-Agent"] for asked in hub.asked} == {"moderato"}


def test_an_ordinary_start_reads_locks_and_writes_nothing(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.path("clip", CLIP)

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError

    monkeypatch.setattr(_files.hashlib, "file_digest", refuse)
    monkeypatch.setattr(weights, "FileLock", refuse)
    monkeypatch.setattr(weights, "replacing", refuse)
    monkeypatch.setattr(weights.httpx, "Client", refuse)
    assert store.path("clip", CLIP) == folder


def test_the_first_alternative_that_exists_is_taken(hub: Hub, store: Store) -> None:
    hub.put(REPO, {"config.json": b"{}", "model.safetensors": OTHER})
    assert holds(store.path("clip", CLIP), {"config.json": b"{}", "model.safetensors": OTHER})


def test_files_in_folders_of_a_repo(hub: Hub, store: Store) -> None:
    hub.put(REPO, {"onnx/model.onnx": BIG, "onnx/config.json": b"{}"})
    origin = HubFiles(REPO, (("onnx/model.onnx",), ("onnx/config.json",)))
    assert holds(store.path("clip", origin), hub.commits[REPO][[*hub.commits[REPO]][-1]])


def test_a_mirror_that_knows_no_hashes_will_do(hub: Hub, store: Store) -> None:
    hub.modest = True
    assert holds(store.path("clip", CLIP), FILES)


def test_a_url_file_is_fetched_once(hub: Hub, store: Store) -> None:
    origin = url_file(hub)
    folder = store.path("head", origin)
    assert (folder / origin.file).read_bytes() == BIG
    assert store.path("head", origin) == store.present("head", origin) == folder
    assert len(hub.asked) == 1


def test_a_url_file_whose_hash_nobody_states_is_recorded_at_first_sight(hub: Hub, store: Store, tmp_path: Path) -> None:
    origin = replace(url_file(hub), sha256=None)
    folder = store.path("head", origin)
    record = json.loads((tmp_path / "data/records/head.json").read_text())
    assert record["source"] == f"{hub.url}/heads/head.bin"
    assert record["files"]["head.bin"]["sha256"] == hashlib.sha256(BIG).hexdigest()
    assert store.path("head", origin) == store.present("head", origin) == folder
    assert len(hub.asked) == 1
    flip(folder / "head.bin")
    with pytest.raises(WeightsError, match=r"has changed: sha256 .*head.json if the change is wanted"):
        store.path("head", origin)
    (folder / "head.bin").unlink()
    url_file(hub, OTHER)
    with pytest.raises(WeightsError, match=f"{hashlib.sha256(BIG).hexdigest()} expected"):
        store.path("head", origin)
    url_file(hub)
    assert store.path("head", origin) == folder


def test_a_url_file_whose_hash_nobody_states_may_be_brought(hub: Hub, store: Store, tmp_path: Path) -> None:
    origin = replace(url_file(hub, OTHER), sha256=None)
    folder = store.bring("head", origin, lay(tmp_path / "stick", {"head.bin": BIG}))
    assert store.path("head", origin) == folder
    assert hub.asked == []


def test_a_record_of_a_url_file_names_its_hash_when_the_card_does(hub: Hub, store: Store, tmp_path: Path) -> None:
    origin = url_file(hub)
    store.path("head", origin)
    record = json.loads((tmp_path / "data/records/head.json").read_text())
    assert record["source"] == f"{hub.url}/heads/head.bin sha256:{origin.sha256}"


def test_threads_and_processes_at_once_fetch_each_file_once(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.pause = 0.05
    runs = [start(CLIP, tmp_path, HF_ENDPOINT=hub.url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(lambda _: store.path("clip", CLIP), range(8))}) == 1
    assert {run.communicate()[0] for run in runs} == {f"{tmp_path}/data/models/clip\n"}
    assert holds(tmp_path / "data/models/clip", FILES)
    assert [len(hub.fetched(f"/{file}")) for file in ("config.json", "merges.txt")] == [1, 1]
    assert len([asked for asked in hub.asked if asked.path.startswith("/api/")]) == 1
    assert len(hub.fetched(hashlib.sha256(BIG).hexdigest())) == 1


# ---- huggingface_hub's settings and cache ----


def test_endpoint_and_cache_are_those_of_the_environment(hub: Hub, tmp_path: Path) -> None:
    with start(CLIP, tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="hf_secret") as run:
        assert run.communicate() == (f"{tmp_path}/data/models/clip\n", "")
    asked = {asked.path: asked.headers.get("Authorization") for asked in hub.asked}
    assert asked.pop(f"/cdn/{hashlib.sha256(BIG).hexdigest()}") is None  # another host
    assert {*asked.values()} == {"Bearer hf_secret"}

    for file in FILES:
        hf_hub_download(REPO, file, cache_dir=tmp_path / "home/hub")
    shutil.rmtree(tmp_path / "data")
    with start(CLIP, tmp_path, HF_ENDPOINT="http://127.0.0.1:1") as run:
        assert run.communicate() == (f"{tmp_path}/data/models/clip\n", "")


def test_offline_by_the_environment(hub: Hub, tmp_path: Path) -> None:
    origin = url_file(hub)
    for each in (CLIP, origin):
        with start(each, tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1") as run:
            assert "offline mode is set" in run.communicate()[1]
    assert hub.asked == []


def test_a_cache_that_has_all_is_enough(hub: Hub, store: Store, tmp_path: Path) -> None:
    for file in FILES:
        hf_hub_download(REPO, file)
    hub.asked.clear()
    hub.put(REPO, {"config.json": b"newer", "open.safetensors": OTHER})
    folder = replace(store, offline=True).path("clip", CLIP)
    assert holds(folder, FILES)
    assert hub.asked == []
    cached = next((tmp_path / "cache").rglob("open.safetensors"))
    assert cached.samefile(folder / "open.safetensors")
    assert json.loads((tmp_path / RECORD).read_text())["commit"] == next(iter(hub.commits[REPO]))


def test_a_cache_that_has_some_saves_their_download(hub: Hub, store: Store) -> None:
    hf_hub_download(REPO, "open.safetensors")
    assert store.present("clip", CLIP) is None
    hub.asked.clear()
    assert holds(store.path("clip", CLIP), FILES)
    assert not hub.fetched(hashlib.sha256(BIG).hexdigest())


def test_a_damaged_cache_is_noticed_at_the_first_pull(hub: Hub, store: Store, tmp_path: Path) -> None:
    for file in FILES:
        hf_hub_download(REPO, file)
    flip(next((tmp_path / "cache").rglob("open.safetensors")).resolve())
    with pytest.raises(WeightsError, match=r"open.safetensors cannot be had"):
        replace(store, offline=True).path("clip", CLIP)
    assert holds(store.path("clip", CLIP), FILES)


def test_a_cache_on_another_disk_is_copied(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    for file in FILES:
        hf_hub_download(REPO, file)
    monkeypatch.setattr(_files.os, "link", refuse)
    assert holds(replace(store, offline=True).path("clip", CLIP), FILES)


# ---- recorded, and checked ever after ----


def test_the_recorded_commit_is_kept_when_main_moves_on(hub: Hub, store: Store) -> None:
    folder = store.path("clip", CLIP)
    hub.put(REPO, {**FILES, "config.json": b"newer", "open.safetensors": OTHER})
    hub.status[f"/api/models/{REPO}/revision/{next(iter(hub.commits[REPO]))}"] = (
        500  # what is recorded needs no listing
    )
    for lost in ("open.safetensors", "config.json", "merges.txt"):
        (folder / lost).unlink()
        assert store.present("clip", CLIP) is None
        assert holds(store.path("clip", CLIP), FILES)


def test_a_pull_cut_short_goes_on_at_its_commit(hub: Hub, store: Store) -> None:
    path = f"/{REPO}/resolve/{next(iter(hub.commits[REPO]))}/open.safetensors"
    hub.status[path] = 503
    with pytest.raises(WeightsError, match="503"):
        store.path("clip", CLIP)
    hub.status.clear()
    hub.put(REPO, {"config.json": b"newer", "open.safetensors": OTHER})
    assert holds(store.path("clip", CLIP), FILES)


@pytest.mark.parametrize("file", ["open.safetensors", "config.json"])
def test_a_flipped_byte_is_noticed(hub: Hub, store: Store, file: str) -> None:
    folder = store.path("clip", CLIP)
    flip(folder / file)
    for have in (store.path, store.present):
        with pytest.raises(WeightsError) as error:
            have("clip", CLIP)
        assert str(folder / file) in str(error.value)
        assert hashlib.sha256(FILES[file]).hexdigest() in str(error.value)
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() in str(error.value)
        assert "clip.json if the change is wanted" in str(error.value)
    (folder / file).unlink()  # the way out that the error names
    assert holds(store.path("clip", CLIP), FILES)


def test_a_wanted_change_is_recorded_anew(hub: Hub, store: Store, tmp_path: Path) -> None:
    flip(store.path("clip", CLIP) / "open.safetensors")
    (tmp_path / RECORD).unlink()
    assert store.present("clip", CLIP) == store.path("clip", CLIP)


def test_touched_files_are_read_again_and_stand(hub: Hub, store: Store) -> None:
    folder = store.path("clip", CLIP)
    os.utime(folder / "config.json", ns=(0, 0))
    assert store.path("clip", CLIP) == folder


def test_a_data_folder_that_cannot_be_written(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(30, "Read-only file system")

    folder = store.path("clip", CLIP)
    os.utime(folder / "config.json", ns=(0, 0))
    monkeypatch.setattr(weights, "FileLock", refuse)
    assert store.path("clip", CLIP) == folder  # nothing but a stamp is lost
    (tmp_path / RECORD).unlink()
    with pytest.raises(WeightsError, match="Read-only file system"):
        store.path("clip", CLIP)


def test_a_damaged_record(hub: Hub, store: Store, tmp_path: Path) -> None:
    store.path("clip", CLIP)
    for text in ("", "[]", "{}", '{"source": "timm/clip", "commit": null, "files": {"config.json": {"what": 1}}}'):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(WeightsError, match="damaged"):
            store.path("clip", CLIP)


def test_a_card_that_names_another_source(hub: Hub, store: Store) -> None:
    store.path("clip", CLIP)
    with pytest.raises(WeightsError, match="timm/clip is recorded, but the card names timm/other"):
        store.path("clip", replace(CLIP, repo="timm/other"))
    store.path("head", url_file(hub))
    with pytest.raises(WeightsError, match="if the change is wanted"):
        store.path("head", url_file(hub, OTHER))


def test_a_card_that_needs_one_more_file(hub: Hub, store: Store) -> None:
    store.path("clip", replace(CLIP, optional=()))
    hub.put(REPO, {"config.json": b"newer", "open.safetensors": OTHER, "merges.txt": b"newer"})
    more = replace(CLIP, files=(*CLIP.files, ("merges.txt",)), optional=())
    assert holds(store.path("clip", more), FILES)


# ---- the user's own folder ----


@pytest.mark.parametrize("sub", ["clip", "timm/clip"])
def test_models_are_looked_for_in_the_users_folder_first(hub: Hub, store: Store, tmp_path: Path, sub: str) -> None:
    folder = lay(tmp_path / "mine" / sub, FILES)
    store = replace(store, models=tmp_path / "mine")
    assert store.path("clip", CLIP) == store.present("clip", CLIP) == folder
    assert hub.asked == []
    assert not (tmp_path / "data/models").exists()


def test_loose_files_are_not_taken_for_a_models(hub: Hub, store: Store, tmp_path: Path) -> None:
    lay(tmp_path / "mine", FILES)
    assert replace(store, models=tmp_path / "mine").present("clip", CLIP) is None


def test_a_url_file_may_lie_loose(hub: Hub, store: Store, tmp_path: Path) -> None:
    origin = url_file(hub)
    mine = replace(store, models=tmp_path / "mine")
    lay(tmp_path / "mine/head", {"head.bin": BIG})
    assert mine.present("head", origin) == tmp_path / "mine/head"
    lay(tmp_path / "mine", {"head.bin": OTHER})
    with pytest.raises(WeightsError, match="Its card knows no other"):
        mine.present("head", origin)


def test_the_users_folder_is_recorded_and_checked_too(hub: Hub, store: Store, tmp_path: Path) -> None:
    folder = lay(tmp_path / "mine/clip", FILES)
    mine = replace(store, models=tmp_path / "mine")
    mine.path("clip", CLIP)
    flip(folder / "open.safetensors")
    with pytest.raises(WeightsError, match=r"has changed: sha256 .* Put the recorded file there"):
        mine.path("clip", CLIP)
    lay(folder, {"open.safetensors": BIG})
    assert mine.path("clip", CLIP) == folder
    (folder / "merges.txt").unlink()
    with pytest.raises(WeightsError, match=r"merges.txt is recorded, but"):
        mine.path("clip", CLIP)
    assert holds(store.path("clip", CLIP), FILES)  # without that folder: from the hub, which has the very same


def test_the_hub_may_not_replace_what_is_recorded_from_a_folder(hub: Hub, store: Store, tmp_path: Path) -> None:
    lay(tmp_path / "mine/clip", {**FILES, "open.safetensors": OTHER})
    replace(store, models=tmp_path / "mine").path("clip", CLIP)
    with pytest.raises(WeightsError, match=f"{hashlib.sha256(OTHER).hexdigest()} expected"):
        store.path("clip", CLIP)


# ---- bring ----


@pytest.mark.parametrize("sub", ["", "clip", "timm/clip"])
def test_bring(hub: Hub, store: Store, tmp_path: Path, sub: str) -> None:
    lay(tmp_path / "usb" / sub, FILES)
    folder = store.bring("clip", CLIP, tmp_path / "usb")
    assert folder == store.present("clip", CLIP) == store.path("clip", CLIP)
    assert holds(folder, FILES)
    assert hub.asked == []
    shutil.rmtree(tmp_path / "usb")
    assert store.path("clip", CLIP) == folder


def test_bring_checks(hub: Hub, store: Store, tmp_path: Path) -> None:
    folder = store.path("clip", CLIP)
    usb = lay(tmp_path / "usb", {**FILES, "open.safetensors": OTHER})
    with pytest.raises(WeightsError, match="has changed"):
        store.bring("clip", CLIP, usb)
    assert holds(folder, FILES)
    (usb / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"does not hold config.json, open.safetensors or model.safetensors"):
        store.bring("clip", CLIP, usb)
    origin = url_file(hub)
    with pytest.raises(WeightsError, match="has changed"):
        store.bring("head", origin, lay(tmp_path / "stick", {"head.bin": OTHER}))
    assert store.present("head", origin) is None


def test_bring_mends(hub: Hub, store: Store, tmp_path: Path) -> None:
    folder = store.path("clip", CLIP)
    flip(folder / "open.safetensors")
    store.bring("clip", CLIP, lay(tmp_path / "usb", FILES))
    assert holds(store.path("clip", CLIP), FILES)


def test_a_copy_cut_short_is_not_completed_by_other_files(
    hub: Hub, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    usb = lay(tmp_path / "usb", {**FILES, "open.safetensors": OTHER})
    with monkeypatch.context() as patch:
        patch.setattr(_files.shutil, "copyfileobj", full)
        with pytest.raises(WeightsError, match="the disk is full"):
            store.bring("clip", CLIP, usb)
    with pytest.raises(WeightsError, match="expected"):
        store.path("clip", CLIP)
    assert store.bring("clip", CLIP, usb) == store.path("clip", CLIP)


# ---- cut, continued, checked ----


def test_a_cut_connection_is_continued(hub: Hub, store: Store) -> None:
    hub.cuts = [100_000, 200_000]
    assert holds(store.path("clip", CLIP), FILES)
    asked = hub.fetched(hashlib.sha256(BIG).hexdigest())
    assert [each.headers.get("Range", "bytes=0-") for each in asked] == ["bytes=0-", "bytes=100000-", "bytes=300000-"]
    assert sum(each.sent for each in asked) == len(BIG)


def test_a_server_without_ranges_starts_over(hub: Hub, store: Store) -> None:
    hub.cuts, hub.ranges = [100_000], False
    assert holds(store.path("clip", CLIP), FILES)


def test_a_server_that_sends_another_range_starts_over(hub: Hub, store: Store) -> None:
    hub.cuts, hub.skew = [100_000], 7
    assert holds(store.path("clip", CLIP), FILES)


def test_a_small_file_of_another_size_is_refused(hub: Hub, store: Store) -> None:
    hub.plain[f"/{REPO}/resolve/{next(iter(hub.commits[REPO]))}/config.json"] = b"<html>please log in</html>"
    with pytest.raises(WeightsError, match="13 bytes expected, 26 received"):
        store.path("clip", CLIP)


def test_a_connection_that_is_always_cut_ends_in_an_error(hub: Hub, store: Store) -> None:
    hub.cuts, hub.ranges = [100_000] * 20, False
    with pytest.raises(WeightsError, match="cannot reach"):
        store.path("clip", CLIP)
    assert len(hub.cuts) > 10


def part_of(origin: UrlFile, store: Store) -> Path:
    return lay(store.data / "models/head", {}) / f"head.bin.{origin.sha256[:16]}.part"


@pytest.mark.parametrize(
    "left",
    [BIG[:1], BIG[:300_000], BIG, BIG + b"x", OTHER[:300_000], OTHER],
    ids=["a byte", "a half", "the whole", "more", "another's half", "another's whole"],
)
def test_whatever_a_part_holds_the_result_is_right(hub: Hub, store: Store, left: bytes) -> None:
    origin = url_file(hub)
    (store.data / "models/head").mkdir(parents=True)
    part_of(origin, store).write_bytes(left)
    assert holds(store.path("head", origin), {"head.bin": BIG})
    assert len(hub.asked) == (1 if BIG.startswith(left) else 2)


def test_a_file_that_changes_while_it_is_fetched(hub: Hub, store: Store) -> None:
    origin = url_file(hub, served=OTHER)
    hub.cuts = [100_000] + [0] * 5
    with pytest.raises(WeightsError, match="cannot reach"):
        store.path("head", origin)
    hub.cuts.clear()
    url_file(hub)
    assert holds(store.path("head", origin), {"head.bin": BIG})


def test_another_file_than_the_card_names(hub: Hub, store: Store) -> None:
    with pytest.raises(WeightsError, match=f"{hashlib.sha256(BIG).hexdigest()} expected") as error:
        store.path("head", url_file(hub, served=OTHER))
    assert hashlib.sha256(OTHER).hexdigest() in str(error.value)
    assert [*(store.data / "models/head").iterdir()] == []


@pytest.mark.parametrize("kind", ["hub", "url"])
def test_a_kill_in_the_middle_is_continued(hub: Hub, tmp_path: Path, kind: str) -> None:
    origin = CLIP if kind == "hub" else url_file(hub)
    hub.pause = 0.2
    with start(origin, tmp_path, HF_ENDPOINT=hub.url) as run:
        while not any(path.stat().st_size > 100_000 for path in (tmp_path / "data").rglob("*.part")):
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    left = next(path for path in (tmp_path / "data").rglob("*.part") if path.stat().st_size)
    begun = left.stat().st_size
    hub.pause = 0.0
    with start(origin, tmp_path, HF_ENDPOINT=hub.url) as run:
        assert run.communicate() == (f"{tmp_path}/data/models/clip\n", "")
    assert holds(tmp_path / "data/models/clip", FILES if kind == "hub" else {"head.bin": BIG})
    ends = hub.fetched(hashlib.sha256(BIG).hexdigest() if kind == "hub" else "head.bin")
    assert ends[-1].headers["Range"] == f"bytes={begun}-"
    assert ends[-1].sent == len(BIG) - begun


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(hub: Hub, store: Store) -> None:
    origin = url_file(hub)
    (store.data / "models/head").mkdir(parents=True)
    part_of(origin, store).symlink_to("/dev/full")
    with pytest.raises(WeightsError, match="the disk is full"):
        store.path("head", origin)
    assert [path.suffix for path in (store.data / "models/head").iterdir()] == [".part"]


# ---- refused, with a way out ----


def test_an_error_names_file_place_reason_and_ways_out(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.status[f"/{REPO}/resolve/{next(iter(hub.commits[REPO]))}/open.safetensors"] = 404
    with pytest.raises(WeightsError) as error:
        store.path("clip", CLIP)
    assert str(error.value).splitlines() == [
        f"clip: open.safetensors cannot be had from {hub.url}/timm/clip: 127.0.0.1 answers 404 Not Found.",
        "  another hub:   HF_ENDPOINT=https://MIRROR",
        "  a folder:      MODERATO_MODELS=DIR with "
        "DIR/clip/config.json, DIR/clip/open.safetensors or DIR/clip/model.safetensors",
        "  or copy once:  moderato models pull clip --from DIR",
        "  no download:   --policy demo (check, serve), --encoder tiny (classify, embed)",
    ]
    with pytest.raises(WeightsError) as error:
        replace(store, offline=True, models=tmp_path / "mine").path("head", url_file(hub))
    assert str(error.value).splitlines() == [
        f"head: head.bin cannot be had from {hub.url}/heads/head.bin: offline mode is set.",
        f"  a folder:      MODERATO_MODELS={tmp_path}/mine with {tmp_path}/mine/head/head.bin",
        "  or copy once:  moderato models pull head --from DIR",
        "  no download:   --policy demo (check, serve), --encoder tiny (classify, embed)",
    ]


def test_what_the_hub_refuses(hub: Hub, store: Store) -> None:
    for name, repo, reason in [
        ("a", "no/such", "401 RepoNotFound. HF_TOKEN"),
        ("b", "its/gated", "401 GatedRepo. HF_TOKEN"),
    ]:
        hub.gated.add("its/gated")
        hub.commits["its/gated"] = hub.commits[REPO]
        with pytest.raises(WeightsError, match=reason):
            store.path(name, replace(CLIP, repo=repo))
    with pytest.raises(WeightsError, match=r"nowhere.bin cannot be had from .*: the repo does not have them all"):
        store.path("c", HubFiles(REPO, (("nowhere.bin",),)))


def test_what_is_no_hub(hub: Hub, store: Store) -> None:
    for answer in (b"<html>please log in</html>", b"[]", b'{"sha": "../../x", "siblings": []}'):
        hub.plain[f"/api/models/{REPO}/revision/main"] = answer
        with pytest.raises(WeightsError, match="does not answer like a hub"):
            store.path("clip", CLIP)


@pytest.mark.parametrize("silent", [False, True], ids=["refused", "silent"])
def test_without_a_network_it_fails_within_seconds(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not silent:
            server.close()
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1)
        begun = time.monotonic()
        for origin in (CLIP, UrlFile(f"{address}/x.bin", "0" * 64)):
            with pytest.raises(WeightsError, match=r"cannot reach 127.0.0.1"):
                store.path("clip" if origin is CLIP else "head", origin)
        assert time.monotonic() - begun < 4


def test_packets_that_vanish(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "_CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:  # the queue is full: further packets are dropped
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(WeightsError, match=r"cannot reach 127.0.0.1"):
            store.path("clip", CLIP)
        assert time.monotonic() - begun < 4
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    "foreign",
    [httpx.InvalidURL("bad"), OSError(5, "Input/output error"), ImportError("socksio"), ValueError("bad proxy")],
)
def test_foreign_exceptions_do_not_leak(
    hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch, foreign: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise foreign

    monkeypatch.setattr(weights.httpx, "Client", fail)
    with pytest.raises(WeightsError, match="cannot be had"):
        store.path("clip", CLIP)


def test_a_token_that_cannot_be_had(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("no identity")

    monkeypatch.setattr("huggingface_hub.get_token", fail)
    with pytest.raises(WeightsError, match="no identity"):
        store.path("clip", CLIP)


def test_a_file_that_cannot_be_read(hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise PermissionError(13, "Permission denied", "open.safetensors")

    os.utime(store.path("clip", CLIP) / "open.safetensors", ns=(0, 0))
    monkeypatch.setattr(_files.hashlib, "file_digest", fail)
    with pytest.raises(WeightsError, match="Permission denied"):
        store.path("clip", CLIP)


def test_present_does_not_wait_for_a_download(hub: Hub, store: Store, tmp_path: Path) -> None:
    (tmp_path / "data/records").mkdir(parents=True)
    begun = time.monotonic()
    with FileLock(tmp_path / "data/records/clip.lock"):
        assert store.present("clip", CLIP) is None
        folder = lay(tmp_path / "mine/clip", FILES)
        assert replace(store, models=tmp_path / "mine").present("clip", CLIP) == folder
    assert time.monotonic() - begun < 5


# ---- names ----


@pytest.mark.parametrize("file", ["", "/etc/passwd", "../x", "a/../../x", "a\\x", "C:x", ".hidden", "a//b", "a/"])
def test_names_that_would_leave_the_folder(hub: Hub, store: Store, file: str) -> None:
    with pytest.raises(CardError):
        HubFiles(REPO, ((file,),))
    with pytest.raises(CardError):
        HubFiles(REPO, (("a",),), (file,))
    with pytest.raises(CardError):
        store.path(file or "a/b", CLIP)


def test_what_is_no_repo_url_or_hash() -> None:
    for repo in ("", "a/b/c", "../x", "a/", "https://hub/x"):
        with pytest.raises(CardError, match="repo"):
            HubFiles(repo, (("a",),))
    for url in ("file:///etc/passwd", "x.bin", "http:///x.bin", "https://host/", "https://host/a/..%2f"):
        with pytest.raises(CardError):
            UrlFile(url, "0" * 64)
    for sha256 in ("", "0" * 63, "0" * 63 + "G"):
        with pytest.raises(CardError, match="SHA-256"):
            UrlFile("https://host/x.bin", sha256)


# ---- progress ----


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_only(hub: Hub, tmp_path: Path, terminal: bool) -> None:
    leader, follower = pty.openpty()
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), repr(CLIP)],
        env={**os.environ, "PYTHONPATH": str(Path(weights.__file__).parents[2]), "HF_ENDPOINT": hub.url},
        stdout=subprocess.DEVNULL,
        stderr=follower if terminal else subprocess.PIPE,
        check=True,
    )
    os.close(follower)
    shown = os.read(leader, 100_000) if terminal else run.stderr
    os.close(leader)
    assert (b"open.safetensors" in shown) is terminal
    assert terminal or shown == b""


def test_a_mirror_without_a_listing_is_asked_file_by_file(hub: Hub, store: Store, tmp_path: Path) -> None:
    hub.status[f"/api/models/{REPO}/revision/main"] = 404
    assert holds(store.path("clip", CLIP), FILES)
    record = json.loads((tmp_path / RECORD).read_text())
    assert record["commit"] == [*hub.commits[REPO]][-1]
    assert set(record["files"]) == set(FILES)
