"""Every vendor's own client against `moderato serve`, with keys and without: what it sees, and what it is told."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from pictures import CAT, KNIFE
from servers import Served, serving
from vendors import A_KEY, VENDORS, Answer, Vendor, knives_for_misskey

MOST = 300_000


@pytest.fixture(scope="module")
def keyless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("keyless")
    with serving(data, **knives_for_misskey(data)) as served:
        yield served


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    data = tmp_path_factory.mktemp("keyed")
    with serving(data, with_keys=True, MODERATO_SERVE__MAX_BODY=str(MOST), **knives_for_misskey(data)) as served:
        yield served


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


@pytest.mark.parametrize("key", [None, A_KEY], ids=["no key", "some key"])
def test_without_keys_every_client_sees_the_weapon_and_no_other(
    keyless: Served, vendor: Vendor, key: str | None
) -> None:
    assert vendor.ask(keyless.url, key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(keyless.url, key, CAT) == Answer(200)


def test_with_a_key_every_client_sees_the_weapon_and_no_other(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, keyed.key, KNIFE) == Answer(200, None, sees_weapon=True)
    assert vendor.ask(keyed.url, keyed.key, CAT) == Answer(200)


def test_every_client_tells_its_caller_what_is_wrong_with_the_key(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, None, KNIFE) == vendor.no_key
    assert vendor.ask(keyed.url, "wrong", KNIFE) == vendor.wrong_key
    assert vendor.ask(keyed.url, keyed.revoked, KNIFE) == vendor.wrong_key


def test_every_client_tells_its_caller_that_a_quota_is_used_up(keyed: Served, vendor: Vendor) -> None:
    if time.time() % 86_400 > 86_400 - 180:
        pytest.skip("the day, and the quota with it, is about to end: what OpenAI's client is told then differs")
    vendor.ask(keyed.url, keyed.used_up, KNIFE)
    assert vendor.ask(keyed.url, keyed.used_up, KNIFE) == vendor.used_up


def test_every_client_tells_its_caller_what_is_wrong_with_the_request(keyed: Served, vendor: Vendor) -> None:
    assert vendor.ask(keyed.url, keyed.key, b"no picture at all") == vendor.no_picture
    assert vendor.ask(keyed.url, keyed.key, bytes(MOST)) == vendor.too_large
    assert vendor.ask(keyed.url, keyed.key, None) == vendor.not_offered
