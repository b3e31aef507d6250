"""Rekognition's `DetectModerationLabels`, by AWS's own client, and by a plain one for what that cannot send."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from pydantic import SecretStr
from starlette.types import Scope

from moderato.errors import Forbidden, ModeratoError, Overloaded, RateLimited, SettingsError, Unauthenticated
from moderato.media.load import Url
from moderato.policy import read_policy
from moderato.server.desk import Desk
from moderato.server.dialects._s3 import find, presigned
from moderato.server.dialects.aws import PARENTS, branch
from moderato.server.errors import answer
from moderato.settings import AWSOptions, DialectOptions, ServeOptions, read_settings
from pictures import CAT, KNIFE, encoded, photo
from servers import BROKEN, PNG, service, web
from vendors import amazon

TARGET = {"X-Amz-Target": "RekognitionService.DetectModerationLabels"}
TYPE = "application/x-amz-json-1.1"
MOST = 9 * 2**20


@pytest.fixture(scope="module")
def buckets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bucket` is a folder with a picture in it; there is another picture beside it, and a link to that."""
    root = tmp_path_factory.mktemp("buckets")
    (root / "bucket" / "a b").mkdir(parents=True)
    (root / "bucket" / "a b" / "knife.png").write_bytes(KNIFE)
    (root / "bucket" / "broken.png").write_bytes(BROKEN["truncated.png"][0])
    (root / "secret.png").write_bytes(KNIFE)
    (root / "bucket" / "link.png").symlink_to(root / "secret.png")
    return root


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, buckets: Path) -> Desk:
    desk = service(tmp_path_factory.mktemp("data"), ServeOptions(max_body=MOST), allow_hosts=("127.0.0.1",))
    desk.dialects = DialectOptions(aws=AWSOptions(buckets={"bucket": str(buckets / "bucket")}))
    return desk


@pytest.fixture(scope="module")
def aws(client: httpx.Client) -> Iterator[Any]:
    with amazon(str(client.base_url)) as aws:
        yield aws


def names(answered: dict[str, Any]) -> list[str]:
    return [label["Name"] for label in answered["ModerationLabels"]]


def failure(ended: pytest.ExceptionInfo[Any]) -> tuple[str, int, str]:
    """Code, status and message, as callers read them."""
    answered = ended.value.response
    return answered["Error"]["Code"], answered["ResponseMetadata"]["HTTPStatusCode"], answered["Error"]["Message"]


