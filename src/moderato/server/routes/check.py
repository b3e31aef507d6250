"""`POST /v1/check`: pictures → verdicts."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from moderato.server.desk import BusyDesk
from moderato.server.errors import REFUSALS
from moderato.server.pictures import Pictures, described, read
from moderato.types import Verdict

router = APIRouter(tags=["moderation"], responses=REFUSALS)


class CheckRequest(Pictures):
    """Pictures, and the policy to judge them by (the service's own without a name)."""

    policy: str | None = None


class CheckAnswer(BaseModel):
    """One verdict for each picture, in the order of the request."""

    results: list[Verdict]


@router.post(
    "/v1/check",
    openapi_extra=described(CheckRequest, curl="-F images=@picture.jpg"),
)
async def check(request: Request, desk: BusyDesk) -> CheckAnswer:
    """Judge pictures by a policy. One that cannot be scanned has a verdict too, with `unscannable` saying why."""
    asked, pictures = await read(request, CheckRequest, desk)
    policy = desk.policy(asked.policy)
    return CheckAnswer(results=await desk.in_turn(lambda: list(desk.moderator.check_many(pictures, policy))))
