"""The vendors' own clients: made for an address and a key, and what each tells its caller.

A client never tries again by itself, so that a test sees the first answer.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import openai
from azure.ai.contentsafety import ContentSafetyClient
from azure.ai.contentsafety.models import AnalyzeImageOptions, ImageData
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from google.api_core.exceptions import GoogleAPICallError
from google.auth.credentials import AnonymousCredentials
from google.cloud import vision
from sightengine.client import SightengineClient

A_KEY = "a-key-where-none-is-asked-for"
"""What clients that refuse to start without a key are given."""


def content_safety(url: str, key: str = A_KEY) -> ContentSafetyClient:
    """Azure's."""
    return ContentSafetyClient(url, AzureKeyCredential(key), retry_total=0)


def amazon(url: str, key: str | None = A_KEY, secret: str | None = None, token: str | None = None) -> Any:
    """AWS's, to be closed; without a key it does not sign. The secret is the key unless it is named."""
    unsigned = {} if key else {"signature_version": UNSIGNED}
    once = Config(retries={"total_max_attempts": 1}, **unsigned)
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret or key, "aws_session_token": token}
    return closing(boto3.client("rekognition", endpoint_url=url, region_name="us-east-1", config=once, **keys))


def vision_at(url: str, key: str | None = A_KEY) -> vision.ImageAnnotatorClient:
    """Google's, over REST."""
    options, credentials = {"api_endpoint": url}, None
    if key:
        options["api_key"] = key
    else:
        credentials = AnonymousCredentials()
    return vision.ImageAnnotatorClient(transport="rest", client_options=options, credentials=credentials)


def sightengine_at(url: str, key: str, *models: str) -> Any:
    """Sightengine's, for these models."""
    check = SightengineClient("user", key).check(*models)
    check.endpoint = f"{url.rstrip('/')}/1.0/"
    return check


@dataclass(frozen=True)
class Answer:
    """What a caller learns: the status, the vendor's word for what is wrong, whether a weapon was seen."""

    status: int
    code: str | None = None
    sees_weapon: bool = False


Ask = Callable[[str, str | None, bytes | None], Answer]
"""The client of a service at a URL, with a key or none, asks about a picture; without one, for what is not offered."""


def _openai(url: str, key: str | None, picture: bytes | None) -> Answer:
    sent = base64.b64encode(picture or b"").decode()
    part: Any = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{sent}"}}
    headers = {} if key else {"Authorization": ""}  # it does not start without a key
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key or A_KEY, max_retries=0, default_headers=headers) as client:
        try:
            if picture is None:
                client.models.list()
            return Answer(200, None, client.moderations.create(input=[part]).results[0].categories.violence)
        except openai.APIStatusError as error:
            return Answer(error.status_code, error.code)


def _aws(url: str, key: str | None, picture: bytes | None) -> Answer:
    with amazon(url, key) as client:
        try:
            if picture is None:
                client.list_collections()
            labels = client.detect_moderation_labels(Image={"Bytes": picture})["ModerationLabels"]
            return Answer(200, None, "Weapons" in [label["Name"] for label in labels])
        except ClientError as error:
            return Answer(error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])


def _google(url: str, key: str | None, picture: bytes | None) -> Answer:
    with vision_at(url, key) as client:
        try:
            if picture is None:
                client.async_batch_annotate_images(requests=[], output_config={}, retry=None)
            answered = client.safe_search_detection(image=vision.Image(content=picture))
        except GoogleAPICallError as error:
            return Answer(int(error.code or 0), error.reason or _status(error.response))
    if answered.error.code:  # of this picture: the client raises nothing
        return Answer(200, str(answered.error.code))
    return Answer(200, None, answered.safe_search_annotation.violence >= vision.Likelihood.LIKELY)


def _status(response: Any) -> str | None:
    """The name that Google has beside the number, which the client does not tell; a proxy's page has none."""
    try:
        return str(response.json()["error"]["status"])
    except ValueError:
        return None


def _azure(url: str, key: str | None, picture: bytes | None) -> Answer:
    with content_safety(url, key or "") as client:
        try:
            if picture is None:
                client.analyze_text({"text": "hello"})
            answered = client.analyze_image(AnalyzeImageOptions(image=ImageData(content=picture)))
        except HttpResponseError as error:
            return Answer(error.status_code or 0, error.error.code if error.error else None)
    severities = {str(one.category): one.severity or 0 for one in answered.categories_analysis}
    return Answer(200, None, severities["Violence"] >= 4)


def _sightengine(url: str, key: str | None, picture: bytes | None) -> Answer:
    check = sightengine_at(url, key or "", "weapon-2.1")
    try:
        said = check.video_sync("http://example.com/a.mp4") if picture is None else check.set_bytes(picture)
    except json.JSONDecodeError:  # it looks at no status
        return Answer(0)
    if said["status"] == "failure":
        return Answer(said["error"]["code"], said["error"]["type"])
    return Answer(200, None, said["weapon"]["classes"]["knife"] > 0.5)