def post(client: httpx.Client, body: bytes | dict[str, Any], **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/", content=content, headers={"Content-Type": TYPE, **TARGET, **headers})


def test_a_label_comes_with_all_above_it(aws: Any) -> None:
    answered = aws.detect_moderation_labels(Image={"Bytes": KNIFE})
    weapons, violence = answered["ModerationLabels"]
    assert weapons["Confidence"] == violence["Confidence"] > 90
    assert (weapons["Name"], weapons["ParentName"], weapons["TaxonomyLevel"]) == ("Weapons", "Violence", 2)
    assert (violence["Name"], violence["ParentName"], violence["TaxonomyLevel"]) == ("Violence", "", 1)
    assert answered["ModerationModelVersion"] == "7.0"
    assert answered["ContentTypes"] == []
    assert len(answered["ResponseMetadata"]["RequestId"]) == 36


@pytest.mark.parametrize("path", ["/", "/rekognition", "//rekognition/", "/a/b"])
def test_the_path_of_the_endpoint_does_not_matter(client: httpx.Client, path: str) -> None:
    with amazon(f"{client.base_url}".rstrip("/") + path) as aws:
        assert names(aws.detect_moderation_labels(Image={"Bytes": KNIFE})) == ["Weapons", "Violence"]


def test_confidence_is_50_unless_asked_and_nothing_below_it_is_answered(aws: Any) -> None:
    assert names(aws.detect_moderation_labels(Image={"Bytes": CAT})) == []
    assert names(aws.detect_moderation_labels(Image={"Bytes": KNIFE}, MinConfidence=99.9)) == []
    every = aws.detect_moderation_labels(Image={"Bytes": KNIFE}, MinConfidence=0)["ModerationLabels"]
    assert any(label["Confidence"] < 50 for label in every)
    assert [label["Confidence"] for label in every] == sorted((one["Confidence"] for one in every), reverse=True)
    assert {label["Name"]: label["ParentName"] for label in every}.items() <= PARENTS.items()


def test_what_the_policy_does_not_score_is_absent(aws: Any) -> None:
    scored = {"Weapons", "Death and Emaciation", "Smoking", "Alcohol"}
    every = names(aws.detect_moderation_labels(Image={"Bytes": KNIFE}, MinConfidence=0))
    assert set(every) == {above for name in scored for above in branch(name)}


def test_a_parent_is_as_sure_as_the_surest_below_it(desk: Desk, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = read_policy("demo")
    labels = {"nudity": demo.labels["knife"], "sexual": demo.labels["skull"], "nsfw": demo.labels["bottle"]}
    monkeypatch.setattr(desk.moderator, "policy", demo.model_copy(update={"name": "own", "labels": labels}))
    answered = aws.detect_moderation_labels(Image={"Bytes": KNIFE}, MinConfidence=0)
    found = {label["Name"]: label["Confidence"] for label in answered["ModerationLabels"]}
    assert list(found) == ["Explicit Nudity", "Explicit", "Explicit Sexual Activity"]
    assert found["Explicit"] == found["Explicit Nudity"] > 90 > found["Explicit Sexual Activity"]


def test_the_taxonomy_is_that_of_version_7() -> None:
    assert Counter(len(branch(name)) for name in PARENTS) == {1: 10, 2: 20, 3: 22}
    assert branch("Smoking") == ("Smoking", "Drugs & Tobacco Paraphernalia & Use", "Drugs & Tobacco")
    assert PARENTS["Obstructed Intimate Parts"] == "Non-Explicit Nudity of Intimate parts and Kissing"


def test_what_else_may_be_asked_changes_nothing(aws: Any) -> None:
    loop = {"HumanLoopName": "a", "FlowDefinitionArn": "arn:aws:sagemaker:us-east-1:123456789012:flow-definition/a"}
    version = "arn:aws:rekognition:us-east-1:123456789012:project/a/version/b/1234567890123"
    answered = aws.detect_moderation_labels(Image={"Bytes": KNIFE}, HumanLoopConfig=loop, ProjectVersion=version)
    assert names(answered) == ["Weapons", "Violence"]


@pytest.mark.parametrize("mode", ["LA", "CMYK", "1", "I;16", "P", "L", "RGBA"])
def test_pictures_of_every_mode_are_judged(aws: Any, mode: str) -> None:
    grey = photo().convert("L")
    image = grey.convert("I").convert("I;16") if mode == "I;16" else photo().convert(mode)
    picture = encoded(image, "JPEG" if mode == "CMYK" else "PNG")
    assert names(aws.detect_moderation_labels(Image={"Bytes": picture}, MinConfidence=0))


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "empty.jpg"])
def test_a_picture_that_cannot_be_scanned_is_an_error_of_its_own_class(aws: Any, name: str) -> None:
    data, why = BROKEN[name]
    large = why.startswith("too_")
    kind = aws.exceptions.ImageTooLargeException if large else aws.exceptions.InvalidImageFormatException
    with pytest.raises(kind) as ended:
        aws.detect_moderation_labels(Image={"Bytes": data})
    assert failure(ended)[1] == 400
    assert why in failure(ended)[2]
    assert large or failure(ended)[2].startswith("Request has invalid image format")


@pytest.mark.parametrize(("data", "bound"), [(b"", "or equal to 1"), (b"\0" * 5242881, "or equal to 5242880")])
def test_bytes_have_a_length(aws: Any, data: bytes, bound: str) -> None:
    with pytest.raises(ClientError) as ended:
        aws.detect_moderation_labels(Image={"Bytes": data})
    code, status, message = failure(ended)
    assert (code, status) == ("ValidationException", 400)
    assert message.startswith("1 validation error detected: ")
    assert bound in message


@pytest.mark.parametrize(
    "asked",
    [
        {"Image": {}},
        {"Image": {"Bytes": KNIFE, "S3Object": {"Bucket": "bucket", "Name": "a b/knife.png"}}},
        {"Image": {"S3Object": {"Bucket": "bucket"}}},
        {"Image": {"Bytes": KNIFE}, "MinConfidence": 500},
    ],
    ids=["neither", "both", "no name", "too sure"],
)
def test_wrong_parameters_are_an_error_of_their_own_class(aws: Any, asked: dict[str, Any]) -> None:
    with pytest.raises(aws.exceptions.InvalidParameterException) as ended:
        aws.detect_moderation_labels(**asked)
    assert failure(ended)[2].startswith("Request has invalid parameters")


@pytest.mark.parametrize("least", ["-1", "100.1", "NaN", "Infinity", "true", '"60"', "[]"])
def test_a_confidence_that_is_no_number_up_to_100_is_refused(client: httpx.Client, least: str) -> None:
    body = f'{{"Image": {{"Bytes": "{base64.b64encode(KNIFE).decode()}"}}, "MinConfidence": {least}}}'
    assert post(client, body.encode()).json()["__type"] == "InvalidParameterException"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"Image": 3}', b'{"Image": {"Bytes": 3}}', b'{"Image": {"Bytes": "!"}}'],
)
def test_what_cannot_be_read_is_a_serialization_exception(client: httpx.Client, body: bytes) -> None:
    refused = post(client, body)
    assert refused.status_code == 400
    assert set(refused.json()) == {"__type", "Message"}
    assert refused.json()["__type"] == "SerializationException"
    assert refused.headers["content-type"] == TYPE
    assert refused.headers["x-amzn-requestid"]


