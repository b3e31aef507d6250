"""`GET /metrics`: the service in figures, for Prometheus."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response

from moderato.server.metrics import Metrics

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All figures; docs/observing.md explains them."""
    figures = cast("Metrics", request.app.state.metrics)
    text, content_type = figures.written(request.headers.get("accept", ""))
    return Response(text, headers={"content-type": content_type})
