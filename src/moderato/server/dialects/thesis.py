"""`POST /classify/`: the API of the thesis that moderato grew out of (a FastAPI app over transformers' CLIP).

A form with `image` or `location`, and `classes` divided by ", " (comma and space). It squashes pictures. Answers and
errors keep its bytes.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, HTTPException, UploadFile
from fastapi.responses import JSONResponse

from moderato.media.load import Sendable, Url, is_remote
from moderato.server.desk import BusyDesk
from moderato.server.dialects._labels import classified, notes, probabilities
from moderato.server.errors import REFUSALS
from moderato.types import Source

router = APIRouter(tags=["dialects"], responses=REFUSALS)


@router.post("/classify/", openapi_extra={"x-curl": "-F image=@picture.jpg -F 'classes=a cat, a dog'"})
async def classify(
    desk: BusyDesk,
    location: Annotated[str | None, Form()] = None,
    image: Annotated[UploadFile | None, File()] = None,
    classifier: Annotated[str, Form()] = "clip",
    classes: Annotated[str, Form()] = "nsfw, sfw",
) -> JSONResponse:
    """Classify one picture, by upload or URL."""
    picture, complaint = await _picture(image, location)
    labels = classes.strip(" ").split(", ")
    answer = await classified(desk, picture, labels, fit="squash")
    if answer.unscannable:
        raise HTTPException(400, complaint)
    result = {
        "prediction": answer.prediction,
        "label_probabilities": probabilities(answer, labels),
        "original_payload": {"location": location, "classifier": "clip"},
    }
    return JSONResponse({"result": result}, headers=notes(answer))


async def _picture(image: UploadFile | None, location: str | None) -> tuple[Sendable, str]:
    """The picture, and what is said when it cannot be read. An upload wins over a URL."""
    if image is not None:
        return Source(await image.read(), image.filename or "image"), "Invalid image file."
    if not location:
        raise HTTPException(400, "Please provide either 'location' or 'image'.")
    if not is_remote(location):
        raise HTTPException(400, "Invalid image URL.")
    return Url(location), "Unable to download image from the provided URL."