@pytest.mark.parametrize("sent", ["text/plain", "application/json", "application/octet-stream"])
def test_any_content_type_will_do(client: httpx.Client, sent: str) -> None:
    asked = {"Image": {"Bytes": base64.b64encode(KNIFE).decode()}}
    assert names(post(client, asked, **{"Content-Type": sent}).json()) == ["Weapons", "Violence"]


def test_every_other_operation_is_unknown(aws: Any, client: httpx.Client) -> None:
    with pytest.raises(ClientError) as ended:
        aws.detect_labels(Image={"Bytes": KNIFE})
    assert failure(ended)[:2] == ("UnknownOperationException", 400)
    with pytest.raises(ClientError) as ended:
        aws.list_collections()
    assert failure(ended)[:2] == ("UnknownOperationException", 400)
    for target in ("", "RekognitionService", "DynamoDB_20120810.DetectModerationLabels"):
        refused = post(client, b"{}", **{"X-Amz-Target": target})
        assert (refused.status_code, refused.json()["__type"]) == (400, "UnknownOperationException")
    refused = client.put("/rekognition", headers=TARGET)
    assert (refused.status_code, refused.json()["__type"]) == (400, "UnknownOperationException")


def test_without_the_header_the_path_belongs_to_others(client: httpx.Client) -> None:
    assert client.post("/", json={}).json() == {"message": "'image_data' must be a picture in base64."}
    assert client.post("/rekognition", json={}).json() == {"detail": "Not Found"}


def test_an_object_is_a_file_in_its_buckets_folder(aws: Any) -> None:
    stored = {"S3Object": {"Bucket": "bucket", "Name": "a b/knife.png"}}
    assert names(aws.detect_moderation_labels(Image=stored)) == ["Weapons", "Violence"]
    with pytest.raises(aws.exceptions.InvalidImageFormatException):
        aws.detect_moderation_labels(Image={"S3Object": {"Bucket": "bucket", "Name": "broken.png"}})


@pytest.mark.parametrize(
    "stored",
    [
        {"Bucket": "other", "Name": "a b/knife.png"},
        {"Bucket": "bucket", "Name": "none.png"},
        {"Bucket": "bucket", "Name": "a b"},
        {"Bucket": "bucket", "Name": "../secret.png"},
        {"Bucket": "bucket", "Name": "a b/../../secret.png"},
        {"Bucket": "bucket", "Name": "/etc/passwd"},
        {"Bucket": "bucket", "Name": "link.png"},
        {"Bucket": "bucket", "Name": "a\0b"},
        {"Bucket": "bucket", "Name": "x" * 1024},
        {"Bucket": "bucket", "Name": "a b/knife.png", "Version": "1"},
    ],
    ids=str,
)
def test_an_object_that_is_not_in_its_bucket_does_not_exist(aws: Any, stored: dict[str, str], buckets: Path) -> None:
    with pytest.raises(aws.exceptions.InvalidS3ObjectException) as ended:
        aws.detect_moderation_labels(Image={"S3Object": stored})
    message = "Unable to get object metadata from S3. Check object key, region and/or access permissions."
    assert failure(ended) == ("InvalidS3ObjectException", 400, message)


