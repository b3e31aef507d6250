"""Keys, their limits and the log of what was done to them, in SQLite and in Postgres."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, event, text

import moderato
from commands import Run
from moderato.errors import RateLimited, RequestError, SettingsError, Unauthenticated
from moderato.store import tables
from moderato.store.allowances import Allowances
from moderato.store.database import Database, migrations
from moderato.store.keyring import Keyring
from moderato.store.keys import Key, Keys, digest, id_in
from postgres import postgres, programs

SRC = Path(moderato.__file__).parent
FORM = re.compile(r"moderato_[0-9A-Za-z]{46}")
MIDNIGHT = 1_800_000_000 // 86_400 * 86_400.0


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    folder = programs()
    if folder is None:
        pytest.skip("Postgres's programs (initdb, postgres) are not on this machine")
    with postgres(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.sqlite'}"
    template: str = request.getfixturevalue("server")
    name = f"t{uuid4().hex}"
    engine = create_engine(template.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return template.format(name=name)


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    with ExitStack() as stack:

        def opens(url: str) -> Database:
            database = Database(url)
            stack.callback(database.close)
            return database

        yield opens


@pytest.fixture
def database(url: str, opened: Callable[[str], Database]) -> Database:
    return opened(url)


@pytest.fixture
def keys(database: Database) -> Keys:
    return Keys(database)


@dataclass
class Clock:
    at: float = MIDNIGHT + 3600

    def __call__(self) -> float:
        return self.at


# -- the command line --------------------------------------------------------------------------------------------------


def test_a_key_lives_through_the_command_line(run: Run, tmp_path: Path) -> None:
    made = run("keys", "create", "--name", "web shop", "--rate", "60/minute", "--quota", "5000/day", "--expires", "30d")
    key = made.out.strip()
    assert FORM.fullmatch(key)
    assert made.out == f"{key}\n"  # alone, so that KEY=$(moderato keys create …) works
    assert key not in made.err
    (listed,) = run("keys", "list", "--json").lines
    assert listed["name"] == "web shop"
    assert (listed["scope"], listed["state"], listed["rate"], listed["quota"]) == ("check", "active", 60, 5000)
    assert "web shop" in run("keys", "list").out
    assert run("keys", "revoke", "web shop").code == 0
    assert run("keys", "list", "--json").lines[0]["state"] == "revoked"
    assert "revoked already" in run("keys", "revoke", listed["id"]).complaint
    acts = run("keys", "log", "--json").lines
    assert [act["act"] for act in acts] == ["create key", "revoke key"]
    assert all(act["subject"] == f"web shop ({listed['id']})" and "@" in act["by"] and act["at"] for act in acts)
    assert "60/minute, 5000/day" in acts[0]["details"]
    assert "create key" in run("keys", "log").out


def test_keys_are_nowhere_on_disk_and_the_file_is_its_owners(run: Run, tmp_path: Path) -> None:
    key = run("keys", "create", "--name", "web").out.strip()
    file = tmp_path / "data" / "store.sqlite"
    stored = file.read_bytes()
    assert digest(key).encode() in stored
    assert key.encode() not in stored
    assert key[-30:].encode() not in stored
    assert file.stat().st_mode & 0o077 == 0


def test_a_key_is_revoked_by_the_id_that_it_shows(run: Run) -> None:
    key = run("keys", "create", "--name", "web", "--scope", "admin").out.strip()
    assert run("keys", "list", "--json").lines[0]["scope"] == "admin"
    assert run("keys", "revoke", id_in(key)).code == 0
    assert run("keys", "create", "--name", "web").code == 0  # its name is free again


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--name", ""], "1 to 64 characters"),
        (["--name", "a\nb"], "characters that show"),
        (["--name", " a"], "without spaces"),
        (["--name", "a" * 65], "1 to 64 characters"),
        (["--name", "a", "--scope", "chek"], "Did you mean 'check'"),
        (["--name", "a", "--expires", "soon"], "write 30d, or a date"),
        (["--name", "a", "--expires", "0d"], "write 30d"),
        (["--name", "a", "--expires", "99999d"], "write 30d"),
        (["--name", "a", "--expires", "2031-02-30"], "write 30d"),
        (["--name", "a", "--expires", "2001-01-01"], "never be valid"),
        (["--name", "a", "--rate", "60"], "60/minute"),
        (["--name", "a", "--rate", "60/day"], "60/minute"),
        (["--name", "a", "--rate", "0/minute"], "60/minute"),
        (["--name", "a", "--quota", "-5/day"], "60/day"),
        (["--name", "a", "--quota", "99999999999/day"], "60/day"),
    ],
)
def test_what_a_key_cannot_be_is_said(run: Run, arguments: list[str], complaint: str) -> None:
    assert complaint in run("keys", "create", *arguments).complaint
    assert run("keys", "list", "--json").out == ""


def test_listing_makes_no_file(run: Run, tmp_path: Path) -> None:
    assert run("keys", "list").code == 0
    assert run("keys", "log", "--json").out == ""
    assert not (tmp_path / "data" / "store.sqlite").exists()
    assert "There is no key 'a'" in run("keys", "revoke", "a").complaint


def test_the_address_may_be_open_once_there_are_keys(run: Run) -> None:
    arguments = ("serve", "--host", "192.0.2.1")  # for documentation, and nobody's
    assert "moderato keys create" in run(*arguments).complaint
    run("keys", "create", "--name", "web")
    assert "Nothing can listen on 192.0.2.1" in run(*arguments).complaint  # past the question who may come in


# -- the form of a key -------------------------------------------------------------------------------------------------


def test_keys_differ_need_no_quoting_and_carry_id_and_checksum(keys: Keys) -> None:
    made = [keys.create(f"k{n}", "me") for n in range(20)]
    assert len({secret for _, secret in made}) == len({key.id for key, _ in made}) == 20
    for key, secret in made:
        assert FORM.fullmatch(secret)
        assert id_in(secret) == key.id
        for at in (0, 9, 20, len(secret) - 1):
            other = "a" if secret[at] != "a" else "b"
            assert id_in(secret[:at] + other + secret[at + 1 :]) is None
        assert id_in(secret[:-1]) is None
        assert id_in(secret + "a") is None


def test_secrets_are_compared_in_constant_time() -> None:
    """Wherever a digest or a signature is compared, it is by `hmac.compare_digest`."""
    for file in ("store/keyring.py", "server/_sigv4.py", "server/auth.py"):
        for node in ast.walk(ast.parse((SRC / file).read_text())):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq | ast.In) for op in node.ops):
                assert not re.search("digest|signature|right|secret", ast.unparse(node)), ast.unparse(node)
    assert "compare_digest(digest(presented)" in (SRC / "store/keyring.py").read_text()
    assert "compare_digest(right" in (SRC / "server/_sigv4.py").read_text()


# -- who is let in -----------------------------------------------------------------------------------------------------


def test_only_the_right_key_is_found_while_it_is_valid(database: Database) -> None:
    clock = Clock()
    keys = Keys(database, clock)
    _, right = keys.create("web", "me", expires=clock.at + 60)
    _, ended = keys.create("old", "me")
    keys.revoke("old", "me")
    ring = Keyring(keys, clock)
    ring.refresh()
    assert ring.find(right).name == "web"
    forged = right[:17] + ended[17:]
    for wrong in ("", "x", right[:-1], right + " ", right.swapcase(), forged, "moderato_" + "é" * 46, "\ud800"):
        with pytest.raises(Unauthenticated, match="not known") as caught:
            ring.find(wrong)
        assert caught.value.given
    with pytest.raises(Unauthenticated, match="revoked"):
        ring.find(ended)
    clock.at += 59.9
    assert ring.find(right)
    clock.at += 0.1
    with pytest.raises(Unauthenticated, match="expired"):
        ring.find(right)


def test_an_id_and_a_checksum_are_not_enough(keys: Keys) -> None:
    """Whoever knows an id can compute a checksum; the secret part is what is compared."""
    from moderato.store.keys import _checksum

    key, secret = keys.create("web", "me")
    ring = Keyring(keys)
    ring.refresh()
    forged = f"moderato_{key.id}{'0' * 32}"
    forged += _checksum(forged)
    assert id_in(forged) == key.id
    with pytest.raises(Unauthenticated, match="not known"):
        ring.find(forged)
    assert ring.find(secret)


def test_changes_are_seen_at_the_next_look_and_a_look_costs_one_number(
    url: str, opened: Callable[[str], Database]
) -> None:
    ours, theirs = Keys(opened(url)), Keys(opened(url))
    ring = Keyring(ours)
    ring.refresh()
    assert not ring.has_keys
    assert ring.is_fresh
    _, secret = theirs.create("web", "me")
    ring.refresh()
    assert ring.has_keys
    assert ring.find(secret)
    before = ours.changes()
    ring.refresh()
    assert ours.changes() == before
    theirs.revoke("web", "me")
    ring.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        ring.find(secret)
    assert ring.has_keys  # revoking all does not open the door
    time.sleep(0.51)
    assert not ring.is_fresh


def test_a_store_that_is_gone_lets_nobody_in(tmp_path: Path, opened: Callable[[str], Database]) -> None:
    file = tmp_path / "store.sqlite"
    keys = Keys(opened(f"sqlite:///{file}"))
    keys.create("web", "me")
    ring = Keyring(keys)
    ring.refresh()
    file.unlink()
    with pytest.raises(SettingsError, match="lost its keys"):
        ring.refresh()
    assert ring.has_keys


# -- several at once ---------------------------------------------------------------------------------------------------

CREATE = """
import sys
from moderato.errors import RequestError
from moderato.store.database import Database
from moderato.store.keys import Keys
url, *names = sys.argv[1:]
database = Database(url)
print("ready", flush=True)
sys.stdin.readline()
for name in names:
    try:
        Keys(database).create(name, "me")
        print(name)
    except RequestError:
        pass
