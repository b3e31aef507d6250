"""OpenAI's moderation endpoint, by OpenAI's own client and, where that hides something, by a plain one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from moderato.errors import Forbidden, MissingExtra, Overloaded, RateLimited, Unauthenticated
from moderato.moderator import Moderator
from moderato.server.desk import Desk
from moderato.settings import DialectOptions, OpenAIOptions, ServeOptions
from pictures import CAT, KNIFE, encoded, photo
from servers import BROKEN, PNG, listening, service, web

CATEGORIES = [
    *("sexual", "sexual/minors", "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit"),
    *("illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions", "violence", "violence/graphic"),
]
MOST = 3


@contextmanager
def speaking(data: Path, **options: Any) -> Iterator[tuple[openai.OpenAI, httpx.Client, Desk]]:
    """OpenAI's client of a service, a plain one, and the service's desk."""
    ours = service(data, ServeOptions(max_images=MOST, max_body=400_000), allow_hosts=("127.0.0.1",))
    ours.dialects = DialectOptions(openai=OpenAIOptions(**options))
    with listening(ours) as plain, openai.OpenAI(base_url=f"{plain.base_url}/v1", api_key="a", max_retries=0) as client:
        yield client, plain, ours


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[openai.OpenAI, httpx.Client, Desk]]:
    with speaking(tmp_path_factory.mktemp("data")) as all_of_it:
        yield all_of_it


@pytest.fixture
def client(spoken: tuple[openai.OpenAI, httpx.Client, Desk]) -> openai.OpenAI:
    return spoken[0]


@pytest.fixture
def plain(spoken: tuple[openai.OpenAI, httpx.Client, Desk]) -> httpx.Client:
    return spoken[1]


@pytest.fixture
def moderator(spoken: tuple[openai.OpenAI, httpx.Client, Desk]) -> Moderator:
    return spoken[2].moderator


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def part(url: str) -> Any:
    return {"type": "image_url", "image_url": {"url": url}}


TEXT: Any = {"type": "text", "text": "hello"}


def test_a_picture_gets_the_policys_scores_in_openais_words(client: openai.OpenAI, moderator: Moderator) -> None:
    answer = client.moderations.create(model="omni-moderation-latest", input=[part(data_url(KNIFE))])
    assert answer.id.startswith("modr-")
    assert answer.model == "omni-moderation-latest"
    (result,) = answer.results
    verdict = moderator.check(KNIFE)
    assert verdict.action != "allow"
    assert result.flagged is True
    assert result.categories.violence is True
    assert result.category_scores.violence == pytest.approx(max(verdict.scores["knife"], verdict.scores["pistol"]))
    assert result.category_applied_input_types.violence == ["image"]
    assert result.model_extra is not None
    assert result.model_extra["moderato"]["action"] == verdict.action
    assert result.model_extra["moderato"]["scores"] == pytest.approx(verdict.scores)


def test_all_thirteen_categories_are_in_all_three_objects(plain: httpx.Client) -> None:
    (result,) = plain.post("/v1/moderations", json={"input": [part(data_url(KNIFE))]}).json()["results"]
    for key in ("categories", "category_scores", "category_applied_input_types"):
        assert list(result[key]) == CATEGORIES
    for category in CATEGORIES:
        if category != "violence":  # all that the demo policy's labels mean to OpenAI
            assert result["categories"][category] is False
            assert result["category_scores"][category] == 0
            assert result["category_applied_input_types"][category] == []
    assert set(result["moderato"]["not_judged"]) == {
        *("sexual", "self-harm", "self-harm/intent", "self-harm/instructions", "violence/graphic")
    }


def test_a_harmless_picture_is_not_flagged(client: openai.OpenAI) -> None:
    (result,) = client.moderations.create(input=[part(data_url(CAT))]).results
    assert result.flagged is False
    assert not any(result.categories.model_dump().values())


def test_the_answer_names_its_request(client: openai.OpenAI) -> None:
    answer = client.moderations.create(input=[part(data_url(CAT))])
    assert answer._request_id
    assert answer.id != client.moderations.create(input=[part(data_url(CAT))]).id


def test_a_client_whose_address_has_no_v1_or_two_slashes_is_answered(plain: httpx.Client) -> None:
    for base in (str(plain.base_url), f"{plain.base_url}/v1", f"{plain.base_url}//v1//"):
        with openai.OpenAI(base_url=base, api_key="a", max_retries=0) as client:
            assert client.moderations.create(input=[part(data_url(KNIFE))]).results[0].flagged


def test_a_web_address_is_fetched(client: openai.OpenAI) -> None:
    with web({"/knife.png": KNIFE}) as site:
        (result,) = client.moderations.create(input=[part(f"{site}/knife.png")]).results
    assert result.flagged


@pytest.mark.parametrize("order", [[TEXT, 0], [0, TEXT], [TEXT, 0, TEXT]])
def test_text_beside_a_picture_is_accepted_and_said_not_to_be_judged(client: openai.OpenAI, order: list[Any]) -> None:
    sent = [part(data_url(KNIFE)) if one == 0 else one for one in order]
    (result,) = client.moderations.create(input=sent).results
    assert result.flagged
    assert result.category_applied_input_types.violence == ["image"]
    assert "text" in result.model_extra["moderato"]["not_judged"]


def test_several_pictures_in_one_input_are_merged_by_their_highest(client: openai.OpenAI, moderator: Moderator) -> None:
    (result,) = client.moderations.create(input=[part(data_url(one)) for one in (CAT, KNIFE, PNG)]).results
    verdicts = [moderator.check(one) for one in (CAT, KNIFE, PNG)]
    highest = max(max(verdict.scores["knife"], verdict.scores["pistol"]) for verdict in verdicts)
    assert result.category_scores.violence == pytest.approx(highest, abs=1e-5)
    assert result.flagged


def test_one_picture_that_cannot_be_read_fails_the_whole_input(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[part(data_url(CAT)), part(data_url(b"<html>"))])
    assert caught.value.code == "invalid_image_format"


@pytest.mark.parametrize("sent", ["hello", ["a", "b"], [TEXT], "", [""]], ids=str)
def test_text_alone_is_refused_and_says_why(client: openai.OpenAI, sent: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="judges pictures and no text") as caught:
        client.moderations.create(input=sent)
    assert (caught.value.type, caught.value.param) == ("invalid_request_error", "input")


def test_text_alone_is_answered_as_not_judged_where_that_is_set(tmp_path: Path) -> None:
    with speaking(tmp_path, text="unjudged") as (client, _, _):
        for sent, count in (("hello", 1), (["a", "b", "c"], 3), ([TEXT], 1)):
            answer = client.moderations.create(input=sent)  # type: ignore[arg-type]
            assert len(answer.results) == count
            for result in answer.results:
                assert result.flagged is False
                assert set(result.category_scores.model_dump().values()) == {0.0}
                assert not any(result.category_applied_input_types.model_dump().values())
                assert "text" in result.model_extra["moderato"]["not_judged"]
                assert result.model_extra["moderato"]["action"] is None
        with pytest.raises(openai.BadRequestError):
            client.moderations.create(input=["a"] * 1000)


def test_a_second_picture_is_openais_400_where_that_is_set(tmp_path: Path) -> None:
    with speaking(tmp_path, images="one") as (client, _, _):
        with pytest.raises(openai.BadRequestError, match=r"Number of images \(2\) exceeds maximum of 1") as caught:
            client.moderations.create(input=[part(data_url(CAT))] * 2)
        assert (caught.value.code, caught.value.param) == ("too_many_images", "input")
        assert client.moderations.create(input=[part(data_url(CAT)), TEXT]).results


def test_more_pictures_than_the_service_takes_are_too_many(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[part(data_url(CAT))] * (MOST + 1))
    assert caught.value.code == "too_many_images"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"\xff\xfe\x00", "invalid_json", None),
        (b"[" * 50_000, "invalid_json", None),
        (b'{"input": "\\ud800"}', "invalid_json", None),
        (b"[]", "invalid_type", None),
        (b"3", "invalid_type", None),
        (b"{}", "missing_required_parameter", "input"),
        (b'{"input": null}', "missing_required_parameter", "input"),
        (b'{"input": 3}', "invalid_type", "input"),
        (b'{"input": {}}', "invalid_type", "input"),
        (b'{"input": []}', "invalid_type", "input"),
        (b'{"input": "a", "model": 3}', "invalid_type", "model"),
        (b'{"input": "a", "model": ""}', "invalid_type", "model"),
        (b'{"input": [3]}', "invalid_value", "input[0].type"),
        (b'{"input": ["a", {}]}', "invalid_value", "input[0].type"),
        (b'{"input": [{"type": "audio"}]}', "invalid_value", "input[0].type"),
        (b'{"input": [{"type": ["text"]}]}', "invalid_value", "input[0].type"),
        (b'{"input": [{"type": "text"}]}', "invalid_type", "input[0].text"),
        (b'{"input": [{"type": "image_url"}]}', "invalid_type", "input[0].image_url"),
        (b'{"input": [{"type": "image_url", "image_url": "data:,"}]}', "invalid_type", "input[0].image_url"),
        (b'{"input": [{"type": "image_url", "image_url": {}}]}', "invalid_type", "input[0].image_url.url"),
        (b'{"input": [{"type": "image_url", "image_url": {"url": 3}}]}', "invalid_type", "input[0].image_url.url"),
    ],
)
def test_a_wrong_body_is_a_400_that_says_where(plain: httpx.Client, body: bytes, code: str, param: str | None) -> None:
    answer = plain.post("/v1/moderations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text
    error = refused(answer)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


def refused(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer in OpenAI's shape."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    assert list(answer.json()) == ["error"]
    error: dict[str, Any] = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert error["message"]
    return error


@pytest.mark.parametrize("kind", ["text/plain", "application/x-amz-json-1.1", "multipart/form-data", None])
def test_json_is_read_under_any_content_type(plain: httpx.Client, kind: str | None) -> None:
    body = httpx.Request("POST", "http://x", json={"input": [part(data_url(KNIFE))]}).content
    answer = plain.post("/v1/moderations", content=body, headers={"content-type": kind} if kind else {})
    assert answer.json()["results"][0]["flagged"] is True


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("blob:https://example.com/1", "invalid_image_url"),
        ("ftp://127.0.0.1/a.png", "invalid_image_url"),
        ("file:///etc/hostname", "invalid_image_url"),
        ("gopher://127.0.0.1/", "invalid_image_url"),
        ("/etc/hostname", "invalid_image_url"),
        ("", "invalid_image_url"),
        ("http://", "invalid_image_url"),
        ("http://user:secret@example.com/a.png", "invalid_image_url"),
        ("http://10.0.0.1/a.png", "image_url_unavailable"),
        ("http://169.254.169.254/latest/", "image_url_unavailable"),
        ("data:image/png;base64,???", "invalid_image_format"),
        ("data:,", "invalid_image_format"),
        ("data:image/png;base64", "invalid_image_format"),
    ],
)
def test_an_address_that_is_none_or_may_not_be_fetched_is_a_400(client: openai.OpenAI, url: str, code: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[part(url)])
    assert (caught.value.code, caught.value.type) == (code, "invalid_request_error")
    assert "secret" not in str(caught.value)


def test_a_download_that_fails_is_said_so(client: openai.OpenAI) -> None:
    with web({}) as site, pytest.raises(openai.BadRequestError, match="Failed to download image") as caught:
        client.moderations.create(input=[part(f"{site}/missing.png")])
    assert caught.value.code == "image_url_unavailable"


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_a_400(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.moderations.create(input=[part(data_url(BROKEN[name][0]))])
    assert (caught.value.code, caught.value.status_code) == ("invalid_image_format", 400)


def odd_pictures() -> dict[str, bytes]:
    drawn = photo(96, 64)
    deep = Image.frombytes("I;16", (96, 64), bytes(96 * 64 * 2))
    return {
        "gray and alpha": encoded(drawn.convert("LA")),
        "CMYK": encoded(drawn.convert("CMYK"), "JPEG"),
        "1 bit": encoded(drawn.convert("1")),
        "16 bits": encoded(deep),
        "palette": encoded(drawn.convert("P")),
        "palette with transparency": encoded(drawn.convert("P"), transparency=0),
        "WebP": encoded(drawn, "WEBP"),
        "progressive": encoded(drawn, "JPEG", progressive=True),
    }


@pytest.mark.parametrize("name", odd_pictures())
def test_pictures_that_break_others_are_judged(client: openai.OpenAI, name: str) -> None:
    answer = client.moderations.create(input=[part(data_url(odd_pictures()[name], "image/jpeg"))])
    assert answer.results[0].category_applied_input_types.violence == ["image"]


def test_a_name_in_capitals_is_a_data_url_too(client: openai.OpenAI) -> None:
    assert client.moderations.create(input=[part("DATA" + data_url(KNIFE)[4:])]).results[0].flagged


# What the frame and the middleware refuse


def test_an_unknown_path_is_openais_404_to_its_client(client: openai.OpenAI, plain: httpx.Client) -> None:
    with pytest.raises(openai.NotFoundError, match=r"Invalid URL \(GET /v1/models\)") as caught:
        client.models.list()
    assert caught.value.type == "invalid_request_error"
    error = refused(plain.post("/v1/moderations/more"))
    assert error["message"] == "Invalid URL (POST /v1/moderations/more)"
    assert plain.get("/v1/nothing").json() == {"detail": "Not Found"}


def test_another_method_is_refused_in_openais_shape(plain: httpx.Client) -> None:
    answer = plain.get("/v1/moderations")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert refused(answer)["code"] == "method_not_supported"


def test_a_body_that_is_too_large_is_refused_in_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.moderations.create(input=[part("data:image/png;base64," + "A" * 500_000)])
    assert caught.value.status_code == 413
    assert caught.value.type == "invalid_request_error"


CASES: list[tuple[Exception, type[openai.APIStatusError], str | None, str | None]] = [
    (Unauthenticated("x"), openai.AuthenticationError, "invalid_request_error", None),
    (Unauthenticated("sk-1234", given=True), openai.AuthenticationError, "invalid_request_error", "invalid_api_key"),
    (Forbidden("x"), openai.PermissionDeniedError, "invalid_request_error", None),
    (Overloaded("x"), openai.RateLimitError, "requests", "rate_limit_exceeded"),
    (RateLimited("x", 7), openai.RateLimitError, "requests", "rate_limit_exceeded"),
    (RateLimited("x", 9000), openai.RateLimitError, "insufficient_quota", "insufficient_quota"),
    (MissingExtra("/secret/path"), openai.InternalServerError, "server_error", "server_error"),
    (ZeroDivisionError("secret"), openai.InternalServerError, "server_error", "server_error"),
]


@pytest.mark.parametrize(("error", "kind", "type_", "code"), CASES, ids=lambda value: type(value).__name__)
def test_whatever_else_goes_wrong_is_the_exception_that_callers_catch(
    client: openai.OpenAI,
    moderator: Moderator,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    kind: type[openai.APIStatusError],
    type_: str,
    code: str | None,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(moderator, "check_many", fail)
    with pytest.raises(kind) as caught:
        client.moderations.create(input=[part(data_url(CAT))])
    assert (caught.value.type, caught.value.code) == (type_, code)
    assert caught.value.request_id
    assert "secret" not in str(caught.value)
    assert "sk-1234" not in str(caught.value)
    wait = getattr(error, "retry_after", None)
    assert caught.value.response.headers.get("retry-after") == (None if wait is None else str(wait))
    assert caught.value.response.headers.get("x-should-retry") == ("false" if wait == 9000 else None)


def test_a_service_that_is_full_says_when_to_come_back_and_the_client_does(
    spoken: tuple[openai.OpenAI, httpx.Client, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _, desk = spoken
    check, tries = desk.moderator.check_many, []

    def fail_once(*asked: Any) -> Any:
        tries.append(asked)
        if len(tries) == 1:
            raise Overloaded("full", retry_after=1)
        return check(*asked)

    monkeypatch.setattr(desk.moderator, "check_many", fail_once)
    assert client.with_options(max_retries=1).moderations.create(input=[part(data_url(KNIFE))]).results[0].flagged
    assert len(tries) == 2


def test_every_caller_gets_the_result_of_their_own_picture(client: openai.OpenAI, moderator: Moderator) -> None:
    pictures = [encoded(photo(64 + n, 64, seed=n)) for n in range(12)]
    expected = [moderator.check(one).scores for one in pictures]

    def scores(picture: bytes) -> dict[str, float]:
        (result,) = client.moderations.create(input=[part(data_url(picture))]).results
        assert result.model_extra is not None
        found: dict[str, float] = result.model_extra["moderato"]["scores"]
        return found

    with ThreadPoolExecutor(6) as pool:
        for found, right in zip(pool.map(scores, pictures * 2), expected * 2, strict=True):
            assert found == pytest.approx(right, abs=1e-5)


def test_the_asynchronous_client_is_answered_too(plain: httpx.Client) -> None:
    async def ask() -> bool:
        async with openai.AsyncOpenAI(base_url=f"{plain.base_url}/v1", api_key="a", max_retries=0) as client:
            return (await client.moderations.create(input=[part(data_url(KNIFE))])).results[0].flagged

    assert asyncio.run(ask())