def _posted(url: str, key: str | None, **sent: Any) -> tuple[int, Any]:
    """Status and JSON, for those that have no client of their own. A page of a proxy's is no JSON."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    answered = httpx.post(url, headers=headers, timeout=30, trust_env=False, **sent)
    is_json = answered.headers.get("content-type", "").startswith("application/json")
    return answered.status_code, answered.json() if is_json else None


def _misskey(url: str, key: str | None, picture: bytes | None) -> Answer:
    path = "/v1/detect-images" if picture is not None else "/v1/detect-images/more"
    status, said = _posted(f"{url}{path}", key, files={"image": ("a.png", picture or b"")})
    if status == 200:
        (said,) = said["result"]["results"]
    if not said or not said.get("success"):
        return Answer(status, said["error"]["code"] if said and "error" in said else None)
    return Answer(status, None, said["predictions"][0]["className"] == "Porn")


def _thesis(url: str, key: str | None, picture: bytes | None) -> Answer:
    path = "/classify/" if picture is not None else "/classify/more"
    labels = {"classes": "a red knife, an orange cat"}
    status, said = _posted(f"{url}{path}", key, files={"image": ("a.png", picture or b"")}, data=labels)
    return Answer(status, None, status == 200 and said["result"]["prediction"] == "a red knife")


def _thumbnails(url: str, key: str | None, picture: bytes | None) -> Answer:
    path = "/" if picture is not None else "/more"
    sent = {"image_data": base64.b64encode(picture or b"").decode(), "labels": ["a red knife", "an orange cat"]}
    status, said = _posted(f"{url}{path}", key, json=sent)
    return Answer(status, None, status == 200 and said["result"]["a red knife"] > 0.5)


def _ours(url: str, key: str | None, picture: bytes | None) -> Answer:
    path = "/v1/check" if picture is not None else "/v1/more"
    status, said = _posted(f"{url}{path}", key, files={"images": ("a.png", picture or b"")})
    if status != 200:
        return Answer(status)
    (verdict,) = said["results"]
    return Answer(200, verdict["unscannable"] and verdict["unscannable"].split(":")[0], verdict["action"] != "allow")


@dataclass(frozen=True)
class Vendor:
    """A client, and what it must tell its caller when something is wrong."""

    ask: Ask
    no_key: Answer
    wrong_key: Answer
    used_up: Answer
    no_picture: Answer
    too_large: Answer
    not_offered: Answer


VENDORS = {
    "openai": Vendor(
        _openai,
        no_key=Answer(401),
        wrong_key=Answer(401, "invalid_api_key"),
        used_up=Answer(429, "insufficient_quota"),
        no_picture=Answer(400, "invalid_image_format"),
        too_large=Answer(413),
        not_offered=Answer(404),
    ),
    "aws": Vendor(
        _aws,
        no_key=Answer(400, "MissingAuthenticationTokenException"),
        wrong_key=Answer(400, "UnrecognizedClientException"),
        used_up=Answer(400, "ThrottlingException"),
        no_picture=Answer(400, "InvalidImageFormatException"),
        too_large=Answer(400, "ImageTooLargeException"),
        not_offered=Answer(400, "UnknownOperationException"),
    ),
    "google": Vendor(
        _google,
        no_key=Answer(403, "PERMISSION_DENIED"),
        wrong_key=Answer(400, "API_KEY_INVALID"),
        used_up=Answer(429, "RESOURCE_EXHAUSTED"),
        no_picture=Answer(200, "3"),
        too_large=Answer(400, "INVALID_ARGUMENT"),
        not_offered=Answer(404, "NOT_FOUND"),
    ),
    "azure": Vendor(
        _azure,
        no_key=Answer(401, "401"),
        wrong_key=Answer(401, "401"),
        used_up=Answer(429, "TooManyRequests"),
        no_picture=Answer(400, "InvalidRequestBody"),
        too_large=Answer(413, "InvalidRequestBody"),
        not_offered=Answer(404, "404"),
    ),
    "sightengine": Vendor(
        _sightengine,
        no_key=Answer(1, "argument_error"),
        wrong_key=Answer(1, "argument_error"),
        used_up=Answer(429, "usage_limit"),
        no_picture=Answer(400, "media_error"),
        too_large=Answer(413, "request_error"),
        not_offered=Answer(404, "request_error"),
    ),
    "misskey": Vendor(
        _misskey,
        no_key=Answer(401, "AUTHENTICATION_REQUIRED"),
        wrong_key=Answer(401, "AUTHENTICATION_REQUIRED"),
        used_up=Answer(429, "MODEL_UNAVAILABLE"),
        no_picture=Answer(200, "IMAGE_DECODE_FAILED"),
        too_large=Answer(413, "REQUEST_TOO_LARGE"),
        not_offered=Answer(404),
    ),
    **{
        name: Vendor(
            ask,
            no_key=Answer(401),
            wrong_key=Answer(401),
            used_up=Answer(429),
            no_picture=no_picture,
            too_large=Answer(413),
            not_offered=Answer(404),
        )
        for name, ask, no_picture in (
            ("thesis", _thesis, Answer(400)),
            ("thumbnails", _thumbnails, Answer(400)),
            ("ours", _ours, Answer(200, "not_a_picture", sees_weapon=True)),  # unscannable: somebody shall look at it
        )
    },
}
"""By name, every wire format of the service."""


def knives_for_misskey(folder: Path) -> dict[str, str]:
    """The setting by which Misskey's classes mean something to the demo policy."""
    file = folder / "misskey.toml"
    file.write_text('[categories]\nPorn = ["knife"]\n')
    return {"MODERATO_DIALECTS__MISSKEY__MEANINGS": str(file)}