def test_an_object_may_be_at_a_store(desk: Desk, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/photos/a%20b/%C3%A4.png": KNIFE, "/photos/a.png?versionId=v%2F1": CAT, "/secret.png": KNIFE}
    with web(files) as store:
        options = AWSOptions(buckets={"bucket": f"{store}/photos/", "other": "http://10.0.0.1/photos"})
        monkeypatch.setattr(desk, "dialects", DialectOptions(aws=options))
        stored = {"S3Object": {"Bucket": "bucket", "Name": "a b/ä.png"}}
        assert names(aws.detect_moderation_labels(Image=stored)) == ["Weapons", "Violence"]
        versioned = {"S3Object": {"Bucket": "bucket", "Name": "a.png", "Version": "v/1"}}
        assert names(aws.detect_moderation_labels(Image=versioned)) == []
        for bucket, name in (("bucket", "none.png"), ("bucket", "../secret.png"), ("other", "a.png")):
            with pytest.raises(aws.exceptions.InvalidS3ObjectException) as ended:
                aws.detect_moderation_labels(Image={"S3Object": {"Bucket": bucket, "Name": name}})
            assert failure(ended)[2].endswith("permissions.")


@pytest.mark.parametrize(
    "store", ["https://minio.example", "http://minio.example:9000/in/here", "https://s3.example:443"]
)
@pytest.mark.parametrize("query", [{}, {"versionId": "a/b c~"}])
def test_a_store_is_asked_under_the_url_that_amazons_own_library_signs(store: str, query: dict[str, str]) -> None:
    options = AWSOptions(region="eu-west-1", access_key="AK/ID", secret_key=SecretStr("geheim+/"))
    url = f"{store}/{quote('a b/ä+(1)~.png')}"
    asked = AWSRequest("GET", f"{url}?{urlencode(query, quote_via=quote)}" if query else url)
    S3SigV4QueryAuth(Credentials("AK/ID", "geheim+/"), "s3", "eu-west-1", expires=60).add_auth(asked)
    theirs = parse_qs(urlsplit(asked.url).query)
    now = datetime.strptime(theirs["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    ours = presigned(url, options, now, query)
    assert parse_qs(urlsplit(ours).query) == theirs
    assert ours.partition("?")[0] == url
    assert "geheim" not in repr(options)


def test_with_an_access_key_stores_are_asked_with_a_signature(
    desk: Desk, aws: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = find(AWSOptions(buckets={"b": "http://127.0.0.1:1/b"}, access_key="AKID"), "b", "c.png")
    assert isinstance(found, Url)
    assert "X-Amz-Signature=" in found.url
    assert found.name == "s3://b/c.png"
    options = AWSOptions(buckets={"bucket": "http://127.0.0.1:1/b"}, access_key="AKID")
    monkeypatch.setattr(desk, "dialects", DialectOptions(aws=options))
    with pytest.raises(aws.exceptions.InvalidS3ObjectException):
        aws.detect_moderation_labels(Image={"S3Object": {"Bucket": "bucket", "Name": "c.png"}})
    assert "127.0.0.1:1 cannot be reached" in caplog.text
    assert "X-Amz" not in caplog.text


@pytest.mark.parametrize(
    ("written", "read"),
    [("a=/srv/a", {"a": "/srv/a"}), ("a.b-c=/srv/a, d=https://x/d=e,", {"a.b-c": "/srv/a", "d": "https://x/d=e"})],
)
def test_buckets_are_a_setting(monkeypatch: pytest.MonkeyPatch, written: str, read: dict[str, str]) -> None:
    monkeypatch.setenv("MODERATO_DIALECTS__AWS__BUCKETS", written)
    assert read_settings().dialects.aws.buckets == read
    monkeypatch.setenv("MODERATO_DIALECTS__AWS__BUCKETS", "photos")
    with pytest.raises(SettingsError, match="write bucket=folder"):
        read_settings()


def test_a_body_over_the_limit_is_too_large_an_image(client: httpx.Client) -> None:
    refused = post(client, b" " * (MOST + 1))
    assert (refused.status_code, refused.json()["__type"]) == (400, "ImageTooLargeException")


def test_overload_is_throttling(desk: Desk, aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "in_hand", 1000)
    with pytest.raises(aws.exceptions.ThrottlingException) as ended:
        aws.detect_moderation_labels(Image={"Bytes": KNIFE})
    assert failure(ended)[1] == 400


@pytest.mark.parametrize("fault", ["crash", "setup"])
def test_our_own_fault_is_an_internal_server_error(
    desk: Desk, aws: Any, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "crash":
        monkeypatch.setattr(desk, "moderator", None)
    else:
        nowhere = desk.moderator.policy.model_copy(update={"encoder": "nowhere"})
        monkeypatch.setattr(desk.moderator, "policy", nowhere)
    with pytest.raises(aws.exceptions.InternalServerError) as ended:
        aws.detect_moderation_labels(Image={"Bytes": PNG})
    assert failure(ended)[1] == 500
    assert "nowhere" not in failure(ended)[2]


class _Signed(Unauthenticated):
    code = "InvalidSignatureException"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unauthenticated("No key."), "MissingAuthenticationTokenException"),
        (Unauthenticated("Wrong.", given=True), "UnrecognizedClientException"),
        (_Signed("The signature does not match.", given=True), "InvalidSignatureException"),
        (Forbidden("Not yours."), "AccessDeniedException"),
        (RateLimited("Used up.", 60), "ThrottlingException"),
        (Overloaded("Full."), "ThrottlingException"),
    ],
)
def test_what_is_refused_before_the_picture_is_looked_at_has_the_same_shape(error: ModeratoError, code: str) -> None:
    scope: Scope = {"type": "http", "method": "POST", "path": "/x", "headers": [(b"x-amz-target", b"a")]}
    refused = answer(scope, error)
    assert refused.status_code == 400
    assert json.loads(refused.body)["__type"] == code
    assert json.loads(refused.body)["Message"]