database.close()
"""

SPEND = """
import sys
from moderato.errors import RateLimited
from moderato.store.allowances import Allowances
from moderato.store.database import Database
from moderato.store.keys import Keys
database = Database(sys.argv[1])
(key,) = Keys(database).all()
allowances = Allowances(database, lambda: float(sys.argv[2]))
spent = 0
print("ready", flush=True)
sys.stdin.readline()
try:
    while True:
        while not allowances.spend(key):
            allowances.lease(key)
        spent += 1
except RateLimited:
    print(spent)
database.close()
"""


def at_once(code: str, *arguments: list[str]) -> list[str]:
    """What processes print that begin together, once each is ready."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, "-c", code, *each], **pipes) for each in arguments]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return outputs


def test_processes_that_create_the_same_keys_in_an_empty_store_make_each_once(url: str, keys: Keys) -> None:
    names = [f"key {n}" for n in range(10)]
    made = " ".join(at_once(CREATE, *[[url, *names]] * 4))
    assert sorted(re.findall(r"key \d", made)) == names
    assert sorted(key.name for key in keys.all()) == names
    assert [act.act for act in keys.acts()] == ["create key"] * 10
    assert keys.changes() >= 10


def test_threads_create_keys_together(keys: Keys) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = [secret for _, secret in pool.map(lambda n: keys.create(f"k{n}", "me"), range(24))]
    assert {id_in(secret) for secret in secrets} == {key.id for key in keys.all()}


