"""`/healthz`: the process lives. `/readyz`: the encoder has answered."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse

from moderato.server.description import NEEDS_NO_KEY
from moderato.server.desk import TheDesk

router = APIRouter(tags=["health"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_class=PlainTextResponse, openapi_extra=NEEDS_NO_KEY)
async def healthz() -> str:
    """Always 200."""
    return "ok"


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_class=PlainTextResponse,
    responses={503: {"description": "Not yet", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra=NEEDS_NO_KEY,
)
async def readyz(desk: TheDesk) -> PlainTextResponse:
    """200 once the encoder has answered, 503 before."""
    if desk.answered.is_set():
        return PlainTextResponse("ready")
    return PlainTextResponse("the encoder has not answered yet", 503)
