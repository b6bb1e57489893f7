"""The limit over HTTP: a server that parses a request, calls the limit in a thread, and answers.

``python -m tests.benchmarks.bare_server --port P --workers N`` over ``OMS_DATABASE_URL``: the same
HTTP server as the product's, without routes, keys and documents. PostgreSQL is asked by its one
call, SQLite by hand; a connection for each thread that may ask at once.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import uvicorn
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from tests.benchmarks.clients import Place
from tests.benchmarks.handwritten import Handwritten
from tests.benchmarks.server_call import ServerCall

_JSON = [(b"content-type", b"application/json")]


def application() -> Callable[..., Any]:
    """Return the server's ASGI application."""
    url = os.environ["OMS_DATABASE_URL"]
    sqlite = url.startswith("sqlite")
    turns = 1 if sqlite else 4
    limiter = CapacityLimiter(turns)
    idle: list[Place] = []

    def work(body: bytes, key: str) -> bytes:
        place = idle.pop() if idle else (Handwritten if sqlite else ServerCall)(url, "bare").place
        try:
            return json.dumps(place(json.loads(body), key)).encode()
        finally:
            idle.append(place)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, content = 200, b"{}"
        if scope["method"] == "POST":
            body = b""
            while True:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body"):
                    break
            key = dict(scope["headers"])[b"idempotency-key"].decode()
            status, content = 201, await run_sync(work, body, key, limiter=limiter)
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*_JSON, length]})
        await send({"type": "http.response.body", "body": content})

    return answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tests.benchmarks.bare_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    uvicorn.run(
        "tests.benchmarks.bare_server:application",
        factory=True,
        port=options.port,
        workers=options.workers,
        lifespan="off",
        access_log=False,
    )