# -- rates and quotas --------------------------------------------------------------------------------------------------


def spend_all(allowances: Allowances, key: Key) -> int:
    spent = 0
    try:
        while True:
            while not allowances.spend(key):
                allowances.lease(key)
            spent += 1
    except RateLimited:
        return spent


@pytest.mark.parametrize("limit", [1, 7, 50, 51, 130, 1000])
def test_one_worker_spends_exactly_the_limit(database: Database, limit: int) -> None:
    clock = Clock()
    key, _ = Keys(database, clock).create("web", "me", rate=limit)
    assert spend_all(Allowances(database, clock), key) == limit


def test_processes_share_a_rate(url: str, keys: Keys) -> None:
    keys.create("web", "me", rate=2000)
    spent = [int(line) for line in at_once(SPEND, *[[url, str(MIDNIGHT)]] * 2)]
    assert sum(spent) == 2000


def test_what_another_worker_holds_is_at_most_a_fiftieth(url: str, opened: Callable[[str], Database]) -> None:
    clock = Clock()
    database = opened(url)
    key, _ = Keys(database).create("web", "me", rate=1000)
    idle = Allowances(database, clock)
    idle.lease(key)
    assert spend_all(Allowances(opened(url), clock), key) == 980
    assert spend_all(idle, key) == 20


def test_the_next_minute_begins_anew_and_the_wait_is_told(database: Database) -> None:
    clock = Clock(MIDNIGHT + 45.5)
    key, _ = Keys(database, clock).create("web", "me", rate=3)
    allowances = Allowances(database, clock)
    assert spend_all(allowances, key) == 3
    with pytest.raises(RateLimited, match="'web' may send 3 requests a minute. Try again in 15 s") as caught:
        allowances.spend(key)
    assert caught.value.retry_after == 15
    clock.at += 14.5
    assert spend_all(allowances, key) == 3
    clock.at -= 60  # a clock that is put back
    with pytest.raises(RateLimited):
        allowances.lease(key)


def test_a_quota_ends_at_midnight_utc(url: str, opened: Callable[[str], Database]) -> None:
    clock = Clock(MIDNIGHT - 1)
    database = opened(url)
    key, _ = Keys(database, clock).create("web", "me", quota=5)
    first, second = Allowances(database, clock), Allowances(opened(url), clock)
    assert spend_all(first, key) + spend_all(second, key) == 5
    with pytest.raises(RateLimited, match="5 requests a day") as caught:
        second.spend(key)
    assert caught.value.retry_after == 1
    clock.at = MIDNIGHT
    assert spend_all(second, key) + spend_all(first, key) == 5
    clock.at = MIDNIGHT + 86_399
    with pytest.raises(RateLimited):
        first.spend(key)


