"""The limit of webhooks over HTTP: a server that verifies a message, stores it and answers.

``python -m tests.benchmarks.bare_intake --port P --workers N`` over ``OMS_DATABASE_URL``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

import uvicorn
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from oms_ops.payments.gateways.fake import FakeSettings
from tests.benchmarks.money_by_hand import MoneyByHand

_JSON = [(b"content-type", b"application/json")]
_STORED = b'{"status":"stored"}'


def application() -> Callable[..., Any]:
    """Return the server's ASGI application."""
    url = os.environ["OMS_DATABASE_URL"]
    secret = FakeSettings.read().secret
    limiter = CapacityLimiter(1 if url.startswith("sqlite") else 4)
    idle: list[MoneyByHand] = []

    def work(headers: dict[str, str], body: bytes) -> None:
        hand = idle.pop() if idle else MoneyByHand(url, "bare")
        try:
            hand.receive(headers, body, secret)
        finally:
            idle.append(hand)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            await run_sync(work, headers, body, limiter=limiter)
        length = (b"content-length", str(len(_STORED)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*_JSON, length]})
        await send({"type": "http.response.body", "body": _STORED})

    return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.benchmarks.bare_intake", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    uvicorn.run(
        "tests.benchmarks.bare_intake:application",
        factory=True,
        port=options.port,
        workers=options.workers,
        lifespan="off",
        access_log=False,
    )