def test_what_the_rate_refuses_does_not_cost_quota(database: Database) -> None:
    clock = Clock()
    key, _ = Keys(database, clock).create("web", "me", rate=2, quota=5)
    allowances = Allowances(database, clock)
    spent = []
    for _ in range(4):
        spent.append(spend_all(allowances, key))
        assert spend_all(allowances, key) == 0
        clock.at += 60
    assert spent == [2, 2, 1, 0]


def test_a_limit_costs_some_fifty_writes_and_no_rows_pile_up(database: Database) -> None:
    clock = Clock()
    key, _ = Keys(database, clock).create("web", "me", rate=5000)
    allowances, transactions = Allowances(database, clock), 0

    def count(_: object) -> None:
        nonlocal transactions
        transactions += 1

    event.listen(Engine, "commit", count)
    try:
        for minute in range(1, 5):
            assert spend_all(allowances, key) == 5000
            for _ in range(100):
                assert spend_all(allowances, key) == 0
            assert 50 * minute <= transactions <= 51 * minute
            clock.at += 60
    finally:
        event.remove(Engine, "commit", count)
    with database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM counts")).scalar_one() == 2


# -- migrations --------------------------------------------------------------------------------------------------------


def test_the_steps_lead_to_the_tables_of_the_code(database: Database) -> None:
    with database.reading() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), tables.metadata)
    assert found == []


def test_an_older_store_is_brought_up_to_date_with_its_keys(url: str, opened: Callable[[str], Database]) -> None:
    engine = create_engine(url)
    secret = "moderato_" + "0" * 46
    with engine.begin() as connection:
        command.upgrade(migrations(connection), "keys_1")
        row = {"id": "00000000", "name": "old", "digest": digest(secret), "scope": "check", "created": 1.5}
        connection.execute(
            text("INSERT INTO keys (id, name, digest, scope, created) VALUES (:id, :name, :digest, :scope, :created)"),
            row,
        )
    engine.dispose()
    keys = Keys(opened(url))
    (key,) = keys.all()
    assert (key.name, key.created, key.rate, key.quota) == ("old", 1.5, None, None)
    keys.create("new", "me", rate=5)
    assert [key.rate for key in keys.all()] == [None, 5]


def test_a_store_of_a_newer_moderato_is_refused(url: str, opened: Callable[[str], Database]) -> None:
    Keys(opened(url)).create("web", "me")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later_9'"))
    engine.dispose()
    with pytest.raises(SettingsError, match="newer moderato"):
        Keys(opened(url)).all()


def test_two_keys_in_use_cannot_have_one_name_whatever_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    database = Database(f"sqlite:///{file}")
    Keys(database).create("web", "me")
    with pytest.raises(RequestError, match="'web' already"):
        Keys(database).create("web", "me")
    database.close()
    with closing(sqlite3.connect(file)) as raw, pytest.raises(sqlite3.IntegrityError):
        raw.execute("INSERT INTO keys (id, name, digest, scope, created) VALUES ('x', 'web', '', 'check', 0)")


# -- where the store is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("secret:word", "no URL of a database"),
        ("mysql://user:hunter2@host/db", "of the kind 'mysql'"),
        ("sqlite://", "names no file"),
        ("sqlite:////proc/none/store.sqlite", "cannot be written"),
        ("postgresql://user:hunter2@127.0.0.1:1/db", "postgresql+psycopg://user:***@127.0.0.1:1/db cannot be used"),
    ],
)
def test_a_store_that_cannot_be_is_told_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch, value: str, complaint: str
) -> None:
    monkeypatch.setenv("MODERATO_STORE", value)
    said = run("keys", "create", "--name", "web").complaint
    assert complaint in said
    assert "hunter2" not in said
    assert "secret:word" not in said


def test_a_file_that_is_no_store_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "store.sqlite").write_text("this is a letter and no database, and long enough to be sure" * 9)
    assert "not a database" in run("keys", "list").complaint


def test_keys_are_kept_in_postgres(run: Run, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATO_STORE", server.format(name="postgres"))
    key = run("keys", "create", "--name", "web").out.strip()
    assert [listed["id"] for listed in run("keys", "list", "--json").lines] == [id_in(key)]
    assert not (tmp_path / "data" / "store.sqlite").exists()
    assert json.loads(run("keys", "log", "--json").out)["act"] == "create key"


@pytest.mark.parametrize(
    ("package", "store", "extra"),
    [("alembic", "", "server"), ("psycopg", "postgresql://localhost/db", "postgres")],
)
def test_a_package_that_is_missing_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, package: str, store: str, extra: str
) -> None:
    monkeypatch.setenv("MODERATO_STORE", store)
    code = (
        f"import sys\nsys.modules['{package}'] = None\nsys.argv = ['moderato', 'keys', 'list']\n"
        "from moderato.cli import main\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"'{package}'" in ended.stderr
    assert f"pip install 'moderato[{extra}]'" in " ".join(ended.stderr.split())
